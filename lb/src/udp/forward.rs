//! From clients to backends.

use super::service::{Descriptor, Session, Upstream, count_backend, count_service};
use super::sessions::Key;
use super::sockets;
use super::sys::Outgoing;
use super::token::Token;
use super::worker::Worker;
use crate::balance::Flow;
use crate::connection_log::End;
use crate::counters::ServiceCounters;
use crate::limits::Refusal;
use crate::proxy_protocol::{Endpoints, Transport, decode_datagram, encode};
use crate::table::BackendCell;
use fulcrum_config::Protocol;
use rustix::event::epoll;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Backends tried for one session before it is given up.
const ATTEMPTS: usize = 3;

/// What one listener received, on its way to the backends.
pub(super) struct Forwarding<'a> {
    pub(super) worker: &'a mut Worker,
    pub(super) service: usize,
    pub(super) listener: usize,
    pub(super) now: Instant,
}

/// Whose datagrams they are.
#[derive(Debug, Clone, Copy)]
struct Client {
    key: Key,
    /// Both ends as the PROXY header says, else as received.
    ends: Endpoints,
    /// Length of the PROXY header received.
    skip: usize,
}

impl Forwarding<'_> {
    /// Forwards the datagram in `slot` and those behind it that come from the same client, up to `end`. Returns
    /// where the next client's begin.
    pub(super) fn run(&mut self, slot: usize, end: usize) -> usize {
        let next = slot.saturating_add(1);
        let Some(source) = self.worker.batch.source(slot) else { return next };
        let expects_header = self.worker.services.get(self.service).is_some_and(|service| {
            !service.header_from.is_empty() && service.header_from.contains(source.ip())
        });
        let same = |slot: &usize| !expects_header && self.worker.batch.source(*slot) == Some(source);
        let next = (next..end).find(|slot| !same(slot)).unwrap_or(end);
        let total = next.saturating_sub(slot);
        let sent = match self.client(source, slot, expects_header) {
            Some(client) => self.forward(&client, slot, next),
            None => 0,
        };
        self.count(|counters| {
            counters.datagrams_in.add(number(total));
            counters.datagrams_dropped.add(number(total.saturating_sub(sent)));
        });
        next
    }

    /// Who sent the datagram in `slot`; nobody if its PROXY header is wrong.
    fn client(&self, source: SocketAddr, slot: usize, expects_header: bool) -> Option<Client> {
        let destination = self.worker.listeners.get(self.listener)?.address;
        let ends = Endpoints { source, destination };
        let key = Key { client: source, listener: self.listener };
        if !expects_header {
            return Some(Client { key, ends, skip: 0 });
        }
        match decode_datagram(self.worker.batch.payload(slot)) {
            Ok((skip, header)) => Some(Client { key, ends: header.unwrap_or(ends), skip }),
            Err(_) => {
                self.count(|counters| counters.refused_proxy_header.add(1));
                None
            }
        }
    }

    /// Sends the datagrams in `slots` to the session's backend; says how many went.
    fn forward(&mut self, client: &Client, slot: usize, end: usize) -> usize {
        let Some(id) = self.session(client) else { return 0 };
        let mut all = std::mem::take(&mut self.worker.outgoing);
        all.clear();
        all.extend((slot..end).map(|slot| Outgoing { slot, skip: client.skip, to: None }));
        let sent = self.send(client, id, &all);
        self.count_forwarded(id, &all);
        self.worker.outgoing = all;
        sent
    }

    fn count_forwarded(&mut self, id: usize, all: &[Outgoing]) {
        let Some(service) = self.worker.services.get_mut(self.service) else { return };
        let bytes = all
            .iter()
            .map(|outgoing| self.worker.batch.payload(outgoing.slot).len().saturating_sub(outgoing.skip));
        let bytes = number(bytes.sum());
        if let Some((_, session)) = service.sessions.get_mut(id) {
            session.requests = session.requests.saturating_add(number(all.len()));
            session.bytes_in = session.bytes_in.saturating_add(bytes);
            count_backend(&session.upstream.backend, self.worker.index, |counters| {
                counters.bytes_in.add(bytes)
            });
            service.sessions.touch(id, self.now);
        }
        count_service(&service.cell, self.worker.index, |counters| counters.bytes_in.add(bytes));
    }

    /// An error of a connected socket belongs to an earlier datagram and stands in the way of this one: a backend
    /// whose port is closed is left for another one if there is one, else it is tried once more.
    fn send(&mut self, client: &Client, id: usize, all: &[Outgoing]) -> usize {
        let (mut rest, mut sent, mut refusals) = (all, 0_usize, 0);
        while !rest.is_empty() {
            let Worker { services, batch, index, .. } = &mut *self.worker;
            let Some(service) = services.get_mut(self.service) else { break };
            let Some((_, session)) = service.sessions.get_mut(id) else { break };
            let upstream = &mut session.upstream;
            let skipped = match batch.send(upstream.socket.as_fd(), &upstream.header, rest) {
                Ok(count) => {
                    sent = sent.saturating_add(count);
                    count.max(1)
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR) => 0,
                    Some(libc::EAGAIN | libc::ENOBUFS) => break,
                    Some(libc::ECONNREFUSED) if refusals < ATTEMPTS => {
                        refusals = refusals.saturating_add(1);
                        upstream.note_error(&error, *index);
                        self.choose_again(client, id);
                        0
                    }
                    _ => 1, // Too long for the path, say: only this one can't be sent.
                },
            };
            rest = rest.get(skipped..).unwrap_or_default();
        }
        sent
    }

    /// The session that the client has, or a new one; none if it may not have one.
    fn session(&mut self, client: &Client) -> Option<usize> {
        let service = self.worker.services.get_mut(self.service)?;
        let Some(id) = service.sessions.find(&client.key) else { return self.open(client) };
        let (_, session) = service.sessions.get_mut(id)?;
        if session.client != client.ends.source || session.destination != client.ends.destination {
            // The load balancer in front uses this port for another client now.
            self.worker.end(self.service, id, End::Closed, self.now);
            return self.open(client);
        }
        if session.upstream.refused || session.upstream.backend.is_condemned() {
            self.choose_again(client, id);
            // It may be gone now: its backend went down and there is no other.
            return self.worker.services.get(self.service)?.sessions.find(&client.key);
        }
        Some(id)
    }

    fn open(&mut self, client: &Client) -> Option<usize> {
        if self.worker.listeners.get(self.listener)?.refusing {
            self.count(|counters| counters.refused_no_backend.add(1));
            return None;
        }
        let limiter = self.worker.services.get(self.service)?.table.limiter.clone();
        let permit = match limiter.map(|limiter| limiter.admit(client.ends.source.ip(), self.now)).transpose()
        {
            Ok(permit) => permit,
            Err(refusal) => {
                self.count(|counters| match refusal {
                    Refusal::Source => counters.refused_source.add(1),
                    Refusal::Limit => counters.refused_limit.add(1),
                    Refusal::Rate => counters.refused_rate.add(1),
                });
                return None;
            }
        };
        self.make_room();
        let Some(descriptor) = Descriptor::take(&self.worker.shared) else {
            self.worker.warn_exhausted(self.now);
            self.count(|counters| counters.refused_limit.add(1));
            return None;
        };
        let mut retries = 0;
        let upstream = self.connect(client, &mut Vec::new(), &mut retries)?;
        let session = Session {
            upstream,
            client: client.ends.source,
            destination: client.ends.destination,
            _permit: permit,
            _descriptor: descriptor,
            started: self.now,
            bytes_in: 0,
            bytes_out: 0,
            requests: 0,
            replies: 0,
            retries,
        };
        self.keep(client.key, session)
    }

    /// Ends the session silent longest if this worker's share is full.
    fn make_room(&mut self) {
        let Some(service) = self.worker.services.get(self.service) else { return };
        if service.sessions.len() >= service.capacity(&self.worker.shared)
            && let Some(oldest) = service.sessions.oldest()
        {
            self.worker.end(self.service, oldest, End::Evicted, self.now);
        }
    }

    fn keep(&mut self, key: Key, session: Session) -> Option<usize> {
        let service = self.worker.services.get_mut(self.service)?;
        let id = service.sessions.vacant();
        watch(&self.worker.epoll, &session.upstream, self.service, id).ok()?;
        session.upstream.backend.connections.fetch_add(1, Ordering::Relaxed);
        count_backend(&session.upstream.backend, self.worker.index, |counters| counters.connections.add(1));
        count_service(&service.cell, self.worker.index, |counters| {
            counters.accepted.add(1);
            counters.connections.add(1);
        });
        let (id, _) = service.sessions.insert(key, session, self.now);
        if let Some(deadline) = self.now.checked_add(service.table.service().udp.idle) {
            self.worker.sweep_by(deadline);
        }
        Some(id)
    }

    /// Gives a session another backend because its own refused or went down. Without another, a backend that
    /// refused is kept and tried again; a session whose backend is down ends.
    fn choose_again(&mut self, client: &Client, id: usize) {
        let Some(service) = self.worker.services.get_mut(self.service) else { return };
        let Some((_, session)) = service.sessions.get_mut(id) else { return };
        let (old, mut retries) = (Arc::clone(&session.upstream.backend), session.retries);
        let new = self.connect(client, &mut vec![Arc::clone(&old)], &mut retries);
        let Some(service) = self.worker.services.get_mut(self.service) else { return };
        let Some((_, session)) = service.sessions.get_mut(id) else { return };
        let watched =
            new.and_then(|new| watch(&self.worker.epoll, &new, self.service, id).ok().map(|()| new));
        let Some(new) = watched else {
            session.upstream.refused = false;
            if old.is_condemned() {
                self.worker.end(self.service, id, End::BackendDown, self.now);
            }
            return;
        };
        session.retries = retries.saturating_add(1);
        old.connections.fetch_sub(1, Ordering::Relaxed);
        new.backend.connections.fetch_add(1, Ordering::Relaxed);
        count_backend(&old, self.worker.index, |counters| counters.connections.decrement());
        count_backend(&new.backend, self.worker.index, |counters| counters.connections.add(1));
        session.upstream = new;
        self.count(|counters| counters.retries.add(1));
    }

    /// A socket to the backend of the balancer's choice, but none of those `tried`.
    fn connect(
        &mut self,
        client: &Client,
        tried: &mut Vec<Arc<BackendCell>>,
        retries: &mut u32,
    ) -> Option<Upstream> {
        let vip = self.worker.listeners.get(self.listener)?.address;
        let flow = Flow { client: client.ends.source, service: vip, protocol: Protocol::Udp };
        for attempt in 0..ATTEMPTS {
            let service = self.worker.services.get(self.service)?;
            let Some(backend) = service.cell.choose(&service.table, &flow, tried) else {
                if attempt == 0 && tried.is_empty() {
                    self.count(|counters| counters.refused_no_backend.add(1));
                }
                break;
            };
            match self.connect_to(&backend, client, vip.port()) {
                Ok(upstream) => return Some(upstream),
                Err(error) => {
                    count_backend(&backend, self.worker.index, |counters| counters.connect_failed.add(1));
                    if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) {
                        self.worker.shared.descriptors.count_refused();
                        self.worker.warn_exhausted(self.now);
                        break; // No other backend would help.
                    }
                    *retries = retries.saturating_add(1);
                    tried.push(backend);
                }
            }
        }
        self.count(|counters| counters.connect_failed.add(1));
        None
    }

    fn connect_to(
        &self,
        backend: &Arc<BackendCell>,
        client: &Client,
        service_port: u16,
    ) -> io::Result<Upstream> {
        let service = self.worker.services.get(self.service).ok_or(io::ErrorKind::NotFound)?;
        let options = service.table.service();
        let address = backend.address.socket(service_port);
        let from = options.transparent.then_some(client.ends.source);
        let socket = sockets::upstream(address, from)?;
        let header = options
            .proxy_protocol
            .send
            .map(|version| encode(version, Transport::Datagram, Some(client.ends)))
            .unwrap_or_default();
        count_backend(backend, self.worker.index, |counters| counters.connected.add(1));
        Ok(Upstream {
            socket,
            address,
            backend: Arc::clone(backend),
            header: header.into(),
            refused: false,
            burst: 1,
            turn: self.worker.turn,
        })
    }

    fn count(&self, count: impl FnOnce(&ServiceCounters)) {
        if let Some(service) = self.worker.services.get(self.service) {
            count_service(&service.cell, self.worker.index, count);
        }
    }
}

fn watch(epoll: impl AsFd, upstream: &Upstream, service: usize, id: usize) -> io::Result<()> {
    let data = epoll::EventData::new_u64(Token::Session { service, id }.pack());
    Ok(epoll::add(epoll, &upstream.socket, data, epoll::EventFlags::IN)?)
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
