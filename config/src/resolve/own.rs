//! Groups of their own: of addresses that services have and no listed group has. Their leaders are elected.
//!
//! Addresses that one service has move together, and so do those that another has together with one of them. Such a
//! group is called as its lowest address (IPv4 before IPv6); `groups` refuses that name for any other.

use super::address_pools::AddressPools;
use super::addresses::{check_vip, vip_behind};
use super::groups::{GroupFacts, Groups, MAX_VIPS};
use super::nodes::{Interfaces, Nodes, Unelectable};
use super::written::{Services, Written};
use crate::document::NodeId;
use crate::file::{File, ServiceSection};
use crate::model::{
    Adverts, Allocations, Class, Election, Group, GroupName, NodeName, OnSplit, Preempt, Priority, Proof,
    Timing, Track, TrackEffect, Vip,
};
use crate::reader::{At, Reader};
use crate::scalar::VipWord;
use crate::table::Or;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

#[cfg(test)]
mod tests;

/// The most groups of all kinds: so many have room in the tables of the fence.
const MAX_GROUPS: usize = 4096;

/// What is known before any group is.
pub(super) struct Around<'a> {
    pub(super) nodes: &'a Nodes,
    pub(super) interfaces: &'a Interfaces,
    pub(super) timing: &'a Timing,
    pub(super) ranges: &'a AddressPools,
}

/// Groups of the addresses that services write themselves. Each of them is in a group afterwards, or was refused.
///
/// Those of the file are made first, and those of fragments do not change them.
pub(super) fn of_services(
    reader: &mut Reader<'_>,
    file: &File,
    written: &Services<'_>,
    around: &Around<'_>,
    groups: &mut Groups,
) {
    let nodes_refused = file.nodes.as_ref().is_none_or(|nodes| reader.refused_within(nodes.node));
    if !groups.complete || !around.interfaces.complete || nodes_refused {
        return;
    }
    of_some(reader, &written.of_file, around, groups);
    of_some(reader, &written.of_fragments, around, groups);
}

fn of_some(reader: &mut Reader<'_>, some: &[Written<'_>], around: &Around<'_>, groups: &mut Groups) {
    let mut places = BTreeMap::new();
    let mut services = Vec::new();
    for section in some.iter().map(|it| it.section) {
        let (listed, others): (Vec<_>, Vec<_>) =
            written(section).into_iter().partition(|address| groups.vips.contains_key(&address.value));
        if let Some(facts) = listed.first().and_then(|address| groups.vips.get(&address.value)) {
            refuse_beside_listed(reader, &others, facts);
        } else if !others.is_empty() {
            services.push(others.iter().map(|address| address.value).collect::<Vec<_>>());
            for address in others {
                places.entry(address.value).or_insert(address.node);
            }
        }
    }
    let mut vips = BTreeMap::new();
    let (priorities, gateways) = (around.priorities(), tracked(groups));
    for (address, place) in places {
        if let Some(group) = gateways.get(&address) {
            let message = format!("`{address}` is a gateway that group `{group}` tracks");
            reader.error(place, message, "a VIP is an address that no machine has");
        } else if let Some(vip) = around.vip(reader, At { value: address, node: place }, &priorities) {
            vips.insert(address, (vip, place));
        }
    }
    around.add(reader, groups, &services, &vips);
}

/// Groups of what services have of pools without a group.
pub(super) fn of_pools(
    reader: &mut Reader<'_>,
    around: &Around<'_>,
    written: &Services<'_>,
    allocations: &Allocations,
    groups: &mut Groups,
) {
    for (some, is_file) in [(&written.of_file, true), (&written.of_fragments, false)] {
        let mut services = Vec::new();
        let mut vips = BTreeMap::new();
        for service in some {
            let mut own = Vec::new();
            for (address, pool) in allocations.of(&service.name).into_iter().flatten() {
                let pool = around.ranges.all.get(pool).filter(|pool| pool.group.is_none());
                let Some(range) = pool.and_then(|pool| pool.range_of(*address)) else { continue };
                let Some((_, place)) = around.ranges.around(*address) else { continue };
                own.push(*address);
                let place = if is_file { place } else { service.node };
                vips.entry(*address)
                    .or_insert((Vip { address: *address, interface: range.interface.clone() }, place));
            }
            services.push(own);
        }
        around.add(reader, groups, &services, &vips);
    }
}

/// The gateways that groups track.
fn tracked(groups: &Groups) -> HashMap<IpAddr, GroupName> {
    let tracks = groups.all.values().flat_map(|group| group.tracks.iter().map(move |track| (group, track)));
    let gateway = |(group, track): (&Arc<Group>, &Track)| match track {
        Track::Gateway { address, .. } => Some((*address, group.name.clone())),
        Track::Link { .. } | Track::DataPlane { .. } => None,
    };
    tracks.filter_map(gateway).collect()
}

/// The addresses that a service names without asking a pool.
fn written(section: &ServiceSection) -> Vec<At<IpAddr>> {
    match (&section.vip, &section.vips) {
        (Some(vip), None) => match &vip.value {
            Or::Short(VipWord::Address(address)) => vec![At { value: *address, node: vip.node }],
            Or::Short(VipWord::Auto) | Or::Long(_) => Vec::new(),
        },
        (None, Some(vips)) => vips.value.0.clone(),
        (Some(_), Some(_)) | (None, None) => Vec::new(),
    }
}

