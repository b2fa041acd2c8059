//! Ethernet frames: where ARP and ND travel.

use pnet::packet::ethernet::{EtherType, EthernetPacket};
pub use pnet::util::MacAddr as Mac;
use thiserror::Error;

/// The header of a frame without VLAN tag.
const HEADER: usize = 14;

/// Why an ARP or ND frame was dropped; each has a counter of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum Refusal {
    /// It ends too early.
    #[error("the frame ends before its last field")]
    Truncated,
    /// Another protocol, hardware type or message.
    #[error("not the protocol that is listened for")]
    OtherProtocol,
    /// Its hop limit is not 255, so a router forwarded it (RFC 4861 section 7.1).
    #[error("its hop limit is not 255: it does not come from this link")]
    HopLimit,
    /// Damaged.
    #[error("its checksum is wrong")]
    Checksum,
    /// A field or option that the RFC forbids.
    #[error("a field or option is malformed")]
    Malformed,
}

impl Refusal {
    /// The counter's name.
    #[must_use]
    pub fn counter(self) -> &'static str {
        match self {
            Self::Truncated => "neighbour_refused_truncated",
            Self::OtherProtocol => "neighbour_refused_other_protocol",
            Self::HopLimit => "neighbour_refused_hop_limit",
            Self::Checksum => "neighbour_refused_checksum",
            Self::Malformed => "neighbour_refused_malformed",
        }
    }
}

/// The virtual MAC of a virtual router (RFC 9568 section 7.3).
#[must_use]
pub fn virtual_mac(vrid: fulcrum_config::Vrid, family: fulcrum_config::Family) -> Mac {
    let family = match family {
        fulcrum_config::Family::Ipv4 => 1,
        fulcrum_config::Family::Ipv6 => 2,
    };
    Mac::new(0, 0, 0x5e, 0, family, vrid.get())
}

/// A frame with `payload`.
pub(crate) fn encode(destination: Mac, source: Mac, ether_type: EtherType, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEADER.saturating_add(payload.len()));
    frame.extend_from_slice(&destination.octets());
    frame.extend_from_slice(&source.octets());
    frame.extend_from_slice(&ether_type.0.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// The payload of a frame, if it is of this type.
pub(crate) fn payload(frame: &[u8], ether_type: EtherType) -> Result<&[u8], Refusal> {
    let ethernet = EthernetPacket::new(frame).ok_or(Refusal::Truncated)?;
    if ethernet.get_ethertype() != ether_type {
        return Err(Refusal::OtherProtocol);
    }
    frame.get(HEADER..).ok_or(Refusal::Truncated)
}
