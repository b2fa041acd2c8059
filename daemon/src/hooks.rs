//! Runs hooks: a thread of their own, so that nothing else waits for them, whatever they do.
#![allow(clippy::disallowed_methods, reason = "a driver: reads the clock for the pure machine")]

mod before;
mod process;
mod trust;
mod web;

pub(crate) use before::BOUND;
pub(crate) use trust::JUDGE;

use crate::node::Node;
use fulcrum_config::{BackendName, Config, HookCall, ServiceName};
use fulcrum_health::Verdict;
use fulcrum_lifecycle::hooks::{Ending, Hooks as Machine, Look, Outcome, Standing};
use fulcrum_lifecycle::{Alarm, Handle, Hook};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc};

/// Time between two looks: what changes faster is told once.
const PACE: Duration = Duration::from_millis(20);
/// Endings that wait to be noted.
const ENDINGS: usize = 64;

/// What is known of all hooks.
#[derive(Debug, Default)]
pub(crate) struct Hooks {
    machine: Mutex<Machine>,
    news: Notify,
    end: Notify,
}

impl Hooks {
    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What they did, for people.
    pub(crate) fn status(&self) -> Vec<Hook> {
        self.machine().status(Instant::now())
    }

    /// Those whose last run failed.
    pub(crate) fn alarms(&self) -> Vec<Alarm> {
        self.machine().alarms()
    }

    /// Alarms rose.
    pub(crate) fn raised<'a>(&self, node: &str, alarms: impl IntoIterator<Item = &'a Alarm>) {
        self.machine().raised(node, alarms);
        self.news.notify_one();
    }

    /// With what is in force, which is read while nobody else can tell them of anything: what is older than what they know
    /// would have each group told anew.
    fn in_force(&self, handle: &Handle) -> (MutexGuard<'_, Machine>, Arc<Config>) {
        let mut machine = self.machine();
        let config = handle.config();
        machine.configure(&config);
        (machine, config)
    }

    /// Takes in how the node is now.
    fn look(&self, node: &Node) {
        let handle = node.handle();
        let (mut machine, config) = self.in_force(handle);
        let (mut groups, mut down) = (BTreeMap::new(), BTreeMap::new());
        // The state of many groups is not gathered for nobody; the machine still forgets what was configured.
        if !(config.hooks.is_empty() && machine.is_idle()) {
            let vip = handle.vip();
            groups
                .extend(vip.borrow().groups.iter().map(|(name, seen)| (name.clone(), Standing::from(seen))));
            down.extend(backends_down(&handle.health().borrow()));
        }
        machine.look(&Look {
            config: &config,
            generation: node.generation(),
            serial: handle.serial(),
            groups,
            down,
            stopping: handle.is_stopping(),
        });
    }

    /// Another process of this node has hooks run from now on: waits for those that run, for `bound` at most.
    pub(crate) async fn leave(&self, bound: Duration) {
        let _ = tokio::time::timeout(bound, self.idle()).await;
        self.end.notify_one();
    }

    /// Waits until none runs.
    async fn idle(&self) {
        while !self.machine().is_idle() {
            tokio::time::sleep(PACE).await;
        }
    }

    /// After the node left its groups: has hooks told of it, and waits for those that run, for `bound` at most.
    pub(crate) async fn finish(&self, node: &Node, bound: Duration) {
        self.look(node);
        self.news.notify_one();
        if tokio::time::timeout(bound, self.idle()).await.is_err() {
            tracing::warn!(target: "hook", "some hooks had not ended after {} s, and are killed", bound.as_secs_f64());
            self.end.notify_one();
            // They are killed as the loop ends.
            tokio::time::sleep(PACE.saturating_mul(5)).await;
        }
    }
}

/// Each backend that fails its check, with the reason.
fn backends_down(health: &fulcrum_health::Observed) -> BTreeMap<(ServiceName, BackendName), String> {
    let mut down = BTreeMap::new();
    for (service, health) in &health.services {
        for (backend, health) in health.backends.iter().filter(|(_, it)| it.verdict == Verdict::Down) {
            down.insert((service.clone(), backend.clone()), health.reason.to_string());
        }
    }
    down
}

/// Runs them for as long as the node runs.
pub(crate) fn start(node: &Arc<Node>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let node = Arc::clone(node);
    std::thread::Builder::new().name("hooks".to_owned()).spawn(move || {
        runtime.block_on(serve(&node));
        runtime.shutdown_background();
    })?;
    Ok(())
}

async fn serve(node: &Arc<Node>) {
    let hooks = node.hooks();
    let (mut vip, mut health) = (node.handle().vip(), node.handle().health());
    let (ended, mut endings) = mpsc::channel(ENDINGS);
    // The engines end before the last hooks do.
    let (mut vip_lives, mut health_lives) = (true, true);
    loop {
        vip.mark_unchanged();
        health.mark_unchanged();
        hooks.look(node);
        start_due(&hooks, &ended);
        tokio::time::sleep(PACE).await;
        tokio::select! {
            result = vip.changed(), if vip_lives => vip_lives = result.is_ok(),
            result = health.changed(), if health_lives => health_lives = result.is_ok(),
            () = hooks.news.notified() => {}
            () = hooks.end.notified() => return,
            Some((ticket, ending)) = endings.recv() => hooks.machine().ended(ticket, ending, Instant::now()),
        }
        while let Ok((ticket, ending)) = endings.try_recv() {
            hooks.machine().ended(ticket, ending, Instant::now());
        }
    }
}

fn start_due(hooks: &Arc<Hooks>, ended: &mpsc::Sender<(u64, Ending)>) {
    loop {
        let start = hooks.machine().poll_start(Instant::now());
        let Some(start) = start else { return };
        let ended = ended.clone();
        tokio::spawn(async move {
            let (name, event, of) =
                (start.hook.name.clone(), start.occurrence.event, start.occurrence.subject());
            let begun = Instant::now();
            let (ending, output) = match &start.hook.does {
                HookCall::Program(command) => process::run(&start, command).await,
                HookCall::Web(call) => web::call(&start, call).await,
            };
            let duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            let what = ending.outcome.words();
            if ending.outcome == Outcome::Succeeded {
                tracing::info!(target: "hook", %name, %event, of, duration_ms, "{what}");
            } else {
                tracing::warn!(target: "hook", %name, %event, of, duration_ms, output, "{what}");
            }
            // Nobody is there to hear it only if the process ends.
            let _ = ended.send((start.ticket, ending)).await;
        });
    }
}
