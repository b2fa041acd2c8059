//! A service and its sessions, as one worker has them.

use super::sessions::Sessions;
use crate::connection_log::{End, LogQueue, Logged, Record};
use crate::counters::{BackendCounters, ServiceCounters};
use crate::limits::{Permit, Sources};
use crate::shared::Shared;
use crate::table::{BackendCell, ServiceCell, ServiceTable};
use fulcrum_config::Protocol;
use rustix::event::epoll;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// One address and port of a service.
pub(super) struct Listener {
    pub(super) socket: Arc<OwnedFd>,
    /// Lets others know that the socket is still open.
    pub(super) _mark: Arc<()>,
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

impl Listener {
    pub(super) fn is(&self, service: usize, address: SocketAddr) -> bool {
        self.service == service && self.address == address
    }

    /// Has nothing of it reported any more. Another process may have the socket, too: closed, it would be for ever.
    pub(super) fn unwatch(&self, epoll: impl AsFd) {
        // It fails only if that was done already.
        let _ = epoll::delete(epoll, &*self.socket);
    }
}

impl ServiceState {
    pub(super) fn new(cell: Arc<ServiceCell>) -> Self {
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
        sessions.div_ceil(shared.each().max(1)).max(1)
    }

    pub(super) fn next_idle(&self) -> Option<(usize, Instant)> {
        let deadline = self.sessions.deadline(self.table.service().udp.idle)?;
        Some((self.sessions.oldest()?, deadline))
    }

    pub(super) fn count_end(&self, worker: usize, session: &Session, end: End) {
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
                | End::NoDescriptor
                | End::NoBackend
                | End::Refused
                | End::ServiceGone
                | End::Error => {}
            }
        });
    }

    pub(super) fn log(
        &self,
        queue: Option<&LogQueue>,
        worker: usize,
        session: &Session,
        end: End,
        now: Instant,
    ) {
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
