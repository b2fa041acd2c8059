//! Groups whose leaders the nodes elect over the peer link: brings the elector what comes in, and does what it wants.

use super::Engine;
use crate::border::Role;
use crate::driver::group::GroupDriver;
use crate::driver::link::count;
use crate::driver::{HeartbeatLink, Links, WitnessLink, clock};
use crate::election::elector::{Elector, Grant, Plan, Planned, Standing};
use crate::election::heartbeat::{Heartbeat, Said, State};
use crate::election::placement::Candidate;
use crate::election::quorum::{Quorum, Tie};
use crate::election::votes::{self, Votes};
use fulcrum_config::{Class, Config, Group, NodeName, OnSplit, Weight, Witness};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// Heartbeats read in one turn, so that nobody keeps this loop busy.
const HEARTBEATS: usize = 1024;

/// The elector, and its way to the other nodes.
pub(in crate::driver) struct Electing {
    link: Option<HeartbeatLink>,
    witness: Option<WitnessLink>,
    pub(in crate::driver) elector: Elector,
}

impl Electing {
    pub(super) fn new(links: Links, now: Instant) -> Self {
        let Links { heartbeats: link, witness } = links;
        Self { link, witness, elector: Elector::new(fastrand::u64(..), now) }
    }

    /// What the witness's lock is wanted for, and whether it is held.
    fn ask_witness(&mut self) {
        let Some(link) = &self.witness else { return };
        self.elector.handle_lock(*link.held.borrow());
        let wants = self.elector.quorum().is_some_and(Quorum::wants_lock);
        link.wanted.send_if_modified(|wanted| std::mem::replace(wanted, wants) != wants);
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
            // Votes change with what is heard.
            if self.electing.elector.quorum().is_some() {
                self.wake();
            }
            if bytes.first() == Some(&votes::VERSION) {
                self.handle_votes(&node, &bytes, now);
                continue;
            }
            match Heartbeat::decode(&bytes) {
                Ok(heartbeat) => self.handle_heartbeat(&node, &heartbeat, now),
                Err(_) => count(&mut self.counters, "heartbeats_malformed"),
            }
        }
    }

    fn handle_votes(&mut self, node: &NodeName, bytes: &[u8], now: Instant) {
        match Votes::decode(bytes) {
            Ok(votes) => self.electing.elector.handle_votes(node, &votes, now),
            Err(_) => count(&mut self.counters, "votes_malformed"),
        }
    }

    /// Tells the routers whether enough nodes let them lead.
    pub(super) fn grant(&mut self, now: Instant) {
        if let Some(Witness::Gateway { address, .. }) = self.desired.as_ref().map(|it| &it.config.witness) {
            let answers = self.groups.values().find_map(|group| group.reaches(*address));
            self.electing.elector.handle_gateway(answers.unwrap_or_default());
        }
        self.electing.ask_witness();
        let grants = self.electing.elector.grants(now);
        for (name, group) in &mut self.groups {
            group.grant = grants.of(name, group.router.role() == Role::Leader);
            group.router.handle_grant(group.grant != Grant::Never, now);
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
        while let Some(datagram) = elector.poll_datagram() {
            let sent = self.electing.link.as_ref().map(|link| link.to_peers.try_send(datagram.into()));
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
    let drained: BTreeSet<NodeName> = config.overrides.nodes.keys().cloned().collect();
    let candidate = |(name, node): (&NodeName, &fulcrum_config::Node)| Candidate {
        node: name.clone(),
        weight: if drained.contains(name) { Weight::NONE } else { node.weight },
        domain: node.domain.clone(),
    };
    let planned = |group: &Arc<Group>| Planned {
        protected: group.class == Class::ControlPlane,
        priorities: group.priorities.clone(),
        interval: group.advert_interval,
        one: group.on_split == OnSplit::One,
    };
    let elected = config.groups.values().filter(|group| group.is_elected());
    let nodes = config.nodes.iter().map(candidate).collect();
    Plan {
        nodes,
        own: Some(config.node.clone()),
        groups: elected.map(|group| (group.name.clone(), planned(group))).collect(),
        tie: match config.witness {
            Witness::None => Tie::None,
            Witness::Gateway { .. } => Tie::Gateway,
            Witness::Etcd(_) | Witness::Kubernetes(_) => Tie::Lock,
        },
        drained,
    }
}

impl GroupDriver {
    fn standing(&self) -> Standing {
        Standing {
            leads: self.router.role() == Role::Leader,
            unfit: self.router.priority().is_none(),
            speaks: self.router.may_send(clock()),
            epoch: self.router.epoch(),
        }
    }

    /// What a node said of the group on the peer link is an advert that came on its first link. Whether it is regarded.
    fn handle_said(&mut self, source: IpAddr, said: &Said, now: Instant) -> bool {
        let priority = match said.state {
            State::Resigns => 0,
            State::Leads(priority) => priority,
            State::Unfit | State::Offers(_) => return true,
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
