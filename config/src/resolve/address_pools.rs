//! Pools of addresses: where their addresses live, and that nobody else has them.

use super::addresses::{not_of_one_machine, reserved_in};
use super::groups::Groups;
use super::nodes::{Interfaces, Nodes, Unelectable};
use crate::document::NodeId;
use crate::file::{AddressPoolSection, File};
use crate::model::{
    AddressRange, AddressSpan, Allow, Class, Family, GroupName, Interface, InterfaceName, Link, Pool,
    PoolName, Priority, TenantName, Track,
};
use crate::reader::{At, Field, Reader};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The pools, and where the file speaks of them.
#[derive(Debug, Default)]
pub(super) struct AddressPools {
    pub(super) all: BTreeMap<PoolName, Pool>,
    /// Each range by its lowest address.
    ranges: BTreeMap<IpAddr, Placed>,
    /// Whether all of them could be read.
    pub(super) complete: bool,
}

/// A range, and where it stands.
#[derive(Debug, Clone)]
struct Placed {
    last: IpAddr,
    pool: PoolName,
    place: NodeId,
}

impl AddressPools {
    /// The pool whose range `address` lies in, and where that stands.
    pub(super) fn around(&self, address: IpAddr) -> Option<(&PoolName, NodeId)> {
        let (_, placed) = self.ranges.range(..=address).next_back()?;
        (address <= placed.last).then_some((&placed.pool, placed.place))
    }

    /// Where the first range of `pool` stands.
    pub(super) fn place_of(&self, pool: &Pool) -> Option<NodeId> {
        self.ranges.values().filter(|range| range.pool == pool.name).map(|range| range.place).min()
    }

    /// Where addresses of the pools of `group` may be advertised.
    pub(super) fn links(&self, group: &GroupName) -> BTreeSet<Link> {
        let pools = self.all.values().filter(|pool| pool.group.as_ref() == Some(group));
        let link = |range: &AddressRange| Link {
            interface: range.interface.clone(),
            family: Family::of(range.first),
        };
        pools.flat_map(|pool| &pool.ranges).map(link).collect()
    }

    /// Whether `group` has a pool, or may have one that was refused.
    pub(super) fn may_serve(&self, group: &GroupName) -> bool {
        !self.complete || self.all.values().any(|pool| pool.group.as_ref() == Some(group))
    }
}

/// What of the pools depends on no group.
pub(super) fn resolve(
    reader: &mut Reader<'_>,
    file: &File,
    nodes: &Nodes,
    interfaces: &Interfaces,
) -> AddressPools {
    let mut pools = AddressPools { complete: true, ..AddressPools::default() };
    let Some(sections) = &file.pools else {
        pools.complete = reader.child(file.at, "pools").is_none();
        return pools;
    };
    for (name, section) in &sections.value.0 {
        let Some(section) = section else { continue };
        let name = PoolName::new(&name.value.0);
        if let Some(pool) = pool(reader, &name, section, nodes, interfaces, &mut pools.ranges) {
            pools.all.insert(name, pool);
        }
    }
    pools.complete = interfaces.complete && !reader.refused_within(sections.node);
    pools
}

fn pool(
    reader: &mut Reader<'_>,
    name: &PoolName,
    section: &AddressPoolSection,
    nodes: &Nodes,
    interfaces: &Interfaces,
    placed: &mut BTreeMap<IpAddr, Placed>,
) -> Option<Pool> {
    let spans = section.addresses.as_ref()?;
    if spans.value.0.is_empty() && !reader.refused_within(spans.node) {
        reader.error(spans.node, "the pool has no address", "write networks, ranges or addresses");
    }
    if let Some(named) = &section.interface
        && !interfaces.all.contains_key(&InterfaceName::new(&named.value.0))
    {
        if interfaces.complete {
            let names = interfaces.all.keys().map(InterfaceName::as_str);
            reader.dangling(named.node, "interface", &named.value.0, names);
        }
        return None;
    }
    let group = match section.group.get() {
        Some(group) => Some(GroupName::new(&group.0)),
        // It was refused.
        None if reader.child(section.at, "group").is_some() => return None,
        None => None,
    };
    if group.is_none() {
        refuse_unelectable(reader, section, nodes);
    }
    let mut ranges = Vec::new();
    let mut taken = BTreeSet::new();
    for span in &spans.value.0 {
        let Some(interface) = interface_of(reader, section, span, interfaces) else { continue };
        overlaps(reader, name, span, nodes, placed);
        let AddressSpan { first, last } = span.value;
        for network in interface.networks.iter().filter(|network| network.contains(&first)) {
            let ends = [network.network(), network.broadcast()].into_iter();
            taken.extend(
                ends.filter(|end| first <= *end && *end <= last && reserved_in(network, *end).is_some()),
            );
        }
        placed.insert(first, Placed { last, pool: name.clone(), place: span.node });
        ranges.push(AddressRange { first, last, interface: interface.name.clone() });
    }
    ranges.sort_by_key(|range| range.first);
    let pool = Pool {
        name: name.clone(),
        group,
        ranges,
        auto_assign: section.auto_assign.get().copied().unwrap_or(true),
        priority: section.priority.get().map_or(100, |number| number.0),
        avoid_reserved: section.avoid_reserved.get().copied().unwrap_or(false),
        allow: allow(reader, section),
        quotas: quotas(section),
        drained: false,
        taken,
    };
    let nothing = [Family::Ipv4, Family::Ipv6].iter().all(|family| pool.total(*family) == 0);
    if nothing && !pool.ranges.is_empty() && !reader.refused_within(spans.node) {
        let message = "each of these addresses is reserved: the pool has nothing to hand out";
        reader.error(spans.node, message, "write addresses of machines, or delete `avoid_reserved`");
    }
    Some(pool)
}

