//! Which addresses can be what.

use ipnet::IpNet;
use std::net::IpAddr;

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
