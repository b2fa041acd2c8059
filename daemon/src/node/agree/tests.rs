#![allow(clippy::arithmetic_side_effects)]

use super::*;
use fulcrum_config::SharedDigest;
use fulcrum_peer::{Answer, PeerConfig, PeerCounters};
use std::time::Instant;

#[allow(clippy::disallowed_methods, reason = "any instant will do")]
fn peer(state: PeerState, serial: u64) -> PeerObserved {
    PeerObserved {
        state,
        since: Instant::now(),
        reason: "".into(),
        address: None,
        round_trip: None,
        version: None,
        config: Some(PeerConfig { generation: 1, serial, digest: SharedDigest(0) }),
        word: None,
        offer: None,
        answer: None,
        text: None,
        serving: Arc::default(),
        counters: PeerCounters::default(),
    }
}

fn name(side: usize) -> NodeName {
    NodeName::new(["lb1", "lb2"][side])
}

fn offer(number: u64, text: &str) -> Arc<Offer> {
    Arc::new(Offer {
        number,
        forced: BTreeSet::new(),
        text: text.into(),
        allocations: None,
        overrides: None,
        fragments: None,
    })
}

#[test]
fn who_offers_at_the_same_time_and_has_the_lower_name_goes_first() {
    for (side, second) in [(0, false), (1, true)] {
        let mut other = peer(PeerState::Up, 1);
        other.offer = Some(offer(9, "theirs"));
        let peers = BTreeMap::from([(name(1 - side), other)]);
        let vote = vote(&name(side), 1, 5, &voters(&peers), &peers);
        assert_eq!(vote == Vote::Second(name(0)), second, "{vote:?}");
    }
}

#[test]
fn a_change_comes_after_all_that_is_known_of() {
    let mut other = peer(PeerState::Up, 4);
    other.answer = Some(Arc::new(Answer { number: 5, serial: 7, errors: Vec::new() }));
    let peers = BTreeMap::from([(name(1), other)]);
    assert_eq!(vote(&name(0), 2, 5, &voters(&peers), &peers), Vote::Agreed(8));
}

#[test]
fn a_link_that_ends_and_an_older_version_are_no_votes() {
    let peers = BTreeMap::from([(name(1), peer(PeerState::Up, 0))]);
    assert!(voters(&peers).is_empty());
    let voters = BTreeSet::from([name(1)]);
    let peers = BTreeMap::from([(name(1), peer(PeerState::Down, 1))]);
    assert_eq!(vote(&name(0), 1, 5, &voters, &peers), Vote::Lost(name(1)));
}

/// A node that does what the driver does, in steps that anything may come between.
#[derive(Debug, Clone)]
struct Machine {
    serial: u64,
    text: String,
    offer: Option<Arc<Offer>>,
    answer: Option<Arc<Answer>>,
    answered: BTreeMap<NodeName, u64>,
    /// What it knows of the other; a message that is lost leaves it as it is.
    seen: PeerObserved,
    told: Vec<String>,
}

