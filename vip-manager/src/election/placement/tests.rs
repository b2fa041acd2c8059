#![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, reason = "a test")]

use super::{Candidate, Order, Seat, place};
use fulcrum_config::{DomainName, GroupName, NodeName, Priority, Weight};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn node(number: usize) -> NodeName {
    NodeName::new(&format!("lb-{number}"))
}

fn nodes(count: usize) -> Vec<Candidate> {
    (0..count).map(|number| Candidate { node: node(number), weight: Weight::ONE, domain: None }).collect()
}

fn seats(count: usize) -> Vec<Seat> {
    let seat = |number| Seat {
        group: GroupName::new(&format!("service-{number}")),
        protected: false,
        owner: None,
        unfit: BTreeSet::new(),
        priorities: BTreeMap::new(),
    };
    (0..count).map(seat).collect()
}

/// Every group goes where it should; gives how many have moved.
fn settle(candidates: &[Candidate], seats: &mut [Seat]) -> usize {
    let orders = place(candidates, seats);
    let mut moved = 0;
    for seat in seats {
        let target = orders[&seat.group].target.clone();
        moved += usize::from(seat.owner.is_some() && seat.owner != target);
        seat.owner = target;
    }
    moved
}

/// A node dies, and its groups go to their first standbys.
fn die(candidates: &mut Vec<Candidate>, seats: &mut [Seat], dead: &NodeName) {
    let orders = place(candidates, seats);
    for seat in seats.iter_mut().filter(|seat| seat.owner.as_ref() == Some(dead)) {
        seat.owner = orders[&seat.group].nodes.get(1).cloned();
    }
    candidates.retain(|it| it.node != *dead);
}

fn loads(seats: &[Seat]) -> BTreeMap<NodeName, usize> {
    let mut loads = BTreeMap::new();
    seats.iter().flat_map(|seat| &seat.owner).for_each(|owner| *loads.entry(owner.clone()).or_default() += 1);
    loads
}

fn fullest(seats: &[Seat]) -> usize {
    loads(seats).into_values().max().unwrap_or(0)
}

#[test]
fn five_hundred_groups_are_spread_over_five_nodes_and_a_death_moves_only_those_of_the_dead() {
    let (mut candidates, mut seats) = (nodes(5), seats(500));
    settle(&candidates, &mut seats);
    assert_eq!(loads(&seats).into_values().collect::<Vec<_>>(), [100; 5]);
    let before = seats.clone();
    die(&mut candidates, &mut seats, &node(2));
    for (seat, before) in seats.iter().zip(&before) {
        assert!(before.owner == Some(node(2)) || seat.owner == before.owner);
    }
    assert_eq!(loads(&seats).into_values().collect::<Vec<_>>(), [125; 4], "its groups go to all the others");
    assert_eq!(settle(&candidates, &mut seats), 0, "nothing else moves");
    candidates.push(Candidate { node: node(2), weight: Weight::ONE, domain: None });
    assert_eq!(settle(&candidates, &mut seats), 100, "a join moves one Nth");
    assert_eq!(fullest(&seats), 100);
    assert_eq!(settle(&candidates, &mut seats), 0);
}

#[test]
fn who_leads_everything_gives_away_what_the_others_lack() {
    let (mut candidates, mut seats) = (nodes(1), seats(90));
    settle(&candidates, &mut seats);
    assert_eq!(fullest(&seats), 90);
    candidates = nodes(3);
    assert_eq!(settle(&candidates, &mut seats), 60);
    assert_eq!(loads(&seats).into_values().collect::<Vec<_>>(), [30; 3]);
}

#[test]
fn groups_of_the_control_plane_are_not_moved_for_balance() {
    let mut candidates = nodes(1);
    let mut seats = seats(10);
    seats.iter_mut().for_each(|seat| seat.protected = true);
    settle(&candidates, &mut seats);
    candidates = nodes(2);
    assert_eq!(settle(&candidates, &mut seats), 0);
    let orders = place(&candidates, &seats);
    assert!(orders.values().all(|order| order.nodes == [node(0), node(1)]));
}

