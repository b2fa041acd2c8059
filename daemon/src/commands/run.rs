//! `fulcrum run`: the daemon.
#![allow(clippy::disallowed_methods, reason = "the daemon's own loop")]

use crate::admin::{self, Bound};
use crate::backup;
use crate::engines;
use crate::error::Failure;
use crate::hooks;
use crate::inplace::{Estate, Heir, LOCK, NAMESPACE};
use crate::kubernetes;
use crate::lock;
use crate::logging;
use crate::node::{Boot, Node, boot, prepare, share, tend};
use crate::sys::keep_little_memory;
use crate::systemd;
use crate::watch::watch;
use crate::witness;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Resigning takes milliseconds; a peer takes over by itself if it takes longer than this.
const STOP: Duration = Duration::from_secs(2);
/// Hooks that are told of the end have so long, within what systemd leaves the whole stop.
const HOOKS: Duration = Duration::from_secs(3);
/// How long the start waits for listeners before it says that it is up (the status says what is missing).
const READY: Duration = Duration::from_secs(10);

/// With `take_over` this process was started by the one that runs, to go on in its place.
pub(crate) fn run(file: &Path, take_over: bool) -> Result<ExitCode, Failure> {
    let started = Instant::now();
    keep_little_memory();
    let mut heir = take_over.then(Heir::begin).transpose()?;
    let result = run_as(file, started, &mut heir);
    if let (Err(failure), Some(heir)) = (&result, &heir) {
        heir.fail(&failure.to_string());
    }
    result
}

fn run_as(file: &Path, started: Instant, heir: &mut Option<Heir>) -> Result<ExitCode, Failure> {
    let boot = boot(file)?;
    let log = logging::start(boot.config.admin.log_format)
        .map_err(|error| Failure::Io { what: "logging can't be started".to_owned(), error })?;
    logging::end_at_panic();
    let socket = boot.config.admin.socket.clone();
    let estate = Arc::new(Estate::default());
    if heir.is_none() {
        estate.keep(LOCK, lock::take(&socket)?);
        go_before_the_guard();
    }
    raise_limit_on_files();
    boot.announce(file);

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Io { what: "no event loop; are there files left?".to_owned(), error })?;
    let result = serve(&runtime, file, &boot, started, &estate, heir);
    // A handler that still runs must not hold up the end.
    runtime.shutdown_background();
    // Another process has it before it is an heir no more, and after it has been left to one.
    if heir.is_none() && !estate.is_left() {
        let _ = std::fs::remove_file(&socket);
    }
    drop(estate);
    drop(log);
    result
}

/// Everything that can fail for want of rights or addresses comes before the engines; they start outside of
/// the runtime, for they wait for their threads.
fn serve(
    runtime: &Runtime,
    file: &Path,
    boot: &Boot,
    started: Instant,
    estate: &Arc<Estate>,
    heir: &mut Option<Heir>,
) -> Result<ExitCode, Failure> {
    let signals = runtime.block_on(async { Signals::new() })?;
    let begin = || {
        let bound = runtime.block_on(async { admin::bind(&boot.config.admin, estate) })?;
        take_namespace(estate)?;
        Ok::<_, Failure>((bound, boot.keep_allocations(file), boot.begin_run(file)))
    };
    let begun = if heir.is_none() { Some(begin()?) } else { None };
    let (engines, ends) = engines::start(&boot.config, boot.shared.serial, estate, heir.as_mut())?;
    let heir = heir.take();
    let (bound, unkept, runs) = match begun {
        Some(begun) => begun,
        None => begin()?,
    };
    let handle = fulcrum_lifecycle::start(Arc::clone(&boot.config), boot.shared.serial, engines)
        .map_err(|error| Failure::Refused(error.to_string()))?;
    let node = Node::new(handle, file.to_owned(), boot, started, unkept, runs, Arc::clone(estate));
    let node = Arc::new(node);
    let follow = Arc::clone(&node);
    let witness = witness::keep(move || follow.handle().config(), ends, node.witness());
    estate.ends_with_it(runtime.spawn(witness).abort_handle());
    hooks::start(&node).map_err(|error| Failure::Io {
        what: "the thread of the hooks can't be started".to_owned(),
        error,
    })?;
    kubernetes::start(&node).map_err(|error| Failure::Io {
        what: "the thread of the Kubernetes clusters can't be started".to_owned(),
        error,
    })?;
    runtime.block_on(daemon(signals, bound, &node, started, heir))
}

/// The locks: this process's own, or those of the process that it takes over from.
fn take_namespace(estate: &Estate) -> Result<(), Failure> {
    if let Some(file) = estate.inherit(LOCK) {
        let file = lock::inherit(file)
            .map_err(|error| Failure::Io { what: "the lock can't be written".to_owned(), error })?;
        estate.keep(LOCK, file);
    }
    let socket = match estate.inherit(NAMESPACE) {
        Some(inherited) => Some(inherited),
        None => lock::take_namespace()?.socket,
    };
    if let Some(socket) = socket {
        estate.keep(NAMESPACE, socket);
    }
    Ok(())
}

/// Connections cost files: up to the hard limit, rather than the soft one that suits `select`.
fn raise_limit_on_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if limit.current != limit.maximum && setrlimit(Resource::Nofile, raised).is_err() {
        tracing::warn!(limit = limit.current, "the limit on open files could not be raised");
    }
}

