//! What the threads of the engine share: mailboxes, and how many connections there may be.

use crate::listener::Listener;
use crate::pulse::Pulse;
use crate::table::ServiceCell;
use rustix::event::EventfdFlags;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// One of so many descriptors is kept for services of the control plane.
const KEPT_PART: u64 = 8;

/// What a TCP connection uses.
pub(crate) const PER_CONNECTION: u64 = 2;

/// What a worker is told.
#[derive(Debug)]
pub(crate) enum Message {
    /// Take a listener; with `serve` it takes connections from now on.
    Listen { id: usize, listener: Arc<Listener>, serve: bool },
    /// Take connections, or refuse them.
    Serve { id: usize, serve: bool },
    /// Let go of a listener.
    Close { id: usize },
    /// The same, but another worker goes on with it.
    Leave { id: usize },
    /// Some of the service's backends went down: close their connections.
    Condemned(Arc<ServiceCell>),
    /// A connection that another worker has accepted.
    Accepted { socket: OwnedFd, client: SocketAddr, listener: Arc<Listener> },
    /// All that was told before belongs to this change.
    Applied(u64),
    /// Close everything and end.
    Stop,
}

/// One worker as the other threads see it.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct WorkerShared {
    messages: Mutex<VecDeque<Message>>,
    waiting: AtomicBool,
    wake: Arc<OwnedFd>,
    /// Its connections now.
    pub(crate) connections: AtomicUsize,
    /// The last change it has applied.
    pub(crate) applied: AtomicU64,
    /// Whether it still runs.
    pub(crate) pulse: Arc<Pulse>,
}

impl WorkerShared {
    pub(crate) fn new() -> Result<Self, rustix::io::Errno> {
        Ok(Self {
            messages: Mutex::new(VecDeque::new()),
            waiting: AtomicBool::new(false),
            wake: Arc::new(rustix::event::eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?),
            connections: AtomicUsize::new(0),
            applied: AtomicU64::new(0),
            pulse: Arc::default(),
        })
    }

