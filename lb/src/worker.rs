//! A worker: one thread with its own listeners, connections, timer and epoll. It shares nothing with the
//! others while bytes move.

mod accept;
#[cfg(test)]
mod tests;

use crate::connection::{Connection, Context, Next, Token, milliseconds};
use crate::connection_log::{End, LogQueue};
use crate::copy::Moving;
use crate::listener::Listener;
use crate::pacer::Pacer;
use crate::shared::{Message, PER_CONNECTION, Shared, WorkerShared};
use crate::splice::Pipes;
use crate::table::ServiceCell;
use crate::wheel::Wheel;
use fulcrum_config::OnDown;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use slab::Slab;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Of workers for the control plane. `vip-manager` is in front of all.
const NICE: i32 = -10;
/// Events taken at a time.
const EVENTS: usize = 256;
/// Marks events that belong to no connection; connections' keys stay below it.
const OTHERS: u64 = 1 << 63;
/// The mailbox.
const MAILBOX: u64 = u64::MAX;
/// A connection that is younger may be a request that is about to be answered.
const SHORT: Duration = Duration::from_millis(500);

/// One thread's work.
pub(crate) struct Worker {
    index: usize,
    shared: Arc<Shared>,
    epoll: OwnedFd,
    listeners: Vec<Option<accept::Taking>>,
    connections: Slab<Connection>,
    next_generation: u32,
    /// Connections that can go on at once.
    turns: VecDeque<Token>,
    moving: Moving,
    wheel: Wheel,
    pacer: Pacer<Token>,
    log: LogQueue,
    /// Given up for a moment to refuse a connection when there are no descriptors left.
    spare: Option<OwnedFd>,
    /// Listeners that rest because they cannot listen, or not even a refusal was possible, until then.
    resting: Option<u64>,
    warned: Option<Instant>,
    /// How many connections may be passed on to even out small differences, and when that was counted.
    may_pass_on: u32,
    passed_on_at: u64,
    epoch: Instant,
    now: Instant,
    /// The same, in milliseconds since `epoch`.
    now_milliseconds: u64,
    stopping: bool,
}

