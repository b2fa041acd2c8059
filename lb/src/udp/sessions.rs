//! The sessions of one service in one worker: found by client, ordered by their last datagram.

use slab::Slab;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// What makes two datagrams belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// Who sends.
    pub(super) client: SocketAddr,
    /// The listener it came in by, for services with several addresses or ports.
    pub(super) listener: usize,
}

#[derive(Debug)]
struct Entry<T> {
    key: Key,
    last: Instant,
    /// Its neighbours in the order of `last`.
    older: Option<usize>,
    newer: Option<usize>,
    value: T,
}

/// A bounded table. Idle sessions leave in the order in which they fell silent, and when there is no room the
/// one silent longest leaves early; both are the head of one list.
#[derive(Debug)]
pub(super) struct Sessions<T> {
    index: HashMap<Key, usize>,
    entries: Slab<Entry<T>>,
    oldest: Option<usize>,
    newest: Option<usize>,
}

impl<T> Sessions<T> {
    pub(super) fn new() -> Self {
        Self { index: HashMap::new(), entries: Slab::new(), oldest: None, newest: None }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The session of `key`.
    pub(super) fn find(&self, key: &Key) -> Option<usize> {
        self.index.get(key).copied()
    }

    /// The session at `id`, and whose it is.
    pub(super) fn get_mut(&mut self, id: usize) -> Option<(Key, &mut T)> {
        self.entries.get_mut(id).map(|entry| (entry.key, &mut entry.value))
    }

    /// The place that the next [`Sessions::insert`] takes.
    pub(super) fn vacant(&self) -> usize {
        self.entries.vacant_key()
    }

    /// Adds a session that heard its first datagram at `now`. One of the same key is returned and replaced.
    pub(super) fn insert(&mut self, key: Key, value: T, now: Instant) -> (usize, Option<T>) {
        let replaced = self.find(&key).and_then(|id| self.remove(id)).map(|(_, value)| value);
        let id = self.entries.insert(Entry { key, last: now, older: None, newer: None, value });
        self.index.insert(key, id);
        self.link_newest(id);
        (id, replaced)
    }

    /// Notes that `id` heard a datagram at `now`, which is not before any other's. Does nothing if it is gone.
    pub(super) fn touch(&mut self, id: usize, now: Instant) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        entry.last = now;
        if self.newest != Some(id) {
            self.unlink(id);
            self.link_newest(id);
        }
    }

    /// Takes a session out.
    pub(super) fn remove(&mut self, id: usize) -> Option<(Key, T)> {
        if !self.entries.contains(id) {
            return None;
        }
        self.unlink(id);
        let entry = self.entries.remove(id);
        self.index.remove(&entry.key);
        Some((entry.key, entry.value))
    }

    /// The session silent longest.
    pub(super) fn oldest(&self) -> Option<usize> {
        self.oldest
    }

    /// When the session silent longest has been so for `idle`.
    pub(super) fn deadline(&self, idle: Duration) -> Option<Instant> {
        self.entries.get(self.oldest?)?.last.checked_add(idle)
    }

    /// Each session.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Key, &T)> {
        self.entries.iter().map(|(id, entry)| (id, &entry.key, &entry.value))
    }

    fn link_newest(&mut self, id: usize) {
        let before = self.newest.replace(id);
        if let Some(entry) = self.entries.get_mut(id) {
            (entry.older, entry.newer) = (before, None);
        }
        match before.and_then(|before| self.entries.get_mut(before)) {
            Some(before) => before.newer = Some(id),
            None => self.oldest = Some(id),
        }
    }

    fn unlink(&mut self, id: usize) {
        let Some(entry) = self.entries.get(id) else { return };
        let (older, newer) = (entry.older, entry.newer);
        match older.and_then(|older| self.entries.get_mut(older)) {
            Some(older) => older.newer = newer,
            None => self.oldest = newer,
        }
        match newer.and_then(|newer| self.entries.get_mut(newer)) {
            Some(newer) => newer.older = older,
            None => self.newest = older,
        }
    }
}
