//! Taking connections: how many at a time, which worker gets them, and what happens when there are too many.

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)] // Numbers of tests are small.
mod tests;

use super::{OTHERS, Worker};
use crate::connect;
use crate::listener::Listener;
use crate::shared::{Message, PER_CONNECTION};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::SocketFlags;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Connections taken from one listener before others get their turn.
const MOST: usize = 32;
/// More are taken at a time when all were there so many times in a row.
const FULL_BURSTS: u8 = 4;
/// Connections that may be passed on at once to even out a small difference,
pub(super) const PASS_ON_BURST: u32 = 256;
/// and how many milliseconds it takes until one more may. Short connections come and go faster than that;
/// passing them on would cost more than it helps.
const PASS_ON_EVERY: u64 = 20;
/// How long a listener rests that cannot listen, or when not even a refusal was possible, in milliseconds.
const REST: u64 = 100;
/// How often the log says that descriptors are used up.
const WARN_EVERY: Duration = Duration::from_secs(1);

/// A listener and what is known of it.
#[derive(Debug)]
pub(super) struct Taking {
    listener: Arc<Listener>,
    serves: bool,
    resting: bool,
    /// How many to take at a time: an attempt too many costs as much as half a connection.
    burst: usize,
    /// How often in a row all of them were there.
    full_bursts: u8,
}

impl Worker {
    pub(super) fn take_listener(&mut self, id: usize, listener: Arc<Listener>, serve: bool) {
        if id >= self.listeners.len() {
            self.listeners.resize_with(id.saturating_add(1), || None);
        }
        if !serve {
            // It may come from a worker where it served.
            listener.refuse();
        }
        if let Some(place) = self.listeners.get_mut(id) {
            *place = Some(Taking { listener, serves: false, resting: false, burst: 1, full_bursts: 0 });
        }
        self.serve(id, serve);
    }

    /// Another worker goes on with it: what waits to be accepted stays.
    pub(super) fn leave_listener(&mut self, id: usize) {
        let Some(taking) = self.listeners.get_mut(id).and_then(Option::take) else { return };
        if taking.serves && !taking.resting {
            // It fails only if it is not there.
            let _ = epoll::delete(&self.epoll, &taking.listener.socket);
        }
    }

    pub(super) fn serve(&mut self, id: usize, serve: bool) {
        let Some(taking) = self.listeners.get_mut(id).and_then(Option::as_mut) else { return };
        if taking.serves == serve {
            return;
        }
        taking.serves = serve;
        let rested = std::mem::take(&mut taking.resting);
        let socket = &taking.listener.socket;
        let done = if serve {
            // The order matters: a socket that does not listen reports an error for ever.
            let listening = taking.listener.listen();
            listening.and_then(|()| epoll::add(&self.epoll, socket, listener_data(id), EventFlags::IN))
        } else {
            let deleted = if rested { Ok(()) } else { epoll::delete(&self.epoll, socket) };
            taking.listener.refuse();
            deleted
        };
        let Err(error) = done else { return };
        let Listener { address, service, .. } = &*taking.listener;
        tracing::error!(%error, %address, service = %service.load().name, serve, "a listener could not be switched");
        if serve {
            // Another process may have the port for now.
            taking.resting = true;
            self.resting = Some(self.milliseconds().saturating_add(REST));
        }
    }

    pub(super) fn close_listener(&mut self, id: usize) {
        self.serve(id, false);
        if let Some(place) = self.listeners.get_mut(id) {
            *place = None;
        }
    }

