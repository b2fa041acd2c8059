//! One proxied TCP connection: from the client's arrival to its end.
//!
//! Not a task but a value in its worker's slab, moved on by what epoll reports and by its timer. It costs no
//! allocation of its own unless something unusual happens to it.

mod end;
mod opening;
#[cfg(test)]
mod tests;

use crate::balance::Flow as FlowKey;
use crate::connect;
use crate::connection_log::{End, LogQueue};
use crate::copy::{Broken, Flow, Moving, Side, Stopped};
use crate::limits::Permit;
use crate::proxy_protocol::{Endpoints, HeaderReader};
use crate::table::{BackendCell, ServiceCell};
use crate::wheel::Wheel;
use fulcrum_config::Protocol;
use opening::HEADER_TIMEOUT;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// What epoll reports of each socket, once for each change.
const INTEREST: EventFlags =
    EventFlags::IN.union(EventFlags::RDHUP).union(EventFlags::PRI).union(EventFlags::ET);

/// What a connection needs of its worker while it is moved on.
pub(crate) struct Context<'a> {
    pub(crate) worker: usize,
    pub(crate) epoll: &'a OwnedFd,
    pub(crate) moving: &'a mut Moving,
    pub(crate) wheel: &'a mut Wheel,
    pub(crate) log: &'a LogQueue,
    /// Milliseconds since the worker began.
    pub(crate) now: u64,
    /// The same moment.
    pub(crate) instant: Instant,
}

/// Which of the two sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    Client,
    Backend,
}

/// What names a connection's socket in epoll. The generation tells it from an earlier one at the same place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) key: u32,
    pub(crate) generation: u32,
}

/// What a connection wants after it was moved on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// The next event.
    Wait,
    /// Its turn again, after the others.
    Turn,
    /// To be finished.
    End(End),
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Connection {
    token: Token,
    phase: Phase,
    client: Side,
    backend: Option<Side>,
    /// From the client to the backend.
    up: Flow,
    /// From the backend to the client.
    down: Flow,
    service: Arc<ServiceCell>,
    target: Option<Arc<BackendCell>>,
    client_address: SocketAddr,
    vip: SocketAddr,
    /// When it was accepted, in milliseconds of its worker.
    started: u64,
    /// When something last moved, or the backend was last asked to accept.
    active: u64,
    /// How long it took to connect.
    connect_time: Option<u32>,
    /// Whether the backend's socket has the options of a connection that lasts.
    lasting: bool,
    extra: Option<Box<Extra>>,
}

/// What only some connections have.
#[derive(Debug, Default)]
struct Extra {
    permit: Option<Permit>,
    header: Option<HeaderReader>,
    /// Both ends, as a PROXY header said.
    endpoints: Option<Endpoints>,
    /// Backends that could not be connected to.
    tried: Vec<Arc<BackendCell>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Waits for the client's PROXY header.
    Header,
    /// Waits for the backend to accept.
    Connecting,
    /// Bytes move.
    Open,
}

impl Token {
    /// The number that epoll gives back.
    pub(crate) fn data(self, which: Which) -> EventData {
        let side = match which {
            Which::Client => 0,
            Which::Backend => 1,
        };
        EventData::new_u64(u64::from(self.generation) << 32 | u64::from(self.key) << 1 | side)
    }

    /// Reverses [`Self::data`].
    pub(crate) fn from_data(data: u64) -> (Self, Which) {
        let [a, b, c, d, e, f, g, h] = data.to_be_bytes();
        let low = u32::from_be_bytes([e, f, g, h]);
        let which = if low & 1 == 0 { Which::Client } else { Which::Backend };
        (Self { key: low >> 1, generation: u32::from_be_bytes([a, b, c, d]) }, which)
    }
}

impl Connection {
    pub(crate) fn token(&self) -> Token {
        self.token
    }