fn refuse_beside_listed(reader: &mut Reader<'_>, others: &[At<IpAddr>], facts: &GroupFacts) {
    for other in others {
        let message = format!(
            "`{}` is not a VIP of any group, the service's other address is one of group `{}`",
            other.value, facts.name
        );
        let help = format!(
            "add it to the `vips` of group `{}`, so that they are on the same node, or make a service for each",
            facts.name
        );
        reader.conflict(other.node, message, help, facts.place, "the other one");
    }
}

/// The addresses that move together: those of one service, and what is joined to them by others.
fn together(services: &[Vec<IpAddr>]) -> Vec<BTreeSet<IpAddr>> {
    let mut having: BTreeMap<IpAddr, Vec<usize>> = BTreeMap::new();
    for (index, addresses) in services.iter().enumerate() {
        for address in addresses {
            having.entry(*address).or_default().push(index);
        }
    }
    let mut groups = Vec::new();
    let mut seen = BTreeSet::new();
    while let Some((address, mut reached)) = having.pop_first() {
        let mut group = BTreeSet::from([address]);
        while let Some(index) = reached.pop() {
            // Each service once: its list may be long.
            let addresses = services.get(index).filter(|_| seen.insert(index));
            for address in addresses.into_iter().flatten() {
                group.insert(*address);
                reached.extend(having.remove(address).unwrap_or_default());
            }
        }
        groups.push(group);
    }
    groups
}

impl Around<'_> {
    fn priorities(&self) -> BTreeMap<NodeName, Priority> {
        self.nodes.all.iter().map(|(name, node)| (name.clone(), node.priority)).collect()
    }

    /// What an address is as a VIP of its own, if it can be one.
    fn vip(
        &self,
        reader: &mut Reader<'_>,
        address: At<IpAddr>,
        priorities: &BTreeMap<NodeName, Priority>,
    ) -> Option<Vip> {
        let no_vip = format!("`{}` is not a VIP of any group", address.value);
        if let Some((pool, place)) = self.ranges.around(address.value) {
            let help = format!("to get it from pool `{pool}` write `vip: {{address: {}}}`", address.value);
            reader.conflict(address.node, no_vip, help, place, "the pool");
            return None;
        }
        if let Some(Unelectable { why, cure }) = self.nodes.unelectable() {
            let cure = cure.map(|cure| format!(", or {cure}: then it is a group of its own"));
            let help = format!(
                "add it to the `vips` of a group, or write one that is there{}",
                cure.unwrap_or_default()
            );
            reader.error(address.node, format!("{no_vip}, and can't be a group of its own: {why}"), help);
            return None;
        }
        if !check_vip(reader, self.nodes, address, priorities) {
            return None;
        }
        match self.interfaces.behind(address.value).as_slice() {
            [only] => return vip_behind(reader, address, only),
            [] => {
                let help = format!(
                    "write a group's VIP, or add its network to `interfaces`, which has: {}",
                    self.interfaces.networks()
                );
                reader.error(address.node, format!("{no_vip}, and in no network of an interface"), help);
            }
            several => {
                let names: Vec<&str> = several.iter().map(|interface| interface.name.as_str()).collect();
                let message =
                    format!("{no_vip}, and in networks of several interfaces: {}", names.join(", "));
                let help = "add it to the `vips` of a group, as {address: ..., interface: ...}";
                reader.error(address.node, message, help);
            }
        }
        None
    }

    /// Adds a group for each address of `vips`, or for several that one of the services has together.
    fn add(
        &self,
        reader: &mut Reader<'_>,
        groups: &mut Groups,
        services: &[Vec<IpAddr>],
        vips: &BTreeMap<IpAddr, (Vip, NodeId)>,
    ) {
        let priorities = self.priorities();
        for addresses in together(services) {
            let vips: Vec<&(Vip, NodeId)> = addresses.iter().filter_map(|it| vips.get(it)).collect();
            let Some((first, place)) = vips.first() else { continue };
            if vips.len() > MAX_VIPS {
                let message = format!(
                    "services have {} addresses together with this one; one group moves at most {MAX_VIPS}",
                    vips.len()
                );
                reader.error_of_others(*place, message, "make services with fewer addresses");
                continue;
            }
            if groups.all.len() >= MAX_GROUPS {
                let message = format!(
                    "`{}` can't be a group of its own: there are {MAX_GROUPS} groups, as many as can be",
                    first.address
                );
                let help = "list addresses together in `groups`, or give a pool a `group`";
                reader.error_of_others(*place, message, help);
                continue;
            }
            let name = GroupName::new(&first.address.to_string());
            for (vip, place) in &vips {
                let facts = GroupFacts { name: name.clone(), accept: true, place: *place };
                groups.vips.insert(vip.address, facts);
            }
            let vips = vips.into_iter().map(|(vip, _)| vip.clone()).collect();
            groups.all.insert(name.clone(), Arc::new(self.group(name, vips, &priorities)));
        }
    }

    /// With all that nothing is written of.
    fn group(&self, name: GroupName, vips: Vec<Vip>, priorities: &BTreeMap<NodeName, Priority>) -> Group {
        Group {
            name,
            class: Class::Workload,
            election: Election::Peers,
            vips,
            priorities: priorities.clone(),
            advert_interval: self.timing.advert_interval,
            adverts: Adverts::Multicast,
            preempt: Preempt::Never,
            on_split: OnSplit::default(),
            proof: Some(Proof::default()),
            drain: Group::DRAIN,
            accept: true,
            tracks: vec![Track::DataPlane { effect: TrackEffect::Ineligible }],
        }
    }
}
