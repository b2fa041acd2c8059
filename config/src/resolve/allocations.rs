//! What services get of the pools: those who ask are served, and what they get becomes a VIP of the pool's group.

use super::address_pools::AddressPools;
use super::groups::{GroupFacts, Groups, MAX_VIPS};
use super::written::{Services, Written};
use crate::allocate::{Lost, Outcome, Request, allocate};
use crate::document::NodeId;
use crate::file::{RequestSection, ServiceSection};
use crate::model::{AddressSpan, Allocations, Family, PoolName, Protocol, ServiceName, TenantName, Vip};
use crate::parse::Before;
use crate::reader::{Field, Reader};
use crate::scalar::VipWord;
use crate::table::Or;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// Of ranges that a service keeps to, and of addresses that it prefers.
const REACH_AT_MOST: usize = 64;

/// What services have of pools.
#[derive(Debug, Default)]
pub(super) struct Allocated {
    /// Services that are in force.
    pub(super) active: Allocations,
    /// Those that are set aside, too: it is kept for them.
    pub(super) all: Allocations,
}

/// Serves the services. Where groups or pools are refused, nobody gets anything: it would be said of the wrong pools.
pub(super) fn resolve(
    reader: &mut Reader<'_>,
    written: &Services<'_>,
    pools: &AddressPools,
    groups: &mut Groups,
    before: &Before,
) -> Allocated {
    let mut places = BTreeMap::new();
    let mut requests = Vec::new();
    for Written { name, section, .. } in written.iter() {
        let (place, asked) = request(reader, name, section, pools);
        if let (Some(place), Some(request)) = (place, asked) {
            places.insert(name.clone(), place);
            requests.push(request);
        }
    }
    if !pools.complete || !groups.complete {
        return Allocated::default();
    }
    let room = |vips: usize| MAX_VIPS.saturating_sub(vips);
    let rooms = groups.all.iter().map(|(name, group)| (name.clone(), room(group.vips.len()))).collect();
    let away = away(written);
    let Outcome { allocations, reserved, refused, lost } =
        allocate(&pools.all, &requests, &before.allocations, &rooms, &away);
    for (service, reason) in refused {
        if let Some(place) = places.get(&service) {
            reader.error_of_others(*place, reason.message, reason.help);
        }
    }
    for lost in lost {
        say_lost(reader, pools, &places, &allocations, &lost, before.give_up);
    }
    add_vips(pools, groups, &allocations);
    let mut all = allocations.clone();
    for (service, addresses) in reserved.iter() {
        for (address, pool) in addresses {
            all.insert(service.clone(), *address, pool.clone());
        }
    }
    Allocated { active: allocations, all }
}

/// Whether what a service has is kept for it although it is not read: it or its source is set aside, or all of
/// its ports are, which may be called otherwise by now.
fn away(written: &Services<'_>) -> impl Fn(&ServiceName) -> bool {
    let mut names: BTreeSet<&str> = written.set_aside.iter().map(without_port).collect();
    for Written { name, .. } in &written.of_fragments {
        names.remove(without_port(name));
    }
    move |service| {
        let is_unread = |source| written.unread.contains(source);
        written.set_aside.contains(service)
            || names.contains(without_port(service))
            || service.source().is_some_and(is_unread)
    }
}

/// `source/namespace/name` of `source/namespace/name:port`.
fn without_port(service: &ServiceName) -> &str {
    service.as_str().split(':').next().unwrap_or_default()
}

/// Where a service says what it asks for, if it does; and that, if it makes sense.
fn request(
    reader: &mut Reader<'_>,
    name: &ServiceName,
    section: &ServiceSection,
    pools: &AddressPools,
) -> (Option<NodeId>, Option<Request>) {
    let asked = section.vip.as_ref().filter(|vip| !matches!(vip.value, Or::Short(VipWord::Address(_))));
    let Some(vip) = asked else {
        if let Some(share) = &section.share
            && !reader.refused_within(section.at)
        {
            let message = "this is for a service whose address is of a pool";
            reader.error_at_key(share.node, message, "delete it: services on one VIP share it anyway");
        }
        return (None, None);
    };
    let (mut pool, mut address, mut families) = (None, None, Vec::new());
    let mut prefer_families = false;
    let (mut within, mut prefer) = (Vec::new(), Vec::new());
    if let Or::Long(asked) = &vip.value {
        pool = asked.pool.as_ref().map(|pool| (PoolName::new(&pool.value.0), pool.node));
        address = asked.address;
        (within, prefer) = reach(reader, asked);
        let list = asked.families.get().map(|list| list.0.as_slice()).unwrap_or_default();
        for family in list {
            if families.contains(&family.value) {
                reader.error(family.node, format!("{} is there twice", family.value), "delete one of them");
            } else {
                families.push(family.value);
            }
        }
        prefer_families = asked.prefer_families.get().copied().unwrap_or(false);
        if let (Some(address), Some(field)) = (address, &asked.families)
            && !list.is_empty()
            && !families.contains(&Family::of(address.value))
        {
            let message = format!("`{}` is of none of the `families`", address.value);
            reader.conflict(address.node, message, "add its family", field.node, "the families");
        }
    }
    if let Some((name, node)) = &pool
        && pools.complete
        && !pools.all.contains_key(name)
    {
        let names = pools.all.keys().map(PoolName::as_str);
        reader.dangling(*node, "pool of addresses", name.as_str(), names);
    } else if pools.complete && pools.all.is_empty() && (!reader.refused() || reader.is_of_fragment(vip.node))
    {
        // Once is enough, and it may be that its key is misspelt.
        let help = "add `pools:`, or write one of a group's VIPs";
        reader.error(vip.node, "there is no pool of addresses", help);
    }
    if reader.refused_within(vip.node) {
        return (Some(vip.node), None);
    }
    let labels = section.labels.get().map(|named| named.0.as_slice()).unwrap_or_default();
    let Some(ports) = section.port.get() else { return (Some(vip.node), None) };
    let request = Request {
        service: name.clone(),
        pool: pool.map(|(name, _)| name),
        address: address.map(|address| address.value),
        within,
        prefer,
        families,
        prefer_families,
        labels: labels
            .iter()
            .filter_map(|(key, value)| Some((key.value.0.clone(), value.clone()?.0)))
            .collect(),
        tenant: section.tenant.get().map(|name| TenantName::new(&name.0)),
        share: section.share.get().map(|name| name.0.clone()),
        protocol: section.protocol.get().copied().unwrap_or(Protocol::Tcp),
        ports: *ports,
    };
    (Some(vip.node), Some(request))
}

