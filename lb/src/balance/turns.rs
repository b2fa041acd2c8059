//! Weighted round robin, spread smoothly: with weights 5, 1, 1 the turns are a a b a c a a.

use super::position;

/// Weights are scaled down to so many turns in a round.
const LONGEST_ROUND: u64 = 4096;

/// One round: positions in the list of members.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Turns {
    round: Box<[u16]>,
}

impl Turns {
    /// No weight is 0.
    pub(crate) fn new(weights: &[u32]) -> Self {
        let weights = reduce(weights);
        let total: i64 = weights.iter().sum();
        let mut credits: Vec<(u16, i64, i64)> =
            weights.iter().zip(0..=u16::MAX).map(|(weight, member)| (member, *weight, 0)).collect();
        let round = (0..total)
            .filter_map(|_| {
                for (_, weight, credit) in &mut credits {
                    *credit = credit.saturating_add(*weight);
                }
                // The first of equals: `max_by_key` would take the last.
                let (member, _, credit) = credits.iter_mut().rev().max_by_key(|(_, _, credit)| *credit)?;
                *credit = credit.saturating_sub(total);
                Some(*member)
            })
            .collect();
        Self { round }
    }

    /// The member whose turn it is, then those after it, once round.
    pub(crate) fn iter_from(&self, turn: u64) -> impl Iterator<Item = usize> {
        let (before, after) = self.round.split_at(position(turn, self.round.len()));
        after.iter().chain(before).map(|member| usize::from(*member))
    }
}

/// The same proportions in small numbers; exact if they fit in a round.
fn reduce(weights: &[u32]) -> Vec<i64> {
    let divisor = weights.iter().copied().reduce(greatest_common_divisor).unwrap_or(1).max(1);
    let reduced = || weights.iter().map(|weight| u64::from(weight.checked_div(divisor).unwrap_or(1)));
    let total: u64 = reduced().sum();
    let longest = LONGEST_ROUND.max(u64::try_from(weights.len()).unwrap_or(LONGEST_ROUND));
    let scale = |weight: u64| {
        if total <= longest {
            weight
        } else {
            weight.saturating_mul(longest).checked_div(total).unwrap_or(1).max(1)
        }
    };
    reduced().map(|weight| i64::try_from(scale(weight)).unwrap_or(1)).collect()
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    let (mut a, mut b) = (a, b);
    while let Some(rest) = a.checked_rem(b) {
        (a, b) = (b, rest);
    }
    a
}
