//! VIP groups: where their addresses live, who leads first, what is tracked.

use super::address_pools::AddressPools;
use super::addresses::{check_vip, vip_behind};
use super::nodes::{Interfaces, Nodes, Unelectable};
use crate::document::NodeId;
use crate::file::{File, GroupSection, TrackSection, VipSection};
use crate::model::{
    Adverts, Class, Election, Family, Group, GroupName, InterfaceName, Link, NodeKind, NodeName, OnFailure,
    OnSplit, Preempt, Priority, Proof, Timing, Track, TrackEffect, Vip, Vrid,
};
use crate::reader::{At, Field, Reader};
use crate::scalar::Name;
use crate::table::Or;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// The most VIPs of one group: they move together, within one down interval.
pub(super) const MAX_VIPS: usize = 1000;

/// What services need to know of a group.
#[derive(Debug, Clone)]
pub(super) struct GroupFacts {
    pub(super) name: GroupName,
    pub(super) accept: bool,
    /// Where the VIP stands.
    pub(super) place: NodeId,
}

/// The groups, and who has each VIP.
#[derive(Default)]
pub(super) struct Groups {
    pub(super) all: BTreeMap<GroupName, Arc<Group>>,
    pub(super) vips: HashMap<IpAddr, GroupFacts>,
    /// Whether all of them could be read.
    pub(super) complete: bool,
}

/// What is gathered over all groups.
struct Walk<'a> {
    nodes: &'a Nodes,
    interfaces: &'a Interfaces,
    timing: &'a Timing,
    ranges: &'a AddressPools,
    groups: Groups,
    vrids: HashMap<(Link, Vrid), (GroupName, NodeId)>,
    /// Nodes that were found to have no address on a link: one report is enough.
    without_address: HashSet<(NodeName, Link)>,
    /// Whether it was said that leaders can't be elected: once is enough.
    unelectable: bool,
    /// Nodes that were found equal.
    equal: BTreeSet<(NodeName, NodeName)>,
}

pub(super) fn resolve(
    reader: &mut Reader<'_>,
    file: &File,
    nodes: &Nodes,
    interfaces: &Interfaces,
    timing: &Timing,
    ranges: &AddressPools,
) -> Groups {
    let mut walk = Walk {
        nodes,
        interfaces,
        timing,
        ranges,
        groups: Groups::default(),
        vrids: HashMap::new(),
        without_address: HashSet::new(),
        unelectable: false,
        equal: BTreeSet::new(),
    };
    let Some(sections) = &file.groups else {
        walk.groups.complete = reader.child(file.at, "groups").is_none();
        return walk.groups;
    };
    for (name, section) in &sections.value.0 {
        let Some(section) = section else { continue };
        let group = GroupName::new(&name.value.0);
        walk.refuse_name_of_other_address(reader, name, section);
        walk.group(reader, group, section);
    }
    walk.groups.complete = interfaces.complete && !reader.refused_within(sections.node);
    walk.groups
}

