//! Adverts as whole frames, for a virtual router that sends from its virtual MAC (RFC 9568 section 7.3).

use crate::advert::{HOP_LIMIT, PROTOCOL};
use crate::frame::{self, Mac};
use pnet::packet::ethernet::EtherTypes;
use pnet::packet::ipv4::{self, Ipv4Packet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A frame with the advert `message` to a multicast group; `None` if the addresses are of two families or the
/// message is too long for a packet.
pub(crate) fn advert_frame(mac: Mac, source: IpAddr, group: IpAddr, message: &[u8]) -> Option<Vec<u8>> {
    match (source, group) {
        (IpAddr::V4(source), IpAddr::V4(group)) => {
            let [_, b, c, d] = group.octets();
            let destination = Mac::new(0x01, 0x00, 0x5e, b & 0x7f, c, d);
            Some(frame::encode(destination, mac, EtherTypes::Ipv4, &packet_v4(source, group, message)?))
        }
        (IpAddr::V6(source), IpAddr::V6(group)) => {
            let [.., a, b, c, d] = group.octets();
            let destination = Mac::new(0x33, 0x33, a, b, c, d);
            Some(frame::encode(destination, mac, EtherTypes::Ipv6, &packet_v6(source, group, message)?))
        }
        (IpAddr::V4(_) | IpAddr::V6(_), _) => None,
    }
}

/// RFC 791 section 3.1; class selector 6.
fn packet_v4(source: Ipv4Addr, group: Ipv4Addr, message: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(message.len().checked_add(20)?).ok()?.to_be_bytes();
    let mut packet = vec![0x45, 0xc0, length[0], length[1], 0, 0, 0, 0, HOP_LIMIT, PROTOCOL, 0, 0];
    packet.extend_from_slice(&source.octets());
    packet.extend_from_slice(&group.octets());
    let checksum = ipv4::checksum(&Ipv4Packet::new(&packet)?).to_be_bytes();
    packet.get_mut(10..12)?.copy_from_slice(&checksum);
    packet.extend_from_slice(message);
    Some(packet)
}

/// RFC 8200 section 3; class selector 6.
fn packet_v6(source: Ipv6Addr, group: Ipv6Addr, message: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(message.len()).ok()?.to_be_bytes();
    let mut packet = vec![0x6c, 0, 0, 0, length[0], length[1], PROTOCOL, HOP_LIMIT];
    packet.extend_from_slice(&source.octets());
    packet.extend_from_slice(&group.octets());
    packet.extend_from_slice(message);
    Some(packet)
}

#[cfg(test)]
mod tests;
