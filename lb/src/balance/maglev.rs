//! Maglev's consistent hashing (Eisenbud et al., NSDI 2016, section 3.4), with weights.

use super::position;

/// Sizes of the table: primes, each for up to a hundredth of so many backends, so that shares differ by at
/// most about 1 %. They are far apart because a change of size moves nearly every flow.
const SIZES: [usize; 5] = [1021, 4093, 16381, 65521, 131_071];

/// The lookup table: for each slot a position in the list of members.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Maglev {
    slots: Box<[u16]>,
}

impl Maglev {
    /// `identities` and `weights` belong together, in the same order on every node; no weight is 0.
    /// `configured` is the number of backends that decides the size.
    pub(super) fn new(identities: &[u128], weights: &[u32], configured: usize) -> Self {
        let wanted = configured.max(identities.len()).saturating_mul(100);
        let size = SIZES.into_iter().find(|size| *size >= wanted).unwrap_or(131_071);
        Self::of_size(identities, weights, size)
    }

    /// The same with a given size, a prime.
    pub(super) fn of_size(identities: &[u128], weights: &[u32], size: usize) -> Self {
        Self { slots: fill(identities, weights, size) }
    }

    /// The member of each slot, by its position.
    pub(super) fn iter(&self) -> impl Iterator<Item = usize> {
        self.slots.iter().map(|member| usize::from(*member))
    }

    /// The member that `hash` belongs to, then those of the slots behind it, once round.
    pub(super) fn iter_from(&self, hash: u64) -> impl Iterator<Item = usize> {
        let (before, after) = self.slots.split_at(position(hash, self.slots.len()));
        after.iter().chain(before).map(|member| usize::from(*member))
    }
}

/// A member's order of preference for slots: `offset`, then always `skip` further, around the table.
struct Permutation {
    member: u16,
    next: usize,
    skip: usize,
    weight: u32,
    turn: u32,
}

fn fill(identities: &[u128], weights: &[u32], size: usize) -> Box<[u16]> {
    let mut permutations: Vec<Permutation> = identities
        .iter()
        .zip(weights)
        .zip(0..=u16::MAX)
        .map(|((identity, weight), member)| {
            let [high, low] = halves(*identity);
            Permutation {
                member,
                next: position(high, size),
                skip: position(low, size.saturating_sub(1)).saturating_add(1),
                weight: *weight,
                turn: 0,
            }
        })
        .collect();
    let heaviest = weights.iter().copied().max().unwrap_or(0).max(1);
    let mut slots: Vec<Option<u16>> = vec![None; size];
    let mut left = if permutations.is_empty() { 0 } else { size };
    while left > 0 {
        for permutation in &mut permutations {
            // The heaviest takes a slot in each round, the others whenever their share has added up to one.
            permutation.turn = permutation.turn.saturating_add(permutation.weight);
            if permutation.turn < heaviest || left == 0 {
                continue;
            }
            permutation.turn = permutation.turn.saturating_sub(heaviest);
            permutation.take_slot(&mut slots);
            left = left.saturating_sub(1);
        }
    }
    slots.into_iter().flatten().collect()
}

impl Permutation {
    /// Takes the free slot it likes best. There is one: the size is prime, so the order visits every slot.
    fn take_slot(&mut self, slots: &mut [Option<u16>]) {
        for _ in 0..slots.len() {
            let at = self.next;
            self.next = self.next.saturating_add(self.skip).checked_rem(slots.len()).unwrap_or(0);
            if let Some(slot @ None) = slots.get_mut(at) {
                *slot = Some(self.member);
                return;
            }
        }
    }
}

fn halves(number: u128) -> [u64; 2] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = number.to_be_bytes();
    [u64::from_be_bytes([a, b, c, d, e, f, g, h]), u64::from_be_bytes([i, j, k, l, m, n, o, p])]
}
