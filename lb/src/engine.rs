//! The engine's own thread: takes each table, has it served, and tells what is served.

mod flows;
#[cfg(test)]
mod tests;

use crate::balance::Seed;
use crate::connection_log::{self, LogQueue};
use crate::error::StartError;
use crate::plane::Plane;
use crate::pulse::Pulses;
use crate::shared::{Message, PER_CONNECTION, Shared};
use crate::sockets::Sockets;
use crate::table::{Change, ServiceCell, Tables};
use crate::tcp::TcpListeners;
use crate::udp::UdpWorkers;
use crate::worker::Worker;
use crate::{Desired, FlowLink, Observed, ServiceDesired, Stage};
use flows::{FlowEvent, Flows};
use fulcrum_config::{Protocol, ServiceName};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How often counters are told while few services are configured; each 1,000 services add as much again.
const TELL_EVERY: Duration = Duration::from_millis(250);
/// How often the engine beats, and looks whether its workers do.
const BEAT: Duration = Duration::from_millis(500);
/// Descriptors left to everything else, or an eighth if there are few.
const RESERVED: u64 = 512;
/// The most pipes of one worker.
const PIPES: u64 = 64;

/// How the engine is run.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Threads that move bytes, for workloads and for the control plane each; by default one for each core.
    pub workers: Option<usize>,
    /// What keeps outsiders from aiming at one backend; the same on every node of a cluster.
    pub seed: Seed,
    /// How the forwarding plane is attached to interfaces.
    pub attach: crate::Attach,
    /// Where it works by XDP. That is decided once, when it is loaded: attaching in a driver stops some for a moment.
    pub xdp: fulcrum_config::Xdp,
    /// How many flows it can know one by one; that is decided once, too.
    pub flows: Option<u32>,
    /// Listeners that another process hands over, or is handed: those of the addresses that are served are taken from here.
    pub sockets: Sockets,
}

/// Starts the engine. It ends when the sender of `desired` is dropped, or when one of its workers cannot go on;
/// clients that are still connected are then reset.
///
/// # Errors
/// The system refuses threads or descriptors.
pub fn start(
    desired: watch::Receiver<Desired>,
    options: Options,
) -> Result<watch::Receiver<Observed>, StartError> {
    begin(desired, options, None).map(|(observed, _)| observed)
}

/// The same, with a way to tell other nodes of flows.
///
/// # Errors
/// The same.
pub fn start_with_flows(
    desired: watch::Receiver<Desired>,
    options: Options,
    flows: FlowLink,
) -> Result<watch::Receiver<Observed>, StartError> {
    begin(desired, options, Some(flows)).map(|(observed, _)| observed)
}

