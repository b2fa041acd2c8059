//! How long this process stood still: paused, stopped, or starved of CPU.
//!
//! A probe that times out while nobody looked at its answer says nothing about the backend. The driver ticks
//! at least every [`TICK`] while probes are in flight; a tick that comes later shows a stall.

use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// The driver looks at least this often while probes are in flight.
pub(crate) const TICK: Duration = Duration::from_millis(50);

/// The time this process has lost so far.
#[derive(Debug)]
pub(crate) struct Stall {
    last: Instant,
    lost: Duration,
}

impl Stall {
    pub(crate) fn new(now: Instant) -> Self {
        Self { last: now, lost: Duration::ZERO }
    }

    /// The driver runs. `watching` says whether it meant to tick since the last time.
    pub(crate) fn handle_tick(&mut self, watching: bool, now: Instant) {
        let gap = now.saturating_duration_since(self.last);
        if watching && gap >= TICK.saturating_mul(2) {
            self.lost = self.lost.saturating_add(gap.saturating_sub(TICK));
        }
        self.last = now;
    }

    /// All time lost since the start; the difference of two readings is what was lost between them.
    pub(crate) fn lost(&self) -> Duration {
        self.lost
    }

    /// When the driver has to look again.
    pub(crate) fn poll_timeout(&self) -> Instant {
        self.last.checked_add(TICK).unwrap_or(self.last)
    }
}
