//! Both nodes start at about the same time, in any order.

use crate::check::{Check, settled};
use crate::for_each_seed;
use crate::lab::Lab;
use crate::world::{Fault, Weather, World};
use fulcrum_config::AdvertInterval;
use std::time::Duration;

#[test]
fn both_start_at_once_in_any_order_a_thousand_times() {
    for_each_seed("both_start_at_once", 1000, |seed| {
        let mut random = fastrand::Rng::with_seed(seed);
        let priorities = [[100, 100], [150, 100], [100, 150]][random.usize(0..3)];
        let lab = Lab {
            interval: [AdvertInterval::FLOOR, AdvertInterval::DEFAULT][random.usize(0..2)],
            ..Lab::new(&priorities)
        };
        let interval = lab.interval.duration();
        let weather = Weather {
            loss: 0,
            delay: interval / random.u32(4..100),
            lateness: interval / random.u32(4..100),
        };
        let mut world = World::new(lab, weather, seed);
        for node in 0..2 {
            let at = Duration::from_micros(random.u64(0..2_000_000) >> random.u32(0..20));
            world.fault_at(at, Fault::Start { node });
        }
        let mut check = Check::default();
        world.run(Duration::from_secs(5), |world| check.look(world));
        let leader = settled(&world);
        world.run(Duration::from_secs(5), |world| {
            check.look(world);
            assert_eq!(world.leaders(), [leader], "it stays");
        });
    });
}