/// Two nodes, and which texts each of them refuses.
struct World {
    nodes: [Machine; 2],
    random: fastrand::Rng,
    cut: bool,
    loss_percent: u32,
    number: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let machine = Machine {
            serial: 1,
            text: "first".into(),
            offer: None,
            answer: None,
            answered: BTreeMap::new(),
            seen: peer(PeerState::Down, 1),
            told: Vec::new(),
        };
        let mut random = fastrand::Rng::with_seed(seed);
        let loss_percent = random.u32(0..90);
        Self { nodes: [machine.clone(), machine], random, cut: false, loss_percent, number: 0 }
    }

    /// Some of what a node says comes to the other, or nothing.
    fn talk(&mut self, to: usize) {
        if self.cut {
            let seen = &mut self.nodes[to].seen;
            (seen.state, seen.offer, seen.answer, seen.text) = (PeerState::Down, None, None, None);
            return;
        }
        let from = self.nodes[1 - to].clone();
        let own = self.nodes[to].serial;
        let loss = self.loss_percent;
        let mut comes = || self.random.u32(0..100) >= loss;
        let (config, offer, answer, text) = (comes(), comes(), comes(), comes());
        let seen = &mut self.nodes[to].seen;
        seen.state = PeerState::Up;
        if config {
            seen.config = peer(PeerState::Up, from.serial).config;
        }
        if offer {
            seen.offer = from.offer;
        }
        if answer {
            seen.answer = from.answer;
        }
        if text && from.serial > own {
            seen.text = Some(Arc::new(Text {
                serial: from.serial,
                text: from.text.into(),
                allocations: None,
                overrides: None,
                fragments: None,
            }));
        }
    }

    fn peers(&self, side: usize) -> Peers {
        BTreeMap::from([(name(1 - side), self.nodes[side].seen.clone())])
    }

    /// Texts with a node's name in them are refused by that node.
    fn refuses(side: usize, text: &str) -> bool {
        text.contains(name(side).as_str())
    }

    /// Says whether it was done without asking the other.
    fn reload(&mut self, side: usize, text: &str) -> bool {
        self.number += 1;
        let peers = self.peers(side);
        if voters(&peers).is_empty() {
            let serial = next_serial(self.nodes[side].serial, &peers);
            let node = &mut self.nodes[side];
            (node.serial, node.text) = (serial, text.to_owned());
            return true;
        }
        if self.nodes[side].offer.is_none() {
            self.nodes[side].offer = Some(offer(self.number, text));
        }
        false
    }

    fn step(&mut self, side: usize) {
        let peers = self.peers(side);
        let node = &mut self.nodes[side];
        if let Some(offer) = node.offer.clone() {
            let voters = BTreeSet::from([name(1 - side)]);
            match vote(&name(side), node.serial, offer.number, &voters, &peers) {
                Vote::Waiting => return,
                Vote::Agreed(serial) => (node.serial, node.text) = (serial, offer.text.to_string()),
                other @ (Vote::Refused(_) | Vote::Lost(_) | Vote::Second(_)) => {
                    node.told.push(format!("{other:?}"));
                }
            }
            node.offer = None;
            return;
        }
        match task(node.serial, &node.answered, None, &peers) {
            Task::Nothing => {}
            Task::Check(from, offer) => {
                let errors =
                    if Self::refuses(side, &offer.text) { vec!["no".to_owned()] } else { Vec::new() };
                node.answered.insert(from, offer.number);
                let serial = node.serial;
                node.answer = Some(Arc::new(Answer { number: offer.number, serial, errors }));
            }
            Task::CatchUp(_, text) => {
                assert!(text.serial > node.serial);
                (node.serial, node.text) = (text.serial, text.text.to_string());
            }
        }
    }

    /// What it said and knew is gone; what it runs is on its disk.
    fn kill(&mut self, side: usize) {
        let Machine { serial, text, .. } = self.nodes[side].clone();
        let fresh = Self::new(0).nodes[side].clone();
        self.nodes[side] = Machine { serial, text, ..fresh };
        let seen = &mut self.nodes[1 - side].seen;
        (seen.state, seen.offer, seen.answer, seen.text) = (PeerState::Down, None, None, None);
    }
}

#[test]
fn whatever_is_lost_or_dies_nodes_that_can_talk_end_with_one_configuration() {
    for seed in 0..3000 {
        let mut world = World::new(seed);
        let mut apart = false;
        for turn in 0..200 {
            let side = world.random.usize(0..2);
            match world.random.u32(0..40) {
                0 => {
                    let text = format!("of turn {turn}");
                    apart |= world.reload(side, &text);
                }
                1 => world.kill(side),
                2 if seed % 2 == 0 => world.cut = !world.cut,
                3..20 => world.talk(side),
                _ => world.step(side),
            }
        }
        world.cut = false;
        world.loss_percent = 0;
        for _ in 0..20 {
            for side in [0, 1] {
                world.talk(side);
                world.step(side);
            }
        }
        let [one, other] = &world.nodes;
        if one.serial == other.serial && apart {
            // Both were changed by themselves equally often: somebody has to say which is right.
            continue;
        }
        assert_eq!((one.serial, &one.text), (other.serial, &other.text), "seed {seed}");
    }
}

#[test]
fn what_one_refuses_is_applied_nowhere() {
    for seed in 0..1000 {
        let mut world = World::new(seed);
        for side in [0, 1] {
            world.talk(side);
        }
        let side = world.random.usize(0..2);
        let text = format!("what {} refuses", name(1 - side));
        world.reload(side, &text);
        for _ in 0..300 {
            let at = world.random.usize(0..2);
            match world.random.u32(0..30) {
                0 => world.kill(1 - side),
                1..15 => world.talk(at),
                _ => world.step(at),
            }
            assert!(world.nodes.iter().all(|node| node.text == "first"), "seed {seed}");
        }
        assert!(world.nodes[side].offer.is_none() || world.loss_percent > 50, "seed {seed}");
    }
}

#[test]
fn of_two_changes_at_once_one_goes_first_and_the_other_is_told() {
    for seed in 0..1000 {
        let mut world = World::new(seed);
        world.loss_percent = 0;
        for side in [0, 1] {
            world.talk(side);
        }
        world.reload(0, "of the first");
        world.reload(1, "of the second");
        for _ in 0..200 {
            let side = world.random.usize(0..2);
            if world.random.bool() { world.talk(side) } else { world.step(side) }
        }
        let [one, other] = &world.nodes;
        assert_eq!((one.serial, &one.text), (other.serial, &other.text), "seed {seed}");
        // Whose change is gone was told, or both were applied one after the other.
        assert!(one.text == "of the first" || other.told.is_empty(), "seed {seed}: {one:?} {other:?}");
    }
}
