//! In which order the backends of a service take new flows, where that is told by no hash.
//!
//! The programs take one slot after the other, for each new flow the next. So round robin is a schedule that is made once,
//! and least connections one that is made anew as connections begin and end: it holds whom that would choose, again
//! and again, if none ended meanwhile.

use crate::balance::Turns;
use fulcrum_ebpf::plane::layout::{SLOTS, Slots};
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)] // Numbers of tests are small.
mod tests;

/// Slots that are chosen one by one, by load. More new flows than these before the next schedule, as in a flood, go on in
/// turn.
const FORESEEN: usize = 2048;

/// A backend that takes new flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    /// Its index in the kernel.
    pub(crate) backend: u16,
    /// Not 0.
    pub(crate) weight: u32,
}

/// What a backend has, and what it got.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Load {
    /// Flows that live.
    pub(crate) live: u64,
    /// Flows that it was given: between backends of the same load, who was given fewer is next.
    pub(crate) given: u64,
}

/// Each in its turn, by weight.
pub(crate) fn round_robin(shares: &[Share]) -> Slots {
    filled(&[], shares)
}

/// Whoever has the fewest for its weight. `loads` belong to `shares`, in the same order.
pub(crate) fn least_connections(shares: &[Share], loads: &[Load]) -> Slots {
    let candidates = shares.iter().zip(loads).zip(0..);
    let candidates = candidates.map(|((share, load), place)| {
        let Load { live, given } = *load;
        Reverse(Candidate { live: live.saturating_add(1), given, weight: share.weight, place, share: *share })
    });
    let mut heap: BinaryHeap<_> = candidates.collect();
    let mut first = Vec::with_capacity(FORESEEN);
    while first.len() < FORESEEN
        && let Some(mut least) = heap.peek_mut()
    {
        first.push(least.0.share.backend);
        least.0.live = least.0.live.saturating_add(1);
        least.0.given = least.0.given.saturating_add(1);
    }
    filled(&first, shares)
}

/// `first`, and then each in its turn.
fn filled(first: &[u16], shares: &[Share]) -> Slots {
    let weights: Vec<u32> = shares.iter().map(|share| share.weight).collect();
    let turns = Turns::new(&weights);
    let round: Vec<u16> =
        turns.iter_from(0).filter_map(|place| shares.get(place)).map(|share| share.backend).collect();
    let mut slots = Slots([0; SLOTS]);
    for (slot, backend) in slots.0.iter_mut().zip(first.iter().chain(round.iter().cycle())) {
        *slot = *backend;
    }
    slots
}

/// A backend with one flow more than it has.
#[derive(Debug)]
struct Candidate {
    live: u64,
    given: u64,
    weight: u32,
    place: usize,
    share: Share,
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        // a / wa < b / wb, without division.
        let by_weight = |a: u64, b: u64| {
            let of = |count: u64, weight: u32| u128::from(count).saturating_mul(u128::from(weight));
            of(a, other.weight).cmp(&of(b, self.weight))
        };
        let by_live = by_weight(self.live, other.live);
        by_live.then_with(|| by_weight(self.given, other.given)).then_with(|| self.place.cmp(&other.place))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Candidate {}
