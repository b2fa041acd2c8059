//! Links and addresses as the kernel last told them: a plain value, fed with its messages.

use crate::sys::Mac;
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

/// One link.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct InterfaceState {
    pub(crate) index: u32,
    pub(crate) name: String,
    /// Its hardware address, if it is like Ethernet's.
    pub(crate) mac: Option<Mac>,
    /// Enabled, and its carrier is there.
    pub(crate) up: bool,
    /// Enabled, with or without carrier.
    pub(crate) enabled: bool,
    /// Loopback.
    pub(crate) loopback: bool,
    /// The largest packet.
    pub(crate) mtu: Option<u32>,
    /// Addresses that can be used as a source, without tentative ones, with their prefix lengths.
    pub(crate) addresses: BTreeSet<(IpAddr, u8)>,
}

impl InterfaceState {
    /// The link-local IPv6 address, if it is usable already.
    pub(crate) fn link_local(&self) -> Option<Ipv6Addr> {
        self.addresses.iter().find_map(|(address, _)| match address {
            IpAddr::V6(address) if address.is_unicast_link_local() => Some(*address),
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        })
    }

    /// Whether `address` is on it.
    pub(crate) fn has(&self, address: IpAddr) -> bool {
        self.addresses.range((address, u8::MIN)..=(address, u8::MAX)).next().is_some()
    }
}

/// All links.
#[derive(Debug, Default)]
pub(crate) struct View {
    interfaces: BTreeMap<u32, InterfaceState>,
}

impl View {
    /// Takes one message of the kernel, of a dump or of the monitor.
    pub(crate) fn handle_message(&mut self, message: &RouteNetlinkMessage) {
        #[allow(
            clippy::wildcard_enum_match_arm,
            reason = "the kernel has a hundred kinds; these matter here"
        )]
        match message {
            // A bridge tells of its ports with messages of its own family; a port that leaves is not gone.
            RouteNetlinkMessage::NewLink(link) | RouteNetlinkMessage::DelLink(link)
                if link.header.interface_family != AddressFamily::Unspec => {}
            RouteNetlinkMessage::NewLink(link) => self.handle_new_link(link),
            RouteNetlinkMessage::DelLink(link) => drop(self.interfaces.remove(&link.header.index)),
            RouteNetlinkMessage::NewAddress(address) => self.handle_address(address, true),
            RouteNetlinkMessage::DelAddress(address) => self.handle_address(address, false),
            _ => {}
        }
    }

    fn handle_new_link(&mut self, link: &LinkMessage) {
        let index = link.header.index;
        let interface = self.interfaces.entry(index).or_default();
        interface.index = index;
        interface.up = link.header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp);
        interface.enabled = link.header.flags.contains(LinkFlags::Up);
        interface.loopback = link.header.flags.contains(LinkFlags::Loopback);
        for attribute in &link.attributes {
            if let LinkAttribute::IfName(name) = attribute {
                interface.name.clone_from(name);
            }
            if let LinkAttribute::Mtu(mtu) = attribute {
                interface.mtu = Some(*mtu);
            }
            if let LinkAttribute::Address(mac) = attribute {
                interface.mac = Mac::try_from(mac.as_slice()).ok();
            }
        }
    }

    fn handle_address(&mut self, message: &AddressMessage, new: bool) {
        let Some(interface) = self.interfaces.get_mut(&message.header.index) else { return };
        let Some(address) = address_of(message) else { return };
        let unusable = AddressHeaderFlags::Tentative | AddressHeaderFlags::Dadfailed;
        // An optimistic address is tentative too, and can be used.
        let usable = !message.header.flags.intersects(unusable)
            || message.header.flags.contains(AddressHeaderFlags::Optimistic);
        let entry = (address, message.header.prefix_len);
        if new && usable {
            interface.addresses.insert(entry);
        } else {
            interface.addresses.remove(&entry);
        }
    }

    /// The link named `name`.
    pub(crate) fn named(&self, name: &str) -> Option<&InterfaceState> {
        self.interfaces.values().find(|interface| interface.name == name)
    }

    /// The names of all links but these, by index.
    pub(crate) fn names_but(&self, indexes: &BTreeSet<u32>) -> Vec<String> {
        let others = self.interfaces.values().filter(|interface| !indexes.contains(&interface.index));
        others.map(|interface| interface.name.clone()).collect()
    }

    /// The loopback.
    pub(crate) fn loopback(&self) -> Option<&InterfaceState> {
        self.interfaces.values().find(|interface| interface.loopback)
    }

    /// Whether a link of this machine has this hardware address.
    pub(crate) fn has_mac(&self, mac: Mac) -> bool {
        self.interfaces.values().any(|interface| !interface.loopback && interface.mac == Some(mac))
    }

    /// Whether IPv4 packets may come and go by several links: each with a network, not only a host address.
    pub(crate) fn has_several_networks(&self) -> bool {
        let has_network = |interface: &&InterfaceState| {
            let mut addresses = interface.addresses.iter();
            interface.up
                && !interface.loopback
                && addresses.any(|(address, length)| address.is_ipv4() && *length < 32)
        };
        self.interfaces.values().filter(has_network).nth(1).is_some()
    }

    /// The link other than the loopback that has `address`, if any.
    pub(crate) fn elsewhere(&self, address: IpAddr) -> Option<&str> {
        let mut others = self.interfaces.values().filter(|interface| !interface.loopback);
        others.find(|interface| interface.has(address)).map(|interface| interface.name.as_str())
    }

    /// Notes an own change at once, before the kernel's message about it arrives.
    pub(crate) fn note(&mut self, index: u32, address: IpAddr, present: bool) {
        let prefix_length = if address.is_ipv4() { 32 } else { 128 };
        if let Some(interface) = self.interfaces.get_mut(&index) {
            if present {
                interface.addresses.insert((address, prefix_length));
            } else {
                interface.addresses.remove(&(address, prefix_length));
            }
        }
    }
}

/// The address itself: on a point-to-point link `IFA_ADDRESS` is the other end.
fn address_of(message: &AddressMessage) -> Option<IpAddr> {
    let mut found = None;
    for attribute in &message.attributes {
        if let AddressAttribute::Local(address) = attribute {
            return Some(*address);
        }
        if let AddressAttribute::Address(address) = attribute {
            found = Some(*address);
        }
    }
    found
}

#[cfg(test)]
mod tests;