impl Walk<'_> {
    fn group(&mut self, reader: &mut Reader<'_>, name: GroupName, section: &GroupSection) {
        let class = section.class.get().copied().unwrap_or(Class::Workload);
        let accept = section.accept.get().copied().unwrap_or(true);
        let adverts = section.adverts.get().copied().unwrap_or(Adverts::Multicast);
        let priorities = self.priorities(reader, section);
        let mut vips = Vec::new();
        let listed = section.vips.get().map(|list| list.0.as_slice()).unwrap_or_default();
        for vip in listed {
            vips.extend(self.vip(reader, vip, &priorities));
        }
        for (vip, place) in &vips {
            let facts = GroupFacts { name: name.clone(), accept, place: *place };
            if let Some(other) = self.groups.vips.insert(vip.address, facts) {
                let message = format!("`{}` is a VIP of group `{}` already", vip.address, other.name);
                reader.conflict(*place, message, "delete one of them", other.place, "the first one");
            }
        }
        self.refuse_empty(reader, &name, section);
        if let Some(field) = &section.vips
            && listed.len() > MAX_VIPS
        {
            let message = format!("the group has {} VIPs; one group moves at most {MAX_VIPS}", listed.len());
            reader.error(field.node, message, "divide them among several groups, each with its own VRID");
        }
        let vips: Vec<Vip> = vips.into_iter().map(|(vip, _)| vip).collect();
        let tracks = self.tracks(reader, section);
        let election = match section.vrid.get().copied() {
            Some(vrid) => Election::Vrrp(vrid),
            // It was refused.
            None if reader.child(section.at, "vrid").is_some() => return,
            None => Election::Peers,
        };
        match election {
            Election::Peers => self.elected(reader, section),
            Election::Vrrp(_) => {
                self.owner(reader, section, &vips, &priorities);
                if let Some(field) = &section.on_split
                    && field.value == OnSplit::One
                {
                    let help = "delete `vrid`, so that the nodes elect its leader, or delete `on_split`";
                    reader.error(field.node, "VRRP can't have no leader rather than two", help);
                }
                self.warn_equal(reader, section, &priorities);
            }
        }
        self.handed_over(reader, section);
        let group = Group {
            name: name.clone(),
            class,
            election,
            vips,
            priorities,
            advert_interval: section.advert_interval.get().copied().unwrap_or(self.timing.advert_interval),
            adverts,
            preempt: preempt(section),
            on_split: section.on_split.get().copied().unwrap_or_default(),
            proof: proof(section),
            drain: section.drain.get().map_or(Group::DRAIN, |time| time.0),
            accept,
            tracks,
        };
        let links: BTreeSet<Link> = group.links().into_iter().chain(self.ranges.links(&name)).collect();
        for link in links {
            if let Election::Vrrp(vrid) = election {
                self.vrid(reader, section, &group, vrid, &link);
                self.sources(reader, adverts, &link);
            }
        }
        self.groups.all.insert(name, Arc::new(group));
    }

    /// An address that no group lists is a group of its own, which has its name.
    fn refuse_name_of_other_address(&self, reader: &mut Reader<'_>, name: &At<Name>, section: &GroupSection) {
        let Ok(address) = name.value.0.parse::<IpAddr>() else { return };
        let listed = section.vips.get().map(|list| list.0.as_slice()).unwrap_or_default();
        let is_it = |vip: &At<Or<IpAddr, VipSection>>| match &vip.value {
            Or::Short(vip) => *vip == address,
            Or::Long(section) => section.address.get() == Some(&address),
        };
        if self.nodes.unelectable().is_none() && !listed.iter().any(is_it) {
            let message = format!("the group has the name of {address}, which is not one of its `vips`");
            let help =
                "give it another name: an address that no group lists is a group of its own, and called so";
            reader.error_at_key(name.node, message, help);
        }
    }

    fn refuse_empty(&self, reader: &mut Reader<'_>, name: &GroupName, section: &GroupSection) {
        if self.ranges.may_serve(name) {
            return;
        }
        let help = "write its addresses, or name the group in one of `pools`";
        match &section.vips {
            Some(field) if field.value.0.is_empty() && !reader.refused_within(field.node) => {
                reader.error(field.node, "the group has no VIP", help);
            }
            None if reader.child(section.at, "vips").is_none() => {
                reader.error(section.at, "`vips` is missing", help);
            }
            Some(_) | None => {}
        }
    }

    fn vip(
        &self,
        reader: &mut Reader<'_>,
        written: &At<Or<IpAddr, VipSection>>,
        priorities: &BTreeMap<NodeName, Priority>,
    ) -> Option<(Vip, NodeId)> {
        let (address, interface) = match &written.value {
            Or::Short(address) => (At { value: *address, node: written.node }, None),
            Or::Long(section) => (section.address?, section.interface.as_ref()),
        };
        if !check_vip(reader, self.nodes, address, priorities) {
            return None;
        }
        let interface = match interface {
            Some(named) => self.named_interface(reader, address, &named.value.0, named.node)?,
            None => self.interface_of(reader, address)?,
        };
        let vip = vip_behind(reader, address, self.interfaces.all.get(&interface)?)?;
        Some((vip, address.node))
    }

    fn named_interface(
        &self,
        reader: &mut Reader<'_>,
        address: At<IpAddr>,
        name: &str,
        node: NodeId,
    ) -> Option<InterfaceName> {
        let Some(interface) = self.interfaces.all.get(&InterfaceName::new(name)) else {
            if self.interfaces.complete {
                let names = self.interfaces.all.keys().map(InterfaceName::as_str);
                reader.dangling(node, "interface", name, names);
            }
            return None;
        };
        if interface.networks.iter().any(|network| network.contains(&address.value)) {
            return Some(interface.name.clone());
        }
        if self.interfaces.complete {
            let networks = show(interface.networks.iter());
            let message = format!("`{}` lies in no network of {name} ({networks})", address.value);
            reader.error(address.node, message, format!("add its network to `interfaces.{name}.networks`"));
        }
        None
    }

    /// The one interface whose network has `address`.
    fn interface_of(&self, reader: &mut Reader<'_>, address: At<IpAddr>) -> Option<InterfaceName> {
        match self.interfaces.behind(address.value).as_slice() {
            [only] => return Some(only.name.clone()),
            [] if !self.interfaces.complete => {}
            [] => {
                let networks = self.interfaces.networks();
                reader.error(
                    address.node,
                    format!("`{}` lies in no network of an interface", address.value),
                    format!("add its network to `interfaces`, which has: {networks}"),
                );
            }
            several => {
                let names = show(several.iter().map(|interface| &interface.name));
                let message = format!("`{}` lies in networks of several interfaces: {names}", address.value);
                reader.error(address.node, message, "write {address: ..., interface: ...}");
            }
        }
        None
    }

    fn priorities(&self, reader: &mut Reader<'_>, section: &GroupSection) -> BTreeMap<NodeName, Priority> {
        let all = &self.nodes.all;
        let mut priorities: BTreeMap<NodeName, Priority> =
            all.iter().map(|(name, node)| (name.clone(), node.priority)).collect();
        for (name, priority) in section.priorities.get().map(|named| named.0.as_slice()).unwrap_or_default() {
            let node = NodeName::new(&name.value.0);
            if let (Some(present), Some(priority)) = (priorities.get_mut(&node), priority) {
                *present = *priority;
            } else if !all.contains_key(&node) {
                reader.dangling_key(name.node, "node", node.as_str(), all.keys().map(NodeName::as_str));
            }
        }
        priorities
    }

    /// Priority 255 says that a node owns the addresses (RFC 9568 section 5.2.4); two can't.
    fn owner(
        &self,
        reader: &mut Reader<'_>,
        section: &GroupSection,
        vips: &[Vip],
        priorities: &BTreeMap<NodeName, Priority>,
    ) {
        let owners: Vec<&NodeName> = priorities
            .iter()
            .filter(|(_, priority)| **priority == Priority::OWNER)
            .map(|(name, _)| name)
            .collect();
        match owners.as_slice() {
            [] => {}
            [owner] => {
                let has = |vip: &Vip| {
                    self.nodes.all.get(*owner).is_some_and(|node| node.addresses.contains(&vip.address))
                };
                let owned =
                    if vips.iter().all(has) { "" } else { ", though not all VIPs are its own addresses" };
                reader.warn(
                    section.at,
                    format!("`{owner}` has priority 255{owned}: it takes the group back whenever it returns"),
                    "write a priority of at most 254 unless that is wanted",
                );
            }
            several => {
                let names = show(several.iter());
                let message = format!("several nodes have priority 255: {names}");
                reader.error(
                    section.at,
                    message,
                    "only the owner of the addresses has it; write at most 254",
                );
            }
        }
    }

    fn warn_equal(
        &mut self,
        reader: &mut Reader<'_>,
        section: &GroupSection,
        priorities: &BTreeMap<NodeName, Priority>,
    ) {
        let mut seen: HashMap<Priority, &NodeName> = HashMap::new();
        for (name, priority) in priorities {
            let Some(other) = seen.insert(*priority, name) else { continue };
            if *priority != Priority::OWNER && self.equal.insert((other.clone(), name.clone())) {
                reader.warn(
                    section.at,
                    format!("`{other}` and `{name}` have the same priority, {priority}"),
                    "at a tie the higher address leads; write different priorities to choose",
                );
            }
        }
    }

    fn vrid(
        &mut self,
        reader: &mut Reader<'_>,
        section: &GroupSection,
        group: &Group,
        vrid: Vrid,
        link: &Link,
    ) {
        let place = section.vrid.as_ref().map_or(section.at, |vrid| vrid.node);
        let key = (link.clone(), vrid);
        match self.vrids.get(&key) {
            Some((other, other_place)) => {
                let message = format!("VRID {vrid} is group `{other}`'s on {} already", link.interface);
                reader.conflict(
                    place,
                    message,
                    "write a number that no other group has",
                    *other_place,
                    "the first one",
                );
            }
            None => {
                self.vrids.insert(key, (group.name.clone(), place));
            }
        }
    }

    /// A group without a VRID is led by whom the nodes elect: all of them must be able to speak on the peer link.
    fn elected(&mut self, reader: &mut Reader<'_>, section: &GroupSection) {
        if let Some(Unelectable { why, .. }) = self.nodes.without_link()
            && !std::mem::replace(&mut self.unelectable, true)
        {
            reader.error(
                section.at,
                format!("the group has no VRID, and its leader can't be elected over the peer link: {why}"),
                "write `vrid:` with a number of its own, or give each node `keys` (see `fulcrum peer-key --help`)",
            );
        }
        for field in reader.children(section.at, &["adverts", "preempt"]) {
            let help = "delete it, or write `vrid:` with a number of its own";
            reader.error_at_key(field, "this is for a group with a VRID", help);
        }
        let named = section.priorities.get().map(|named| named.0.as_slice()).unwrap_or_default();
        let of_nodes = self.nodes.all.values().map(|node| node.priority);
        if of_nodes.chain(named.iter().filter_map(|(_, priority)| *priority)).any(|it| it == Priority::OWNER)
        {
            let help = "write at most 254, or `vrid:` with a number of its own";
            reader.error(section.at, "priority 255, the owner's, is for a group with a VRID", help);
        }
    }

    /// Adverts need a source address in a network of the link; IPv6 multicast has the link-local one.
    fn sources(&mut self, reader: &mut Reader<'_>, adverts: Adverts, link: &Link) {
        let Some(interface) = self.interfaces.all.get(&link.interface) else { return };
        if adverts == Adverts::Multicast && link.family == Family::Ipv6 {
            return;
        }
        let family = if link.family == Family::Ipv4 { "IPv4" } else { "IPv6" };
        let networks =
            || interface.networks.iter().filter(|network| Family::of(network.addr()) == link.family);
        for (name, node) in &self.nodes.all {
            let link_local =
                |address: &IpAddr| matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
            let fits = |address: &IpAddr| {
                Family::of(*address) == link.family
                    && (link_local(address) || networks().any(|network| network.contains(address)))
            };
            let silent = adverts == Adverts::Multicast && node.kind == NodeKind::Foreign;
            if silent || node.addresses.iter().any(fits) {
                continue;
            }
            let place = self.nodes.places.get(name).copied().unwrap_or(reader.root());
            if self.without_address.insert((name.clone(), link.clone())) && !reader.refused_within(place) {
                let networks = show(networks());
                let message =
                    format!("`{name}` has no {family} address in the networks of {}", link.interface);
                let help = format!("add the address it sends adverts from there, one in {networks}");
                reader.error(place, message, help);
            }
        }
    }

    fn tracks(&self, reader: &mut Reader<'_>, section: &GroupSection) -> Vec<Track> {
        let mut tracks = Vec::new();
        let mut data_plane = Some(TrackEffect::Ineligible);
        for item in section.track.get().map(|list| list.0.as_slice()).unwrap_or_default() {
            let Or::Long(track) = &item.value else { continue };
            let effect = match track.lower.get().and_then(|lower| u8::try_from(lower.0).ok()) {
                Some(lower) => TrackEffect::Lower(lower),
                None => TrackEffect::Ineligible,
            };
            match (&track.link, &track.gateway, &track.data_plane) {
                (Some(link), None, None) => {
                    let interface = InterfaceName::new(&link.value.0);
                    if self.interfaces.all.contains_key(&interface) {
                        tracks.push(Track::Link { interface, effect });
                    } else if self.interfaces.complete {
                        let names = self.interfaces.all.keys().map(InterfaceName::as_str);
                        reader.dangling(link.node, "interface", interface.as_str(), names);
                    }
                }
                (None, Some(gateway), None) => tracks.extend(self.gateway(reader, track, *gateway, effect)),
                (None, None, Some(tracked)) => data_plane = tracked.value.then_some(effect),
                _ if reader.refused_within(track.at) => {}
                _ => {
                    let help = "write one of `link`, `gateway` and `data_plane` in each item of the list";
                    reader.error(track.at, "it must be clear what is tracked", help);
                }
            }
            if track.gateway.is_none() && !reader.refused_within(track.at) {
                for field in reader.children(track.at, &["interface", "interval", "rise", "fall"]) {
                    reader.error_at_key(field, "this is for a `gateway` only", "delete it");
                }
            }
        }
        tracks.extend(data_plane.map(|effect| Track::DataPlane { effect }));
        tracks
    }

    fn gateway(
        &self,
        reader: &mut Reader<'_>,
        track: &TrackSection,
        gateway: At<IpAddr>,
        effect: TrackEffect,
    ) -> Option<Track> {
        let interface = match &track.interface {
            Some(named) => self.named_interface(reader, gateway, &named.value.0, named.node)?,
            None => self.interface_of(reader, gateway)?,
        };
        if let Some((node, _)) = self.nodes.addresses.get(&gateway.value) {
            let message = format!("`{}` is node `{node}`'s own address", gateway.value);
            reader.error(gateway.node, message, "write the address of a router on the network");
        }
        Some(Track::Gateway {
            address: gateway.value,
            interface,
            interval: track.interval.get().map_or(Duration::from_secs(1), |time| time.0),
            fall: track.fall.get().map_or(3, |number| number.0),
            rise: track.rise.get().map_or(2, |number| number.0),
            effect,
        })
    }
}

