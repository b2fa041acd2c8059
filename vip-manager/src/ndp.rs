//! Neighbour solicitations and advertisements (RFC 4861 sections 4.3, 4.4 and 7.1): whole frames in and out.

mod options;

use crate::frame::{self, Mac, Refusal};
use options::{SOURCE_LINK_LAYER, TARGET_LINK_LAYER};
use pnet::packet::ethernet::EtherTypes;
use pnet::packet::icmpv6::{Icmpv6Type, Icmpv6Types};
use pnet::packet::ip::IpNextHeaderProtocols::Icmpv6;
use pnet::packet::ipv6::Ipv6Packet;
use pnet::util;
use std::net::Ipv6Addr;

const HOP_LIMIT: u8 = 255;
const IPV6_HEADER: usize = 40;
const CHECKSUM_WORD: usize = 1;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;

/// A valid neighbour discovery message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ndp {
    /// Who has the target?
    Solicitation(Solicitation),
    /// The sender has the target.
    Advertisement(Advertisement),
}

/// A neighbour solicitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Solicitation {
    /// Who asks; unspecified in duplicate address detection (RFC 4862).
    pub source: Ipv6Addr,
    /// The asker's MAC: its option's, or else the frame's.
    pub source_mac: Mac,
    /// Where it was sent: the solicited-node group, or the target itself.
    pub destination: Ipv6Addr,
    /// The address asked for.
    pub target: Ipv6Addr,
}

/// A neighbour advertisement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advertisement {
    /// Who sent it.
    pub source: Ipv6Addr,
    /// To whom: the asker, or all nodes.
    pub destination: Ipv6Addr,
    /// The destination's MAC.
    pub destination_mac: Mac,
    /// The address that the sender has.
    pub target: Ipv6Addr,
    /// Its MAC: its option's, or else the frame's.
    pub target_mac: Mac,
    /// Whether it answers a solicitation.
    pub solicited: bool,
}

/// Takes a frame apart.
///
/// # Errors
/// It is no neighbour solicitation or advertisement, or RFC 4861 section 7.1 says to drop it.
pub fn decode(frame: &[u8]) -> Result<Ndp, Refusal> {
    let packet = frame::payload(frame, EtherTypes::Ipv6)?;
    let header = Ipv6Packet::new(packet).ok_or(Refusal::Truncated)?;
    if header.get_version() != 6 || header.get_next_header() != Icmpv6 {
        return Err(Refusal::OtherProtocol);
    }
    let end = IPV6_HEADER.saturating_add(usize::from(header.get_payload_length()));
    let message = packet.get(IPV6_HEADER..end).ok_or(Refusal::Truncated)?;
    let (source, destination) = (header.get_source(), header.get_destination());
    let &[kind, code, stated_high, stated_low, flags, _, _, _, ref body @ ..] = message else {
        return Err(Refusal::Truncated);
    };
    let kind = Icmpv6Type(kind);
    if kind != Icmpv6Types::NeighborSolicit && kind != Icmpv6Types::NeighborAdvert {
        return Err(Refusal::OtherProtocol);
    }
    if header.get_hop_limit() != HOP_LIMIT {
        return Err(Refusal::HopLimit);
    }
    let (target, options) = body.split_first_chunk::<16>().ok_or(Refusal::Truncated)?;
    if checksum(message, source, destination).to_be_bytes() != [stated_high, stated_low] {
        return Err(Refusal::Checksum);
    }
    let target = Ipv6Addr::from(*target);
    if code != 0 || target.is_multicast() {
        return Err(Refusal::Malformed);
    }
    let sender = sender_mac(frame)?;
    if kind == Icmpv6Types::NeighborSolicit {
        let option = options::link_layer(options, SOURCE_LINK_LAYER)?;
        if source.is_unspecified() && (option.is_some() || destination != solicited_node(target)) {
            return Err(Refusal::Malformed);
        }
        let source_mac = option.unwrap_or(sender);
        return Ok(Ndp::Solicitation(Solicitation { source, source_mac, destination, target }));
    }
    let solicited = flags & SOLICITED != 0;
    if solicited && destination.is_multicast() {
        return Err(Refusal::Malformed);
    }
    let target_mac = options::link_layer(options, TARGET_LINK_LAYER)?.unwrap_or(sender);
    let destination_mac = frame.first_chunk::<6>().map(|mac| Mac::from(*mac)).ok_or(Refusal::Truncated)?;
    Ok(Ndp::Advertisement(Advertisement {
        source,
        destination,
        destination_mac,
        target,
        target_mac,
        solicited,
    }))
}

