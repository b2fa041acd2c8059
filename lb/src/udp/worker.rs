//! One worker: its listeners, its sessions and the loop that moves their datagrams.
//!
//! Replies of all sessions that are ready are gathered into one batch and sent with one call.

use super::forward::Forwarding;
use super::sessions::{Key, Sessions};
use super::sys::{BATCH, Batch, Outgoing};
use crate::connection_log::{End, LogQueue, Logged, Record};
use crate::counters::{BackendCounters, ServiceCounters};
use crate::limits::{Permit, Sources};
use crate::shared::Shared;
use crate::table::{BackendCell, ServiceCell, ServiceTable};
use fulcrum_config::{Protocol, ServiceName};
use rustix::event::{Timespec, epoll};
use slab::Slab;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

/// Replies read from one session before others have their turn.
const REPLIES_AT_ONCE: usize = 8;
/// Idle sessions end up to this much late, so that ending them costs little.
const SWEEP: Duration = Duration::from_millis(20);
/// How often the log says that descriptors are used up.
const WARN_EVERY: Duration = Duration::from_secs(1);

/// What a worker is told.
pub(super) enum Command {
    /// Serve `address` of a service by this socket, from now on, and keep `mark` as long as the socket.
    Listen { cell: Arc<ServiceCell>, address: SocketAddr, socket: OwnedFd, mark: Arc<()> },
    /// Serve it no longer. If the service still has it, there is just no backend for new sessions.
    Unlisten { service: ServiceName, address: SocketAddr },
    /// The service has another table.
    Refresh { service: ServiceName },
    /// The service is gone.
    Remove { service: ServiceName },
}

/// One address and port of a service.
pub(super) struct Listener {
    pub(super) socket: OwnedFd,
    /// Lets others know that the socket is still open.
    _mark: Arc<()>,
    pub(super) address: SocketAddr,
    pub(super) service: usize,
    /// There is no backend: it stays only for the sessions it has.
    pub(super) refusing: bool,
}

/// One service as this worker serves it.
pub(super) struct ServiceState {
    pub(super) cell: Arc<ServiceCell>,
    pub(super) table: Arc<ServiceTable>,
    /// From whom a PROXY header is expected.
    pub(super) header_from: Sources,
    pub(super) sessions: Sessions<Session>,
}

/// A client's datagrams to one address of a service, and the replies.
pub(super) struct Session {
    pub(super) upstream: Upstream,
    /// The client, as its PROXY header says if there was one.
    pub(super) client: SocketAddr,
    /// What the client sent to, likewise.
    pub(super) destination: SocketAddr,
    pub(super) _permit: Option<Permit>,
    pub(super) _descriptor: Descriptor,
    pub(super) started: Instant,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) requests: u64,
    pub(super) replies: u64,
    pub(super) retries: u32,
}

/// A session's socket to its backend.
pub(super) struct Upstream {
    pub(super) socket: OwnedFd,
    pub(super) address: SocketAddr,
    pub(super) backend: Arc<BackendCell>,
    /// In front of each datagram to the backend.
    pub(super) header: Box<[u8]>,
    /// The backend said that its port is closed.
    pub(super) refused: bool,
    /// How many replies to ask for at a time: an attempt too many costs as much as half a reply.
    pub(super) burst: usize,
    /// The turn of the loop that last read a reply.
    pub(super) turn: u64,
}

/// What an event of epoll is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Wake,
    Listener(usize),
    Session { service: usize, id: usize },
}

impl Token {
    /// Two bits for the kind, 30 for the service and 32 for the rest; places in a slab are far below either.
    pub(super) fn pack(self) -> u64 {
        let number = |place: usize| u64::try_from(place).unwrap_or(u64::MAX);
        match self {
            Self::Wake => 0,
            Self::Listener(id) => (1 << 62) | (number(id) & 0xffff_ffff),
            Self::Session { service, id } => {
                (2 << 62) | ((number(service) & 0x3fff_ffff) << 32) | (number(id) & 0xffff_ffff)
            }
        }
    }

    pub(super) fn unpack(token: u64) -> Self {
        let place = |bits: u64| usize::try_from(bits).unwrap_or(usize::MAX);
        let id = place(token & 0xffff_ffff);
        match token >> 62 {
            1 => Self::Listener(id),
            2 => Self::Session { service: place((token >> 32) & 0x3fff_ffff), id },
            _ => Self::Wake,
        }
    }
}

