//! What must hold at every moment.

use crate::world::World;
use fulcrum_vip_manager::router::down_interval;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Watches a world.
#[derive(Default)]
pub(crate) struct Check {
    /// Since when two nodes that hear each other both lead, and what was lost between them before.
    both: BTreeMap<(usize, usize), (Instant, u32)>,
    /// Since when a node neither leads nor hears a leader.
    unled: BTreeMap<usize, Instant>,
    /// Strangers are heard too, by nodes that have no link yet.
    pub(crate) strangers: bool,
    /// The longest of each kind, for people.
    pub(crate) longest_both: Duration,
    pub(crate) longest_unled: Duration,
}

impl Check {
    pub(crate) fn look(&mut self, world: &World) {
        let leaders = world.leaders();
        self.both.retain(|(one, other), _| leaders.contains(one) && leaders.contains(other));
        for (index, one) in leaders.iter().enumerate() {
            for other in leaders.iter().skip(index + 1) {
                self.look_at_pair(world, *one, *other);
            }
        }
        let watched = if self.strangers { 0 } else { world.nodes.len() };
        for node in 0..watched {
            self.look_at_node(world, node, &leaders);
        }
    }

    /// Two that hear each other both ways lead for at most an interval, and the delay; each lost advert
    /// costs one interval more.
    fn look_at_pair(&mut self, world: &World, one: usize, other: usize) {
        if !world.mutual(one, other) {
            self.both.remove(&(one, other));
            return;
        }
        let lost = world.lost[one][other] + world.lost[other][one];
        let (since, before) = *self.both.entry((one, other)).or_insert((world.now, lost));
        let lasted = world.now - since;
        let interval = world.lab.interval.duration();
        let slack = (world.weather.delay + world.weather.lateness) * 2;
        let most = (interval + world.weather.lateness) * (1 + lost - before) + slack;
        assert!(lasted <= most, "node{one} and node{other} both lead for {lasted:?}, more than {most:?}");
        if lost == before {
            self.longest_both = self.longest_both.max(lasted);
        }
    }

    /// A node that hears no leader leads itself after the down interval.
    fn look_at_node(&mut self, world: &World, node: usize, leaders: &[usize]) {
        let state = &world.nodes[node];
        let runs =
            state.router.as_ref().is_some_and(|router| router.poll_timeout().is_some()) && !state.frozen;
        let led = leaders.iter().any(|other| *other == node || world.hears(*other, node));
        if !runs || led {
            self.unled.remove(&node);
            return;
        }
        let since = *self.unled.entry(node).or_insert(world.now);
        let lasted = world.now - since;
        let interval = world.lab.interval;
        let most = down_interval(1, interval) + (world.weather.delay + world.weather.lateness) * 2;
        assert!(lasted <= most, "node{node} has no leader for {lasted:?}, more than {most:?}");
        self.longest_unled = self.longest_unled.max(lasted);
    }
}

/// Once everything is healed and has settled: one leader, and neighbours know it.
pub(crate) fn settled(world: &World) -> usize {
    let leaders = world.leaders();
    assert_eq!(leaders.len(), 1, "leaders {leaders:?}");
    for (family, believed) in world.neighbours.iter().enumerate().take(world.links.len()) {
        assert_eq!(*believed, Some(leaders[0]), "neighbours of family {family} believe the wrong node");
    }
    leaders[0]
}
