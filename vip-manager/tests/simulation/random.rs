//! Anything that can happen, in any order.

use crate::check::{Check, settled};
use crate::for_each_seed;
use crate::lab::Lab;
use crate::world::{Fault, Weather, World, fit, last_resort};
use fastrand::Rng;
use fulcrum_config::{AdvertInterval, Preempt, Timing};
use std::time::Duration;

#[test]
fn never_two_leaders_and_never_none() {
    for_each_seed("never_two_leaders", 200, |seed| run(seed, 0, false));
}

#[test]
fn the_same_when_adverts_are_lost() {
    for_each_seed("the_same_when", 100, |seed| run(seed, loss(seed), false));
}

#[test]
fn the_same_where_nodes_claim_their_adverts() {
    for_each_seed("the_same_where_nodes_claim", 12, |seed| run(seed, 0, true));
}

#[test]
fn the_same_where_nodes_claim_their_adverts_and_much_is_lost() {
    for_each_seed("much_is_lost", 9, |seed| run(seed, loss(seed), true));
}

fn loss(seed: u64) -> u32 {
    [10, 50, 200][usize::try_from(seed % 3).unwrap()]
}

fn run(seed: u64, loss: u32, keys: bool) {
    let mut random = Rng::with_seed(seed);
    let lab = Lab { keys, ..lab(&mut random) };
    let interval = lab.interval.duration();
    let weather =
        Weather { loss, delay: interval / random.u32(3..50), lateness: interval / random.u32(10..50) };
    let count = lab.priorities.len();
    let links = lab.links().len();
    let mut world = World::new(lab.clone(), weather, seed);
    for node in 0..count {
        world.fault_at(interval * random.u32(0..10), Fault::Start { node });
    }
    let faults = random.u32(0..12);
    for _ in 0..faults {
        let at = interval * random.u32(10..200) + interval * random.u32(0..100) / 100;
        for fault in fault(&mut random, &lab, count, links) {
            world.fault_at(at, fault);
        }
        if keys && random.u32(0..4) == 0 {
            let (one, other) = (random.usize(0..count), random.usize(0..count));
            world.fault_at(at + interval * random.u32(0..300) / 100, Fault::CutTalk { one, other });
        }
    }
    let mut check = Check::default();
    world.run(interval * 260, |world| check.look(world));
    // The sun comes out.
    world.weather.loss = 0;
    world.fault(Fault::Heal);
    for node in 0..count {
        world.fault(Fault::Fitness { node, fitness: fit(lab.priorities[node]) });
        world.fault(Fault::Start { node });
        for link in 0..links {
            world.fault(Fault::Link { node, link, up: true });
        }
    }
    world.run(interval * 60 + Duration::from_secs(2), |world| check.look(world));
    if loss > 0 {
        // Where a loser's first and last word were both lost, the refresh puts neighbours right.
        world.run(Timing::default().announce_refresh, |world| check.look(world));
    }
    let leader = settled(&world);
    world.run(interval * 100, |world| {
        check.look(world);
        assert_eq!(world.leaders(), [leader], "nothing moves without a reason");
    });
}

fn lab(random: &mut Rng) -> Lab {
    let count = random.usize(2..=5);
    let tied = random.u32(0..3) == 0;
    let mut priorities: Vec<u8> = (0..count).map(|node| 100 + 10 * u8::try_from(node).unwrap()).collect();
    if tied {
        priorities.fill(100);
    }
    random.shuffle(&mut priorities);
    let delay = Duration::from_millis(random.u64(0..2000));
    Lab {
        priorities,
        interval: AdvertInterval::from_centiseconds([1, 10, 100][random.usize(0..3)]).unwrap(),
        preempt: if random.bool() { Preempt::Never } else { Preempt::After(delay) },
        ipv6: random.bool(),
        // With more than two nodes of one priority, ties on IPv6 alone need the addresses.
        link_locals: tied && count > 2 || random.bool(),
        keys: false,
    }
}

fn fault(random: &mut Rng, lab: &Lab, count: usize, links: usize) -> Vec<Fault> {
    let node = random.usize(0..count);
    let interval = lab.interval.duration();
    match random.u32(0..10) {
        0 => vec![Fault::Kill { node, guard: random.bool() }],
        1 => vec![Fault::Start { node }],
        2 => vec![Fault::Freeze { node, time: interval * random.u32(1..20) / 2 }],
        3 => vec![Fault::Stop { node }],
        4 => {
            let to = random.usize(0..count);
            let link = random.bool().then(|| random.usize(0..links));
            vec![Fault::Cut { from: node, to, link }]
        }
        5 => {
            let side: Vec<bool> = (0..count).map(|_| random.bool()).collect();
            let pairs = (0..count).flat_map(|from| (0..count).map(move |to| (from, to)));
            pairs
                .filter(|(from, to)| side[*from] != side[*to])
                .map(|(from, to)| Fault::Cut { from, to, link: None })
                .collect()
        }
        6 => vec![Fault::Heal],
        7 => vec![Fault::Link { node, link: random.usize(0..links), up: random.bool() }],
        8 => vec![Fault::Fitness { node, fitness: last_resort() }],
        _ => {
            let priority = lab.priorities[node];
            let fitness = if random.bool() { fit(priority) } else { fit(priority - random.u8(0..50)) };
            vec![Fault::Fitness { node, fitness }]
        }
    }
}
