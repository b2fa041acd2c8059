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
/// Milliseconds of one slot: how late a time may come.
const GRAIN: u64 = 64;
/// No link.
const NONE: u32 = u32::MAX;

/// Keys that wait, each in the list of its slot.
#[derive(Debug)]
pub(crate) struct Wheel {
    links: Vec<Link>,
    heads: Box<[u32]>,
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
        Self { links: Vec::new(), heads: vec![NONE; SLOTS].into(), current: 0, waiting: 0 }
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
        (self.current..self.current.saturating_add(SLOTS as u64))
            .find(|slot| self.heads.get(slot_index(*slot)).is_some_and(|head| *head != NONE))
            .map(|slot| slot.saturating_mul(GRAIN))
    }

    fn set_head(&mut self, slot: u64, key: u32) {
        if let Some(head) = self.heads.get_mut(slot_index(slot)) {
            *head = key;
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

/// `NONE` is beyond any list.
fn usize_of(key: u32) -> usize {
    usize::try_from(key).unwrap_or(usize::MAX)
}