fn sender_mac(frame: &[u8]) -> Result<Mac, Refusal> {
    let bytes = frame.get(6..12).and_then(|mac| <[u8; 6]>::try_from(mac).ok()).ok_or(Refusal::Truncated)?;
    let mac = Mac::from(bytes);
    if mac.is_multicast() || mac.is_zero() { Err(Refusal::Malformed) } else { Ok(mac) }
}

impl Solicitation {
    /// Asks whether somebody has `target`, without claiming it (duplicate address detection, RFC 4862
    /// section 5.4.2).
    #[must_use]
    pub fn probe(mac: Mac, target: Ipv6Addr) -> Self {
        Self::new(mac, Ipv6Addr::UNSPECIFIED, target)
    }

    /// Asks for the MAC of `target`.
    #[must_use]
    pub fn new(mac: Mac, source: Ipv6Addr, target: Ipv6Addr) -> Self {
        Self { source, source_mac: mac, destination: solicited_node(target), target }
    }

    /// The answer of `mac`, which has the target. To a probe, which has no source, everybody is told.
    #[must_use]
    pub fn answer(&self, mac: Mac) -> Advertisement {
        if self.source.is_unspecified() {
            return Advertisement::announcement(mac, self.target);
        }
        Advertisement {
            source: self.target,
            destination: self.source,
            destination_mac: self.source_mac,
            target: self.target,
            target_mac: mac,
            solicited: true,
        }
    }

    /// The frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let option = (!self.source.is_unspecified()).then_some((SOURCE_LINK_LAYER, self.source_mac));
        let message = message(Icmpv6Types::NeighborSolicit, 0, self.target, option);
        encode(multicast_mac(self.destination), self.source_mac, self.source, self.destination, message)
    }
}

impl Advertisement {
    /// Tells everybody that `mac` has `address`: unsolicited, to all nodes.
    #[must_use]
    pub fn announcement(mac: Mac, address: Ipv6Addr) -> Self {
        Self {
            source: address,
            destination: ALL_NODES,
            destination_mac: multicast_mac(ALL_NODES),
            target: address,
            target_mac: mac,
            solicited: false,
        }
    }

    /// The frame, with the Router and Override flags (RFC 9568 section 6.4.2).
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let flags = ROUTER | OVERRIDE | if self.solicited { SOLICITED } else { 0 };
        let option = Some((TARGET_LINK_LAYER, self.target_mac));
        let message = message(Icmpv6Types::NeighborAdvert, flags, self.target, option);
        encode(self.destination_mac, self.target_mac, self.source, self.destination, message)
    }
}

fn message(kind: Icmpv6Type, flags: u8, target: Ipv6Addr, option: Option<(u8, Mac)>) -> Vec<u8> {
    let mut message = vec![kind.0, 0, 0, 0, flags, 0, 0, 0];
    message.extend_from_slice(&target.octets());
    if let Some((option, mac)) = option {
        message.extend_from_slice(&[option, 1]);
        message.extend_from_slice(&mac.octets());
    }
    message
}

fn encode(
    destination_mac: Mac,
    source_mac: Mac,
    source: Ipv6Addr,
    destination: Ipv6Addr,
    mut message: Vec<u8>,
) -> Vec<u8> {
    let checksum = checksum(&message, source, destination).to_be_bytes();
    if let Some(field) = message.get_mut(2..4) {
        field.copy_from_slice(&checksum);
    }
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX).to_be_bytes();
    let mut packet = vec![0x60, 0, 0, 0, length[0], length[1], Icmpv6.0, HOP_LIMIT];
    packet.extend_from_slice(&source.octets());
    packet.extend_from_slice(&destination.octets());
    packet.extend_from_slice(&message);
    frame::encode(destination_mac, source_mac, EtherTypes::Ipv6, &packet)
}

fn checksum(message: &[u8], source: Ipv6Addr, destination: Ipv6Addr) -> u16 {
    util::ipv6_checksum(message, CHECKSUM_WORD, &[], &source, &destination, Icmpv6)
}

/// The solicited-node group of an address (RFC 4291 section 2.7.1).
#[must_use]
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

/// The MAC of an IPv6 group (RFC 2464 section 7).
fn multicast_mac(group: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = group.octets();
    Mac::new(0x33, 0x33, a, b, c, d)
}

#[cfg(test)]
mod tests;