impl Walk<'_> {
    /// A leader that does not answer is asked over the peer link to hand over.
    fn handed_over(&self, reader: &mut Reader<'_>, section: &GroupSection) {
        let Some(Or::Long(proof)) = section.proof.get() else { return };
        let asks = proof.on_failure.as_ref().filter(|field| field.value == OnFailure::HandOver);
        let mute = self.nodes.all.keys().find(|name| !self.nodes.has_keys.contains(*name));
        if let Some((field, mute)) = asks.zip(mute) {
            let message =
                format!("a leader is asked over the peer link to hand over, and `{mute}` has no `keys`");
            let help = "give each node `keys` (see `fulcrum peer-key --help`), or write `on_failure: alarm`";
            reader.error(field.node, message, help);
        }
    }
}

fn proof(section: &GroupSection) -> Option<Proof> {
    let Proof { interval, ports, on_failure } = Proof::default();
    match section.proof.get() {
        None | Some(Or::Short(true)) => Some(Proof::default()),
        Some(Or::Short(false)) => None,
        Some(Or::Long(section)) => Some(Proof {
            interval: section.interval.get().map_or(interval, |time| time.0),
            ports: section.ports.get().copied().unwrap_or(ports),
            on_failure: section.on_failure.get().copied().unwrap_or(on_failure),
        }),
    }
}

fn preempt(section: &GroupSection) -> Preempt {
    match section.preempt.get() {
        None | Some(Or::Short(false)) => Preempt::Never,
        Some(Or::Short(true)) => Preempt::After(Duration::ZERO),
        Some(Or::Long(section)) => Preempt::After(section.delay.get().map_or(Duration::ZERO, |time| time.0)),
    }
}

fn show<T: ToString>(items: impl Iterator<Item = T>) -> String {
    let items: Vec<String> = items.map(|item| item.to_string()).collect();
    if items.is_empty() { "none".to_owned() } else { items.join(", ") }
}
