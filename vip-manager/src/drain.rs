//! How long a group's addresses stay local after this node handed it over: what is on its way still arrives, and
//! proxied connections are finished, whose packets the new leader passes on.

use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// What is on its way takes no longer.
const LINGER: Duration = Duration::from_millis(150);
/// Whether there are connections is known only some time after they were made.
const UNKNOWN: Duration = Duration::from_secs(1);

/// Whether and until when this node drains a group.
#[derive(Debug, Default)]
pub(crate) struct Drain {
    /// Whether it has connections, leading or not.
    held: bool,
    draining: Option<Draining>,
}

#[derive(Debug)]
struct Draining {
    /// Whatever happens.
    deadline: Instant,
    /// Not before, if there may be connections.
    least: Instant,
    until: Instant,
}

impl Drain {
    /// The data plane has connections of the group, or none.
    pub(crate) fn handle_held(&mut self, held: bool, now: Instant) {
        if std::mem::replace(&mut self.held, held) != held {
            self.update(now);
        }
    }

    /// The group was handed over; its connections may be finished for `finish` at most.
    pub(crate) fn handle_handover(&mut self, finish: Duration, now: Instant) {
        let after = |wait: Duration| now.checked_add(wait).unwrap_or(now);
        let deadline = after(finish.max(LINGER));
        self.draining = Some(Draining { deadline, least: after(UNKNOWN), until: deadline });
        self.update(now);
    }

    /// This node leads, or must not go on: nothing is drained.
    pub(crate) fn handle_end(&mut self) {
        self.draining = None;
    }

    /// The process ends: what is on its way still arrives.
    pub(crate) fn handle_stop(&mut self, now: Instant) {
        if let Some(draining) = &mut self.draining {
            let soon = now.checked_add(LINGER).unwrap_or(now);
            draining.deadline = draining.deadline.min(soon);
            draining.until = draining.until.min(soon);
        }
    }

    /// Ends what has lasted long enough.
    pub(crate) fn handle_timer(&mut self, now: Instant) {
        if self.draining.as_ref().is_some_and(|draining| draining.until <= now) {
            self.draining = None;
        }
    }

    /// Whether it has drained only for a moment: what belongs to the new leader may still come here.
    pub(crate) fn is_new(&self, now: Instant) -> bool {
        self.draining.as_ref().is_some_and(|draining| now < draining.least)
    }

    /// Until when it drains, if it does: earlier if its connections end earlier.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.draining.as_ref().map(|draining| draining.until)
    }

    fn update(&mut self, now: Instant) {
        let Some(draining) = &mut self.draining else { return };
        let soon = now.checked_add(LINGER).unwrap_or(now);
        let until = if self.held { draining.deadline } else { draining.least.max(soon) };
        draining.until = until.min(draining.deadline);
    }
}
