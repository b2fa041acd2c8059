//! Who leads each group and who stands by, in which order: a function of what all nodes know.
//!
//! * A group stays where it is: no death and no join moves it without need.
//! * Groups without a leader go by rendezvous hashing, bounded: nobody gets more than its share, rounded up.
//! * The first standbys of a node's groups are spread likewise over the others, so that its death leaves nobody with more
//!   than its new share, rounded up, and moves nothing else.
//! * The first standby is of another failure domain than the leader, if there is one.
//! * Where a node has joined, or nodes have come back, those with more than their share give to those with less, and no
//!   more than they lack: of N equal nodes one that joins gets at most one Nth of all. Up to a tenth more than the share is
//!   not too many, nor up to a fifth less too few. Groups of the control plane are not moved for that.
//! * Where the operator wrote different priorities, the highest that is fit comes first, and shares are only among equals.

use fulcrum_config::{DomainName, GroupName, NodeName, Priority, Weight};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

#[cfg(test)]
mod tests;

/// A node that lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its name.
    pub node: NodeName,
    /// Its share.
    pub weight: Weight,
    /// Who may fail together with it.
    pub domain: Option<DomainName>,
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    /// Its name.
    pub group: GroupName,
    /// Whether it stays where it is, whatever the shares.
    pub protected: bool,
    /// Who leads it now.
    pub owner: Option<NodeName>,
    /// Who must not, as long as there is another.
    pub unfit: BTreeSet<NodeName>,
    /// What the operator prefers.
    pub priorities: BTreeMap<NodeName, Priority>,
}

/// What becomes of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// All candidates: first who leads it, or is to if nobody does; then who takes over, one after the other.
    pub nodes: Vec<NodeName>,
    /// Who is to lead it in the end; another than the first if it is to move.
    pub target: Option<NodeName>,
}

impl Order {
    /// Where it is to move, if it is.
    #[must_use]
    pub fn moves_to(&self) -> Option<&NodeName> {
        self.target.as_ref().filter(|target| self.nodes.first() != Some(*target))
    }
}

/// The order of each group. The same whatever the order of `candidates` and `seats`.
#[must_use]
pub fn place(candidates: &[Candidate], seats: &[Seat]) -> BTreeMap<GroupName, Order> {
    let mut seats: Vec<&Seat> = seats.iter().collect();
    seats.sort_by_cached_key(|seat| (seat.group.number(), seat.group.clone()));
    let shares = Shares::new(candidates, seats.len());
    let mut loads = Loads::default();
    let mut leaders: BTreeMap<&GroupName, &NodeName> = BTreeMap::new();
    for seat in &seats {
        let owner = candidates.iter().find(|it| Some(&it.node) == seat.owner.as_ref());
        if let Some(owner) = owner {
            loads.add(&owner.node);
            leaders.insert(&seat.group, &owner.node);
        }
    }
    for seat in &seats {
        if leaders.contains_key(&seat.group) {
            continue;
        }
        if let Some(node) = choose(seat, candidates, &loads, &shares) {
            loads.add(node);
            leaders.insert(&seat.group, node);
        }
    }
    let moves = moves(candidates, &seats, &leaders, &loads, &shares);
    let standbys = standbys(candidates, &seats, &leaders, &loads);
    let order = |seat: &&Seat| {
        let leader = leaders.get(&seat.group).copied();
        let target = moves.get(&seat.group).copied().or(leader);
        let first = [leader, target, standbys.get(&seat.group).copied()];
        let domain = leader.and_then(|leader| domain_of(candidates, leader));
        let mut rest: Vec<&Candidate> = candidates.iter().collect();
        rest.sort_by_cached_key(|it| {
            let together = domain.is_some() && it.domain.as_ref() == domain;
            (is_unfit(seat, &it.node), together, Reverse(preference(seat, &it.node)))
        });
        let mut nodes: Vec<NodeName> = Vec::with_capacity(candidates.len());
        for node in first.into_iter().flatten().chain(rest.into_iter().map(|it| &it.node)) {
            if !nodes.contains(node) {
                nodes.push(node.clone());
            }
        }
        (seat.group.clone(), Order { nodes, target: target.cloned() })
    };
    seats.iter().map(order).collect()
}

/// How many groups each node leads.
#[derive(Debug, Clone, Default)]
struct Loads<'a>(BTreeMap<&'a NodeName, usize>);

impl<'a> Loads<'a> {
    fn of(&self, node: &NodeName) -> usize {
        self.0.get(node).copied().unwrap_or(0)
    }

    fn add(&mut self, node: &'a NodeName) {
        let load = self.0.entry(node).or_default();
        *load = load.saturating_add(1);
    }

    fn take(&mut self, node: &'a NodeName) {
        let load = self.0.entry(node).or_default();
        *load = load.saturating_sub(1);
    }
}

/// What part of all groups each node should lead.
#[derive(Debug)]
struct Shares {
    groups: usize,
    weights: BTreeMap<NodeName, usize>,
    sum: usize,
}

impl Shares {
    /// Where no node has a weight all are equal.
    fn new<'a>(candidates: impl IntoIterator<Item = &'a Candidate>, groups: usize) -> Self {
        let mut weights: BTreeMap<NodeName, usize> =
            candidates.into_iter().map(|it| (it.node.clone(), usize::from(it.weight.get()))).collect();
        if weights.values().all(|weight| *weight == 0) {
            weights.values_mut().for_each(|weight| *weight = 1);
        }
        Self { groups, sum: weights.values().sum::<usize>().max(1), weights }
    }

    /// In parts of `1 / sum`.
    fn exact(&self, node: &NodeName) -> usize {
        self.weights.get(node).copied().unwrap_or(0).saturating_mul(self.groups)
    }

    fn up(&self, node: &NodeName) -> usize {
        self.exact(node).div_ceil(self.sum)
    }

    fn down(&self, node: &NodeName) -> usize {
        self.exact(node).checked_div(self.sum).unwrap_or(0)
    }

    /// Whether a load is more than a tenth above the share, or a fifth below.
    fn is_uneven(&self, node: &NodeName, load: usize) -> bool {
        let tenths = load.saturating_mul(self.sum).saturating_mul(10);
        let is_more = load > self.up(node) && tenths > self.exact(node).saturating_mul(11);
        is_more || (load < self.down(node) && tenths < self.exact(node).saturating_mul(8))
    }
}

