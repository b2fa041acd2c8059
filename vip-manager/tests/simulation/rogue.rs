//! Somebody who is no node sends adverts, of any priority and in any name.

use crate::check::{Check, settled};
use crate::for_each_seed;
use crate::lab::Lab;
use crate::world::{Fault, Weather, World};
use fastrand::Rng;
use fulcrum_config::{AdvertInterval, Preempt};
use std::net::IpAddr;
use std::time::Duration;

/// A pair or three with links, in fair weather, node 0 leading.
fn linked(random: &mut Rng, seed: u64, preempt: Preempt) -> World {
    let count = random.usize(2..=3);
    let priorities: Vec<u8> = (0..count).map(|node| 150 - 10 * u8::try_from(node).unwrap()).collect();
    let interval = AdvertInterval::from_centiseconds([2, 10, 100][random.usize(0..3)]).unwrap();
    let lab = Lab { keys: true, interval, preempt, ipv6: random.bool(), ..Lab::new(&priorities) };
    let interval = interval.duration();
    let weather = Weather { loss: 0, delay: interval / 20, lateness: interval / 50 };
    let mut world = World::new(lab, weather, seed);
    world.fault(Fault::Start { node: 0 });
    world.run(interval * 8 + Duration::from_secs(1), |_| ());
    for node in 1..count {
        world.fault(Fault::Start { node });
    }
    world.run(interval * 8 + Duration::from_secs(1), |_| ());
    assert_eq!(world.leaders(), [0]);
    world
}

/// Sends for `time` from now: in the name of nobody, of a node, or of each in turn.
fn send(world: &mut World, random: &mut Rng, time: Duration) {
    let interval = world.lab.interval.duration();
    let from = world.now - world.begun;
    let names = random.u32(0..3);
    let mut at = from;
    while at < from + time {
        let link = random.usize(0..world.links.len());
        let stranger = match world.links[link].family {
            fulcrum_config::Family::Ipv4 => IpAddr::from([10, 0, 0, 66]),
            fulcrum_config::Family::Ipv6 => "fe80::66".parse().unwrap(),
        };
        let in_name_of = random.usize(0..world.nodes.len());
        let named = Lab::address(in_name_of, &world.links[link]);
        let source = match names {
            0 => stranger,
            1 => named,
            _ => [stranger, named][random.usize(0..2)],
        };
        let priority = [255, 254, 200, 150, 1][random.usize(0..5)];
        world.fault_at(at, Fault::Rogue { link, source, priority });
        at += interval * random.u32(1..150) / 100;
    }
}

#[test]
fn no_advert_that_no_node_claims_ends_a_lead() {
    for_each_seed("no_advert_that_no_node", 60, |seed| {
        let mut random = Rng::with_seed(seed);
        let mut world = linked(&mut random, seed, Preempt::Never);
        let interval = world.lab.interval.duration();
        send(&mut world, &mut random, interval * 200);
        world.run(interval * 210, |world| assert_eq!(world.leaders(), [0]));
        assert!(world.refused > 0);
        world.run(interval * 10, |world| assert_eq!(world.leaders(), [0]));
    });
}

#[test]
fn nodes_take_over_from_each_other_while_a_stranger_sends() {
    for_each_seed("nodes_take_over_from", 60, |seed| {
        let mut random = Rng::with_seed(seed);
        let preempt = Preempt::After(Duration::ZERO);
        let mut world = linked(&mut random, seed, preempt);
        let interval = world.lab.interval.duration();
        send(&mut world, &mut random, interval * 200);
        let mut check = Check::default();
        check.strangers = true;
        world.run(interval * random.u32(5..20), |world| check.look(world));
        world.fault(Fault::Stop { node: 0 });
        world.run(interval * 30, |world| check.look(world));
        assert_eq!(world.leaders(), [1], "the next one leads");
        world.fault(Fault::Start { node: 0 });
        world.run(interval * 30 + Duration::from_secs(1), |world| check.look(world));
        world.run(interval * 200, |world| check.look(world));
        assert_eq!(settled(&world), 0, "the first one has taken it back");
    });
}

#[test]
fn the_link_may_be_lost_at_any_moment() {
    for_each_seed("the_link_may_be_lost", 60, |seed| {
        let mut random = Rng::with_seed(seed);
        let mut world = linked(&mut random, seed, Preempt::Never);
        let interval = world.lab.interval.duration();
        send(&mut world, &mut random, interval * 60);
        let until = interval * random.u32(0..6000) / 100;
        let end = world.now + until;
        while world.now < end {
            world.run(interval.min(end - world.now), |world| assert_eq!(world.leaders(), [0]));
        }
        world.fault(Fault::CutTalk { one: 0, other: 1 });
        // From now on it is the RFC: whoever sends the best adverts leads, until they end.
        world.run(interval * 65 + Duration::from_secs(2), |_| ());
        world.run(interval * 10 + Duration::from_secs(1), |_| ());
        let leader = settled(&world);
        world.run(interval * 100, |world| assert_eq!(world.leaders(), [leader]));
    });
}

#[test]
fn without_a_link_it_is_the_rfc() {
    let mut world = World::new(
        Lab::new(&[150, 100]),
        Weather { loss: 0, delay: Duration::from_micros(200), lateness: Duration::from_micros(200) },
        1,
    );
    for node in [0, 1] {
        world.fault(Fault::Start { node });
    }
    world.run(Duration::from_secs(2), |_| ());
    assert_eq!(world.leaders(), [0]);
    let source = IpAddr::from([10, 0, 0, 66]);
    world.fault(Fault::Rogue { link: 0, source, priority: 254 });
    world.run(Duration::from_millis(1), |_| ());
    assert_eq!(world.leaders(), [] as [usize; 0]);
}