    /// Tells the worker something, and wakes it unless it was woken already.
    pub(crate) fn send(&self, message: Message) {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).push_back(message);
        if !self.waiting.swap(true, Ordering::AcqRel) {
            // It can fail only if the counter is full, and then the worker wakes anyway.
            let _ = rustix::io::write(&*self.wake, &1_u64.to_ne_bytes());
        }
    }

    /// What was told since, for the worker itself.
    pub(crate) fn receive(&self) -> VecDeque<Message> {
        let mut count = [0; 8];
        let _ = rustix::io::read(&*self.wake, &mut count);
        self.waiting.store(false, Ordering::Release);
        std::mem::take(&mut *self.messages.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Readable when something was told.
    pub(crate) fn wake(&self) -> &Arc<OwnedFd> {
        &self.wake
    }
}

/// How many descriptors connections may use, so that listeners, checks, logs and the admin API always have
/// theirs. A TCP connection uses two, a UDP session one.
#[derive(Debug, Default)]
pub(crate) struct Descriptors {
    limit: AtomicU64,
    /// Those kept for services of the control plane.
    kept: AtomicU64,
    used: AtomicU64,
    /// Those of UDP sessions among them.
    sessions: AtomicU64,
    refused: AtomicU64,
}

impl Descriptors {
    /// Changes how many there may be; those in use stay.
    pub(crate) fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// How many there may be.
    pub(crate) fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Keeps a part for services of the control plane, so that a flood of the others leaves them theirs.
    pub(crate) fn keep_for_protected(&self, any: bool) {
        self.kept.store(if any { self.limit() / KEPT_PART } else { 0 }, Ordering::Relaxed);
    }

    /// How many UDP sessions there may be: datagrams with forged sources cost nothing to send, so a flood of
    /// them must leave room for TCP.
    pub(crate) fn session_limit(&self) -> u64 {
        self.limit() / 2
    }

    /// Takes `count` for any service, or counts a refusal.
    pub(crate) fn take(&self, count: u64) -> bool {
        self.take_up_to(count, self.limit().saturating_sub(self.kept.load(Ordering::Relaxed)))
    }

    /// Takes `count` for a service of the control plane, or counts a refusal.
    pub(crate) fn take_protected(&self, count: u64) -> bool {
        self.take_up_to(count, self.limit())
    }

    fn take_up_to(&self, count: u64, limit: u64) -> bool {
        let taken = take_below(&self.used, count, limit);
        if !taken {
            self.count_refused();
        }
        taken
    }

    /// Takes one for a UDP session, or counts a refusal.
    pub(crate) fn take_session(&self) -> bool {
        if !take_below(&self.sessions, 1, self.session_limit()) {
            self.count_refused();
            return false;
        }
        let taken = self.take(1);
        if !taken {
            self.sessions.fetch_sub(1, Ordering::Relaxed);
        }
        taken
    }

    /// Gives back that of a UDP session.
    pub(crate) fn give_back_session(&self) {
        self.sessions.fetch_sub(1, Ordering::Relaxed);
        self.give_back(1);
    }

    /// Gives back what was taken.
    pub(crate) fn give_back(&self, count: u64) {
        self.used.fetch_sub(count, Ordering::Relaxed);
    }

    /// Connections and sessions now, whatever became of their services.
    pub(crate) fn connections(&self) -> u64 {
        let sessions = self.sessions.load(Ordering::Relaxed);
        let others = self.used.load(Ordering::Relaxed).saturating_sub(sessions);
        sessions.saturating_add(others / PER_CONNECTION)
    }

    /// One more that could not be served.
    pub(crate) fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Connections and sessions that could not be served.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

fn take_below(used: &AtomicU64, count: u64, limit: u64) -> bool {
    let before = used.fetch_add(count, Ordering::Relaxed);
    let taken = before.saturating_add(count) <= limit;
    if !taken {
        used.fetch_sub(count, Ordering::Relaxed);
    }
    taken
}

/// Everything.
#[derive(Debug)]
pub(crate) struct Shared {
    /// First those for workloads, then as many for services of the control plane: what they do waits for no workload.
    pub(crate) workers: Box<[WorkerShared]>,
    pub(crate) descriptors: Descriptors,
    /// Told whenever a worker has applied a change.
    pub(crate) applied: tokio::sync::Notify,
    /// Told when a worker has ended.
    pub(crate) ended: tokio::sync::Notify,
}

impl Shared {
    /// Of workers for each class.
    pub(crate) fn new(count: usize) -> Result<Self, rustix::io::Errno> {
        let workers = (0..count.saturating_mul(2)).map(|_| WorkerShared::new());
        let workers = workers.collect::<Result<_, _>>()?;
        Ok(Self {
            workers,
            descriptors: Descriptors::default(),
            applied: tokio::sync::Notify::new(),
            ended: tokio::sync::Notify::new(),
        })
    }

    /// Workers of each class.
    pub(crate) fn each(&self) -> usize {
        self.workers.len() / 2
    }

    /// Whether a worker is one for services of the control plane.
    pub(crate) fn is_protected(&self, worker: usize) -> bool {
        worker >= self.each()
    }

    /// The workers for a class.
    pub(crate) fn of_class(&self, protected: bool) -> Range<usize> {
        if protected { self.each()..self.workers.len() } else { 0..self.each() }
    }

    /// What the thread of a worker is called.
    pub(crate) fn name(&self, worker: usize) -> String {
        match worker.checked_sub(self.each()) {
            Some(index) => format!("tcp-control-{index}"),
            None => format!("tcp-{worker}"),
        }
    }

    /// Runs a worker on a thread of its own. The engine is told when it ends, in whatever way: its listeners
    /// would go on taking clients whom nobody serves.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub(crate) fn spawn(
        self: &Arc<Self>,
        name: String,
        work: impl FnOnce() + Send + 'static,
    ) -> io::Result<JoinHandle<()>> {
        let end = End(Arc::clone(self));
        std::thread::Builder::new().name(name).spawn(move || {
            let _end = end;
            work();
        })
    }
}

/// Tells that a worker has ended, when it is dropped.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.ended.notify_one();
    }
}
