//! All entries of a hash table, thousands with each call of the kernel.

use crate::loader::Hash;
use crate::sys;
use aya::Pod;
use aya::maps::IterableMap;
use std::os::fd::{AsFd, BorrowedFd};

/// The most entries that are asked for at a time. More than any chain of one hash has.
const AT_A_TIME: usize = 4096;

/// Every entry. What is added or removed meanwhile may be among them or not; nothing else is missed or comes twice. A
/// kernel that gives no more than one at a time (before 5.6) is asked for that.
pub fn entries<K: Pod, V: Pod>(map: &Hash<K, V>) -> impl Iterator<Item = (K, V)> + '_ {
    let mut walk = Walk {
        map: IterableMap::<K, V>::map(map).fd().as_fd(),
        from: None,
        ended: false,
        keys: Vec::with_capacity(AT_A_TIME),
        values: Vec::with_capacity(AT_A_TIME),
    };
    let has_batches = walk.refill();
    let singly = if has_batches { None } else { Some(map.iter().flatten()) };
    walk.chain(singly.into_iter().flatten())
}

struct Walk<'a, K, V> {
    map: BorrowedFd<'a>,
    /// Where the next call goes on, as the last one said.
    from: Option<u32>,
    ended: bool,
    /// What the last one gave, and was not taken yet.
    keys: Vec<K>,
    values: Vec<V>,
}

impl<K: Pod, V: Pod> Walk<'_, K, V> {
    /// Says whether the kernel could do it.
    fn refill(&mut self) -> bool {
        match sys::lookup_batch(self.map, self.from, &mut self.keys, &mut self.values) {
            Ok(next) => {
                (self.from, self.ended) = (next, next.is_none());
                true
            }
            Err(_) => {
                self.ended = true;
                false
            }
        }
    }
}

impl<K: Pod, V: Pod> Iterator for Walk<'_, K, V> {
    type Item = (K, V);
    fn next(&mut self) -> Option<(K, V)> {
        while self.keys.is_empty() && !self.ended {
            self.refill();
        }
        self.keys.pop().zip(self.values.pop())
    }
}
