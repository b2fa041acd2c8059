//! What `fulcrum preflight` asks this room: can a node work here, and who else is on its links? Nothing is changed on the
//! machine; a few questions are sent.

mod doubles;
mod judge;
mod machine;
mod mtu;
mod sweep;

#[cfg(test)]
mod tests;

pub use doubles::doubles;
pub use machine::{detection, kernel, links, patience, privileges, settings};
pub use mtu::mtu;

use crate::driver::identity;
use crate::netlink::{Netlink, View, dump_all};
use fulcrum_config::preflight::{Line, free_addresses};
use fulcrum_config::{Config, Family, InterfaceName, Link, Track, Vip, Witness};
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use sweep::{Heard, Questions, sweep};

/// Links and addresses of this machine.
fn view() -> io::Result<View> {
    let mut view = View::default();
    for message in dump_all(&mut Netlink::open()?)? {
        view.handle_message(&message);
    }
    Ok(view)
}

/// The links with VIPs behind them, and those that gateways are on.
fn links_of(config: &Config, gateways: &BTreeSet<(InterfaceName, IpAddr)>) -> BTreeSet<Link> {
    let vips = config.groups.values().flat_map(|group| &group.vips);
    let link = |(interface, address): &(InterfaceName, IpAddr)| Link {
        interface: interface.clone(),
        family: Family::of(*address),
    };
    let known = gateways.iter().filter(|(interface, _)| config.interfaces.contains_key(interface));
    vips.map(Vip::link).chain(known.map(link)).collect()
}

/// Asks on every link who has which address, and listens for adverts meanwhile: collisions of VIPs and VRIDs, gateways, free
/// addresses, and whether frames from a foreign MAC come back.
#[must_use]
pub fn neighbours(config: &Config) -> Vec<Line> {
    let view = match view() {
        Ok(view) => view,
        Err(error) => {
            let remedy = "look at 'ip link' and 'ip address'";
            return vec![Line::failed("link", "all", format!("links can't be listed: {error}"), remedy)];
        }
    };
    let gateways = gateways(config);
    let links = links_of(config, &gateways);
    let heard: Vec<Asked> = std::thread::scope(|scope| {
        let ask = |link| {
            let (view, gateways) = (&view, &gateways);
            scope.spawn(move || one_link(config, view, link, gateways))
        };
        let asked: Vec<_> = links.iter().map(ask).collect();
        asked.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    judge::judge(config, &view, &heard)
}

/// What came of a link.
struct Asked {
    link: Link,
    questions: Questions,
    /// Or why nothing could be asked.
    heard: Result<Heard, String>,
}

fn one_link(
    config: &Config,
    view: &View,
    link: &Link,
    gateways: &BTreeSet<(InterfaceName, IpAddr)>,
) -> Asked {
    let questions = questions(config, view, link, gateways);
    let heard = identity(config, view, link).and_then(|identity| {
        sweep(link, &identity, &questions)
            .map_err(|error| format!("nothing can be asked or heard there: {error}; see `privileges`"))
    });
    Asked { link: link.clone(), questions, heard }
}

/// Who is asked for on a link.
fn questions(
    config: &Config,
    view: &View,
    link: &Link,
    gateways: &BTreeSet<(InterfaceName, IpAddr)>,
) -> Questions {
    let on_link = |address: &IpAddr| {
        let networks = config.interfaces.get(&link.interface).map(|it| it.networks.as_slice());
        Family::of(*address) == link.family
            && networks.unwrap_or_default().iter().any(|network| network.contains(address))
    };
    let groups = config.groups.values();
    let vips = groups.flat_map(|group| group.vips_on(link).collect::<Vec<_>>()).collect();
    let nodes = config.nodes.iter().filter(|(name, _)| **name != config.node);
    let nodes = nodes.flat_map(|(_, node)| node.addresses.clone()).filter(on_link).collect();
    let gateways = gateways.iter().filter(|(interface, _)| *interface == link.interface);
    let gateways: BTreeSet<IpAddr> =
        gateways.map(|(_, address)| *address).filter(|it| Family::of(*it) == link.family).collect();
    let own = |address: &IpAddr| view.elsewhere(*address).is_some();
    let networks = config.interfaces.get(&link.interface).map(|it| it.networks.clone()).unwrap_or_default();
    let free = networks
        .iter()
        .filter(|network| network.addr().is_ipv4() && link.family == Family::Ipv4)
        .flat_map(|network| free_addresses(config, network))
        .filter(|address| !own(address) && !gateways.contains(address))
        .collect();
    let virtual_mac = config.interfaces.get(&link.interface).is_some_and(|it| it.virtual_mac);
    Questions { vips, nodes, gateways, free, foreign_mac: virtual_mac && link.family == Family::Ipv4 }
}

/// The neighbours that this node needs, each with its interface: of tracks, of the witness, of the routes to everywhere.
fn gateways(config: &Config) -> BTreeSet<(InterfaceName, IpAddr)> {
    let tracks = config.groups.values().flat_map(|group| &group.tracks);
    let tracked = tracks.filter_map(|track| match track {
        Track::Gateway { address, interface, .. } => Some((interface.clone(), *address)),
        Track::Link { .. } | Track::DataPlane { .. } => None,
    });
    let witness = match &config.witness {
        Witness::Gateway { address, interface } => Some((interface.clone(), *address)),
        Witness::None | Witness::Etcd(_) | Witness::Kubernetes(_) => None,
    };
    let [routes, routes6] = ["/proc/net/route", "/proc/net/ipv6_route"]
        .map(|table| std::fs::read_to_string(table).unwrap_or_default());
    let routes = default_routes(&routes).into_iter().chain(default_routes6(&routes6));
    // A router of a family that no VIP is of is not missed.
    let served = links_of(config, &BTreeSet::new());
    let is_served = |(interface, address): &(InterfaceName, IpAddr)| {
        served.contains(&Link { interface: interface.clone(), family: Family::of(*address) })
    };
    tracked.chain(witness).chain(routes.filter(is_served)).collect()
}

/// The gateways of default routes of IPv4, from the kernel's table: numbers are as they stand in memory.
fn default_routes(table: &str) -> BTreeSet<(InterfaceName, IpAddr)> {
    let line = |line: &str| {
        let mut fields = line.split_whitespace();
        let (interface, destination, gateway) = (fields.next()?, fields.next()?, fields.next()?);
        let gateway = u32::from_str_radix(gateway, 16).ok()?;
        let address = Ipv4Addr::from(gateway.to_ne_bytes());
        (destination == "00000000" && gateway != 0).then(|| (InterfaceName::new(interface), address.into()))
    };
    table.lines().filter_map(line).collect()
}

/// The same of IPv6: destination, its length, source, its length, gateway, four numbers, interface.
fn default_routes6(table: &str) -> BTreeSet<(InterfaceName, IpAddr)> {
    let line = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [destination, length, _, _, gateway, _, _, _, _, interface] = fields.as_slice() else {
            return None;
        };
        let gateway = u128::from_str_radix(gateway, 16).ok()?;
        let is_default = *length == "00" && u128::from_str_radix(destination, 16) == Ok(0);
        (is_default && gateway != 0).then(|| (InterfaceName::new(interface), Ipv6Addr::from(gateway).into()))
    };
    table.lines().filter_map(line).collect()
}
