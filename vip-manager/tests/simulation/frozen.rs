//! A machine that was frozen, and missed what was sent meanwhile, takes nothing when it comes back.

use crate::lab::Lab;
use crate::world::{Fault, Weather, World};
use fulcrum_config::AdvertInterval;
use std::time::Duration;

/// Node 0 leads; node 1 is frozen for `frozen` and deaf meanwhile, and when it comes back the leader, on the
/// same busy machine, is late by `late`.
fn frozen_standby(interval: AdvertInterval, frozen: Duration, late: Duration) {
    let calm = Weather { loss: 0, delay: interval.duration() / 100, lateness: interval.duration() / 100 };
    let mut world = World::new(Lab { interval, ..Lab::new(&[100, 150]) }, calm, 1);
    world.fault(Fault::Start { node: 0 });
    world.run(interval.duration() * 10 + Duration::from_secs(1), |_| ());
    world.fault(Fault::Start { node: 1 });
    world.run(interval.duration() * 10 + Duration::from_secs(1), |_| ());
    assert_eq!(world.leaders(), [0]);

    world.fault(Fault::Cut { from: 0, to: 1, link: None });
    world.fault(Fault::Freeze { node: 1, time: frozen });
    world.run(frozen - Duration::from_millis(1), |_| ());
    world.fault(Fault::Freeze { node: 0, time: late });
    world.fault(Fault::Heal);
    world.run(interval.duration() * 20, |world| {
        assert!(!world.leads(1), "frozen for {frozen:?}, the leader late by {late:?}");
    });
    assert_eq!(world.leaders(), [0]);
}

#[test]
fn a_standby_that_was_frozen_waits_for_a_leader_that_is_late() {
    for interval in [AdvertInterval::FLOOR, AdvertInterval::DEFAULT] {
        let once = interval.duration();
        for frozen in 25..120 {
            // One that has not sent for three intervals steps down itself.
            frozen_standby(interval, once * frozen / 10, once * 19 / 10);
        }
    }
}

#[test]
fn a_standby_that_was_frozen_takes_over_from_a_dead_leader_within_the_down_interval() {
    let once = AdvertInterval::DEFAULT.duration();
    let calm = Weather { loss: 0, delay: once / 100, lateness: once / 100 };
    for frozen in 1..60 {
        let mut world = World::new(Lab::new(&[100, 150]), calm, 1);
        world.fault(Fault::Start { node: 0 });
        world.run(Duration::from_secs(2), |_| ());
        world.fault(Fault::Start { node: 1 });
        world.run(Duration::from_secs(2), |_| ());
        world.fault(Fault::Freeze { node: 1, time: once * frozen / 4 });
        world.fault(Fault::Kill { node: 0, guard: false });
        world.run(once * frozen / 4, |_| ());
        let most = fulcrum_vip_manager::router::down_interval(150, AdvertInterval::DEFAULT) + once / 20;
        world.run(most, |_| ());
        assert_eq!(world.leaders(), [1], "frozen for {frozen} quarters of an interval");
    }
}
