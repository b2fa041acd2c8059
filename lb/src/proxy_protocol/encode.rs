//! Writing a PROXY header.

use super::{Endpoints, Transport, V2_SIGNATURE};
use fulcrum_config::ProxyProtocolVersion;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The header to send before a client's first byte (UDP: in front of each datagram's payload).
///
/// Without `endpoints` the sender speaks for itself (LOCAL, in version 1 UNKNOWN). Version 1 knows no UDP, so a
/// datagram's header is always of version 2. Ends of different families are both written as IPv6, the IPv4 one
/// mapped (RFC 4291 section 2.5.5.2).
#[must_use]
pub fn encode(version: ProxyProtocolVersion, transport: Transport, endpoints: Option<Endpoints>) -> Vec<u8> {
    match (version, transport) {
        (ProxyProtocolVersion::V1, Transport::Stream) => encode_v1(endpoints),
        (ProxyProtocolVersion::V1, Transport::Datagram) | (ProxyProtocolVersion::V2, _) => {
            encode_v2(transport, endpoints)
        }
    }
}

fn encode_v1(endpoints: Option<Endpoints>) -> Vec<u8> {
    let Some(Endpoints { source, destination }) = endpoints else { return b"PROXY UNKNOWN\r\n".to_vec() };
    let (family, from, to) = match (source.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ("TCP4", IpAddr::V4(from), IpAddr::V4(to)),
        (from, to) => ("TCP6", mapped(from).into(), mapped(to).into()),
    };
    format!("PROXY {family} {from} {to} {} {}\r\n", source.port(), destination.port()).into_bytes()
}

fn encode_v2(transport: Transport, endpoints: Option<Endpoints>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(52);
    bytes.extend_from_slice(V2_SIGNATURE);
    let Some(Endpoints { source, destination }) = endpoints else {
        bytes.extend_from_slice(&[0x20, 0x00, 0, 0]);
        return bytes;
    };
    let transport = match transport {
        Transport::Stream => 1,
        Transport::Datagram => 2,
    };
    match (source, destination) {
        (SocketAddr::V4(from), SocketAddr::V4(to)) => {
            bytes.extend_from_slice(&[0x21, 0x10 | transport, 0, 12]);
            bytes.extend_from_slice(&from.ip().octets());
            bytes.extend_from_slice(&to.ip().octets());
        }
        (from, to) => {
            bytes.extend_from_slice(&[0x21, 0x20 | transport, 0, 36]);
            for end in [from, to] {
                bytes.extend_from_slice(&mapped(end.ip()).octets());
            }
        }
    }
    bytes.extend_from_slice(&source.port().to_be_bytes());
    bytes.extend_from_slice(&destination.port().to_be_bytes());
    bytes
}

fn mapped(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}
