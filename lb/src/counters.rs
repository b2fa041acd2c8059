//! Counters that cost next to nothing to count: each worker has its own, and they are summed when asked for.

use crate::{BackendStats, ServiceStats};
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that one worker writes and anybody reads.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds. Only the worker it belongs to may do so: this is no atomic addition, and so costs no bus lock.
    pub(crate) fn add(&self, amount: u64) {
        self.0.store(self.get().wrapping_add(amount), Ordering::Relaxed);
    }

    /// One less, for gauges.
    pub(crate) fn decrement(&self) {
        self.0.store(self.get().wrapping_sub(1), Ordering::Relaxed);
    }

    /// The number now.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Makes a struct of counters and its sum over workers. The alignment keeps workers off each other's cache lines.
macro_rules! counters {
    ($(#[$doc:meta])* $name:ident => $stats:ident { $($field:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        #[repr(align(64))]
        pub(crate) struct $name {
            $(pub(crate) $field: Counter,)+
        }

        impl $name {
            /// Zeroes, for each worker.
            pub(crate) fn for_workers(workers: usize) -> Box<[Self]> {
                std::iter::repeat_with(Self::default).take(workers).collect()
            }

            /// What all workers counted together. A gauge that one worker raised and another lowered wraps
            /// in each and is right in the sum.
            pub(crate) fn sum(workers: &[Self]) -> $stats {
                let mut sum = $stats::default();
                for worker in workers {
                    $(sum.$field = sum.$field.wrapping_add(worker.$field.get());)+
                }
                sum
            }
        }
    };
}

counters! {
    /// Of a service.
    ServiceCounters => ServiceStats {
        connections, accepted, refused_no_backend, refused_source, refused_limit, refused_rate,
        refused_proxy_header, connect_failed, retries, timed_out, reset, closed_backend_down, log_dropped,
        bytes_in, bytes_out, datagrams_in, datagrams_out, datagrams_dropped, sessions_evicted,
    }
}

counters! {
    /// Of a backend within a service.
    BackendCounters => BackendStats { connections, connected, connect_failed, bytes_in, bytes_out }
}