#[test]
fn the_first_standby_is_of_another_domain() {
    let mut candidates = nodes(6);
    for (number, candidate) in candidates.iter_mut().enumerate() {
        candidate.domain = Some(DomainName::new(["left", "right"][usize::from(number >= 4)]));
    }
    let seats = seats(60);
    for order in place(&candidates, &seats).into_values() {
        let domain = |name: &NodeName| candidates.iter().find(|it| it.node == *name).unwrap().domain.clone();
        assert_ne!(domain(&order.nodes[0]), domain(&order.nodes[1]));
    }
}

#[test]
fn priorities_of_the_operator_come_first_and_the_unfit_last() {
    let candidates = nodes(3);
    let mut seats = seats(8);
    for seat in &mut seats {
        seat.priorities.insert(node(1), Priority::new(200).unwrap());
    }
    assert!(place(&candidates, &seats).values().all(|order| order.nodes[0] == node(1)));
    for seat in &mut seats {
        seat.unfit.insert(node(1));
    }
    let orders = place(&candidates, &seats);
    assert!(orders.values().all(|order| order.nodes[0] != node(1) && order.nodes[2] == node(1)));
    // Who leads already stays, although another is preferred: it resigns by itself where it is unfit.
    for seat in &mut seats {
        seat.unfit.clear();
        seat.owner = Some(node(0));
        seat.priorities.insert(node(0), Priority::new(50).unwrap());
    }
    let orders = place(&candidates, &seats);
    assert!(orders.values().all(|order| order.target == Some(node(0)) && order.nodes[1] == node(1)));
}

#[test]
fn weights_are_shares_and_a_node_without_any_leads_only_where_it_is_alone() {
    let mut candidates = nodes(3);
    candidates[0].weight = Weight::new(0).unwrap();
    candidates[1].weight = Weight::new(3).unwrap();
    let mut seats = seats(40);
    settle(&candidates, &mut seats);
    assert_eq!(loads(&seats), BTreeMap::from([(node(1), 30), (node(2), 10)]));
    candidates.truncate(1);
    seats.iter_mut().for_each(|seat| seat.owner = None);
    settle(&candidates, &mut seats);
    assert_eq!(loads(&seats), BTreeMap::from([(node(0), 40)]));
}

#[test]
fn without_nodes_there_is_no_leader() {
    let orders = place(&[], &seats(2));
    assert!(orders.values().all(|order| *order == Order { nodes: Vec::new(), target: None }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Nodes come and go as they like: no needless move, and nobody has much more than its share.
    #[test]
    fn whatever_comes_and_goes(
        groups in 20_usize..300,
        first in 2_usize..16,
        events in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 1..12),
    ) {
        let mut candidates = nodes(first);
        let mut seats = seats(groups);
        let mut next = first;
        settle(&candidates, &mut seats);
        for (joins, which) in events {
            let before = seats.clone();
            if joins || candidates.len() < 2 {
                candidates.push(Candidate { node: node(next), weight: Weight::ONE, domain: None });
                next += 1;
                let moved = settle(&candidates, &mut seats);
                prop_assert!(moved <= groups.div_ceil(candidates.len()), "{moved} of {groups} moved");
            } else {
                let dead = which.get(&candidates).node.clone();
                die(&mut candidates, &mut seats, &dead);
                for (seat, before) in seats.iter().zip(&before) {
                    prop_assert!(before.owner.as_ref() == Some(&dead) || seat.owner == before.owner);
                }
                prop_assert_eq!(settle(&candidates, &mut seats), 0);
            }
            let most = (groups * 11).div_ceil(candidates.len() * 10);
            prop_assert!(fullest(&seats) <= most.max(groups.div_ceil(candidates.len())), "{:?}", loads(&seats));
        }
    }

    /// What comes first in the lists decides nothing, and all that live are in each order once.
    #[test]
    fn the_order_of_what_is_known_does_not_matter(
        groups in 1_usize..60,
        count in 1_usize..10,
        owners in prop::collection::vec(prop::option::of(0_usize..12), 60),
    ) {
        let mut candidates = nodes(count);
        let mut seats = seats(groups);
        for (seat, owner) in seats.iter_mut().zip(owners) {
            seat.owner = owner.map(node);
        }
        let orders = place(&candidates, &seats);
        for order in orders.values() {
            let all: BTreeSet<&NodeName> = order.nodes.iter().collect();
            prop_assert_eq!(all.len(), count);
            prop_assert_eq!(order.nodes.len(), count);
        }
        candidates.reverse();
        seats.reverse();
        prop_assert_eq!(orders, place(&candidates, &seats));
    }
}
