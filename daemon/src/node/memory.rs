//! When the memory that a change took for a moment is given back.

#[cfg(test)]
mod tests;

/// Of so many services a change takes so much that it is worth the time.
const MANY: usize = 1_000;

/// What was looked at.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// The serial number at the last look.
    seen: u64,
    /// That of the last time.
    given_back: u64,
}

impl Memory {
    /// Whether to give it back now: once for each change of many services, when no other followed since the last look.
    pub(super) fn is_left(&mut self, serial: u64, services: usize) -> bool {
        let rests = std::mem::replace(&mut self.seen, serial) == serial;
        let is_left = rests && self.given_back != serial && services >= MANY;
        if is_left {
            self.given_back = serial;
        }
        is_left
    }
}
