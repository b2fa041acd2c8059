use super::*;
use fulcrum_config::Protocol;
use proptest::prelude::*;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};

/// A known course of events.
#[derive(Default)]
struct Script {
    turn: Cell<u64>,
    random: Cell<u64>,
    connections: BTreeMap<usize, u32>,
    tried: BTreeSet<usize>,
}

impl Circumstances for Script {
    fn turn(&self) -> u64 {
        self.turn.replace(self.turn.get() + 1)
    }
    fn random(&self) -> u64 {
        // A full-period generator is random enough here, and repeats.
        let next =
            self.random.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.random.set(next);
        next >> 33
    }
    fn connections(&self, index: usize) -> u32 {
        self.connections.get(&index).copied().unwrap_or(0)
    }
    fn tried(&self, index: usize) -> bool {
        self.tried.contains(&index)
    }
}

fn member(index: usize, weight: u32) -> Member {
    let ip = Ipv4Addr::from(0x0a01_0000 + u32::try_from(index).unwrap());
    Member { index, address: BackendAddress { ip: ip.into(), port: Some(80) }, weight, backup: false }
}

fn members(weights: &[u32]) -> Vec<Member> {
    weights.iter().enumerate().map(|(index, weight)| member(index, *weight)).collect()
}

fn balancer(method: Balance, usable: Vec<Member>) -> Balancer {
    let configured = usable.len();
    Balancer::new(method, Seed::default(), usable, configured)
}

fn flow(number: u32) -> Flow {
    let client = Ipv4Addr::from(0xc000_0200 + number / 60_000);
    let port = u16::try_from(1024 + number % 60_000).unwrap();
    Flow {
        client: SocketAddr::new(client.into(), port),
        service: "10.0.0.100:443".parse().unwrap(),
        protocol: Protocol::Tcp,
    }
}

fn shares(balancer: &Balancer, flows: u32) -> BTreeMap<usize, u32> {
    let script = Script::default();
    let mut shares = BTreeMap::new();
    for number in 0..flows {
        *shares.entry(balancer.choose(&flow(number), &script).unwrap()).or_insert(0) += 1;
    }
    shares
}

#[test]
fn maglev_spreads_evenly_and_by_weight() {
    for (index, share) in shares(&balancer(Balance::Maglev, members(&[1; 10])), 100_000) {
        assert!((9_300..=10_700).contains(&share), "backend {index} has {share} of 100000");
    }
    let weighted = shares(&balancer(Balance::Maglev, members(&[100, 200, 100])), 100_000);
    assert!((47_500..=52_500).contains(&weighted[&1]), "twice the weight has {} of 100000", weighted[&1]);
}

#[test]
fn maglev_moves_little_when_a_backend_leaves() {
    let ten = members(&[1; 10]);
    let nine: Vec<Member> = ten.iter().filter(|member| member.index != 3).cloned().collect();
    let before = balancer(Balance::Maglev, ten);
    // Down, not removed: ten are still configured.
    let after = Balancer::new(Balance::Maglev, Seed::default(), nine, 10);
    let script = Script::default();
    let moved = (0..100_000)
        .filter(|number| {
            let was = before.choose(&flow(*number), &script).unwrap();
            was != 3 && after.choose(&flow(*number), &script).unwrap() != was
        })
        .count();
    assert!(moved < 4_000, "{moved} of 100000 flows of other backends moved");
}

#[test]
fn nodes_agree_whatever_the_order_of_their_lists() {
    let here = balancer(Balance::Maglev, members(&[1, 2, 3, 4]));
    let mut reversed = members(&[1, 2, 3, 4]);
    reversed.reverse();
    let there = balancer(Balance::Maglev, reversed);
    let other_seed = Balancer::new(Balance::Maglev, Seed([7; 16]), members(&[1, 2, 3, 4]), 4);
    let script = Script::default();
    let choices = |balancer: &Balancer| -> Vec<Option<usize>> {
        (0..1_000).map(|number| balancer.choose(&flow(number), &script)).collect()
    };
    assert_eq!(choices(&here), choices(&there));
    assert_ne!(choices(&here), choices(&other_seed), "the seed is part of the hash");
}

const FLOW_HASH: u64 = 15_397_535_591_477_932_980;
const SOURCE_HASH: u64 = 3_387_201_282_483_614_152;
const BACKEND_HASH: u128 = 144_209_291_495_001_912_578_110_455_189_174_889_878;
const CHOICES: [usize; 16] = [3, 3, 0, 2, 2, 1, 1, 3, 3, 1, 2, 3, 3, 2, 1, 1];

