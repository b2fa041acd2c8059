//! How many open files probes may use at a time.
//!
//! Never more than the process can spare, and fewer while this node is overloaded: probes that time out late
//! (10,000 TLS handshakes a second are too many for one thread) halve what may be in flight. Probes then wait
//! for their turn and intervals stretch, but no backend is called dead because we are slow.

use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// Overload never takes more than this away.
const LEAST: u32 = 16;
/// All that one stall spoils counts once.
const SHRINK_EVERY: Duration = Duration::from_millis(250);
/// After so many good outcomes, one more file may be used.
const GROW_AFTER: u32 = 16;

#[derive(Debug)]
pub(crate) struct Budget {
    most: u32,
    limit: u32,
    used: u32,
    good: u32,
    shrunk: Option<Instant>,
    /// When a probe last had to wait.
    lacked: Option<Instant>,
}

impl Budget {
    /// At most `most` files, and at least one probe.
    pub(crate) fn new(most: u32) -> Self {
        Self { most, limit: most, used: 0, good: 0, shrunk: None, lacked: None }
    }

    /// Whether a probe that needs so many may start. One that needs more than all runs alone.
    pub(crate) fn fits(&self, files: u32) -> bool {
        files == 0 || self.used == 0 || self.used.saturating_add(files) <= self.limit
    }

    /// A probe starts, if it may.
    pub(crate) fn take(&mut self, files: u32, now: Instant) -> bool {
        let fits = self.fits(files);
        if fits {
            self.used = self.used.saturating_add(files);
        } else {
            self.lacked = Some(now);
        }
        fits
    }

    /// Whether a probe that was due then had to wait.
    pub(crate) fn delayed(&self, due: Instant) -> bool {
        self.lacked.is_some_and(|lacked| due <= lacked)
    }

    /// A probe ended and gives back its files.
    pub(crate) fn give(&mut self, files: u32) {
        self.used = self.used.saturating_sub(files);
    }

    /// A probe said something about its target.
    pub(crate) fn handle_good(&mut self) {
        self.good = self.good.saturating_add(1);
        if self.good >= GROW_AFTER {
            self.good = 0;
            self.limit = self.limit.saturating_add(1).min(self.most);
        }
    }

    /// A probe timed out because of this node.
    pub(crate) fn handle_void(&mut self, now: Instant) {
        let is_new = |last: Instant| now.saturating_duration_since(last) >= SHRINK_EVERY;
        if self.shrunk.is_none_or(is_new) {
            self.shrunk = Some(now);
            self.limit = (self.limit >> 1).max(LEAST.min(self.most));
        }
    }
}