/// Without a group each address is one of its own.
fn refuse_unelectable(reader: &mut Reader<'_>, section: &AddressPoolSection, nodes: &Nodes) {
    let Some(Unelectable { why, cure }) = nodes.unelectable() else { return };
    let message = format!("`group` is missing, and the addresses can't be groups of their own: {why}");
    let cure = cure.map(|cure| format!(", or {cure}")).unwrap_or_default();
    reader.error(section.at, message, format!("add `group:` with the name of a group{cure}"));
}

/// The interface that has all of `span` in one network.
fn interface_of<'a>(
    reader: &mut Reader<'_>,
    section: &AddressPoolSection,
    span: &At<AddressSpan>,
    interfaces: &'a Interfaces,
) -> Option<&'a Interface> {
    let AddressSpan { first, last } = span.value;
    if let Some(kind) = not_of_one_machine(first).or(not_of_one_machine(last)) {
        let message = format!("`{}` begins or ends with {kind}", reader.text(span.node));
        reader.error(span.node, message, "write addresses that one machine can have");
        return None;
    }
    let holds = |interface: &&Interface| {
        interface.networks.iter().any(|network| network.contains(&first) && network.contains(&last))
    };
    let behind: Vec<&Interface> = match &section.interface {
        Some(named) => {
            interfaces.all.get(&InterfaceName::new(&named.value.0)).into_iter().filter(holds).collect()
        }
        None => interfaces.all.values().filter(holds).collect(),
    };
    match behind.as_slice() {
        [only] => return Some(only),
        [] if !interfaces.complete => {}
        [] => {
            let networks = interfaces.all.values().flat_map(|interface| &interface.networks);
            let networks: Vec<String> = networks.map(ToString::to_string).collect();
            let whose = section.interface.as_ref().map_or("an interface", |named| &named.value.0);
            let message = format!("`{}` does not lie in one network of {whose}", reader.text(span.node));
            let has = if networks.is_empty() { "none".to_owned() } else { networks.join(", ") };
            reader.error(span.node, message, format!("add its network to `interfaces`, which has: {has}"));
        }
        several => {
            let names: Vec<&str> = several.iter().map(|interface| interface.name.as_str()).collect();
            let message = format!(
                "`{}` lies in networks of several interfaces: {}",
                reader.text(span.node),
                names.join(", ")
            );
            reader.error(span.node, message, "add `interface:` to the pool");
        }
    }
    None
}

/// Refuses what another pool or a node has.
fn overlaps(
    reader: &mut Reader<'_>,
    name: &PoolName,
    span: &At<AddressSpan>,
    nodes: &Nodes,
    placed: &BTreeMap<IpAddr, Placed>,
) {
    let AddressSpan { first, last } = span.value;
    let before = placed.range(..=last).next_back().filter(|(_, other)| first <= other.last);
    if let Some((_, other)) = before {
        let (other_pool, text) = (&other.pool, reader.text(other.place));
        let message = if other_pool == name {
            format!("`{}` overlaps `{text}`", reader.text(span.node))
        } else {
            format!("`{}` overlaps `{text}` of pool `{other_pool}`", reader.text(span.node))
        };
        reader.conflict(span.node, message, "write each address once", other.place, "the other one");
    }
    let within = nodes.addresses.iter().filter(|(address, _)| first <= **address && **address <= last);
    if let Some((address, (node, place))) = within.min_by_key(|(address, _)| **address) {
        let message = format!("`{}` has {address}, node `{node}`'s own address", reader.text(span.node));
        let help = "leave it out: write the range before it and the one after it";
        reader.conflict(span.node, message, help, *place, "the node's address");
    }
}

