//! Messages that travel each by itself, put into the order in which they were said.

use std::collections::BTreeMap;
use std::sync::Arc;

/// More than a sender has on their way at a time.
const EARLY: usize = 64;

#[derive(Debug, Default)]
pub(super) struct InOrder {
    next: u64,
    early: BTreeMap<u64, Arc<[u8]>>,
}

impl InOrder {
    /// One came. Says whether there is room for it.
    pub(super) fn handle(&mut self, number: u64, bytes: Arc<[u8]>) -> bool {
        if number < self.next {
            return true;
        }
        self.early.insert(number, bytes);
        self.early.len() <= EARLY
    }

    /// The next in order, if it has come.
    pub(super) fn poll(&mut self) -> Option<Arc<[u8]>> {
        let bytes = self.early.remove(&self.next)?;
        self.next = self.next.saturating_add(1);
        Some(bytes)
    }
}
