//! From the client's arrival to the first byte: PROXY header, limits, and a backend that accepts.

use super::{Connection, Context, Extra, INTEREST, Next, Phase, Token, Which};
use crate::connect;
use crate::connection_log::End;
use crate::copy::{Flow, Side};
use crate::counters::ServiceCounters;
use crate::limits::Refusal;
use crate::proxy_protocol::{self, Endpoints, HeaderReader};
use crate::table::{BackendCell, ServiceCell};
use rustix::event::epoll::{self, EventFlags};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What is read of a client before it has a backend.
const FIRST_READ: usize = 16 * 1024;
/// Backends tried for one connection.
const MAX_TRIES: usize = 3;
/// A PROXY header comes whole within this time.
pub(super) const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

impl Connection {
    /// A client that was just accepted. [`Self::start`] comes next.
    pub(crate) fn new(
        token: Token,
        client: OwnedFd,
        client_address: SocketAddr,
        vip: SocketAddr,
        service: Arc<ServiceCell>,
        now: u64,
    ) -> Self {
        Self {
            token,
            phase: Phase::Connecting,
            client: Side::new(client, true),
            backend: None,
            up: Flow::default(),
            down: Flow::default(),
            service,
            target: None,
            client_address,
            vip,
            started: now,
            active: now,
            connect_time: None,
            lasting: false,
            extra: None,
        }
    }

    /// Looks at the client's first bytes and connects to a backend.
    pub(crate) fn start(&mut self, context: &mut Context<'_>) -> Next {
        self.count_service(context, |counters| {
            counters.accepted.add(1);
            counters.connections.add(1);
        });
        // Most clients speak first, and their first bytes are often here already.
        self.client.readable = true;
        let table = self.service.table();
        let sources = &table.service().proxy_protocol.receive_from;
        let next = if sources.iter().any(|network| network.contains(&self.client_address.ip())) {
            drop(table);
            self.phase = Phase::Header;
            self.extra().header = Some(HeaderReader::default());
            context.wheel.set(self.token.key, self.deadline().0);
            self.read_header(context)
        } else {
            drop(table);
            self.read_first(context)
        };
        if let Next::End(_) = next {
            return next;
        }
        // After the first read, so that what it took is not reported again.
        match epoll::add(context.epoll, &self.client, self.token.data(Which::Client), self.client_interest())
        {
            Ok(()) => next,
            Err(_) => Next::End(End::Error),
        }
    }

    /// Reads on in the client's PROXY header.
    pub(super) fn read_header(&mut self, context: &mut Context<'_>) -> Next {
        while self.client.readable {
            let Some(buffer) = context.moving.scratch.get_mut(..FIRST_READ) else { break };
            let count = match self.client.read(buffer) {
                Ok(Some(0)) => return Next::End(End::Refused),
                Ok(Some(count)) => count,
                Ok(None) => continue,
                Err(_) => return Next::End(End::ClientReset),
            };
            let piece = buffer.get(..count).unwrap_or_default();
            let Some(reader) = self.extra.as_mut().and_then(|extra| extra.header.as_mut()) else { break };
            match reader.handle_bytes(piece) {
                Err(_) => return Next::End(End::Refused),
                Ok(None) => {}
                Ok(Some(received)) => {
                    if let Some(endpoints) = received.endpoints {
                        self.client_address = endpoints.source;
                        self.extra().endpoints = Some(endpoints);
                    }
                    self.extra().header = None;
                    self.put_first(piece.get(received.consumed..).unwrap_or_default());
                    return self.open(context);
                }
            }
        }
        Next::Wait
    }

    fn read_first(&mut self, context: &mut Context<'_>) -> Next {
        let Some(buffer) = context.moving.scratch.get_mut(..FIRST_READ) else { return Next::End(End::Error) };
        match self.client.read(buffer) {
            // Its FIN is read again later, when it can be passed on.
            Ok(None | Some(0)) => self.put_first(&[]),
            Ok(Some(count)) => self.put_first(buffer.get(..count).unwrap_or_default()),
            Err(_) => return Next::End(End::ClientReset),
        }
        self.open(context)
    }

    /// Keeps the first bytes for the backend, behind the PROXY header it may want.
    fn put_first(&mut self, bytes: &[u8]) {
        self.up.bytes = self.up.bytes.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        let version = self.service.table().service().proxy_protocol.send;
        let Some(version) = version else { return self.up.put(&[bytes]) };
        let own = Endpoints { source: self.client_address, destination: self.vip };
        let endpoints = self.extra.as_ref().and_then(|extra| extra.endpoints).unwrap_or(own);
        let header = proxy_protocol::encode(version, proxy_protocol::Transport::Stream, Some(endpoints));
        self.up.put(&[&header, bytes]);
    }

