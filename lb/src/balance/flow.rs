//! What of a connection decides its backend, and how it is hashed.

use fulcrum_config::{BackendAddress, Protocol};
use siphasher::sip::SipHasher13;
use siphasher::sip128::{Hasher128, SipHasher13 as SipHasher13Wide};
use std::hash::Hasher as _;
use std::net::{IpAddr, SocketAddr};

/// What keeps outsiders from aiming at one backend; the same on every node of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed(pub [u8; 16]);

impl Default for Seed {
    fn default() -> Self {
        Self(*b"fulcrum balance!")
    }
}

/// A connection or a UDP session, as a packet shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Flow {
    /// Who connects.
    pub(crate) client: SocketAddr,
    /// The VIP and port connected to.
    pub(crate) service: SocketAddr,
    /// TCP or UDP.
    pub(crate) protocol: Protocol,
}

/// SipHash-1-3 with the cluster's seed as its key, over fixed encodings: equal on every node and in every
/// version of the program.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hasher {
    seed: Seed,
}

impl Hasher {
    pub(crate) fn new(seed: Seed) -> Self {
        Self { seed }
    }

    /// Of both addresses, both ports and the protocol.
    pub(crate) fn flow(self, flow: &Flow) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.seed.0);
        hasher.write(&octets(flow.client.ip()));
        hasher.write(&octets(flow.service.ip()));
        hasher.write(&flow.client.port().to_be_bytes());
        hasher.write(&flow.service.port().to_be_bytes());
        hasher.write(&[match flow.protocol {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
        }]);
        hasher.finish()
    }

    /// Of the client's address alone.
    pub(crate) fn source(self, flow: &Flow) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.seed.0);
        hasher.write(&octets(flow.client.ip()));
        hasher.finish()
    }

    /// Of a backend's address and port, wide enough for two independent numbers.
    pub(crate) fn backend(self, address: &BackendAddress) -> u128 {
        let mut hasher = SipHasher13Wide::new_with_key(&self.seed.0);
        hasher.write(&octets(address.ip));
        hasher.write(&address.port.unwrap_or(0).to_be_bytes());
        hasher.finish128().as_u128()
    }
}

/// An IPv4 address in its IPv6-mapped form (RFC 4291 section 2.5.5.2).
fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}
