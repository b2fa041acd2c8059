//! Five nodes with 10 ms adverts lose their leader again and again. Standbys time out together, and still
//! settle at once; and the last to announce is the one that stays.

use crate::check::{Check, settled};
use crate::for_each_seed;
use crate::lab::Lab;
use crate::world::{Fault, Weather, World};
use fulcrum_config::AdvertInterval;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

#[test]
fn five_nodes_settle_within_60_ms_of_each_death() {
    for_each_seed("five_nodes", 10, |seed| {
        let mut random = fastrand::Rng::with_seed(seed);
        let priorities = [[100, 110, 120, 130, 140], [100, 101, 102, 103, 104], [100; 5]][random.usize(0..3)];
        let lab = Lab { interval: AdvertInterval::FLOOR, link_locals: true, ..Lab::new(&priorities) };
        let weather = Weather { loss: 0, delay: MS * random.u32(1..3), lateness: MS * random.u32(1..5) };
        let mut world = World::new(lab, weather, seed);
        (0..5).for_each(|node| world.fault(Fault::Start { node }));
        let mut check = Check::default();
        world.run(Duration::from_secs(1), |world| check.look(world));
        for _ in 0..10 {
            let dead = settled(&world);
            world.fault(Fault::Kill { node: dead, guard: false });
            world.run(60 * MS, |world| check.look(world));
            let leader = settled(&world);
            let lasting = Duration::from_micros(random.u64(500_000..510_000));
            world.run(lasting, |world| {
                check.look(world);
                assert_eq!(world.leaders(), [leader], "it stays");
            });
            world.fault(Fault::Start { node: dead });
            world.run(lasting, |world| check.look(world));
        }
    });
}