/// The ranges that a service keeps to, and the addresses that it prefers.
fn reach(reader: &mut Reader<'_>, asked: &RequestSection) -> (Vec<AddressSpan>, Vec<IpAddr>) {
    let spans = asked.within.get().map(|list| list.0.as_slice()).unwrap_or_default();
    let within: Vec<AddressSpan> = spans.iter().map(|span| span.value).collect();
    let preferred = asked.prefer.get().map(|list| list.0.as_slice()).unwrap_or_default();
    let counts = [
        (asked.within.as_ref().map(|field| (field.node, field.value.0.len())), "ranges"),
        (asked.prefer.as_ref().map(|field| (field.node, field.value.0.len())), "addresses"),
    ];
    for (list, what) in counts {
        match list {
            Some((node, 0)) if !reader.refused_within(node) => {
                reader.error(node, "the list is empty", format!("write {what}, or delete it"));
            }
            Some((node, count)) if count > REACH_AT_MOST => {
                let message = format!("there are {count} {what}; a service has at most {REACH_AT_MOST}");
                reader.error(node, message, "join some, or make a pool of them and name that");
            }
            _ => {}
        }
    }
    if let (Some(address), Some(field)) = (&asked.address, &asked.within)
        && !within.is_empty()
        && !reader.refused_within(field.node)
        && !within.iter().any(|span| span.contains(address.value))
    {
        let message = format!("`{}` does not lie `within` these ranges", address.value);
        reader.conflict(address.node, message, "change one of them", field.node, "the ranges");
    }
    (within, preferred.iter().map(|address| address.value).collect())
}

/// An address in use is not taken away by a slip of an edit.
fn say_lost(
    reader: &mut Reader<'_>,
    pools: &AddressPools,
    places: &BTreeMap<ServiceName, NodeId>,
    allocations: &Allocations,
    lost: &Lost,
    give_up: bool,
) {
    let Lost { service, address, pool, why } = lost;
    let Some(place) = places.get(service).copied() else { return };
    let message = format!("service `{service}` has {address} of pool `{pool}`, and can't keep it: {why}");
    let is_of_fragment = reader.is_of_fragment(place);
    // Nobody can give it back to one of a fragment by a change of that.
    let is_gone = !pools.all.values().any(|pool| pool.has(*address));
    if give_up || (is_of_fragment && is_gone) {
        let gets = allocations.of(service).into_iter().flatten().map(|(address, _)| address.to_string());
        let gets: Vec<String> = gets.collect();
        let help = format!("it has {} now: tell those who connect to it", gets.join(" and "));
        reader.warn(if is_of_fragment { reader.root() } else { place }, message, help);
        return;
    }
    if is_of_fragment {
        reader.error_of_others(
            place,
            message,
            "let it ask for what it asked for before, or for another address",
        );
        return;
    }
    let help =
        "undo that change; or, if the service may get another address: `fulcrum reload --give-up-addresses`";
    match pools.all.get(pool).and_then(|pool| pools.place_of(pool)) {
        Some(other) => reader.conflict(place, message, help, other, "the pool"),
        None => reader.error(place, message, help),
    }
}

/// Those of pools without a group get groups of their own elsewhere.
fn add_vips(pools: &AddressPools, groups: &mut Groups, allocations: &Allocations) {
    let addresses: BTreeMap<_, _> = allocations.iter().flat_map(|(_, addresses)| addresses).collect();
    for (address, pool) in addresses {
        let Some(pool) = pools.all.get(pool) else { continue };
        let (Some(range), Some((_, place))) = (pool.range_of(*address), pools.around(*address)) else {
            continue;
        };
        let Some(group) = pool.group.as_ref().and_then(|name| groups.all.get_mut(name)) else { continue };
        let vip = Vip { address: *address, interface: range.interface.clone() };
        let facts = GroupFacts { name: group.name.clone(), accept: group.accept, place };
        Arc::make_mut(group).vips.push(vip);
        groups.vips.insert(*address, facts);
    }
}
