//! How fit this node is to lead a group: what is tracked, the gateways that are asked, and what else counts.

use super::GroupDriver;
use crate::border::{Desired, Reason, Role};
use crate::netlink::View;
use crate::router::{Fitness, RouterSpec};
use fulcrum_config::{Config, Group, InterfaceName, Link, NodeName, Priority, Track};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

impl GroupDriver {
    /// The nodes come in another order than before, perhaps. Whether they do.
    pub(in crate::driver) fn set_priorities(
        &mut self,
        config: &Config,
        priorities: BTreeMap<NodeName, Priority>,
        now: Instant,
    ) -> bool {
        if self.group.priorities == priorities {
            return false;
        }
        self.group = Arc::new(Group { priorities, ..(*self.group).clone() });
        self.router.handle_reconfigured(RouterSpec::new(config, &self.group), now);
        self.fitness = None;
        true
    }

    /// Looks at everything tracked, and tells the router what it leaves of this node.
    /// If it leads, it offers the group to whom it is to move to.
    pub(in crate::driver) fn update_fitness(
        &mut self,
        desired: &Desired,
        view: &View,
        moves_to: Option<&NodeName>,
        now: Instant,
    ) {
        let up = |interface: &InterfaceName| view.named(interface.as_str()).is_some_and(|found| found.up);
        let served = !desired.data_plane_missing.contains(&self.group.name);
        for track in &self.group.tracks {
            let good = match track {
                Track::Link { interface, .. } => up(interface),
                Track::DataPlane { .. } => served,
                Track::Gateway { address, interface, .. } => self
                    .gateways
                    .iter()
                    .find(|(link, gateway, _)| gateway == address && link.interface == *interface)
                    .is_none_or(|(_, _, gateway)| gateway.is_reachable()),
            };
            self.tracks.handle(|other| other == track, good, now);
        }
        self.tracks.handle_timer(now);
        self.update_disproof(desired, now);
        let fitness = if desired.standing_down.contains_key(&self.group.name) {
            Fitness::LastResort(Reason::StandingDown)
        } else if let Some(by) = self.disproof.failed(now) {
            Fitness::LastResort(Reason::NotAnswering(by.clone()))
        } else if let Some(to) = moves_to.filter(|_| self.router.role() == Role::Leader) {
            Fitness::LastResort(Reason::Balanced(to.clone()))
        } else {
            let priority = self.group.priorities.get(&desired.config.node).copied();
            self.tracks.fitness(priority.unwrap_or(Priority::DEFAULT))
        };
        if self.fitness.as_ref() != Some(&fitness) {
            if let Fitness::LastResort(Reason::Balanced(to)) = &fitness {
                tracing::info!(group = %self.group.name, "offered to {to}, for an even spread over the nodes");
            }
            self.fitness = Some(fitness.clone());
            self.router.handle_fitness(fitness, now);
        }
    }

    /// The gateways to probe now.
    pub(in crate::driver) fn gateways_due(&mut self, now: Instant) -> Vec<(Link, IpAddr)> {
        let due = self
            .gateways
            .iter_mut()
            .filter_map(|(link, address, gateway)| gateway.poll_probe(now).then(|| (link.clone(), *address)));
        due.collect()
    }

    /// The gateways behind `link`.
    pub(in crate::driver) fn gateways_on<'a>(&'a self, link: &'a Link) -> impl Iterator<Item = IpAddr> + 'a {
        self.gateways.iter().filter(move |(on, _, _)| on == link).map(|(_, address, _)| *address)
    }

    /// A neighbour answered.
    pub(in crate::driver) fn handle_gateway_answer(&mut self, link: &Link, address: IpAddr) -> bool {
        let asked = self.gateways.iter_mut().filter(|(on, who, _)| on == link && *who == address);
        asked.map(|(_, _, gateway)| gateway.handle_answer()).count() > 0
    }

    /// Whether it was not found that a gateway does not answer, if it asks that one.
    pub(in crate::driver) fn reaches(&self, address: IpAddr) -> Option<bool> {
        let mut found = self.gateways.iter().filter(|(_, gateway, _)| *gateway == address);
        found.next().map(|(_, _, gateway)| gateway.is_reachable())
    }
}