    /// Whether its backend went down and it is to be closed for it.
    pub(crate) fn is_condemned(&self) -> bool {
        self.target.as_ref().is_some_and(|target| target.is_condemned())
    }

    /// For how many milliseconds it is there.
    pub(crate) fn age(&self, now: u64) -> u64 {
        now.saturating_sub(self.started)
    }

    /// Whether no backend has accepted it yet.
    pub(crate) fn is_connecting(&self) -> bool {
        self.phase == Phase::Connecting
    }

    /// The service it belongs to.
    pub(crate) fn service(&self) -> &Arc<ServiceCell> {
        &self.service
    }

    /// Takes an event of one of its sockets.
    pub(crate) fn handle_event(
        &mut self,
        which: Which,
        flags: EventFlags,
        context: &mut Context<'_>,
    ) -> Next {
        let side = match which {
            Which::Client => Some(&mut self.client),
            Which::Backend => self.backend.as_mut(),
        };
        if let Some(side) = side {
            side.handle_event(flags);
        }
        let failed = flags.contains(EventFlags::ERR);
        match (self.phase, which) {
            (Phase::Header | Phase::Connecting, Which::Client) if failed => Next::End(End::ClientReset),
            (Phase::Header, _) => self.read_header(context),
            (Phase::Connecting, Which::Client) => Next::Wait,
            (Phase::Connecting, Which::Backend) if failed => self.handle_connect_failed(context),
            (Phase::Connecting, Which::Backend) => self.handle_connected(context),
            (Phase::Open, which) => {
                let next = self.pump(which, context);
                match (next, which) {
                    // What came before the reset was passed on as far as possible.
                    (Next::Wait | Next::Turn, Which::Client) if failed => Next::End(End::ClientReset),
                    (Next::Wait | Next::Turn, Which::Backend) if failed => Next::End(End::BackendReset),
                    (next, _) => next,
                }
            }
        }
    }

    /// Goes on after others had their turn.
    pub(crate) fn handle_turn(&mut self, context: &mut Context<'_>) -> Next {
        if self.phase == Phase::Open { self.pump(Which::Client, context) } else { Next::Wait }
    }

    /// Its time has come, or a part of it.
    pub(crate) fn handle_timeout(&mut self, context: &mut Context<'_>) -> Next {
        let (deadline, end) = self.deadline();
        if deadline <= context.now {
            return match self.phase {
                Phase::Connecting => self.handle_connect_failed(context),
                Phase::Header | Phase::Open => Next::End(end),
            };
        }
        if self.phase == Phase::Open {
            self.set_lasting_options();
        }
        context.wheel.set(self.token.key, deadline);
        Next::Wait
    }

    /// Its backend went down, unless it or its backend is well again by now. A backend that has not accepted
    /// has had no byte, and so another one may serve the client.
    pub(crate) fn handle_backend_down(&mut self, context: &mut Context<'_>) -> Next {
        match self.phase {
            _ if !self.is_condemned() => Next::Wait,
            Phase::Header => Next::Wait,
            Phase::Connecting => self.handle_connect_failed(context),
            Phase::Open => Next::End(End::BackendDown),
        }
    }

    /// When it ends if nothing moves, and why.
    fn deadline(&self) -> (u64, End) {
        let timeouts = self.service.table().service().timeouts;
        let after = |since: u64, timeout: Duration| since.saturating_add(milliseconds(timeout));
        match self.phase {
            Phase::Header => return (after(self.started, HEADER_TIMEOUT), End::Refused),
            Phase::Connecting => return (after(self.active, timeouts.connect), End::ConnectFailed),
            Phase::Open => {}
        }
        let quiet = if self.up.is_ending() || self.down.is_ending() {
            (after(self.active, timeouts.half_close.min(timeouts.idle)), End::HalfClosed)
        } else {
            (after(self.active, timeouts.idle), End::Idle)
        };
        match timeouts.max.map(|max| after(self.started, max)) {
            Some(max) if max < quiet.0 => (max, End::MaxDuration),
            Some(_) | None => quiet,
        }
    }