/// When memory runs out the guard must live, to take the addresses away: it goes as low as it may, and so this
/// process stays above. Where it may not go to the least (-1000), as in a container, this one is raised by more
/// than the guard's memory is worth.
fn go_before_the_guard() {
    const SCORE: &str = "/proc/self/oom_score_adj";
    let set = |score: i32| std::fs::write(SCORE, score.to_string());
    let begun = std::fs::read_to_string(SCORE).ok().and_then(|text| text.trim().parse::<i32>().ok());
    let own = begun
        .map(|begun| if set(-1000).is_ok() { begun.max(-900) } else { begun.saturating_add(300).min(1000) });
    if own.is_none_or(|own| set(own).is_err()) {
        tracing::warn!(
            "the score for want of memory could not be set: the guard may be ended before the daemon"
        );
    }
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    End,
    Reload,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let on = |kind| {
            signal(kind).map_err(|error| Failure::Io { what: "signals can't be received".to_owned(), error })
        };
        Ok(Self {
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
            hangup: on(SignalKind::hangup())?,
        })
    }

    /// Waits for the next.
    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::End,
            _ = self.interrupt.recv() => Asked::End,
            _ = self.hangup.recv() => Asked::Reload,
        }
    }

    /// Waits for one that ends the process.
    async fn end(&mut self) {
        while self.next().await != Asked::End {}
    }
}

async fn daemon(
    mut signals: Signals,
    bound: Bound,
    node: &Arc<Node>,
    started: Instant,
    heir: Option<Heir>,
) -> Result<ExitCode, Failure> {
    up(bound, node, started);
    if let Some(heir) = heir {
        heir.serves(node.shared_estate());
    }
    loop {
        tokio::select! {
            asked = signals.next() => match asked {
                Asked::End if node.estate().is_left() => return Ok(ExitCode::SUCCESS),
                Asked::End => break,
                Asked::Reload if node.estate().is_left() => {}
                Asked::Reload => {
                    let node = Arc::clone(node);
                    tokio::spawn(async move { admin::reload_by_signal(&node).await });
                }
            },
            () = node.estate().over() => return Ok(ExitCode::SUCCESS),
            engine = node.handle().failed() => {
                tracing::error!(engine, "an engine has ended by itself; the process ends so that the peer takes over");
                return Ok(ExitCode::from(1));
            }
        }
    }
    if node.call_off().await {
        return Ok(ExitCode::SUCCESS);
    }
    tracing::info!("stopping: the groups are handed over first; a second signal stops at once");
    systemd::stopping();
    let begun = Instant::now();
    let stop = async {
        node.tell_of_drains();
        node.leave_control_plane(STOP).await;
        let resigned = node.handle().stop(STOP).await;
        node.hooks().finish(node, HOOKS).await;
        resigned
    };
    let ended = tokio::select! {
        resigned = stop => {
            let duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            if resigned {
                tracing::info!(duration_ms, "stopped: every group is resigned");
            } else {
                tracing::error!(duration_ms, "stopped before every group was resigned; the peer takes over by itself");
            }
            Ok(ExitCode::SUCCESS)
        }
        () = signals.end() => {
            tracing::warn!("a second signal: stopping at once; the guard resigns");
            Ok(ExitCode::from(1))
        }
    };
    // The disk may be slow: only once nobody waits for this node.
    node.keep_drains().await;
    node.end_run();
    ended
}

fn up(bound: Bound, node: &Arc<Node>, started: Instant) {
    admin::serve(bound, node);
    let config = node.handle().config();
    tracing::info!(
        node = %config.node,
        groups = config.groups.len(),
        services = config.services.len(),
        version = env!("CARGO_PKG_VERSION"),
        "fulcrum runs"
    );
    // None of it goes on once another process is the node.
    let estate = node.estate();
    estate.spawn(say_ready(Arc::clone(node), started));
    estate.spawn(share(Arc::clone(node)));
    estate.spawn(tend(Arc::clone(node)));
    estate.spawn(prepare(Arc::clone(node)));
    estate.spawn(backup::auto::keep(Arc::clone(node)));
    let unproven = Arc::clone(node);
    estate.spawn(async move { unproven.keep_proven().await });
    if let Some(interval) = systemd::watchdog_interval() {
        estate.spawn(watchdog(Arc::clone(node), interval));
    }
}

async fn say_ready(node: Arc<Node>, started: Instant) {
    let mut lb = node.handle().lb();
    let in_time =
        tokio::time::timeout(READY, lb.wait_for(|lb| lb.ready)).await.is_ok_and(|seen| seen.is_ok());
    let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    if in_time {
        tracing::info!(duration_ms, "every service listens");
    } else {
        tracing::error!(duration_ms, "not every service listens yet; 'fulcrum status' says which and why");
    }
    let (alarms, snapshots) = node.alarms();
    systemd::ready(&systemd::summary(&snapshots, &alarms));
    watch(node).await;
}

/// Tells systemd that we live, for as long as the loop that joins the engines does, too.
async fn watchdog(node: Arc<Node>, interval: Duration) {
    let mut ticks = tokio::time::interval(interval);
    loop {
        ticks.tick().await;
        match node.stuck() {
            None => systemd::watchdog(),
            Some(what) => tracing::error!("{what}; systemd is not told that all is well"),
        }
    }
}
