//! The loop: waits, reads everything that came in, feeds the machines, and does what they want done.
//!
//! It has a thread of its own, with real-time scheduling where the process may have it, so that a busy proxy
//! does not delay adverts.

mod addresses;
mod engine;
mod fence;
mod group;
mod link;
mod rivals;
mod second_chance;
mod show;
mod virtual_mac;

pub(crate) use link::{Identity, identity};

use crate::border::{Desired, Echo, Observed};
use crate::error::StartError;
use crate::guard::GuardCommand;
use crate::sys;
use crate::witness::Echoes;
use engine::Engine;
use fulcrum_config::{GroupName, NodeName};
use fulcrum_ebpf::Mode;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc, oneshot, watch};

/// Where this room finds what it needs on the machine.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// How to start the guard. Without one, peers notice a crash only after their down interval, and the
    /// addresses of a crashed process stay.
    pub guard: Option<GuardCommand>,
    /// Where the kernel settings that were changed are remembered, to be put back by a later life of this
    /// process. Without it they are forgotten when it crashes.
    pub state_directory: Option<PathBuf>,
    /// Which fence to use.
    pub fencing: Fencing,
    /// The last heartbeat that each peer whose link is up has echoed. The loop is woken only if the sender says that
    /// there is a change, as it should where a peer leads something else than before. Without it the local clock and the
    /// adverts alone decide.
    pub echoes: Option<watch::Receiver<BTreeMap<NodeName, Echo>>>,
    /// What another process of this node leads that is about to be gone, each group with its epoch: this one begins as leader of
    /// it. `None` if there is no such process.
    pub inherited: Option<BTreeMap<GroupName, u64>>,
}

/// How the lock of a witness is asked for, and how long it is held.
#[derive(Debug)]
pub struct WitnessLink {
    /// Whether it is to be had, and kept.
    pub wanted: watch::Sender<bool>,
    /// Until when it is held.
    pub held: watch::Receiver<Option<Instant>>,
}

/// The ways to others that elections need. Without them no group without a VRID has a leader, and no lock is had.
#[derive(Debug, Default)]
pub struct Links {
    /// To the other nodes.
    pub heartbeats: Option<HeartbeatLink>,
    /// To the witness.
    pub witness: Option<WitnessLink>,
}

/// How what nodes tell each other of the groups that they elect leaders of travels: to all, and from each.
#[derive(Debug)]
pub struct HeartbeatLink {
    /// From this node, to all the others whose link is up; what finds no room is lost.
    pub to_peers: mpsc::Sender<Arc<[u8]>>,
    /// From each.
    pub from_peers: mpsc::Receiver<(NodeName, Arc<[u8]>)>,
    /// Says that there is something from them.
    pub arrived: Arc<Notify>,
}

/// Which fence silences this node for the VIPs that it does not lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fencing {
    /// The best that the kernel takes.
    #[default]
    Auto,
    /// In the kernel by clsact, as on kernels before 6.6, although there may be tcx.
    Clsact,
    /// None.
    Off,
}

impl Fencing {
    fn mode(self) -> Option<Mode> {
        match self {
            Self::Auto => Some(Mode::Auto),
            Self::Clsact => Some(Mode::Clsact),
            Self::Off => None,
        }
    }
}

/// Starts the engine on a thread of its own. It ends, in good order, when the sender of `desired` is dropped.
///
/// Needs the capabilities `CAP_NET_ADMIN` (addresses, kernel settings) and `CAP_NET_RAW` (adverts, ARP, ND);
/// with `CAP_SYS_NICE` it runs with real-time scheduling, with `CAP_BPF` and `CAP_PERFMON` the kernel fences it.
///
/// # Errors
/// What this room can't work without is missing.
pub fn start(
    desired: watch::Receiver<Desired>,
    options: Options,
    links: Links,
) -> Result<watch::Receiver<Observed>, StartError> {
    let (sender, observed) = watch::channel(Observed::default());
    let (started, result) = oneshot::channel();
    std::thread::Builder::new()
        .name("vip-manager".to_owned())
        .spawn(move || run(desired, &options, links, sender, started))
        .map_err(StartError::Thread)?;
    result.blocking_recv().unwrap_or_else(|_| Err(StartError::Thread(std::io::ErrorKind::Other.into())))?;
    Ok(observed)
}

