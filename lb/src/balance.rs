//! Which backend takes a new connection.
//!
//! A [`Balancer`] is a plain value made for one set of backends; what changes from one connection to the next
//! (turns, connections now, random numbers) is lent to it. Maglev and source choose alike on every node that
//! has the same backends and the same seed; the others depend on what happened before.

mod flow;
mod maglev;
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)] // Numbers of tests are small.
mod tests;
mod turns;

pub use flow::Seed;
pub(crate) use flow::{Flow, Hasher};

use fulcrum_config::{BackendAddress, Balance};
use maglev::Maglev;
use std::sync::OnceLock;
pub(crate) use turns::Turns;

/// One backend as a balancer sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    /// Its place in the service's list.
    pub(crate) index: usize,
    /// What it is known by on every node.
    pub(crate) address: BackendAddress,
    /// Its share; 0 takes nothing.
    pub(crate) weight: u32,
    /// Used only when no other is left.
    pub(crate) backup: bool,
}

/// What a choice may depend on beside the flow.
pub(crate) trait Circumstances {
    /// A number that grows by one with each call, for all workers together.
    fn turn(&self) -> u64;
    /// A random number.
    fn random(&self) -> u64;
    /// Connections of the backend at `index` now.
    fn connections(&self, index: usize) -> u32;
    /// Whether the backend at `index` was tried already.
    fn tried(&self, index: usize) -> bool;
}

/// Chooses among the backends that may take new connections now.
#[derive(Debug)]
pub(crate) struct Balancer {
    method: Balance,
    hasher: Hasher,
    /// Sorted by address, so that each node has the same order.
    members: Vec<Member>,
    /// Backends configured, usable or not: it decides the size of the hash table.
    configured: usize,
    maglev: OnceLock<Maglev>,
    turns: OnceLock<Turns>,
}

impl Balancer {
    /// `usable` are those that may take new connections; backups among them count only when no other does.
    /// `configured` is the number of all, so that the health of one does not change the size of the table.
    pub(crate) fn new(method: Balance, seed: Seed, usable: Vec<Member>, configured: usize) -> Self {
        let mut members: Vec<Member> = usable.into_iter().filter(|member| member.weight > 0).collect();
        if members.iter().any(|member| !member.backup) {
            members.retain(|member| !member.backup);
        }
        members.sort_by_key(|member| (member.address, member.index));
        Self {
            method,
            hasher: Hasher::new(seed),
            members,
            configured,
            maglev: OnceLock::new(),
            turns: OnceLock::new(),
        }
    }

    /// Whether nobody can take a connection.
    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The backend for a new connection, by its place in the service's list; none if all were tried.
    pub(crate) fn choose(&self, flow: &Flow, circumstances: &impl Circumstances) -> Option<usize> {
        let fresh = |index: usize| !circumstances.tried(index);
        if let [only] = self.members.as_slice() {
            return Some(only.index).filter(|index| fresh(*index));
        }
        match self.method {
            Balance::Maglev => self.by_hash(self.hasher.flow(flow), fresh),
            Balance::Source => self.by_hash(self.hasher.source(flow), fresh),
            Balance::RoundRobin => {
                let turns = self.turns.get_or_init(|| Turns::new(&self.weights()));
                self.index_of(turns.iter_from(circumstances.turn()), fresh)
            }
            Balance::LeastConnections => self.least(circumstances),
            Balance::RandomTwo => self.random_two(circumstances),
        }
    }

    fn by_hash(&self, hash: u64, fresh: impl Fn(usize) -> bool) -> Option<usize> {
        let maglev =
            self.maglev.get_or_init(|| Maglev::new(&self.identities(), &self.weights(), self.configured));
        // A member of a very small weight may have no slot, but it is still one to fall back to.
        self.index_of(maglev.iter_from(hash).chain(0..self.members.len()), fresh)
    }

    /// Maglev's table of `size` slots, a prime: for each a place in the service's list. Empty if nobody can take a
    /// connection.
    pub(crate) fn table(&self, size: usize) -> Vec<usize> {
        if self.is_empty() {
            return Vec::new();
        }
        let maglev = Maglev::of_size(&self.identities(), &self.weights(), size);
        maglev.iter().filter_map(|position| self.members.get(position)).map(|member| member.index).collect()
    }

    /// Those that may take new connections, in an order that is the same on every node.
    pub(crate) fn members(&self) -> &[Member] {
        &self.members
    }

    fn identities(&self) -> Vec<u128> {
        self.members.iter().map(|member| self.hasher.backend(&member.address)).collect()
    }

    fn weights(&self) -> Vec<u32> {
        self.members.iter().map(|member| member.weight).collect()
    }

    fn index_of(
        &self,
        mut positions: impl Iterator<Item = usize>,
        fresh: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        positions.find_map(|position| {
            self.members.get(position).map(|member| member.index).filter(|index| fresh(*index))
        })
    }

    /// The lowest load for its weight. Equals are taken in turn, so that idle backends share.
    fn least(&self, circumstances: &impl Circumstances) -> Option<usize> {
        let start = position(circumstances.turn(), self.members.len());
        let rotated = self.members.iter().cycle().skip(start).take(self.members.len());
        least_loaded(rotated, circumstances)
    }

    /// The less loaded of two that were drawn.
    fn random_two(&self, circumstances: &impl Circumstances) -> Option<usize> {
        let fresh: Vec<&Member> =
            self.members.iter().filter(|member| !circumstances.tried(member.index)).collect();
        let first = position(circumstances.random(), fresh.len());
        // A distance of at least 1 makes the second another one.
        let distance = position(circumstances.random(), fresh.len().saturating_sub(1)).saturating_add(1);
        let second = first.saturating_add(distance).checked_rem(fresh.len())?;
        least_loaded([fresh.get(first)?, fresh.get(second)?].into_iter().copied(), circumstances)
    }
}

fn least_loaded<'a>(
    members: impl Iterator<Item = &'a Member>,
    circumstances: &impl Circumstances,
) -> Option<usize> {
    // (a + 1) / wa < (b + 1) / wb, without division: the load each would have with this connection.
    let less = |a: &(u32, &Member), b: &(u32, &Member)| {
        let load = |connections: u32, other: &Member| {
            u64::from(connections).saturating_add(1).saturating_mul(u64::from(other.weight))
        };
        load(a.0, b.1) < load(b.0, a.1)
    };
    let mut best: Option<(u32, &Member)> = None;
    for member in members.filter(|member| !circumstances.tried(member.index)) {
        let candidate = (circumstances.connections(member.index), member);
        if best.as_ref().is_none_or(|best| less(&candidate, best)) {
            best = Some(candidate);
        }
    }
    best.map(|(_, member)| member.index)
}

/// `number` modulo `length`; 0 for an empty list.
fn position(number: u64, length: usize) -> usize {
    let length = u64::try_from(length).unwrap_or(u64::MAX);
    number.checked_rem(length).and_then(|rest| usize::try_from(rest).ok()).unwrap_or(0)
}
