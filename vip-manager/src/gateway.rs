//! Whether a neighbour, usually the gateway, answers ARP or ND.

use std::time::{Duration, Instant};

/// Probes one neighbour. It counts as reachable until probes go unanswered.
#[derive(Debug)]
pub struct Gateway {
    interval: Duration,
    fall: u32,
    rise: u32,
    reachable: bool,
    /// Probes in a row that speak against the present verdict.
    against: u32,
    /// Whether the last probe was answered; `None` before the first.
    answered: Option<bool>,
    due: Instant,
}

impl Gateway {
    /// One that probes now, and then every `interval`.
    #[must_use]
    pub fn new(interval: Duration, fall: u32, rise: u32, now: Instant) -> Self {
        Self { interval, fall, rise, reachable: true, against: 0, answered: None, due: now }
    }

    /// The neighbour answered.
    pub fn handle_answer(&mut self) {
        if self.answered == Some(false) {
            self.answered = Some(true);
        }
    }

    /// Whether to send a probe now. What became of the one before is counted at that moment.
    pub fn poll_probe(&mut self, now: Instant) -> bool {
        if now < self.due {
            return false;
        }
        if let Some(answered) = self.answered {
            self.count(answered);
        }
        self.answered = Some(false);
        self.due = now.checked_add(self.interval).unwrap_or(now);
        true
    }

    /// When to ask [`Gateway::poll_probe`] again.
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        self.due
    }

    /// Whether it is reachable.
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        self.reachable
    }

    fn count(&mut self, answered: bool) {
        if answered == self.reachable {
            self.against = 0;
            return;
        }
        self.against = self.against.saturating_add(1);
        let needed = if self.reachable { self.fall } else { self.rise };
        if self.against >= needed {
            self.reachable = answered;
            self.against = 0;
        }
    }
}

#[cfg(test)]
mod tests;