/// The same, and what its threads share.
#[allow(clippy::disallowed_methods)] // The moment that all times of the engine count from.
fn begin(
    desired: watch::Receiver<Desired>,
    options: Options,
    flows: Option<FlowLink>,
) -> Result<(watch::Receiver<Observed>, Arc<Shared>), StartError> {
    let epoch = Instant::now();
    let files = raise_open_files();
    let count = options.workers.unwrap_or_else(cores).max(1);
    let shared = Arc::new(Shared::new(count).map_err(|error| StartError::Worker(error.into()))?);
    let count = shared.workers.len();
    let log = LogQueue::start(connection_log::write).map_err(StartError::Thread)?;
    let threads = start_workers(&shared, &log, pipes(files, count), epoch)?;
    let mut pulses = Pulses::default();
    for (index, worker) in shared.workers.iter().enumerate() {
        pulses.watch(shared.name(index), Arc::clone(&worker.pulse), Arc::clone(worker.wake()));
    }
    let (observed_sender, observed) = watch::channel(Observed::default());
    let engine = Engine {
        tables: Tables::new(options.seed, count, epoch),
        plane: Plane::new(&options, epoch),
        flows: Flows::new(flows),
        tcp: TcpListeners::new(Arc::clone(&shared), files, options.sockets.clone()),
        udp: UdpWorkers::new(Arc::clone(&shared), files, Some(log), options.sockets),
        errors: BTreeMap::new(),
        shared: Arc::clone(&shared),
        threads,
        pulses,
        udp_watched: 0,
        change: 0,
        revision: 0,
        stage: Stage::Whole,
        files,
        desired,
        observed: observed_sender,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(StartError::Thread)?;
    let run = move || runtime.block_on(engine.run());
    std::thread::Builder::new().name("lb".into()).spawn(run).map_err(StartError::Thread)?;
    Ok((observed, shared))
}

struct Engine {
    tables: Tables,
    plane: Plane,
    flows: Flows,
    tcp: TcpListeners,
    udp: UdpWorkers,
    /// Of each service whose sockets do not all stand.
    errors: BTreeMap<ServiceName, Vec<String>>,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    pulses: Pulses,
    /// Threads for UDP that are watched; they start with the first service.
    udp_watched: usize,
    change: u64,
    /// Of the table that `change` brings to the workers.
    revision: u64,
    stage: Stage,
    files: u64,
    desired: watch::Receiver<Desired>,
    observed: watch::Sender<Observed>,
}

impl Engine {
    #[allow(clippy::disallowed_methods)] // The loop that reads the clock, for its next turn.
    async fn run(mut self) {
        // Before the first listener stands: its first client is not to be refused.
        self.limit_descriptors();
        self.apply(Instant::now());
        let shared = Arc::clone(&self.shared);
        let mut next = tokio::time::Instant::now();
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                changed = self.desired.changed() => match changed {
                    Ok(()) => self.apply(Instant::now()),
                    Err(_) => break,
                },
                () = shared.applied.notified() => {
                    if self.is_applied() {
                        self.tell();
                    }
                }
                () = shared.ended.notified() => {
                    tracing::error!("a worker has ended by itself, and so the engine ends: its clients would hang");
                    break;
                }
                at = beat.tick() => self.beat(at.into_std()),
                event = self.flows.next(&self.plane) => self.handle_flows(event, Instant::now()),
                () = tokio::time::sleep_until(next) => {
                    self.retry();
                    self.plane.handle_timeout(Instant::now());
                    self.tell();
                    let every = TELL_EVERY.saturating_mul(self.thousands());
                    next = tokio::time::Instant::now().checked_add(every).unwrap_or(next);
                }
            }
        }
        self.stop();
    }

    fn handle_flows(&mut self, event: FlowEvent, now: Instant) {
        match event {
            FlowEvent::Peers(peers) => self.plane.handle_peers(peers, now),
            FlowEvent::Message(from, bytes) => self.plane.handle_message(&from, &bytes, now),
            FlowEvent::News => {
                if self.plane.handle_news(now) {
                    self.flows.again(now);
                }
            }
            FlowEvent::Sent => self.plane.handle_sent(),
        }
    }

    fn beat(&mut self, now: Instant) {
        self.udp_watched = self.udp.watch(self.udp_watched, &mut self.pulses);
        let stuck = self.pulses.check(now);
        self.observed.send_if_modified(|told| {
            told.beat = told.beat.wrapping_add(1);
            let changed = told.stuck != stuck;
            if changed && stuck.is_empty() {
                tracing::info!("every worker runs again");
            } else if changed {
                tracing::error!(threads = ?stuck, "threads that do not run: their share of the clients waits");
            }
            told.stuck = stuck;
            changed
        });
    }

    fn apply(&mut self, now: Instant) {
        let desired = self.desired.borrow_and_update().clone();
        self.revision = desired.revision;
        let before = std::mem::replace(&mut self.stage, desired.stage);
        self.plane.set_left(matches!(self.stage, Stage::Lends | Stage::Left));
        if self.stage == Stage::Heir {
            self.tcp.hold();
            self.udp.hold();
        }
        let (forwarded, proxied) = split(desired);
        let changes = self.tables.apply(&proxied);
        // First all that is given up, since it may be wanted by another.
        for change in &changes {
            match change {
                Change::Removed(cell) => {
                    self.errors.remove(&cell.name);
                    match cell.protocol() {
                        Protocol::Tcp => self.tcp.remove(&cell.name),
                        Protocol::Udp => self.udp.remove(&cell.name),
                    }
                }
                Change::Made { cell, .. } if cell.protocol() == Protocol::Tcp => self.tcp.release(cell),
                Change::Made { .. } => {}
            }
        }
        for change in &changes {
            if let Change::Made { cell, listeners, condemned } = change {
                self.apply_service(cell, *listeners, *condemned);
            }
        }
        self.tcp.close_free();
        if before != self.stage {
            self.enter();
        }
        // Once the proxy has let go of what is forwarded now, or after it has taken what no longer is.
        self.plane.apply(forwarded, now);
        self.limit_descriptors();
        self.change = self.change.wrapping_add(1);
        let change = self.change;
        self.send_all(|| Message::Applied(change));
    }

    /// Another process of this node takes over, or not any more.
    fn enter(&mut self) {
        match self.stage {
            Stage::Heir => {}
            Stage::Whole => {
                self.tcp.release_held();
                self.udp.release_held();
            }
            Stage::Lends => {
                self.tcp.lend();
                self.udp.lend();
            }
            Stage::Left => {
                self.tcp.leave();
                self.udp.leave();
                self.errors.clear();
            }
        }
    }

    fn apply_service(&mut self, cell: &Arc<ServiceCell>, listeners: bool, condemned: bool) {
        let tcp = cell.protocol() == Protocol::Tcp;
        if listeners || !tcp {
            let errors = if tcp { self.tcp.apply(cell) } else { self.udp.apply(cell) };
            self.set_errors(&cell.name, errors);
        }
        if condemned && tcp {
            self.send_all(|| Message::Condemned(Arc::clone(cell)));
        }
    }

    /// Tries again what could not be bound: the other process may have gone.
    fn retry(&mut self) {
        for name in self.errors.keys().cloned().collect::<Vec<_>>() {
            let Some(cell) = self.tables.service(&name).cloned() else { continue };
            let errors = match cell.protocol() {
                Protocol::Tcp => self.tcp.apply(&cell),
                Protocol::Udp => self.udp.apply(&cell),
            };
            self.set_errors(&name, errors);
        }
    }

    fn set_errors(&mut self, name: &ServiceName, errors: Vec<String>) {
        let before = self.errors.remove(name).unwrap_or_default();
        for error in errors.iter().filter(|error| !before.contains(error)) {
            tracing::error!(service = %name, "{error}");
        }
        if !errors.is_empty() {
            self.errors.insert(name.clone(), errors);
        }
    }

    fn is_applied(&self) -> bool {
        self.shared.workers.iter().all(|worker| worker.applied.load(Ordering::Acquire) == self.change)
    }

    /// Tells what changed since it was last told. Nothing is made anew for what did not: there may be thousands
    /// of services, and a change waits meanwhile.
    fn tell(&self) {
        let is_applied = self.is_applied();
        let ready = is_applied && self.errors.is_empty() && self.plane.is_whole();
        let descriptors = &self.shared.descriptors;
        self.observed.send_if_modified(|told| {
            let mut news = replace(&mut told.ready, ready);
            if is_applied {
                news |= replace(&mut told.applied, self.revision);
                news |= replace(&mut told.stage, self.stage);
            }
            news |= replace(&mut told.connections_limit, descriptors.limit() / PER_CONNECTION);
            news |= replace(&mut told.refused_at_limit, descriptors.refused());
            // Those of services that are gone are among them.
            news |= replace(&mut told.connections, descriptors.connections());
            for cell in self.tables.services() {
                let errors = self.errors.get(&cell.name).map_or(&[][..], Vec::as_slice);
                if let Some(service) = told.services.get_mut(&cell.name) {
                    news |= cell.update(service, errors);
                } else {
                    told.services.insert(cell.name.clone(), cell.observed(errors.to_vec()));
                    news = true;
                }
            }
            for (name, observed) in self.plane.services() {
                if told.services.get(name) != Some(&observed) {
                    told.services.insert(name.clone(), observed);
                    news = true;
                }
            }
            news |= replace(&mut told.plane, self.plane.observed());
            if told.services.len() > self.tables.services().len().saturating_add(self.plane.len()) {
                told.services.retain(|name, _| self.tables.service(name).is_some() || self.plane.has(name));
                news = true;
            }
            news
        });
    }

    /// What listeners do not use and others need not, connections may.
    fn limit_descriptors(&self) {
        let workers = u64::try_from(self.shared.workers.len()).unwrap_or(u64::MAX);
        let pipes = pipes(self.files, self.shared.workers.len()).saturating_mul(2).saturating_add(8);
        let others = self.tcp.len().saturating_add(self.udp.len());
        let taken = workers
            .saturating_mul(pipes)
            .saturating_add(u64::try_from(others).unwrap_or(u64::MAX))
            .saturating_add(RESERVED.min(self.files / 8));
        self.shared.descriptors.set_limit(self.files.saturating_sub(taken));
        let mut services = self.tables.services();
        self.shared.descriptors.keep_for_protected(services.any(|cell| cell.table().desired.protected));
    }

    fn send_all(&self, message: impl Fn() -> Message) {
        for worker in &self.shared.workers {
            worker.send(message());
        }
    }

    fn thousands(&self) -> u32 {
        u32::try_from(self.tables.services().len() / 1000).unwrap_or(u32::MAX).saturating_add(1)
    }

    fn stop(mut self) {
        // In every other stage it is another process's, too.
        if self.stage == Stage::Whole {
            self.plane.stop();
        }
        self.send_all(|| Message::Stop);
        for thread in self.threads {
            // A worker that panicked has said so.
            let _ = thread.join();
        }
    }
}

