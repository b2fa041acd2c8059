//! A token bucket in one number, shared by all workers without a lock.

use fulcrum_config::Rate;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Nanoseconds since a fixed instant, so that a time fits an atomic number (584 years).
pub(crate) fn nanoseconds(epoch: Instant, now: Instant) -> u64 {
    u64::try_from(now.saturating_duration_since(epoch).as_nanos()).unwrap_or(u64::MAX)
}

/// A rate as the generic cell rate algorithm wants it (ITU-T I.371, appendix A; a token bucket in another
/// notation): each event moves the bucket's *theoretical arrival time* by `interval`, and conforms while that
/// time is at most `tolerance` ahead of now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace {
    /// Nanoseconds between events at the average rate; at least 1.
    interval: u64,
    /// How far ahead of now the theoretical arrival time may be, in nanoseconds.
    tolerance: u64,
}

impl Pace {
    /// The interval is rounded up to a nanosecond: never more than asked for, less by at most 1% up to
    /// 10 million a second.
    pub(crate) fn new(rate: Rate) -> Self {
        let interval = 1_000_000_000_u64.div_ceil(u64::from(rate.per_second.max(1)));
        let tolerance = interval.saturating_mul(u64::from(rate.burst.max(1).saturating_sub(1)));
        Self { interval, tolerance }
    }

    /// The theoretical arrival time after one more event at `now`, or nothing if it does not conform.
    ///
    /// A time further ahead than this pace allows (its rate was raised since) counts as a full debt only.
    pub(crate) fn advance(self, arrival: u64, now: u64) -> Option<u64> {
        let limit = now.saturating_add(self.tolerance);
        let debt = arrival.min(limit.saturating_add(self.interval)).max(now);
        (debt <= limit).then(|| debt.saturating_add(self.interval))
    }

    /// The theoretical arrival time as if the last event had not been.
    pub(crate) fn refund(self, arrival: u64) -> u64 {
        arrival.saturating_sub(self.interval)
    }

    /// How long one token takes.
    #[cfg(test)]
    pub(crate) fn interval(self) -> std::time::Duration {
        std::time::Duration::from_nanos(self.interval)
    }
}

/// A token bucket that several workers take from. Exact: however many threads race, no more than the burst and
/// the rate get through.
#[derive(Debug, Default)]
pub(crate) struct SharedBucket(AtomicU64);

impl SharedBucket {
    /// Takes a token, if there is one.
    pub(crate) fn take(&self, pace: Pace, now: u64) -> bool {
        // Only this number is shared, and no other data is ordered by it.
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |arrival| pace.advance(arrival, now))
            .is_ok()
    }
}
