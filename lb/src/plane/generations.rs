//! A service's two tables: who takes new flows now, and who took them before the last change.
//!
//! Where they differ the older one holds until every flow that began by it has either sent a packet, and so was noted by
//! the programs, or been silent for longer than flows are kept. That is so for each slot by itself: one that a later change
//! moves waits from then on, since its flows were not noted until then, and no slot waits for others. A later change of a
//! slot that differs already does not prolong that: what began in between was noted from its first packet on.

use fulcrum_ebpf::plane::layout::Slots;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// Both tables.
#[derive(Debug, Clone)]
pub(crate) struct Generations {
    current: Arc<Slots>,
    previous: Arc<Slots>,
    /// The slots in which they differ, by until when they may.
    differing: BTreeMap<Instant, Vec<u16>>,
}

impl Generations {
    /// Of a new service.
    pub(crate) fn new(table: Arc<Slots>) -> Self {
        Self { previous: Arc::clone(&table), current: table, differing: BTreeMap::new() }
    }

    /// Of one that an earlier life served: since when they differ is not known.
    pub(crate) fn adopted(current: Slots, previous: Slots, now: Instant, hold: Duration) -> Self {
        let mut adopted = Self::new(Arc::new(current));
        adopted.follow(Arc::new(previous), now.checked_add(hold));
        adopted
    }

    /// Who takes new flows.
    pub(crate) fn current(&self) -> &Arc<Slots> {
        &self.current
    }

    /// Who took them before.
    pub(crate) fn previous(&self) -> &Arc<Slots> {
        &self.previous
    }

    /// Until when they may differ anywhere.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.differing.keys().next_back().copied()
    }

    /// Whether these are the very same tables, for as long.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.current, &other.current)
            && Arc::ptr_eq(&self.previous, &other.previous)
            && self.until() == other.until()
    }

    /// The older table is another, as on the node that leads.
    pub(crate) fn follow(&mut self, previous: Arc<Slots>, until: Option<Instant>) {
        self.previous = previous;
        self.differing.clear();
        self.wait(|_| true, until);
    }

    /// Whether both are one.
    pub(crate) fn is_settled(&self) -> bool {
        self.differing.is_empty()
    }

    /// From now on new flows go by `table`.
    pub(crate) fn handle_table(&mut self, table: Arc<Slots>, now: Instant, hold: Duration) {
        let before = std::mem::replace(&mut self.current, table);
        // Where all is as it was, as after a backend that was down for a moment, nothing waits.
        let (current, previous) = (&self.current.0, &self.previous.0);
        let differs = |slot: &u16| current.get(usize::from(*slot)) != previous.get(usize::from(*slot));
        self.differing.values_mut().for_each(|slots| slots.retain(differs));
        self.differing.retain(|_, slots| !slots.is_empty());
        let previous = Arc::clone(&self.previous);
        self.wait(|slot| before.0.get(slot) == previous.0.get(slot), now.checked_add(hold));
    }

    /// Those of `which` where the tables differ may do so for so long.
    fn wait(&mut self, which: impl Fn(usize) -> bool, until: Option<Instant>) {
        let pairs = (0..).zip(self.current.0.iter().zip(&self.previous.0));
        let differ = pairs.filter(|(slot, (new, old))| new != old && which(usize::from(*slot)));
        let slots: Vec<u16> = differ.map(|(slot, _)| slot).collect();
        if let Some(until) = until.filter(|_| !slots.is_empty()) {
            self.differing.entry(until).or_default().extend(slots);
        }
    }

    /// Says whether the older table ended now, or a part of it.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> bool {
        if self.differing.keys().next().is_none_or(|until| now < *until) {
            return false;
        }
        let mut previous = *self.previous;
        while let Some(over) = self.differing.first_entry().filter(|first| *first.key() <= now) {
            for slot in over.remove().into_iter().map(usize::from) {
                if let (Some(old), Some(new)) = (previous.0.get_mut(slot), self.current.0.get(slot)) {
                    *old = *new;
                }
            }
        }
        self.previous = if self.is_settled() { Arc::clone(&self.current) } else { Arc::new(previous) };
        true
    }
}
