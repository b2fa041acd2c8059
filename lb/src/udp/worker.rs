//! One worker: its listeners, its sessions and the loop that moves their datagrams.
//!
//! Replies of all sessions that are ready are gathered into one batch and sent with one call.

use super::forward::Forwarding;
use super::service::{Listener, ServiceState, count_backend, count_service};
use super::sys::{BATCH, Batch, Outgoing};
use super::token::Token;
use crate::connection_log::{End, LogQueue};
use crate::pulse::Pulse;
use crate::shared::Shared;
use crate::table::ServiceCell;
use fulcrum_config::ServiceName;
use rustix::event::{Timespec, epoll};
use slab::Slab;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

/// Replies read from one session before others have their turn.
const REPLIES_AT_ONCE: usize = 8;
/// Idle sessions end up to this much late, so that ending them costs little.
const SWEEP: Duration = Duration::from_millis(20);
/// How often the log says that descriptors are used up.
const WARN_EVERY: Duration = Duration::from_secs(1);

/// What a worker is told.
#[derive(Debug)]
pub(super) enum Command {
    /// Serve `address` of a service by this socket, from now on, and keep `mark` as long as the socket.
    Listen { cell: Arc<ServiceCell>, address: SocketAddr, socket: Arc<OwnedFd>, mark: Arc<()> },
    /// Serve it no longer. If the service still has it, there is just no backend for new sessions.
    Unlisten { service: ServiceName, address: SocketAddr },
    /// The service has another table.
    Refresh { service: ServiceName },
    /// The service is gone.
    Remove { service: ServiceName },
    /// Take no more datagrams from clients: another process has the same sockets.
    Leave,
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
    pulse: Arc<Pulse>,
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

impl Worker {
    pub(super) fn new(
        index: usize,
        shared: Arc<Shared>,
        wake: Arc<OwnedFd>,
        commands: Receiver<Command>,
        pulse: Arc<Pulse>,
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
            pulse,
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
            self.pulse.answer();
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
                Ok(Command::Leave) => self.leave(),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn listen(&mut self, cell: Arc<ServiceCell>, address: SocketAddr, socket: Arc<OwnedFd>, mark: Arc<()>) {
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
            Some(listener) => std::mem::replace(listener, new).unwatch(&self.epoll),
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

    /// Lets another process have all clients.
    fn leave(&mut self) {
        for (_, listener) in &mut self.listeners {
            listener.refusing = true;
            listener.unwatch(&self.epoll);
        }
        let all: Vec<usize> = self.listeners.iter().map(|(id, _)| id).collect();
        all.into_iter().for_each(|id| self.close_if_unused(id));
    }

    /// Closes a listener that stayed only for its sessions when it has none left.
    fn close_if_unused(&mut self, id: usize) {
        let Some(listener) = self.listeners.get(id) else { return };
        let Some(service) = self.services.get(listener.service) else { return };
        if listener.refusing && !service.sessions.iter().any(|(_, key, _)| key.listener == id) {
            listener.unwatch(&self.epoll);
            self.listeners.remove(id);
        }
    }

    fn remove(&mut self, name: &ServiceName, now: Instant) {
        let Some(service) = self.names.remove(name) else { return };
        let state = self.services.get(service);
        let all: Vec<usize> =
            state.into_iter().flat_map(|state| state.sessions.iter().map(|(id, ..)| id)).collect();
        all.into_iter().for_each(|id| self.end(service, id, End::ServiceGone, now));
        self.listeners.retain(|_, listener| {
            let stays = listener.service != service;
            if !stays {
                listener.unwatch(&self.epoll);
            }
            stays
        });
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
            // Its last reply may still wait.
            self.flush();
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