fn run(
    desired: watch::Receiver<Desired>,
    options: &Options,
    links: Links,
    observed: watch::Sender<Observed>,
    started: oneshot::Sender<Result<(), StartError>>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_io().build() {
        Ok(runtime) => runtime,
        Err(error) => return drop(started.send(Err(StartError::Thread(error)))),
    };
    runtime.block_on(async {
        // Before the thread becomes a real-time one: the guard is not to inherit that.
        let arrived = links.heartbeats.as_ref().map(|link| Arc::clone(&link.arrived));
        let held = links.witness.as_ref().map(|link| link.held.clone());
        let engine = Engine::new(options, links, observed, clock);
        match engine {
            Ok(engine) => {
                let _ = started.send(Ok(()));
                prioritize();
                let news = News { echoes: options.echoes.clone(), held, arrived };
                turn_after_turn(engine, desired, news).await;
            }
            Err(error) => drop(started.send(Err(error))),
        }
    });
}

/// Real-time scheduling, or else the best that is permitted.
fn prioritize() {
    if let Err(error) = sys::schedule_round_robin(1) {
        let nice = rustix::process::setpriority_process(None, -15);
        let niced = nice.is_ok();
        tracing::info!(%error, niced, "no real-time scheduling (CAP_SYS_NICE); a busy machine may delay adverts");
    }
}

/// What wakes the loop besides packets and the configuration.
struct News {
    echoes: Option<watch::Receiver<Echoes>>,
    held: Option<watch::Receiver<Option<Instant>>>,
    arrived: Option<Arc<Notify>>,
}

/// What it was.
enum New {
    Echo,
    Lock,
    Heartbeat,
}

impl News {
    /// Until an echo says something new, the witness's lock is had or lost, or there is a heartbeat.
    async fn wait(&mut self) -> New {
        let arrived = async {
            match &self.arrived {
                Some(arrived) => arrived.notified().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = change(&mut self.echoes) => New::Echo,
            () = change(&mut self.held) => New::Lock,
            () = arrived => New::Heartbeat,
        }
    }
}

/// Until there is a new value, if there can be any.
async fn change<T>(values: &mut Option<watch::Receiver<T>>) {
    if let Some(receiver) = values
        && receiver.changed().await.is_ok()
    {
        return;
    }
    *values = None;
    std::future::pending().await
}

async fn turn_after_turn(mut engine: Engine, mut desired: watch::Receiver<Desired>, mut news: News) {
    let first = desired.borrow_and_update().clone();
    engine.handle_desired(first, clock());
    loop {
        engine.turn(clock);
        if engine.is_finished() {
            return;
        }
        let now = clock();
        let deadline = engine.poll_timeout(now);
        tokio::select! {
            waited = engine.wait(now, deadline) => {
                if let Err(error) = waited {
                    // Waiting on a valid descriptor does not fail; should it ever, the loop must not spin.
                    tracing::error!(%error, "waiting for packets failed");
                    pause();
                }
            }
            new = news.wait() => match new {
                New::Echo => engine.handle_echo(),
                New::Lock => engine.wake(),
                New::Heartbeat => {}
            },
            changed = desired.changed(), if !engine.is_ending() => {
                let now = clock();
                if changed.is_ok() {
                    let latest = desired.borrow_and_update().clone();
                    engine.handle_desired(latest, now);
                } else {
                    engine.handle_end(now);
                }
            }
        }
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "this is the driver: the one place of this room that reads the clock"
)]
fn clock() -> Instant {
    Instant::now()
}

#[allow(clippy::disallowed_methods, reason = "only after an error that must not make the loop spin")]
fn pause() {
    std::thread::sleep(Duration::from_millis(1));
}