fn allow(reader: &mut Reader<'_>, section: &AddressPoolSection) -> Vec<Allow> {
    let list = section.allow.get().map(|list| list.0.as_slice()).unwrap_or_default();
    let mut rules = Vec::with_capacity(list.len());
    if let Some(field) = &section.allow
        && list.is_empty()
        && !reader.refused_within(field.node)
    {
        reader.error(field.node, "the list is empty", "write who may use the pool, or delete it: all may");
    }
    for item in list {
        let rule = &item.value;
        let labels = rule.labels.get().map(|named| named.0.as_slice()).unwrap_or_default();
        let rule = Allow {
            services: rule
                .services
                .get()
                .into_iter()
                .flat_map(|list| &list.0)
                .map(|it| it.value.0.clone())
                .collect(),
            labels: labels
                .iter()
                .filter_map(|(key, value)| Some((key.value.0.clone(), value.clone()?.0)))
                .collect(),
            tenants: rule
                .tenants
                .get()
                .into_iter()
                .flat_map(|list| &list.0)
                .map(|it| TenantName::new(&it.value.0))
                .collect(),
        };
        if rule.services.is_empty()
            && rule.labels.is_empty()
            && rule.tenants.is_empty()
            && !reader.refused_within(item.node)
        {
            reader.error(item.node, "this fits every service", "write `services`, `labels` or `tenants`");
        }
        rules.push(rule);
    }
    rules
}

fn quotas(section: &AddressPoolSection) -> BTreeMap<TenantName, u32> {
    let quotas = section.quotas.get().map(|named| named.0.as_slice()).unwrap_or_default();
    let quota =
        quotas.iter().filter_map(|(tenant, quota)| Some((TenantName::new(&tenant.value.0), (*quota)?.0)));
    quota.collect()
}

/// That the groups of the pools can carry them, and that no group has an address of a pool of another.
pub(super) fn check_groups(reader: &mut Reader<'_>, file: &File, pools: &mut AddressPools, groups: &Groups) {
    let sections = file.pools.get().map(|named| named.0.as_slice()).unwrap_or_default();
    for (name, section) in sections {
        let (Some(section), Some(pool)) = (section, pools.all.get(&PoolName::new(&name.value.0))) else {
            continue;
        };
        if let (Some(field), Some(group)) = (&section.group, &pool.group) {
            check_group(reader, file, field.node, group, groups);
        }
    }
    let mut vips: Vec<_> = groups.vips.iter().collect();
    vips.sort_by_key(|(_, facts)| facts.place);
    for (address, facts) in vips {
        let Some((name, place)) = pools.around(*address) else { continue };
        let name = name.clone();
        let Some(pool) = pools.all.get_mut(&name) else { continue };
        if pool.group.as_ref() == Some(&facts.name) {
            pool.taken.insert(*address);
            continue;
        }
        let class = groups.all.get(&facts.name).map(|group| group.class);
        let of_class = if class == Some(Class::ControlPlane) { ", of class control-plane" } else { "" };
        let message =
            format!("`{}` has {address}, a VIP of group `{}`{of_class}", reader.text(place), facts.name);
        let help = "leave it out: write the range before it and the one after it";
        reader.conflict(place, message, help, facts.place, "the VIP");
    }
    for group in groups.all.values() {
        for track in &group.tracks {
            if let Track::Gateway { address, .. } = track
                && let Some((_, place)) = pools.around(*address)
            {
                let message = format!(
                    "`{}` has {address}, a gateway that group `{}` tracks",
                    reader.text(place),
                    group.name
                );
                reader.error(place, message, "leave it out: write the range before it and the one after it");
            }
        }
    }
    let sections = file.pools.as_ref().map(|field| field.node);
    pools.complete &= sections.is_none_or(|node| !reader.refused_within(node));
}

fn check_group(reader: &mut Reader<'_>, file: &File, node: NodeId, name: &GroupName, groups: &Groups) {
    let Some(group) = groups.all.get(name) else {
        let sections = file.groups.get().map(|named| named.0.as_slice()).unwrap_or_default();
        let names: Vec<&str> = sections.iter().map(|(name, _)| name.value.0.as_str()).collect();
        if !names.contains(&name.as_str()) && (file.groups.is_some() || groups.complete) {
            reader.dangling(node, "VIP group", name.as_str(), names.into_iter());
        }
        return;
    };
    let sections = file.groups.get().map(|named| named.0.as_slice()).unwrap_or_default();
    let place = sections.iter().find(|(listed, _)| listed.value.0 == name.as_str());
    let place = place.map_or(node, |(listed, _)| listed.node);
    let refused = if group.class == Class::ControlPlane {
        Some((
            "is of class control-plane, whose addresses are never handed out",
            "name a group of class workload",
        ))
    } else if !group.accept {
        Some((
            "has `accept: false`, so nothing can listen there",
            "delete `accept: false`, or name another group",
        ))
    } else if group.vrid().is_some() && group.priorities.values().any(|priority| *priority == Priority::OWNER)
    {
        Some((
            "has a node of priority 255, which owns the addresses: those of a pool belong to no node",
            "write at most 254, or name another group",
        ))
    } else {
        None
    };
    if let Some((what, help)) = refused {
        let message = format!("group `{name}` {what}");
        reader.conflict(node, message, help, place, "the group");
    }
}
