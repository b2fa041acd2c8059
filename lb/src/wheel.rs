//! One coarse timer for all connections of a worker (Varghese and Lauck's hashed wheel).
//!
//! Each key has at most one time. A time beyond the horizon comes early, at the horizon, and is set again by
//! its owner; that makes setting, moving and cancelling cost the same few writes however many keys there are.

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)] // Times of tests are small.
mod tests;

/// Slots of the wheel; a power of two.
const SLOTS: usize = 1024;
const SLOT_MASK: u64 = SLOTS as u64 - 1;
/// Words of the map of occupied slots.
const WORDS: usize = SLOTS / 64;
/// Milliseconds of one slot: how late a time may come.
const GRAIN: u64 = 64;
/// No link.
const NONE: u32 = u32::MAX;

/// Keys that wait, each in the list of its slot.
#[derive(Debug)]
pub(crate) struct Wheel {
    links: Vec<Link>,
    heads: Box<[u32]>,
    /// A bit for each slot that has a key, so that the next one is found without looking at all.
    occupied: [u64; WORDS],
    /// Slots count from time 0; those before this one are empty.
    current: u64,
    waiting: usize,
}

#[derive(Debug, Clone, Copy)]
struct Link {
    previous: u32,
    next: u32,
    /// Milliseconds; meaningful while `waiting`.
    time: u64,
    waiting: bool,
}

const FREE: Link = Link { previous: NONE, next: NONE, time: 0, waiting: false };

impl Wheel {
    pub(crate) fn new() -> Self {
        Self {
            links: Vec::new(),
            heads: vec![NONE; SLOTS].into(),
            occupied: [0; WORDS],
            current: 0,
            waiting: 0,
        }
    }

    /// Wakes `key` at `time` (milliseconds), in place of any time it had.
    pub(crate) fn set(&mut self, key: u32, time: u64) {
        self.cancel(key);
        let at = usize_of(key);
        if at >= self.links.len() {
            self.links.resize(at.saturating_add(1), FREE);
        }
        let last = self.current.saturating_add(SLOTS as u64).saturating_sub(1);
        let slot = time.div_ceil(GRAIN).clamp(self.current.saturating_add(1).min(last), last);
        let time = slot.saturating_mul(GRAIN);
        let head = self.heads.get(slot_index(slot)).copied().unwrap_or(NONE);
        if let Some(link) = self.links.get_mut(at) {
            *link = Link { previous: NONE, next: head, time, waiting: true };
        }
        self.link_mut(head, |link| link.previous = key);
        self.set_head(slot, key);
        self.waiting = self.waiting.saturating_add(1);
    }

    /// As [`Self::set`], unless `key` wakes earlier anyway.
    pub(crate) fn set_earlier(&mut self, key: u32, time: u64) {
        let waits_for = self.links.get(usize_of(key)).filter(|link| link.waiting).map(|link| link.time);
        if waits_for.is_none_or(|other| time < other) {
            self.set(key, time);
        }
    }

    /// Forgets `key`.
    pub(crate) fn cancel(&mut self, key: u32) {
        let Some(link) = self.links.get_mut(usize_of(key)).filter(|link| link.waiting) else { return };
        let Link { previous, next, time, .. } = std::mem::replace(link, FREE);
        self.waiting = self.waiting.saturating_sub(1);
        self.link_mut(next, |link| link.previous = previous);
        if previous == NONE {
            self.set_head(time.div_euclid(GRAIN), next);
        } else {
            self.link_mut(previous, |link| link.next = next);
        }
    }

    /// A key whose time has come; to be called until there is none.
    pub(crate) fn poll_expired(&mut self, now: u64) -> Option<u32> {
        let until = now.div_euclid(GRAIN);
        if self.waiting == 0 {
            self.current = self.current.max(until);
            return None;
        }
        loop {
            let head = self.heads.get(slot_index(self.current)).copied().unwrap_or(NONE);
            if head != NONE && self.current <= until {
                self.cancel(head);
                return Some(head);
            }
            if self.current >= until {
                return None;
            }
            self.current = self.current.saturating_add(1);
        }
    }

    /// When a key may next expire.
    pub(crate) fn poll_timeout(&self) -> Option<u64> {
        if self.waiting == 0 {
            return None;
        }
        // The word of the current slot comes first, without the slots before it, and last, with them.
        let first = slot_index(self.current) / 64;
        let mut mask = u64::MAX.wrapping_shl(bit(self.current));
        (first..=first.saturating_add(WORDS)).find_map(|word| {
            let bits = self.occupied.get(word % WORDS)? & std::mem::replace(&mut mask, u64::MAX);
            let index = u64::try_from(word % WORDS).ok()?.saturating_mul(64);
            let index = index.saturating_add(u64::from(bits.trailing_zeros()));
            let ahead = index.wrapping_sub(self.current) & SLOT_MASK;
            (bits != 0).then(|| self.current.saturating_add(ahead).saturating_mul(GRAIN))
        })
    }

    fn set_head(&mut self, slot: u64, key: u32) {
        if let Some(head) = self.heads.get_mut(slot_index(slot)) {
            *head = key;
        }
        if let Some(word) = self.occupied.get_mut(slot_index(slot) / 64) {
            let bit = 1_u64.wrapping_shl(bit(slot));
            *word = if key == NONE { *word & !bit } else { *word | bit };
        }
    }

    fn link_mut(&mut self, key: u32, change: impl FnOnce(&mut Link)) {
        if let Some(link) = self.links.get_mut(usize_of(key)) {
            change(link);
        }
    }
}

fn slot_index(slot: u64) -> usize {
    usize::try_from(slot & SLOT_MASK).unwrap_or(0)
}

/// Its place in its word; shifts by it wrap at 64.
fn bit(slot: u64) -> u32 {
    u32::try_from(slot & 63).unwrap_or(0)
}

/// `NONE` is beyond any list.
fn usize_of(key: u32) -> usize {
    usize::try_from(key).unwrap_or(usize::MAX)
}
