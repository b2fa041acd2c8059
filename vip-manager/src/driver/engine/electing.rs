//! Groups whose leaders the nodes elect over the peer link: brings the elector what comes in, and does what it wants.

use super::Engine;
use crate::border::Role;
use crate::driver::HeartbeatLink;
use crate::driver::group::GroupDriver;
use crate::driver::link::count;
use crate::election::elector::{Elector, Plan, Planned, Standing};
use crate::election::heartbeat::{Heartbeat, Said, State};
use crate::election::placement::Candidate;
use fulcrum_config::{Class, Config, Group, NodeName};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// Heartbeats read in one turn, so that nobody keeps this loop busy.
const HEARTBEATS: usize = 1024;

/// The elector, and its way to the other nodes.
pub(in crate::driver) struct Electing {
    link: Option<HeartbeatLink>,
    pub(in crate::driver) elector: Elector,
}

impl Electing {
    pub(super) fn new(link: Option<HeartbeatLink>, now: Instant) -> Self {
        Self { link, elector: Elector::new(fastrand::u64(..), now) }
    }

    fn receive(&mut self) -> Option<(NodeName, Arc<[u8]>)> {
        self.link.as_mut()?.from_peers.try_recv().ok()
    }
}

impl Engine {
    /// Reads what the other nodes said, before anything that is due for want of it.
    pub(super) fn read_heartbeats(&mut self, now: Instant) {
        for _ in 0..HEARTBEATS {
            let Some((node, bytes)) = self.electing.receive() else { return };
            match Heartbeat::decode(&bytes) {
                Ok(heartbeat) => self.handle_heartbeat(&node, &heartbeat, now),
                Err(_) => count(&mut self.counters, "heartbeats_malformed"),
            }
        }
    }

    fn handle_heartbeat(&mut self, node: &NodeName, heartbeat: &Heartbeat, now: Instant) {
        let known = self.desired.as_ref().and_then(|desired| desired.config.nodes.get(node));
        let Some(source) = known.and_then(|node| node.addresses.first()).copied() else {
            return count(&mut self.counters, "heartbeats_of_strangers");
        };
        let Ok(heard) = self.electing.elector.handle_heartbeat(node, heartbeat, now) else {
            return count(&mut self.counters, "heartbeats_stale");
        };
        count(&mut self.counters, "heartbeats_received");
        for (name, said) in heard {
            let Some(group) = self.groups.get_mut(&name) else { continue };
            if !group.handle_said(source, &said, now) {
                count(&mut self.counters, "heartbeats_refused");
            }
        }
    }

    /// Takes a changed configuration.
    pub(super) fn update_elected(&mut self, config: &Config, now: Instant) {
        self.electing.elector.handle_plan(plan(config), now);
    }

    /// Says what is to be said, and has the routers know who comes in which order.
    pub(super) fn elect(&mut self, now: Instant) {
        let groups = &self.groups;
        let elector = &mut self.electing.elector;
        elector.handle_timeout(|name| groups.get(name).map(GroupDriver::standing), now);
        while let Some(heartbeat) = elector.poll_heartbeat() {
            let sent =
                self.electing.link.as_ref().map(|link| link.to_peers.try_send(heartbeat.encode().into()));
            let is_lost = sent.is_some_and(|sent| sent.is_err());
            count(&mut self.counters, if is_lost { "heartbeats_not_sent" } else { "heartbeats_sent" });
        }
        let Some(desired) = &self.desired else { return };
        while let Some((name, priorities)) = elector.poll_priorities() {
            if let Some(group) = self.groups.get_mut(&name)
                && group.set_priorities(&desired.config, priorities, now)
            {
                self.show.changed();
            }
        }
    }

    /// Whether a group may be led that nobody is heard to lead.
    pub(super) fn is_gathered(&self) -> bool {
        self.electing.elector.is_gathered()
    }
}

fn plan(config: &Config) -> Plan {
    let candidate = |(name, node): (&NodeName, &fulcrum_config::Node)| Candidate {
        node: name.clone(),
        weight: node.weight,
        domain: node.domain.clone(),
    };
    let planned = |group: &Arc<Group>| Planned {
        protected: group.class == Class::ControlPlane,
        priorities: group.priorities.clone(),
        interval: group.advert_interval,
    };
    let elected = config.groups.values().filter(|group| group.is_elected());
    Plan {
        nodes: config.nodes.iter().map(candidate).collect(),
        own: Some(config.node.clone()),
        groups: elected.map(|group| (group.name.clone(), planned(group))).collect(),
    }
}

impl GroupDriver {
    fn standing(&self) -> Standing {
        Standing {
            leads: self.router.role() == Role::Leader,
            unfit: self.router.priority().is_none(),
            epoch: self.router.epoch(),
        }
    }

    /// What a node said of the group on the peer link is an advert that came on its first link. Whether it is regarded.
    fn handle_said(&mut self, source: IpAddr, said: &Said, now: Instant) -> bool {
        let priority = match said.state {
            State::Resigns => 0,
            State::Leads(priority) => priority,
            State::Unfit => return true,
        };
        let Some(link) = self.first_link().cloned() else { return false };
        let Some(mut advert) = self.router.advert(&link, priority) else { return false };
        advert.interval = said.interval;
        let is_regarded = self.router.handle_advert(&link, source, &advert, now).is_ok();
        // Whoever follows a new leader has counted it by itself.
        self.router.handle_epoch(said.epoch);
        is_regarded
    }
}