impl Worker {
    /// # Errors
    /// The system refuses an epoll instance.
    pub(crate) fn new(
        index: usize,
        shared: Arc<Shared>,
        log: LogQueue,
        pipes: usize,
        epoch: Instant,
    ) -> Result<Self, Errno> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let own = shared.workers.get(index).ok_or(Errno::INVAL)?;
        epoll::add(&epoll, own.wake(), EventData::new_u64(MAILBOX), EventFlags::IN)?;
        let spare = Some(rustix::io::dup(&epoll)?);
        Ok(Self {
            index,
            shared,
            epoll,
            listeners: Vec::new(),
            connections: Slab::new(),
            next_generation: 0,
            turns: VecDeque::new(),
            moving: Moving::new(Pipes::new(pipes)),
            wheel: Wheel::new(),
            pacer: Pacer::new(),
            log,
            spare,
            resting: None,
            warned: None,
            may_pass_on: accept::PASS_ON_BURST,
            passed_on_at: 0,
            epoch,
            now: epoch,
            now_milliseconds: 0,
            stopping: false,
        })
    }

    /// Works until told to stop. Sockets of clients that are still open end in RST.
    #[allow(clippy::disallowed_methods)] // The loop that reads the clock for everything in it.
    pub(crate) fn run(mut self) {
        if self.shared.is_protected(self.index) {
            self.come_first();
        }
        let mut events: Vec<Event> = Vec::with_capacity(EVENTS);
        while !self.stopping {
            events.clear();
            let timeout = self.timeout();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => {
                    tracing::error!(%error, worker = self.index, "a worker cannot wait for events and ends");
                    return;
                }
            }
            self.now = Instant::now();
            if let Some(own) = self.own() {
                own.pulse.answer();
            }
            self.now_milliseconds = milliseconds(self.now.saturating_duration_since(self.epoch));
            for event in &events {
                self.handle_event(event.data.u64(), event.flags);
            }
            self.take_turns();
            self.handle_time();
        }
    }

    /// Of this process's threads that are ready those of the control plane run first, whatever workloads have them do.
    fn come_first(&self) {
        if let Err(error) = rustix::process::setpriority_process(None, NICE) {
            let error = std::io::Error::from(error);
            tracing::warn!(%error, worker = self.index, "the control plane shares the processors with workloads as one of them; CAP_SYS_NICE would let it come first");
        }
    }

    fn handle_event(&mut self, data: u64, flags: EventFlags) {
        if data == MAILBOX {
            self.handle_messages();
        } else if data & OTHERS != 0 {
            self.handle_listener(usize::try_from(data & !OTHERS).unwrap_or(usize::MAX));
        } else {
            let (token, which) = Token::from_data(data);
            self.with_connection(token, |connection, context| connection.handle_event(which, flags, context));
        }
    }

    fn take_turns(&mut self) {
        for _ in 0..self.turns.len() {
            let Some(token) = self.turns.pop_front() else { break };
            self.with_connection(token, Connection::handle_turn);
        }
    }

    fn handle_time(&mut self) {
        let now = self.milliseconds();
        while let Some(key) = self.wheel.poll_expired(now) {
            if let Some(token) =
                usize_of(key).and_then(|key| self.connections.get(key)).map(Connection::token)
            {
                self.with_connection(token, Connection::handle_timeout);
            }
        }
        while let Some(token) = self.pacer.poll_due(now) {
            self.with_connection(token, Connection::handle_backend_down);
        }
        if self.resting.is_some_and(|until| until <= now) {
            self.resting = None;
            self.wake_resting();
        }
    }

    /// How long to wait if nothing happens.
    fn timeout(&self) -> Option<Timespec> {
        if !self.turns.is_empty() {
            return Some(Timespec { tv_sec: 0, tv_nsec: 0 });
        }
        let next = [self.wheel.poll_timeout(), self.pacer.poll_timeout(), self.resting];
        let next = next.into_iter().flatten().min()?;
        let wait = Duration::from_millis(next.saturating_sub(self.milliseconds()));
        Some(Timespec { tv_sec: i64::try_from(wait.as_secs()).ok()?, tv_nsec: wait.subsec_nanos().into() })
    }

    /// Moves one connection on and does what it wants then. Does nothing if it is gone.
    fn with_connection(
        &mut self,
        token: Token,
        work: impl FnOnce(&mut Connection, &mut Context<'_>) -> Next,
    ) {
        let Some(key) = usize_of(token.key) else { return };
        let now = self.milliseconds();
        let mut context = Context {
            worker: self.index,
            epoll: &self.epoll,
            moving: &mut self.moving,
            wheel: &mut self.wheel,
            log: &self.log,
            now,
            instant: self.now,
        };
        let Some(connection) = self.connections.get_mut(key).filter(|found| found.token() == token) else {
            return;
        };
        match work(connection, &mut context) {
            Next::Wait => {}
            Next::Turn => self.turns.push_back(token),
            Next::End(end) => {
                self.connections.remove(key).finish(end, &mut context);
                if end == End::NoDescriptor {
                    self.shared.descriptors.count_refused();
                    self.warn_exhausted("no descriptor for the socket to the backend");
                }
                self.shared.descriptors.give_back(PER_CONNECTION);
                self.publish_load();
            }
        }
    }

    fn handle_messages(&mut self) {
        let Some(own) = self.own() else { return };
        for message in own.receive() {
            match message {
                Message::Listen { id, listener, serve } => self.take_listener(id, listener, serve),
                Message::Serve { id, serve } => self.serve(id, serve),
                Message::Close { id } => self.close_listener(id),
                Message::Leave { id } => self.leave_listener(id),
                Message::Condemned(service) => self.condemn(&service),
                Message::Accepted { socket, client, listener } => self.take_client(socket, client, &listener),
                Message::Applied(change) => {
                    if let Some(own) = self.own() {
                        own.applied.store(change, Ordering::Release);
                        self.shared.applied.notify_one();
                    }
                }
                Message::Stop => self.stopping = true,
            }
        }
    }

    /// Plans what becomes of the connections whose backend went down: those that still wait for it get another
    /// one at once, the others end paced; a request that has just begun may end before, for a backend that says that it is about
    /// to end serves on. Nothing is done yet: events of their old sockets may be at hand.
    fn condemn(&mut self, service: &Arc<ServiceCell>) {
        let spread = match service.table().service().on_down {
            OnDown::Reset { spread } => spread,
            // Only those of a backend that an operator has put out of use.
            OnDown::Drain => OnDown::SPREAD,
        };
        let condemned = |connection: &&Connection| {
            Arc::ptr_eq(connection.service(), service) && connection.is_condemned()
        };
        let connections = self.connections.iter().map(|(_, connection)| connection);
        let (waiting, open): (Vec<_>, Vec<_>) =
            connections.filter(condemned).partition(|connection| connection.is_connecting());
        let now = self.milliseconds();
        let (young, old): (Vec<_>, Vec<_>) =
            open.into_iter().partition(|connection| connection.age(now) < milliseconds(SHORT));
        let tokens = |connections: Vec<&Connection>| connections.into_iter().map(Connection::token).collect();
        let (waiting, young, old) = (tokens(waiting), tokens(young), tokens(old));
        self.pacer.handle_batch(waiting, Duration::ZERO, now);
        self.pacer.handle_batch(old, spread, now);
        let spared = SHORT.min(spread);
        let later = now.saturating_add(milliseconds(spared));
        self.pacer.handle_batch(young, spread.saturating_sub(spared), later);
    }

    fn own(&self) -> Option<&WorkerShared> {
        self.shared.workers.get(self.index)
    }

    fn publish_load(&self) {
        if let Some(own) = self.own() {
            own.connections.store(self.connections.len(), Ordering::Relaxed);
        }
    }

    fn milliseconds(&self) -> u64 {
        self.now_milliseconds
    }

    /// Puts a connection into the slab and begins with it.
    fn insert(&mut self, socket: OwnedFd, client: std::net::SocketAddr, listener: &Listener) {
        let entry = self.connections.vacant_entry();
        // Keys are bounded by the limit on open files, far below 31 bits; and so are generations, by wrapping.
        let key = u32::try_from(entry.key()).unwrap_or(u32::MAX);
        let token = Token { key, generation: self.next_generation };
        self.next_generation = self.next_generation.wrapping_add(1) & (u32::MAX >> 1);
        let now = self.now_milliseconds;
        let service = listener.service.load_full();
        entry.insert(Connection::new(token, socket, client, listener.address, service, now));
        self.publish_load();
        self.with_connection(token, Connection::start);
    }
}

fn usize_of(key: u32) -> Option<usize> {
    usize::try_from(key).ok()
}