/// A reply that waits for its batch to be sent.
struct Pending {
    listener: usize,
    outgoing: Outgoing,
}

pub(super) struct Worker {
    pub(super) index: usize,
    pub(super) shared: Arc<Shared>,
    pub(super) epoll: OwnedFd,
    wake: Arc<OwnedFd>,
    commands: Receiver<Command>,
    pub(super) log: Option<LogQueue>,
    names: HashMap<ServiceName, usize>,
    pub(super) services: Slab<ServiceState>,
    pub(super) listeners: Slab<Listener>,
    pub(super) batch: Batch,
    pending: Vec<Pending>,
    /// Scratch, empty between uses.
    pub(super) outgoing: Vec<Outgoing>,
    /// Counts the turns of the loop.
    pub(super) turn: u64,
    next_sweep: Option<Instant>,
    pub(super) warned: Option<Instant>,
}

/// A place among the descriptors of the process, given back when dropped.
pub(super) struct Descriptor(Arc<Shared>);

impl Descriptor {
    pub(super) fn take(shared: &Arc<Shared>) -> Option<Self> {
        shared.descriptors.take_session().then(|| Self(Arc::clone(shared)))
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        self.0.descriptors.give_back_session();
    }
}

impl Worker {
    pub(super) fn new(
        index: usize,
        shared: Arc<Shared>,
        wake: Arc<OwnedFd>,
        commands: Receiver<Command>,
        log: Option<LogQueue>,
    ) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &*wake, epoll::EventData::new_u64(Token::Wake.pack()), epoll::EventFlags::IN)?;
        Ok(Self {
            index,
            shared,
            epoll,
            wake,
            commands,
            log,
            names: HashMap::new(),
            services: Slab::new(),
            listeners: Slab::new(),
            batch: Batch::new(),
            pending: Vec::with_capacity(BATCH),
            outgoing: Vec::with_capacity(BATCH),
            turn: 0,
            next_sweep: None,
            warned: None,
        })
    }

    /// Runs until the commands end.
    #[allow(clippy::disallowed_methods)] // The loop that reads the clock for everything below it.
    pub(super) fn run(mut self) {
        let mut events = Vec::with_capacity(2 * BATCH);
        let mut ready = Vec::new();
        loop {
            let timeout = self.timeout(Instant::now());
            let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    tracing::error!(%error, worker = self.index, "UDP worker can't wait for datagrams; it stops");
                    return;
                }
            }
            let now = Instant::now();
            self.turn = self.turn.wrapping_add(1);
            ready.extend(events.iter().map(|event| Token::unpack(event.data.u64())));
            // Replies first: what is under way is finished before more is begun.
            for token in &ready {
                if let Token::Session { service, id } = *token {
                    self.replies(service, id, now);
                }
            }
            self.flush();
            for token in &ready {
                if let Token::Listener(id) = *token {
                    self.datagrams(id, now);
                }
            }
            if ready.contains(&Token::Wake) && !self.obey(now) {
                return self.stop(now);
            }
            ready.clear();
            self.sweep(now);
        }
    }

    fn timeout(&self, now: Instant) -> Option<Duration> {
        self.next_sweep.map(|next| next.saturating_duration_since(now))
    }

    /// Makes the next sweep come no later than `when`.
    pub(super) fn sweep_by(&mut self, when: Instant) {
        self.next_sweep = Some(self.next_sweep.map_or(when, |next| next.min(when)));
    }

    /// Gathers the replies of one session.
    fn replies(&mut self, service_id: usize, id: usize, now: Instant) {
        if self.pending.len() >= BATCH {
            self.flush();
        }
        let Some(service) = self.services.get_mut(service_id) else { return };
        let Some((key, session)) = service.sessions.get_mut(id) else { return };
        let first = self.pending.len();
        let upstream = &mut session.upstream;
        if upstream.turn.wrapping_add(1) == self.turn {
            // There were more than it asked for.
            upstream.burst = upstream.burst.saturating_mul(2).min(REPLIES_AT_ONCE);
        }
        upstream.turn = self.turn;
        let count = BATCH.saturating_sub(first).min(upstream.burst);
        let socket = upstream.socket.as_fd();
        let received = if count == 1 {
            self.batch.receive_one(socket, first).map(|()| 1)
        } else {
            self.batch.receive(socket, first, count)
        };
        let received = match received {
            Ok(received) => received,
            Err(error) => return upstream.note_error(&error, self.index),
        };
        if received < count {
            upstream.burst = received.max(1);
        }
        let mut bytes = 0_u64;
        for slot in first..first.saturating_add(received) {
            bytes = bytes.saturating_add(u64::try_from(self.batch.payload(slot).len()).unwrap_or(0));
            let outgoing = Outgoing { slot, skip: 0, to: Some(key.client) };
            self.pending.push(Pending { listener: key.listener, outgoing });
        }
        session.bytes_out = session.bytes_out.saturating_add(bytes);
        session.replies = session.replies.saturating_add(u64::try_from(received).unwrap_or(0));
        count_service(&service.cell, self.index, |counters| counters.bytes_out.add(bytes));
        count_backend(&session.upstream.backend, self.index, |counters| counters.bytes_out.add(bytes));
        let limit = service.table.service().udp.responses.map(u64::from);
        let finished = limit.is_some_and(|each| session.replies >= session.requests.saturating_mul(each));
        service.sessions.touch(id, now);
        if finished {
            self.end(service_id, id, End::Closed, now);
        }
    }

    /// Sends the replies that were gathered, all that leave by one listener with one call.
    fn flush(&mut self) {
        let mut pending = std::mem::take(&mut self.pending);
        let mut outgoing = std::mem::take(&mut self.outgoing);
        for run in pending.chunk_by(|a, b| a.listener == b.listener) {
            outgoing.clear();
            outgoing.extend(run.iter().map(|pending| pending.outgoing));
            let Some(listener) = run.first().and_then(|pending| self.listeners.get(pending.listener)) else {
                continue;
            };
            let Some(service) = self.services.get(listener.service) else { continue };
            let sent = send_all(&mut self.batch, listener, &outgoing);
            let lost = outgoing.len().saturating_sub(sent);
            count_service(&service.cell, self.index, |counters| {
                counters.datagrams_out.add(u64::try_from(sent).unwrap_or(0));
                counters.datagrams_dropped.add(u64::try_from(lost).unwrap_or(0));
            });
        }
        pending.clear();
        (self.pending, self.outgoing) = (pending, outgoing);
    }

    /// Takes one batch from a listener.
    fn datagrams(&mut self, id: usize, now: Instant) {
        let Some(listener) = self.listeners.get(id) else { return };
        let Ok(received) = self.batch.receive(listener.socket.as_fd(), 0, BATCH) else { return };
        let service = listener.service;
        if self.services.get_mut(service).is_some_and(|service| service.refresh()) {
            self.sweep_by(now);
        }
        let mut slot = 0;
        while slot < received {
            slot = Forwarding { worker: self, service, listener: id, now }.run(slot, received);
        }
    }

    /// Does what it was told; says whether there is more to come, ever.
    fn obey(&mut self, now: Instant) -> bool {
        let mut count = [0; 8];
        let _ = rustix::io::read(&*self.wake, &mut count); // Only resets it; nothing there is as good.
        loop {
            match self.commands.try_recv() {
                Ok(Command::Listen { cell, address, socket, mark }) => {
                    self.listen(cell, address, socket, mark)
                }
                Ok(Command::Unlisten { service, address }) => self.unlisten(&service, address, now),
                Ok(Command::Refresh { service }) => self.refresh(&service, now),
                Ok(Command::Remove { service }) => self.remove(&service, now),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn listen(&mut self, cell: Arc<ServiceCell>, address: SocketAddr, socket: OwnedFd, mark: Arc<()>) {
        let service = match self.names.get(&cell.name) {
            Some(service) => *service,
            None => {
                let name = cell.name.clone();
                let service = self.services.insert(ServiceState::new(cell));
                self.names.insert(name, service);
                service
            }
        };
        let known =
            self.listeners.iter().find(|(_, listener)| listener.is(service, address)).map(|(id, _)| id);
        let id = known.unwrap_or_else(|| self.listeners.vacant_key());
        let data = epoll::EventData::new_u64(Token::Listener(id).pack());
        if let Err(error) = epoll::add(&self.epoll, &socket, data, epoll::EventFlags::IN) {
            // Closing the socket leaves its datagrams to the other workers.
            return tracing::error!(%address, %error, worker = self.index, "UDP worker can't watch a listener");
        }
        let new = Listener { socket, _mark: mark, address, service, refusing: false };
        match self.listeners.get_mut(id) {
            Some(listener) => *listener = new,
            None => {
                self.listeners.insert(new);
            }
        }
    }

    fn refresh(&mut self, name: &ServiceName, now: Instant) {
        let Some(service) = self.names.get(name).and_then(|service| self.services.get_mut(*service)) else {
            return;
        };
        service.refresh();
        // The idle time may be shorter now.
        self.sweep_by(now);
    }

    /// Closing the socket makes the kernel answer "port unreachable", which no open socket could.
    fn unlisten(&mut self, name: &ServiceName, address: SocketAddr, now: Instant) {
        let Some(service) = self.names.get(name).copied() else { return };
        let found = self.listeners.iter_mut().find(|(_, listener)| listener.is(service, address));
        let Some((id, listener)) = found else { return };
        listener.refusing = true;
        let Some(state) = self.services.get_mut(service) else { return };
        state.refresh();
        let still_ours = state.table.addresses().any(|ours| ours == address);
        let of_listener = state.sessions.iter().filter(|(_, key, _)| key.listener == id);
        let ending: Vec<usize> = of_listener
            .filter(|(_, _, session)| !still_ours || session.upstream.backend.is_condemned())
            .map(|(id, _, _)| id)
            .collect();
        let reason = if still_ours { End::BackendDown } else { End::ServiceGone };
        for session in ending {
            self.end(service, session, reason, now);
        }
        self.close_if_unused(id);
    }

    /// Closes a listener that stayed only for its sessions when it has none left.
    fn close_if_unused(&mut self, id: usize) {
        let Some(listener) = self.listeners.get(id) else { return };
        let Some(service) = self.services.get(listener.service) else { return };
        if listener.refusing && !service.sessions.iter().any(|(_, key, _)| key.listener == id) {
            self.listeners.remove(id);
        }
    }

    fn remove(&mut self, name: &ServiceName, now: Instant) {
        let Some(service) = self.names.remove(name) else { return };
        while let Some(id) = self.services.get(service).and_then(|state| state.sessions.oldest()) {
            self.end(service, id, End::ServiceGone, now);
        }
        self.listeners.retain(|_, listener| listener.service != service);
        self.services.try_remove(service);
    }

    /// Ends what has been idle for too long.
    fn sweep(&mut self, now: Instant) {
        if self.next_sweep.is_none_or(|next| next > now) {
            return;
        }
        self.next_sweep = None;
        let services: Vec<usize> = self.services.iter().map(|(id, _)| id).collect();
        for id in services {
            while let Some((session, deadline)) = self.services.get(id).and_then(ServiceState::next_idle) {
                if deadline > now {
                    let soonest = now.checked_add(SWEEP).unwrap_or(now);
                    self.sweep_by(deadline.max(soonest));
                    break;
                }
                self.end(id, session, End::Idle, now);
            }
        }
    }

    /// Ends a session: counts, logs, closes its socket.
    pub(super) fn end(&mut self, service_id: usize, id: usize, end: End, now: Instant) {
        let Some(service) = self.services.get_mut(service_id) else { return };
        let Some((key, session)) = service.sessions.remove(id) else { return };
        service.count_end(self.index, &session, end);
        service.log(self.log.as_ref(), self.index, &session, end, now);
        let refusing = self.listeners.get(key.listener).is_some_and(|listener| listener.refusing);
        if refusing {
            self.close_if_unused(key.listener);
        }
    }

    /// Says that a session could not be made for want of descriptors, now and then.
    pub(super) fn warn_exhausted(&mut self, now: Instant) {
        if self.warned.is_none_or(|at| now.saturating_duration_since(at) >= WARN_EVERY) {
            self.warned = Some(now);
            tracing::warn!(
                limit = self.shared.descriptors.session_limit(),
                refused = self.shared.descriptors.refused(),
                "new UDP sessions are refused, those that exist go on; raise the limit on open files"
            );
        }
    }

    fn stop(mut self, now: Instant) {
        let names: Vec<ServiceName> = self.names.keys().cloned().collect();
        for name in names {
            self.remove(&name, now);
        }
    }
}

/// Sends replies; says how many went. What does not fit or can't be sent is lost, as on any network.
fn send_all(batch: &mut Batch, listener: &Listener, outgoing: &[Outgoing]) -> usize {
    let (mut rest, mut sent) = (outgoing, 0_usize);
    while !rest.is_empty() {
        let skipped = match batch.send(listener.socket.as_fd(), &[], rest) {
            Ok(count) => {
                sent = sent.saturating_add(count);
                count.max(1)
            }
            Err(error) => match error.raw_os_error() {
                Some(libc::EINTR) => 0,
                Some(libc::EAGAIN | libc::ENOBUFS) => break,
                _ => 1, // Only this one can't be sent.
            },
        };
        rest = rest.get(skipped..).unwrap_or_default();
    }
    sent
}

impl Listener {
    fn is(&self, service: usize, address: SocketAddr) -> bool {
        self.service == service && self.address == address
    }
}

impl ServiceState {
    fn new(cell: Arc<ServiceCell>) -> Self {
        let table = Arc::clone(&cell.table());
        let mut state = Self { cell, table, header_from: Sources::default(), sessions: Sessions::new() };
        state.derive();
        state
    }

    /// Takes over the service's newest table; says whether it is another one.
    pub(super) fn refresh(&mut self) -> bool {
        let table = self.cell.table();
        if Arc::ptr_eq(&table, &self.table) {
            return false;
        }
        self.table = Arc::clone(&table);
        drop(table);
        self.derive();
        true
    }

    fn derive(&mut self) {
        self.header_from = Sources::new(&self.table.service().proxy_protocol.receive_from);
    }

    /// This worker's share of the service's sessions. The process's limit, too, is better kept by making room
    /// than by refusing.
    pub(super) fn capacity(&self, shared: &Shared) -> usize {
        let sessions = u64::from(self.table.service().udp.sessions).min(shared.descriptors.session_limit());
        let sessions = usize::try_from(sessions).unwrap_or(usize::MAX);
        sessions.div_ceil(shared.workers.len().max(1)).max(1)
    }

    fn next_idle(&self) -> Option<(usize, Instant)> {
        let deadline = self.sessions.deadline(self.table.service().udp.idle)?;
        Some((self.sessions.oldest()?, deadline))
    }

    fn count_end(&self, worker: usize, session: &Session, end: End) {
        session.upstream.backend.connections.fetch_sub(1, Ordering::Relaxed);
        count_backend(&session.upstream.backend, worker, |counters| counters.connections.decrement());
        count_service(&self.cell, worker, |counters| {
            counters.connections.decrement();
            match end {
                End::Idle => counters.timed_out.add(1),
                End::BackendDown => counters.closed_backend_down.add(1),
                End::Evicted => counters.sessions_evicted.add(1),
                End::Closed
                | End::ClientReset
                | End::BackendReset
                | End::HalfClosed
                | End::MaxDuration
                | End::ConnectFailed
                | End::NoBackend
                | End::Refused
                | End::ServiceGone
                | End::Error => {}
            }
        });
    }

    fn log(&self, queue: Option<&LogQueue>, worker: usize, session: &Session, end: End, now: Instant) {
        let (Some(gate), Some(queue)) = (&self.table.log, queue) else { return };
        let logged = gate.log(queue, now, || Record {
            service: self.cell.name.clone(),
            protocol: Protocol::Udp,
            client: session.client,
            vip: session.destination,
            backend: Some((session.upstream.backend.name.clone(), session.upstream.address)),
            connect: None,
            duration: now.saturating_duration_since(session.started),
            bytes_in: session.bytes_in,
            bytes_out: session.bytes_out,
            retries: session.retries,
            end,
        });
        if logged == Logged::Dropped {
            count_service(&self.cell, worker, |counters| counters.log_dropped.add(1));
        }
    }
}

impl Upstream {
    /// Takes note of an error that a datagram to the backend met.
    pub(super) fn note_error(&mut self, error: &io::Error, worker: usize) {
        if error.kind() == io::ErrorKind::ConnectionRefused {
            self.refused = true;
            count_backend(&self.backend, worker, |counters| counters.connect_failed.add(1));
        }
    }
}

pub(super) fn count_service(cell: &ServiceCell, worker: usize, count: impl FnOnce(&ServiceCounters)) {
    if let Some(counters) = cell.counters.get(worker) {
        count(counters);
    }
}

pub(super) fn count_backend(cell: &BackendCell, worker: usize, count: impl FnOnce(&BackendCounters)) {
    if let Some(counters) = cell.counters.get(worker) {
        count(counters);
    }
}

/// The key of what `source` sends to `listener`.
pub(super) fn key(source: SocketAddr, listener: usize) -> Key {
    Key { client: source, listener }
}