    pub(super) fn handle_listener(&mut self, id: usize) {
        let Some(taking) = self.listeners.get(id).and_then(Option::as_ref) else { return };
        let listener = Arc::clone(&taking.listener);
        let burst = taking.burst;
        let mut taken: usize = 0;
        let drained = loop {
            if taken == burst {
                break false;
            }
            match accept(&listener) {
                Ok((socket, client)) => {
                    taken = taken.saturating_add(1);
                    self.handle_client(socket, client, &listener);
                }
                Err(Errno::AGAIN) => break true,
                Err(error) => match Fault::of(error) {
                    Fault::Connection => taken = taken.saturating_add(1),
                    Fault::Exhausted => {
                        self.handle_exhausted(id, &listener, error);
                        break true;
                    }
                    Fault::Listener => {
                        self.handle_broken(id, &listener, error);
                        break true;
                    }
                },
            }
        };
        if let Some(taking) = self.listeners.get_mut(id).and_then(Option::as_mut) {
            taking.full_bursts = if drained { 0 } else { taking.full_bursts.saturating_add(1) };
            if drained {
                taking.burst = taken.max(1);
            } else if taking.full_bursts >= FULL_BURSTS {
                taking.full_bursts = 0;
                taking.burst = burst.saturating_mul(2).min(MOST);
            }
        }
    }

    /// A client is here: is there room, and is it ours?
    fn handle_client(&mut self, socket: OwnedFd, client: SocketAddr, listener: &Arc<Listener>) {
        let descriptors = &self.shared.descriptors;
        let protected = listener.service.load().table().desired.protected;
        let taken = if protected {
            descriptors.take_protected(PER_CONNECTION)
        } else {
            descriptors.take(PER_CONNECTION)
        };
        if !taken {
            // Dropped, and so reset.
            self.warn_exhausted("the limit on connections is reached");
            return;
        }
        match self.less_busy() {
            Some(other) => {
                let message = Message::Accepted { socket, client, listener: Arc::clone(listener) };
                if let Some(other) = self.shared.workers.get(other) {
                    // Counted here at once, so that the next one does not go there for the same reason.
                    other.connections.fetch_add(1, Ordering::Relaxed);
                    other.send(message);
                }
            }
            None => self.insert(socket, client, listener),
        }
    }

    /// A client that another worker has accepted for this one.
    pub(super) fn take_client(&mut self, socket: OwnedFd, client: SocketAddr, listener: &Listener) {
        self.insert(socket, client, listener);
    }

    fn less_busy(&mut self) -> Option<usize> {
        let class = self.shared.of_class(self.shared.is_protected(self.index));
        let (own, first) = (self.index.saturating_sub(class.start), class.start);
        let workers = self.shared.workers.get(class)?;
        let loads = workers.iter().map(|worker| worker.connections.load(Ordering::Relaxed));
        let (other, difference) = less_busy(own, self.connections.len(), loads)?;
        let other = first.saturating_add(other);
        if difference == Difference::Large {
            return Some(other);
        }
        let now = self.milliseconds();
        let earned = now.saturating_sub(self.passed_on_at) / PASS_ON_EVERY;
        if earned > 0 {
            self.passed_on_at = now;
            let earned = u32::try_from(earned).unwrap_or(u32::MAX);
            self.may_pass_on = self.may_pass_on.saturating_add(earned).min(PASS_ON_BURST);
        }
        self.may_pass_on = self.may_pass_on.checked_sub(1)?;
        Some(other)
    }

    /// There is no descriptor to accept with: gives up the spare one to refuse a client. If another thread was quicker to
    /// take it, refuses all who wait, and rests.
    fn handle_exhausted(&mut self, id: usize, listener: &Listener, error: Errno) {
        self.warn_exhausted(&error.to_string());
        self.shared.descriptors.count_refused();
        let had_spare = self.spare.take().is_some();
        let refused = had_spare && accept(listener).is_ok();
        self.spare = rustix::io::dup(&self.epoll).ok();
        if refused && self.spare.is_some() {
            return;
        }
        // Takes no descriptor: they are reset as the socket stops to listen.
        listener.refuse();
        if let Err(error) = listener.listen() {
            self.handle_broken(id, listener, error);
            return;
        }
        self.rest(id);
    }

    /// A listener from which nothing can be accepted would be reported for ever, and so it rests.
    fn handle_broken(&mut self, id: usize, listener: &Listener, error: Errno) {
        self.warn_broken(listener, error);
        self.rest(id);
    }

