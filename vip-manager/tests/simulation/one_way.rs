//! One-way cuts end as the router's documentation says: with one leader, the one that is heard.

use crate::lab::Lab;
use crate::world::{Fault, Weather, World};
use fulcrum_config::Preempt;
use fulcrum_vip_manager::{Reason, Role};
use std::time::Duration;

const CALM: Weather =
    Weather { loss: 0, delay: Duration::from_micros(200), lateness: Duration::from_micros(200) };

/// A pair in which node 0 leads, and then does not reach node 1.
fn cut(priorities: [u8; 2], preempt: Preempt) -> World {
    let mut world = World::new(Lab { preempt, ..Lab::new(&priorities) }, CALM, 1);
    world.fault(Fault::Start { node: 0 });
    world.run(Duration::from_secs(2), |_| ());
    world.fault(Fault::Start { node: 1 });
    world.run(Duration::from_secs(2), |_| ());
    assert_eq!(world.leaders(), [0]);
    world.fault(Fault::Cut { from: 0, to: 1, link: None });
    world
}

#[test]
fn a_leader_that_is_not_heard_yields_to_the_one_that_is() {
    for priorities in [[150, 100], [100, 150], [100, 100]] {
        let mut world = cut(priorities, Preempt::Never);
        world.run(Duration::from_secs(2), |_| ());
        assert_eq!(world.leaders(), [1], "priorities {priorities:?}");
        // And it lasts, after the heal too: moving back would only break connections.
        world.run(Duration::from_secs(30), |world| assert_eq!(world.leaders(), [1]));
        world.fault(Fault::Heal);
        world.run(Duration::from_secs(30), |world| assert_eq!(world.leaders(), [1]));
    }
}

#[test]
fn a_better_claim_that_is_not_heard_yields_after_three_down_intervals() {
    let mut world = cut([150, 100], Preempt::Never);
    let mut both = Duration::ZERO;
    let mut since = None;
    world.run(Duration::from_secs(5), |world| {
        if world.leaders().len() == 2 {
            both = world.now - *since.get_or_insert(world.now);
        }
    });
    assert!((Duration::from_millis(1100)..Duration::from_millis(1400)).contains(&both), "{both:?}");
    let router = world.nodes[0].router.as_ref().unwrap();
    assert!(
        matches!(router.reason(), Reason::NotHeard(peer) if peer.priority == 100),
        "{:?}",
        router.reason()
    );
}

#[test]
fn who_yielded_does_not_preempt_the_leader_that_cannot_hear_it() {
    let mut world = cut([150, 100], Preempt::After(Duration::from_secs(1)));
    world.run(Duration::from_secs(3), |_| ());
    assert_eq!(world.leaders(), [1]);
    world.run(Duration::from_secs(30), |world| assert_eq!(world.leaders(), [1]));
    world.fault(Fault::Kill { node: 1, guard: false });
    world.run(Duration::from_secs(1), |_| ());
    assert_eq!(world.leaders(), [0]);
}

#[test]
fn a_standby_that_cannot_be_heard_stays_standby() {
    let mut world = cut([150, 100], Preempt::Never);
    world.fault(Fault::Heal);
    world.fault(Fault::Cut { from: 1, to: 0, link: None });
    world.run(Duration::from_secs(30), |world| assert_eq!(world.leaders(), [0]));
    assert_eq!(world.role(1), Some(Role::Standby));
}

#[test]
fn one_family_cut_moves_nothing() {
    for (from, to) in [(0, 1), (1, 0)] {
        let mut world = cut([100, 100], Preempt::Never);
        world.fault(Fault::Heal);
        world.fault(Fault::Cut { from, to, link: Some(0) });
        world.run(Duration::from_secs(30), |world| assert_eq!(world.leaders(), [0]));
    }
}
