//! Asking for a group's addresses from outside, and what others found out by that about this node.

use super::GroupDriver;
use crate::border::{Desired, Role};
use crate::disproof::Disproof;
use crate::election::placement::Order;
use crate::proof::{Part, Wanted};
use fulcrum_config::{NodeName, OnFailure, Vip};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

impl GroupDriver {
    /// What is asked for from outside: the addresses, each with the TCP ports of its services.
    pub(in crate::driver) fn update_proof(&mut self, ports: &BTreeMap<IpAddr, Vec<u16>>, now: Instant) {
        let how = self.group.proof.unwrap_or_default();
        let ports = |vip: &Vip| ports.get(&vip.address).filter(|_| how.ports).cloned().unwrap_or_default();
        let wanted = self.group.vips.iter().map(|vip| Wanted {
            address: vip.address,
            link: vip.link(),
            ports: ports(vip),
        });
        self.proof.handle_wanted(how.interval, wanted, now);
    }

    /// What this node, `own`, is to the group as far as asking for its addresses goes. Where the nodes know who takes
    /// over (`order`), that one asks; else every standby.
    pub(in crate::driver) fn part(&self, own: &NodeName, order: Option<&Order>) -> Part {
        let is_first = order.is_none_or(|order| order.nodes.get(1) == Some(own));
        match (self.router.role(), self.router.leader()) {
            (Role::Init, _) => Part::Idle,
            (Role::Leader | Role::Standby, _) if self.group.proof.is_none() => Part::Idle,
            (Role::Leader, _) => Part::Leads,
            (Role::Standby, None) => Part::Unled,
            (Role::Standby, Some(_)) if !is_first => Part::Idle,
            (Role::Standby, Some(leader)) => Part::Follows {
                node: leader.node.clone(),
                address: leader.address,
                epoch: self.router.epoch(),
            },
        }
    }

    /// Whether another node finds that this one leads and does not answer.
    pub(super) fn update_disproof(&mut self, desired: &Desired, now: Instant) {
        if !self.hands_over() {
            self.disproof = Disproof::default();
        } else if self.router.role() == Role::Leader {
            let name = &self.group.name;
            let by = desired.words.iter().find(|(_, word)| word.accuses.contains(name));
            self.disproof.handle_accused(by.map(|(node, _)| node), now);
        }
    }

    /// Whether this node finds that the leader does not answer, and is to take over from it.
    pub(in crate::driver) fn accuses(&self, now: Instant) -> bool {
        let could_lead = self.router.role() == Role::Standby && self.router.priority().is_some();
        could_lead && self.hands_over() && self.disproof.failed(now).is_none() && self.proof.is_failed()
    }

    fn hands_over(&self) -> bool {
        self.group.proof.is_some_and(|proof| proof.on_failure == OnFailure::HandOver)
    }
}
