//! What the configuration says of a group's links: where adverts go, which gateways are asked, who is a neighbour.

use crate::advert::{MULTICAST_IPV4, MULTICAST_IPV6};
use crate::frame::{Mac, virtual_mac};
use crate::gateway::Gateway;
use fulcrum_config::{Adverts, Config, Election, Family, Group, Link, NodeName, OnSplit, Track, Witness};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How a gateway that is the witness is asked.
const WITNESS_INTERVAL: Duration = Duration::from_secs(1);
const WITNESS_FALL: u32 = 3;
const WITNESS_RISE: u32 = 2;

/// The virtual MAC of each link whose interface wants it.
pub(super) fn virtual_macs(config: &Config, group: &Group) -> BTreeMap<Link, Mac> {
    let wants = |link: &Link| config.interfaces.get(&link.interface).is_some_and(|found| found.virtual_mac);
    let links =
        group.vrid().into_iter().flat_map(|vrid| group.links().into_iter().map(move |link| (vrid, link)));
    let links = links.filter(|(_, link)| wants(link));
    links.map(|(vrid, link)| (link.clone(), virtual_mac(vrid, link.family))).collect()
}

/// The gateways that are tracked, and the witness if this group asks it for all.
pub(super) fn gateways(config: &Config, group: &Group, now: Instant) -> Vec<(Link, IpAddr, Gateway)> {
    let gateway = |track: &Track| match track {
        Track::Gateway { address, interface, interval, fall, rise, .. } => {
            let link = Link { interface: interface.clone(), family: Family::of(*address) };
            Some((link, *address, Gateway::new(*interval, *fall, *rise, now)))
        }
        Track::Link { .. } | Track::DataPlane { .. } => None,
    };
    let tracked = group.tracks.iter().filter_map(gateway);
    // The first of the groups that ask for it asks for all.
    let asks = config.groups.values().find(|it| it.on_split == OnSplit::One);
    let witness = match &config.witness {
        Witness::Gateway { address, interface } if asks.is_some_and(|it| it.name == group.name) => {
            let link = Link { interface: interface.clone(), family: Family::of(*address) };
            Some((link, *address, Gateway::new(WITNESS_INTERVAL, WITNESS_FALL, WITNESS_RISE, now)))
        }
        Witness::None | Witness::Gateway { .. } | Witness::Etcd(_) | Witness::Kubernetes(_) => None,
    };
    tracked.chain(witness).collect()
}

/// Where adverts go on each link of a group.
pub(super) fn destinations(config: &Config, group: &Group) -> BTreeMap<Link, Vec<IpAddr>> {
    let to = |link: &Link| match (group.election, group.adverts, link.family) {
        (Election::Peers, _, _) => Vec::new(),
        (Election::Vrrp(_), Adverts::Multicast, Family::Ipv4) => vec![MULTICAST_IPV4.into()],
        (Election::Vrrp(_), Adverts::Multicast, Family::Ipv6) => vec![MULTICAST_IPV6.into()],
        (Election::Vrrp(_), Adverts::Unicast, _) => peers_on(config, link),
    };
    group.links().into_iter().map(|link| (link.clone(), to(&link))).collect()
}

/// The addresses of the other nodes on `link`, one for each node.
fn peers_on(config: &Config, link: &Link) -> Vec<IpAddr> {
    nodes_on(config, link).map(|(address, _)| address).collect()
}

/// The other nodes that have an address on `link`, each with one of them.
pub(in crate::driver) fn nodes_on<'a>(
    config: &'a Config,
    link: &'a Link,
) -> impl Iterator<Item = (IpAddr, &'a NodeName)> + 'a {
    let others = config.nodes.iter().filter(|(name, _)| **name != config.node);
    others.filter_map(move |(name, node)| {
        let mut addresses = node.addresses.iter().copied();
        Some((addresses.find(|address| is_on(config, link, *address))?, name))
    })
}

/// Whether a machine with `address` is a neighbour on `link`.
pub(in crate::driver) fn is_on(config: &Config, link: &Link, address: IpAddr) -> bool {
    let interface = config.interfaces.get(&link.interface);
    let networks = interface.map(|interface| interface.networks.as_slice()).unwrap_or_default();
    Family::of(address) == link.family
        && (is_link_local(address) || networks.iter().any(|network| network.contains(&address)))
}

pub(super) fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}