fn is_unfit(seat: &Seat, node: &NodeName) -> bool {
    seat.unfit.contains(node)
}

/// The highest comes first.
fn preference(seat: &Seat, node: &NodeName) -> (Priority, u64, NodeName) {
    let priority = seat.priorities.get(node).copied().unwrap_or(Priority::DEFAULT);
    (priority, seat.group.affinity(node), node.clone())
}

fn domain_of<'a>(candidates: &'a [Candidate], node: &NodeName) -> Option<&'a DomainName> {
    candidates.iter().find(|it| it.node == *node)?.domain.as_ref()
}

/// The best of `among` that has less than its share, else the one with the least of it; those that are unfit only where
/// all are.
fn choose<'a>(
    seat: &Seat,
    among: impl IntoIterator<Item = &'a Candidate>,
    loads: &Loads<'_>,
    shares: &Shares,
) -> Option<&'a NodeName> {
    let among: Vec<&Candidate> = among.into_iter().collect();
    let fit = among.iter().any(|it| !is_unfit(seat, &it.node));
    let mut among: Vec<_> = among
        .into_iter()
        .filter(|it| !fit || !is_unfit(seat, &it.node))
        .map(|it| (preference(seat, &it.node), &it.node))
        .collect();
    among.sort_by(|one, other| other.0.cmp(&one.0));
    let highest = among.first().map(|((priority, _, _), _)| *priority)?;
    let equals = || among.iter().filter(|((priority, _, _), _)| *priority == highest).map(|(_, node)| *node);
    let part = |node: &&NodeName| {
        let share = shares.exact(node);
        (share == 0, loads.of(node).saturating_mul(shares.sum).saturating_mul(1000).checked_div(share))
    };
    let lacks = |bound: Bound| equals().find(|node| loads.of(node) < bound(shares, node));
    lacks(Shares::down).or_else(|| lacks(Shares::up)).or_else(|| equals().min_by_key(part))
}

/// The groups that are to move, and where to.
fn moves<'a>(
    candidates: &'a [Candidate],
    seats: &[&'a Seat],
    leaders: &BTreeMap<&'a GroupName, &'a NodeName>,
    loads: &Loads<'a>,
    shares: &Shares,
) -> BTreeMap<&'a GroupName, &'a NodeName> {
    let mut moves = BTreeMap::new();
    let is_uneven = |it: &Candidate| shares.is_uneven(&it.node, loads.of(&it.node));
    if !candidates.iter().any(is_uneven) {
        return moves;
    }
    let mut possible = Vec::new();
    for seat in seats.iter().filter(|seat| !seat.protected && seat.owner.is_some()) {
        let Some(leader) = leaders.get(&seat.group).copied() else { continue };
        let (priority, ..) = preference(seat, leader);
        for to in candidates.iter().map(|it| &it.node).filter(|to| loads.of(to) < shares.up(to)) {
            let found = preference(seat, to);
            if !is_unfit(seat, to) && found.0 == priority {
                possible.push((found, &seat.group, leader, to));
            }
        }
    }
    possible.sort_by(|one, other| (&other.0, other.1).cmp(&(&one.0, one.1)));
    let mut loads = loads.clone();
    // From those with too many first, and to those with too few.
    let rounds: [(Bound, Bound); 3] =
        [(Shares::up, Shares::down), (Shares::down, Shares::down), (Shares::up, Shares::up)];
    for (most, least) in rounds {
        for (_, group, from, to) in &possible {
            let is_wanted = loads.of(from) > most(shares, from) && loads.of(to) < least(shares, to);
            if is_wanted && !moves.contains_key(group) {
                loads.take(from);
                loads.add(to);
                moves.insert(*group, *to);
            }
        }
    }
    moves
}

/// So many groups of a node.
type Bound = fn(&Shares, &NodeName) -> usize;

/// Who takes over each group first.
fn standbys<'a>(
    candidates: &'a [Candidate],
    seats: &[&'a Seat],
    leaders: &BTreeMap<&'a GroupName, &'a NodeName>,
    loads: &Loads<'a>,
) -> BTreeMap<&'a GroupName, &'a NodeName> {
    let mut standbys = BTreeMap::new();
    for gone in candidates {
        let left: Vec<&Candidate> = candidates.iter().filter(|it| it.node != gone.node).collect();
        let shares = Shares::new(left.iter().copied(), seats.len());
        let mut loads = loads.clone();
        let led = seats.iter().filter(|seat| leaders.get(&seat.group).copied() == Some(&gone.node));
        for seat in led {
            let apart: Vec<&Candidate> = left
                .iter()
                .copied()
                .filter(|it| gone.domain.is_none() || it.domain != gone.domain)
                .filter(|it| !is_unfit(seat, &it.node))
                .collect();
            let among = if apart.is_empty() { &left } else { &apart };
            if let Some(node) = choose(seat, among.iter().copied(), &loads, &shares) {
                loads.add(node);
                standbys.insert(&seat.group, node);
            }
        }
    }
    standbys
}
