//! How many flows each backend has, of those that are known one by one: counted now and then, and in between by news of
//! what began and ended.

use super::schedule::Load;
use std::collections::BTreeMap;

#[cfg(test)]
mod tests;

/// What became of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// It began.
    Begun,
    /// One of both has ended it. The other may go on for a while; it counts no more.
    Ended,
    /// Nothing that counts.
    Other,
}

/// By the index of the backend.
#[derive(Debug, Default)]
pub(crate) struct Live(BTreeMap<u32, Load>);

impl Live {
    /// So many live now; others have none.
    pub(crate) fn handle_count(&mut self, counted: &BTreeMap<u32, u64>) {
        for (backend, load) in &mut self.0 {
            load.live = counted.get(backend).copied().unwrap_or(0);
        }
        for (backend, live) in counted {
            self.0.entry(*backend).or_insert(Load { live: *live, given: 0 });
        }
        self.0.retain(|_, load| *load != Load::default());
    }

    /// There are news of a flow to `backend`.
    pub(crate) fn handle_change(&mut self, backend: u32, change: Change) {
        if change == Change::Other {
            return;
        }
        let load = self.0.entry(backend).or_default();
        if change == Change::Begun {
            load.live = load.live.saturating_add(1);
            load.given = load.given.saturating_add(1);
        } else {
            load.live = load.live.saturating_sub(1);
        }
    }

    /// What a backend has, and what it got since this began to count.
    pub(crate) fn of(&self, backend: u32) -> Load {
        self.0.get(&backend).copied().unwrap_or_default()
    }
}
