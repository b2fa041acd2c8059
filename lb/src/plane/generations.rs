//! A service's two tables: who takes new flows now, and who took them before the last change.
//!
//! The older one holds until every flow that began by it has either sent a packet, and so was noted by the
//! programs, or been silent for longer than flows are kept. Later changes do not prolong that: what began in
//! between was noted from its first packet on.

use fulcrum_ebpf::plane::layout::Slots;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// Both tables.
#[derive(Debug, Clone)]
pub(crate) struct Generations {
    current: Arc<Slots>,
    previous: Arc<Slots>,
    /// Until when they may differ.
    until: Option<Instant>,
}

impl Generations {
    /// Of a new service.
    pub(crate) fn new(table: Arc<Slots>) -> Self {
        Self { previous: Arc::clone(&table), current: table, until: None }
    }

    /// Of one that an earlier life served: since when they differ is not known.
    pub(crate) fn adopted(current: Slots, previous: Slots, now: Instant, hold: Duration) -> Self {
        let until = if current == previous { None } else { now.checked_add(hold) };
        Self { current: Arc::new(current), previous: Arc::new(previous), until }
    }

    /// Who takes new flows.
    pub(crate) fn current(&self) -> &Arc<Slots> {
        &self.current
    }

    /// Who took them before.
    pub(crate) fn previous(&self) -> &Arc<Slots> {
        &self.previous
    }

    /// Until when they may differ.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Whether these are the very same tables, for as long.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.current, &other.current)
            && Arc::ptr_eq(&self.previous, &other.previous)
            && self.until == other.until
    }

    /// The older table is another, as on the node that leads.
    pub(crate) fn follow(&mut self, previous: Arc<Slots>, until: Option<Instant>) {
        self.until = until.filter(|_| previous != self.current);
        self.previous = previous;
    }

    /// Whether both are one.
    pub(crate) fn is_settled(&self) -> bool {
        self.until.is_none()
    }

    /// From now on new flows go by `table`.
    pub(crate) fn handle_table(&mut self, table: Arc<Slots>, now: Instant, hold: Duration) {
        self.current = table;
        if self.current == self.previous {
            // All is as it was, as after a backend that was down for a moment.
            self.until = None;
        } else if self.until.is_none() {
            self.until = now.checked_add(hold);
        }
    }

    /// Says whether the older table ended now.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> bool {
        if self.until.is_none_or(|until| now < until) {
            return false;
        }
        self.previous = Arc::clone(&self.current);
        self.until = None;
        true
    }
}
