//! Closes the connections of backends that went down: without delay, but not all at once.

#[cfg(test)]
mod tests;

use crate::connection::milliseconds;
use std::collections::VecDeque;
use std::time::Duration;

/// Batches of connections to close, each spread evenly over its time. Times are milliseconds.
#[derive(Debug)]
pub(crate) struct Pacer<K> {
    batches: VecDeque<Batch<K>>,
}

#[derive(Debug)]
struct Batch<K> {
    keys: Vec<K>,
    total: usize,
    start: u64,
    spread: u64,
}

impl<K> Pacer<K> {
    pub(crate) fn new() -> Self {
        Self { batches: VecDeque::new() }
    }

    /// Closes `keys`, the first at `start`, the last before `spread` is over from then.
    pub(crate) fn handle_batch(&mut self, keys: Vec<K>, spread: Duration, start: u64) {
        if !keys.is_empty() {
            let spread = milliseconds(spread);
            self.batches.push_back(Batch { total: keys.len(), keys, start, spread });
        }
    }

    /// The next connection to close by `now`; to be called until there is none.
    pub(crate) fn poll_due(&mut self, now: u64) -> Option<K> {
        self.batches.retain(|batch| !batch.keys.is_empty());
        self.batches
            .iter_mut()
            .find_map(|batch| (batch.next_time() <= now).then(|| batch.keys.pop()).flatten())
    }

    /// When the next connection is due.
    pub(crate) fn poll_timeout(&self) -> Option<u64> {
        self.batches.iter().filter(|batch| !batch.keys.is_empty()).map(Batch::next_time).min()
    }
}

impl<K> Batch<K> {
    /// The n-th of `total` is due n/total of the way: the first at once, the last before the end.
    fn next_time(&self) -> u64 {
        let closed = self.total.saturating_sub(self.keys.len());
        let part = u64::try_from(closed).unwrap_or(u64::MAX).saturating_mul(self.spread);
        let total = u64::try_from(self.total).unwrap_or(u64::MAX);
        self.start.saturating_add(part.checked_div(total).unwrap_or(0))
    }
}
