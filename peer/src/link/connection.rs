//! One of a link's connections: its heartbeats, and when it ends.

use super::in_order::InOrder;
use super::{Code, Id, after};
use crate::border::{Answer, Offer, Text};
use crate::message::Hello;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Heartbeats whose echo is still waited for.
const WAITING: usize = 64;

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: Id,
    /// Dialed from here.
    pub(super) ours: bool,
    pub(super) address: SocketAddr,
    pub(super) hello: Option<Hello>,
    /// The peer has been heard on it.
    pub(super) heard: bool,
    pub(super) opened: Instant,
    pub(super) heard_at: Instant,
    pub(super) beat_at: Instant,
    /// It was replaced, and stays so long.
    pub(super) retire_at: Option<Instant>,
    /// What the peer's data plane says.
    pub(super) flows: InOrder,
    pub(super) theirs: Theirs,
    next: u64,
    /// Numbers of heartbeats and when they were sent, in order.
    waiting: VecDeque<(u64, Instant)>,
    highest: Option<u64>,
}

/// What the peer said of changes of the configuration. On another connection it says all that still holds again.
#[derive(Debug, Default)]
pub(super) struct Theirs {
    pub(super) offer: Latest<Offer>,
    pub(super) answer: Latest<Answer>,
    pub(super) text: Latest<Text>,
}

/// What was said last.
#[derive(Debug)]
pub(super) struct Latest<T> {
    stream: Option<u64>,
    pub(super) said: Option<Arc<T>>,
}

impl<T> Default for Latest<T> {
    fn default() -> Self {
        Self { stream: None, said: None }
    }
}

impl<T> Latest<T> {
    /// Each message travels by itself: what was said later may come earlier.
    pub(super) fn handle(&mut self, stream: u64, said: Option<Arc<T>>) {
        if self.stream.is_none_or(|known| known < stream) {
            *self = Self { stream: Some(stream), said };
        }
    }
}

impl Connection {
    pub(super) fn new(id: Id, ours: bool, address: SocketAddr, now: Instant) -> Self {
        Self {
            id,
            ours,
            address,
            hello: None,
            heard: false,
            opened: now,
            heard_at: now,
            beat_at: now,
            retire_at: None,
            flows: InOrder::default(),
            theirs: Theirs::default(),
            next: 0,
            waiting: VecDeque::new(),
            highest: None,
        }
    }

    /// The number of the heartbeat that is due.
    pub(super) fn poll_beat(&mut self, beat: Duration, now: Instant) -> Option<u64> {
        if self.beat_at > now {
            return None;
        }
        self.beat_at = after(now, beat);
        let number = self.next;
        self.next = number.saturating_add(1);
        if self.waiting.len() >= WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back((number, now));
        Some(number)
    }

    #[cfg(test)]
    pub(super) fn wait_for(&mut self, number: u64, sent: Instant) {
        self.waiting.push_back((number, sent));
    }

    /// Whether it is newer than all before it.
    pub(super) fn handle_beat(&mut self, number: u64, now: Instant) -> bool {
        if self.highest.is_some_and(|highest| number <= highest) {
            return false;
        }
        self.highest = Some(number);
        self.heard_at = now;
        self.heard = true;
        true
    }

    /// When this heartbeat was sent, if it was and is not answered yet.
    pub(super) fn handle_echo(&mut self, number: u64, now: Instant) -> Option<Instant> {
        let index = self.waiting.iter().position(|(waiting, _)| *waiting == number)?;
        let (_, sent) = self.waiting.remove(index)?;
        self.heard_at = now;
        Some(sent)
    }

    /// Why it ends now, if it does.
    pub(super) fn ends(&self, silence: Duration, hello: Duration, now: Instant) -> Option<Code> {
        if self.retire_at.is_some_and(|at| at <= now) {
            return Some(Code::Replaced);
        }
        (self.ends_at(silence, hello) <= now).then_some(Code::Silent)
    }

    fn ends_at(&self, silence: Duration, hello: Duration) -> Instant {
        if self.hello.is_some() { after(self.heard_at, silence) } else { after(self.opened, hello) }
    }

    /// When to look at it next.
    pub(super) fn timeout(&self, silence: Duration, hello: Duration) -> Instant {
        let ends = self.ends_at(silence, hello).min(self.beat_at);
        self.retire_at.map_or(ends, |at| at.min(ends))
    }
}
