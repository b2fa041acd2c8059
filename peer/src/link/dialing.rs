//! When to dial, and what it means when nobody answers.

use super::{Action, Failure, Link, after};
use crate::border::PeerState;
use crate::message::Message;
use std::time::{Duration, Instant};

/// How long the one of the higher name waits for the other to dial.
pub(super) const SECOND: Duration = Duration::from_secs(1);
/// Time between dials that nobody answers.
const PAUSE: Duration = Duration::from_millis(100);
/// Time between dials that are refused.
const PAUSE_REFUSED: Duration = Duration::from_millis(500);

impl Link {
    pub(super) fn first_dial(&self, now: Instant) -> Option<Instant> {
        Some(if self.dials_first() { now } else { after(now, SECOND) })
    }

    pub(super) fn dials_first(&self) -> bool {
        self.settings.own < self.settings.peer
    }

    /// This node has another key: the peer must see it before the old one is taken off its list. Whoever dialed the
    /// connection that stands dials again.
    pub(crate) fn handle_new_key(&mut self, now: Instant) {
        match self.current() {
            Some(current) if !current.ours => {
                self.actions.push_back(Action::Say(current.id, Message::Redial));
            }
            Some(_) | None => self.dial_anew(now),
        }
    }

    /// Another process of this node had a link a moment ago: the peer knows of nothing, and so does not dial.
    pub(crate) fn handle_inherited(&mut self, now: Instant) {
        self.dial.at = Some(now);
    }

    pub(super) fn dial_anew(&mut self, now: Instant) {
        self.dial.anew = self.current.is_some();
        self.dial.at = Some(now);
    }

    /// A connection could not be made.
    pub(crate) fn handle_dial_failed(&mut self, failure: Failure, now: Instant) {
        self.dial.pending = false;
        self.dial_failed(failure, now);
    }

    pub(super) fn dial_failed(&mut self, failure: Failure, now: Instant) {
        self.counters.dials_failed = self.counters.dials_failed.saturating_add(1);
        let pause = match failure {
            Failure::Refused(_) => PAUSE_REFUSED,
            Failure::Lost(_) => PAUSE,
        };
        self.dial.at = (self.current.is_none() || self.dial.anew).then(|| after(now, pause));
        self.note(failure, now);
    }

    /// Why there is no link, if there is none.
    pub(super) fn note(&mut self, failure: Failure, now: Instant) {
        let (state, reason) = match failure {
            Failure::Refused(reason) => {
                self.counters.keys_refused = self.counters.keys_refused.saturating_add(1);
                (PeerState::Refused, reason)
            }
            Failure::Lost(reason) => (PeerState::Down, reason),
        };
        if self.current.is_none() {
            self.set_state(state, &reason, now);
        }
    }

    /// Dials, if it is time to.
    pub(super) fn dial_if_due(&mut self, now: Instant) {
        if !self.dial.pending && self.dial.at.is_some_and(|at| at <= now) {
            self.dial.at = None;
            self.dial.pending = true;
            self.counters.dials = self.counters.dials.saturating_add(1);
            self.actions.push_back(Action::Dial { attempt: self.dial.attempt });
            self.dial.attempt = self.dial.attempt.wrapping_add(1);
        }
    }
}