/// What the forwarding plane does, and what the proxy does.
fn split(desired: Desired) -> (Desired, Desired) {
    let is_forwarded = |service: &ServiceDesired| service.service.mode.forwarding().is_some();
    let (forwarded, proxied) = desired.services.into_iter().partition(|(_, service)| is_forwarded(service));
    let (interfaces, revision, stage) = (desired.interfaces, desired.revision, desired.stage);
    let proxied =
        Desired { services: proxied, interfaces: interfaces.clone(), revision, stage, ..Desired::default() };
    (Desired { services: forwarded, interfaces, follow: desired.follow, revision, stage }, proxied)
}

/// Whether that changed it.
fn replace<T: PartialEq>(old: &mut T, new: T) -> bool {
    let changed = *old != new;
    *old = new;
    changed
}

fn start_workers(
    shared: &Arc<Shared>,
    log: &LogQueue,
    pipes: u64,
    epoch: Instant,
) -> Result<Vec<JoinHandle<()>>, StartError> {
    let pipes = usize::try_from(pipes).unwrap_or(usize::MAX);
    (0..shared.workers.len())
        .map(|index| {
            let worker = Worker::new(index, Arc::clone(shared), log.clone(), pipes, epoch);
            let worker = worker.map_err(|error| StartError::Worker(error.into()))?;
            shared.spawn(shared.name(index), move || worker.run()).map_err(StartError::Thread)
        })
        .collect()
}

/// Raises the limit on open files as far as this process may, and says what it is.
fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(error = %io::Error::from(error), "the limit on open files stays as it is");
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::from(u32::MAX))
}

fn pipes(files: u64, workers: usize) -> u64 {
    let workers = u64::try_from(workers).unwrap_or(1).max(1);
    PIPES.min((files / 16).checked_div(workers).unwrap_or(0)).max(1)
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