    /// The client is known: may it, and who serves it?
    fn open(&mut self, context: &mut Context<'_>) -> Next {
        let limiter = self.service.table().limiter.clone();
        if let Some(limiter) = limiter {
            match limiter.admit(self.client_address.ip(), context.instant) {
                Ok(permit) => self.extra().permit = Some(permit),
                Err(refusal) => {
                    self.count_service(context, |counters| match refusal {
                        Refusal::Source => counters.refused_source.add(1),
                        Refusal::Limit => counters.refused_limit.add(1),
                        Refusal::Rate => counters.refused_rate.add(1),
                    });
                    return Next::End(End::Refused);
                }
            }
        }
        self.phase = Phase::Connecting;
        self.connect(context)
    }

    /// Tries backends until one accepts or has to be waited for.
    fn connect(&mut self, context: &mut Context<'_>) -> Next {
        loop {
            let tried = self.extra.as_ref().map_or(&[][..], |extra| &extra.tried);
            let first = tried.is_empty();
            let table = self.service.table();
            let chosen = if tried.len() < MAX_TRIES {
                self.service.choose(&table, &self.flow_key(), tried)
            } else {
                None
            };
            let Some(chosen) = chosen else {
                return Next::End(if first { End::NoBackend } else { End::ConnectFailed });
            };
            let from = table.service().transparent.then(|| self.client_address.ip());
            drop(table);
            if !first {
                self.count_service(context, |counters| counters.retries.add(1));
            }
            self.enter_target(&chosen, context);
            let target = chosen.address.socket(self.vip.port());
            let begun = connect::begin(target, from, !self.up.pending().is_empty());
            let greeted = begun.and_then(|socket| {
                let mut backend = Side::new(socket, true);
                // Where the backend is near, it is connected by now.
                let connected = self.up.greet(&mut backend)?;
                Ok((backend, connected))
            });
            match greeted {
                Ok((backend, connected)) => return self.wait_for(backend, connected, context),
                Err(error) if connect::is_exhausted(error) => {
                    // No fault of the backend's, and no other would help.
                    self.leave_target(context);
                    return Next::End(End::NoDescriptor);
                }
                Err(_) => self.leave_failed(context),
            }
        }
    }

    /// A connected backend has had bytes: from here on no other is tried in its place.
    fn wait_for(&mut self, mut backend: Side, connected: bool, context: &mut Context<'_>) -> Next {
        self.active = context.now;
        backend.reports_writable = !connected;
        let report = if connected { INTEREST } else { INTEREST | EventFlags::OUT };
        let added = epoll::add(context.epoll, &backend, self.token.data(Which::Backend), report);
        self.backend = Some(backend);
        if added.is_err() {
            return Next::End(End::Error);
        }
        if connected {
            return self.handle_connected(context);
        }
        context.wheel.set(self.token.key, self.deadline().0);
        Next::Wait
    }

    /// The backend has accepted.
    pub(super) fn handle_connected(&mut self, context: &mut Context<'_>) -> Next {
        self.phase = Phase::Open;
        let elapsed = context.now.saturating_sub(self.started);
        self.connect_time = Some(u32::try_from(elapsed).unwrap_or(u32::MAX));
        self.active = context.now;
        if let Some(counters) = self.target.as_ref().and_then(|target| target.counters.get(context.worker)) {
            counters.connected.add(1);
            counters.bytes_in.add(self.up.bytes);
        }
        self.count_service(context, |counters| counters.bytes_in.add(self.up.bytes));
        let soon = context.now.saturating_add(1_000);
        context.wheel.set_earlier(self.token.key, self.deadline().0.min(soon));
        self.pump(Which::Client, context)
    }

    /// The backend did not accept, or not in time.
    pub(super) fn handle_connect_failed(&mut self, context: &mut Context<'_>) -> Next {
        self.leave_failed(context);
        self.connect(context)
    }

    fn enter_target(&mut self, chosen: &Arc<BackendCell>, context: &Context<'_>) {
        chosen.connections.fetch_add(1, Ordering::Relaxed);
        if let Some(counters) = chosen.counters.get(context.worker) {
            counters.connections.add(1);
        }
        self.target = Some(Arc::clone(chosen));
    }

    fn leave_failed(&mut self, context: &Context<'_>) {
        self.backend = None;
        if let Some(target) = self.leave_target(context) {
            if let Some(counters) = target.counters.get(context.worker) {
                counters.connect_failed.add(1);
            }
            self.extra().tried.push(target);
        }
    }

    fn client_interest(&self) -> EventFlags {
        if self.client.reports_writable { INTEREST | EventFlags::OUT } else { INTEREST }
    }

    pub(super) fn count_service(&self, context: &Context<'_>, count: impl FnOnce(&ServiceCounters)) {
        if let Some(counters) = self.service.counters.get(context.worker) {
            count(counters);
        }
    }

    pub(super) fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }
}
