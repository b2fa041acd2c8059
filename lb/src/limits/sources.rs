//! Which source networks may connect.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::IpAddr;

/// A set of networks, asked once for each connection: merged and sorted, then found by bisection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sources {
    v4: Vec<Ipv4Net>,
    v6: Vec<Ipv6Net>,
}

impl Sources {
    /// Overlapping networks are merged; the order does not matter.
    pub(crate) fn new(networks: &[IpNet]) -> Self {
        let mut v4 = Vec::new();
        let mut v6 = Vec::new();
        for network in networks {
            match network {
                IpNet::V4(network) => v4.push(network.trunc()),
                IpNet::V6(network) => v6.push(network.trunc()),
            }
        }
        let (mut v4, mut v6) = (Ipv4Net::aggregate(&v4), Ipv6Net::aggregate(&v6));
        v4.sort_unstable();
        v6.sort_unstable();
        Self { v4, v6 }
    }

    /// Whether it names no network at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Whether one of the networks holds `address`. An IPv4 address mapped into IPv6 counts as IPv4.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let after = self.v4.partition_point(|network| network.network() <= address);
                let last = after.checked_sub(1).and_then(|index| self.v4.get(index));
                last.is_some_and(|network| network.contains(&address))
            }
            IpAddr::V6(address) => {
                let after = self.v6.partition_point(|network| network.network() <= address);
                let last = after.checked_sub(1).and_then(|index| self.v6.get(index));
                last.is_some_and(|network| network.contains(&address))
            }
        }
    }
}
