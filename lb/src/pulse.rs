//! Whether the worker threads still run. Each is asked from time to time and answers by its next turn; one that
//! does not answer keeps its listeners, and so its share of the clients, waiting.

use rustix::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// A worker that has not answered for this long is stuck.
const STUCK: Duration = Duration::from_secs(3);

/// One thread's answers.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    asked: AtomicU64,
    answered: AtomicU64,
}

impl Pulse {
    /// For the thread itself, at each turn of its loop.
    pub(crate) fn answer(&self) {
        self.answered.store(self.asked.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    fn has_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed) == self.asked.load(Ordering::Relaxed)
    }
}

/// A thread that is asked.
#[derive(Debug)]
struct Watched {
    name: String,
    pulse: Arc<Pulse>,
    wake: Arc<OwnedFd>,
    asked_at: Option<Instant>,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Pulses {
    watched: Vec<Watched>,
}

impl Pulses {
    /// One more thread; writing to `wake` ends its wait for events.
    pub(crate) fn watch(&mut self, name: String, pulse: Arc<Pulse>, wake: Arc<OwnedFd>) {
        self.watched.push(Watched { name, pulse, wake, asked_at: None });
    }

    /// Asks those that have answered again. Gives the names of the others that are stuck.
    pub(crate) fn check(&mut self, now: Instant) -> Vec<String> {
        let mut stuck = Vec::new();
        for thread in &mut self.watched {
            match thread.asked_at {
                Some(asked) if !thread.pulse.has_answered() => {
                    if now.saturating_duration_since(asked) >= STUCK {
                        stuck.push(thread.name.clone());
                    }
                }
                Some(_) | None => {
                    thread.asked_at = Some(now);
                    thread.pulse.asked.fetch_add(1, Ordering::Relaxed);
                    // Full means that it is awake.
                    let _ = rustix::io::write(&*thread.wake, &1_u64.to_ne_bytes());
                }
            }
        }
        stuck
    }
}