    /// Leaves a listener alone for a moment.
    fn rest(&mut self, id: usize) {
        if let Some(taking) = self.listeners.get_mut(id).and_then(Option::as_mut)
            && !taking.resting
            && epoll::delete(&self.epoll, &taking.listener.socket).is_ok()
        {
            taking.resting = true;
            self.resting = Some(self.milliseconds().saturating_add(REST));
        }
    }

    pub(super) fn wake_resting(&mut self) {
        if self.spare.is_none() {
            self.spare = rustix::io::dup(&self.epoll).ok();
        }
        let mut failed = None;
        for (id, taking) in self.listeners.iter_mut().enumerate() {
            let Some(taking) = taking.as_mut().filter(|taking| taking.resting) else { continue };
            let socket = &taking.listener.socket;
            // It may not listen, or no longer; if it does, nothing changes.
            let listening = taking.listener.listen();
            match listening.and_then(|()| epoll::add(&self.epoll, socket, listener_data(id), EventFlags::IN))
            {
                Ok(()) => taking.resting = false,
                Err(error) => failed = Some((Arc::clone(&taking.listener), error)),
            }
        }
        if let Some((listener, error)) = failed {
            self.resting = Some(self.milliseconds().saturating_add(REST));
            self.warn_broken(&listener, error);
        }
    }

    /// Now and then.
    fn may_warn(&mut self) -> bool {
        let due = self.warned.is_none_or(|at| self.now.saturating_duration_since(at) >= WARN_EVERY);
        if due {
            self.warned = Some(self.now);
        }
        due
    }

    fn warn_broken(&mut self, listener: &Listener, error: Errno) {
        if self.may_warn() {
            let Listener { address, service, .. } = listener;
            tracing::error!(%error, %address, service = %service.load().name, "a listener cannot accept; it is tried again");
        }
    }

    pub(super) fn warn_exhausted(&mut self, reason: &str) {
        if self.may_warn() {
            tracing::warn!(
                reason,
                limit = self.shared.descriptors.limit() / PER_CONNECTION,
                refused = self.shared.descriptors.refused(),
                "new connections are refused, those that exist go on; raise the limit on open files"
            );
        }
    }
}

/// What an error of `accept` is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The connection that would have come: it is gone, or the network or a filter ended it. Linux reports
    /// such errors of the new socket here (accept(2)).
    Connection,
    /// This process or the system has no descriptor or no memory for it.
    Exhausted,
    /// The listener itself.
    Listener,
}

impl Fault {
    fn of(error: Errno) -> Self {
        match error {
            error if connect::is_exhausted(error) => Self::Exhausted,
            Errno::BADF | Errno::INVAL | Errno::NOTSOCK | Errno::FAULT => Self::Listener,
            _ => Self::Connection,
        }
    }
}

/// How much busier one worker is than another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Difference {
    Small,
    Large,
}

/// A worker with clearly fewer connections than `own`, if there is one. The kernel spreads connections by hash,
/// which is even only for many; a handful of long ones could all be on one worker.
fn less_busy(index: usize, own: usize, loads: impl Iterator<Item = usize>) -> Option<(usize, Difference)> {
    let others = loads.enumerate().filter(|(other, _)| *other != index);
    let (other, least) = others.min_by_key(|(_, load)| *load)?;
    let small = least.saturating_add(1).saturating_add(least / 8);
    let large = least.saturating_mul(2).saturating_add(32);
    let difference = if own > large { Difference::Large } else { Difference::Small };
    (own > small).then_some((other, difference))
}

fn listener_data(id: usize) -> EventData {
    EventData::new_u64(OTHERS | u64::try_from(id).unwrap_or(0))
}

fn accept(listener: &Listener) -> Result<(OwnedFd, SocketAddr), Errno> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (socket, client) = rustix::net::acceptfrom_with(&listener.socket, flags)?;
    let client = client.and_then(|client| SocketAddr::try_from(client).ok());
    Ok((socket, client.ok_or(Errno::CONNABORTED)?))
}