/// Nodes may run different versions: these numbers must never change.
#[test]
fn hashes_are_the_same_in_every_version() {
    let hasher = Hasher::new(Seed::default());
    assert_eq!(hasher.flow(&flow(1)), FLOW_HASH);
    assert_eq!(hasher.source(&flow(1)), SOURCE_HASH);
    assert_eq!(hasher.backend(&member(1, 1).address), BACKEND_HASH);
    let maglev = balancer(Balance::Maglev, members(&[1, 1, 2, 1]));
    let script = Script::default();
    let choices: Vec<usize> = (0..16).map(|number| maglev.choose(&flow(number), &script).unwrap()).collect();
    assert_eq!(choices, CHOICES);
}
#[test]
fn source_ignores_ports() {
    let source = balancer(Balance::Source, members(&[1; 4]));
    let script = Script::default();
    let choices: BTreeSet<_> = (0..1_000).map(|number| source.choose(&flow(number), &script)).collect();
    assert_eq!(choices.len(), 1);
}

#[test]
fn round_robin_is_smooth() {
    let turns = |weights: &[u32]| -> Vec<usize> {
        let balancer = balancer(Balance::RoundRobin, members(weights));
        let script = Script::default();
        (0..7).map(|number| balancer.choose(&flow(number), &script).unwrap()).collect()
    };
    assert_eq!(turns(&[500, 100, 100]), [0, 0, 1, 0, 2, 0, 0]);
    assert_eq!(turns(&[100, 100, 100]), [0, 1, 2, 0, 1, 2, 0]);
}

#[test]
fn round_robin_keeps_a_tiny_weight_alive() {
    let counted = shares(&balancer(Balance::RoundRobin, members(&[25_600, 25_599, 1])), 4_096);
    assert_eq!(counted[&2], 1);
}

#[test]
fn least_connections_counts_weight() {
    let balancer = balancer(Balance::LeastConnections, members(&[100, 200, 100]));
    let mut script = Script { connections: [(0, 2), (1, 4), (2, 3)].into(), ..Script::default() };
    assert_eq!(balancer.choose(&flow(0), &script), Some(1), "5/200 is less than 3/100");
    script.connections.insert(1, 6);
    assert_eq!(balancer.choose(&flow(0), &script), Some(0));
}

#[test]
fn idle_backends_share_under_least_connections() {
    let counted = shares(&balancer(Balance::LeastConnections, members(&[100; 4])), 400);
    assert!(counted.values().all(|share| *share == 100), "{counted:?}");
}

#[test]
fn random_two_prefers_the_less_busy() {
    let balancer = balancer(Balance::RandomTwo, members(&[100; 3]));
    let script = Script { connections: [(0, 100)].into(), ..Script::default() };
    let chosen: BTreeSet<_> =
        (0..1_000).map(|number| balancer.choose(&flow(number), &script).unwrap()).collect();
    assert_eq!(chosen, BTreeSet::from([1, 2]), "the busiest of any two is never taken");
}

#[test]
fn backups_serve_only_when_no_other_does() {
    let backup = |member: Member| Member { backup: true, ..member };
    let both = balancer(Balance::RoundRobin, vec![member(0, 100), backup(member(1, 100))]);
    assert_eq!(shares(&both, 10), BTreeMap::from([(0, 10)]));
    let only = balancer(Balance::RoundRobin, vec![member(0, 0), backup(member(1, 100))]);
    assert_eq!(shares(&only, 10), BTreeMap::from([(1, 10)]), "weight 0 is no other");
    assert!(balancer(Balance::RoundRobin, vec![member(0, 0)]).is_empty());
}

proptest! {
    /// Whatever the method: a choice is usable and was not tried, and there is one while any is left.
    #[test]
    fn every_method_goes_through_all(
        method in prop::sample::select(vec![
            Balance::Maglev, Balance::RoundRobin, Balance::LeastConnections, Balance::RandomTwo, Balance::Source,
        ]),
        weights in prop::collection::vec(0_u32..=25_600, 0..12),
        number in 0_u32..1_000_000,
    ) {
        let balancer = balancer(method, members(&weights));
        let mut script = Script::default();
        script.random.set(u64::from(number));
        script.turn.set(u64::from(number));
        for _ in 0..weights.iter().filter(|weight| **weight > 0).count() {
            let chosen = balancer.choose(&flow(number), &script).expect("one is left");
            prop_assert!(weights[chosen] > 0);
            prop_assert!(script.tried.insert(chosen), "tried twice");
        }
        prop_assert_eq!(balancer.choose(&flow(number), &script), None);
    }
}