    fn set_lasting_options(&mut self) {
        if let (false, Some(backend)) = (self.lasting, &self.backend) {
            // Without them the connection works all the same.
            let _ = connect::set_lasting_options(backend, &self.service.table().service().timeouts);
            self.lasting = true;
        }
    }

    /// Moves what can be moved, beginning with what came from `first`.
    fn pump(&mut self, first: Which, context: &mut Context<'_>) -> Next {
        let Some(backend) = self.backend.as_mut() else { return Next::End(End::Error) };
        let before = (self.up.bytes, self.down.bytes);
        let ending = self.up.is_ending() || self.down.is_ending();
        let (up, down) = match first {
            Which::Client => {
                let last = self.down.is_finished();
                let up = self.up.pump(&mut self.client, backend, context.moving, last);
                let last = self.up.is_finished();
                (up, self.down.pump(backend, &mut self.client, context.moving, last))
            }
            Which::Backend => {
                let last = self.up.is_finished();
                let down = self.down.pump(backend, &mut self.client, context.moving, last);
                let last = self.down.is_finished();
                (self.up.pump(&mut self.client, backend, context.moving, last), down)
            }
        };
        self.count(before, context);
        let (up, down) = match (up, down) {
            (Err(Broken::Source), _) | (_, Err(Broken::Target)) => return Next::End(End::ClientReset),
            (_, Err(Broken::Source)) | (Err(Broken::Target), _) => return Next::End(End::BackendReset),
            (Ok(up), Ok(down)) => (up, down),
        };
        if self.up.is_finished() && self.down.is_finished() {
            return Next::End(End::Closed);
        }
        if !ending && (self.up.is_ending() || self.down.is_ending()) {
            self.active = context.now;
            context.wheel.set_earlier(self.token.key, self.deadline().0);
        }
        if self.report_writable(context.epoll).is_err() {
            return Next::End(End::Error);
        }
        if up == Stopped::Turn || down == Stopped::Turn { Next::Turn } else { Next::Wait }
    }

    /// Counts what moved since `before`.
    fn count(&mut self, before: (u64, u64), context: &Context<'_>) {
        let up = self.up.bytes.saturating_sub(before.0);
        let down = self.down.bytes.saturating_sub(before.1);
        if up == 0 && down == 0 {
            return;
        }
        self.active = context.now;
        if let Some(counters) = self.service.counters.get(context.worker) {
            counters.bytes_in.add(up);
            counters.bytes_out.add(down);
        }
        if let Some(counters) = self.target.as_ref().and_then(|target| target.counters.get(context.worker)) {
            counters.bytes_in.add(up);
            counters.bytes_out.add(down);
        }
    }

    /// Has epoll report when a socket that takes nothing now can be written again.
    fn report_writable(&mut self, epoll: &OwnedFd) -> Result<(), Errno> {
        let sides = [(Some(&mut self.client), Which::Client), (self.backend.as_mut(), Which::Backend)];
        for (side, which) in sides {
            if let Some(side) = side.filter(|side| !side.writable && !side.reports_writable) {
                epoll::modify(epoll, &*side, self.token.data(which), INTEREST | EventFlags::OUT)?;
                side.reports_writable = true;
            }
        }
        Ok(())
    }

    fn flow_key(&self) -> FlowKey {
        FlowKey { client: self.client_address, service: self.vip, protocol: Protocol::Tcp }
    }

    /// Lets go of the backend, as one that could not be connected to or at the end.
    fn leave_target(&mut self, context: &Context<'_>) -> Option<Arc<BackendCell>> {
        let target = self.target.take()?;
        target.connections.fetch_sub(1, Ordering::Relaxed);
        if let Some(counters) = target.counters.get(context.worker) {
            counters.connections.decrement();
        }
        Some(target)
    }
}

/// Saturating.
pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
