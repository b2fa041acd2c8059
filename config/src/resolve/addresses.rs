//! Which addresses can be what.

use super::nodes::Nodes;
use crate::model::{Interface, NodeName, Priority, Vip};
use crate::reader::{At, Reader};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Refuses what can be no VIP, whatever network it lies in. `false` where nothing more need be said of it.
pub(super) fn check_vip(
    reader: &mut Reader<'_>,
    nodes: &Nodes,
    address: At<IpAddr>,
    priorities: &BTreeMap<NodeName, Priority>,
) -> bool {
    if let Some(kind) = not_of_one_machine(address.value) {
        let message = format!("`{}` is {kind}", address.value);
        reader.error(address.node, message, "write an address that one machine can have");
        return false;
    }
    if let Some((node, place)) = nodes.addresses.get(&address.value)
        && priorities.get(node).is_some_and(|priority| *priority != Priority::OWNER)
    {
        reader.conflict(
            address.node,
            format!("`{}` is node `{node}`'s own address", address.value),
            "a VIP is an address that no machine has; or give that node priority 255 in this group",
            *place,
            "the node's address",
        );
    }
    true
}

/// A VIP behind `interface`, which must have its network.
pub(super) fn vip_behind(reader: &mut Reader<'_>, address: At<IpAddr>, interface: &Interface) -> Option<Vip> {
    let network = interface.networks.iter().find(|network| network.contains(&address.value))?;
    if let Some(kind) = reserved_in(network, address.value) {
        let message = format!("`{}` lies in {network}, and is {kind}", address.value);
        reader.error(address.node, message, "write another address of that network");
    }
    Some(Vip { address: address.value, interface: interface.name.clone() })
}

/// Why `address` can't belong to one machine, if so.
pub(super) fn not_of_one_machine(address: IpAddr) -> Option<&'static str> {
    let v4_broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    if address.is_unspecified() {
        Some("the unspecified address")
    } else if address.is_loopback() {
        Some("a loopback address")
    } else if address.is_multicast() {
        Some("a multicast address")
    } else if v4_broadcast {
        Some("the broadcast address")
    } else {
        None
    }
}

/// Why `address` can't be used in `network`, if so. Of a /31, /32, /127 and /128 every address is good
/// (RFC 3021, RFC 6164).
pub(super) fn reserved_in(network: &IpNet, address: IpAddr) -> Option<&'static str> {
    let small = network.max_prefix_len().saturating_sub(network.prefix_len()) < 2;
    match network {
        _ if small => None,
        IpNet::V4(_) if address == network.network() => Some("its network address"),
        IpNet::V6(_) if address == network.network() => Some("its subnet-router anycast address"),
        IpNet::V4(_) if address == network.broadcast() => Some("its broadcast address"),
        IpNet::V4(_) | IpNet::V6(_) => None,
    }
}
