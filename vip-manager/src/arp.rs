//! ARP over Ethernet for IPv4 (RFC 826, RFC 5227): whole frames in and out.

use crate::frame::{self, Mac, Refusal};
use pnet::packet::arp::{ArpHardwareTypes, ArpOperation, ArpOperations, ArpPacket};
use pnet::packet::ethernet::EtherTypes;
use std::net::Ipv4Addr;

/// A valid ARP message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arp {
    /// What it is.
    pub operation: Operation,
    /// The MAC that the sender has, as it says.
    pub sender_mac: Mac,
    /// The address that the sender has; 0.0.0.0 in a probe (RFC 5227).
    pub sender: Ipv4Addr,
    /// The MAC of the target, in a reply.
    pub target_mac: Mac,
    /// The address asked for.
    pub target: Ipv4Addr,
}

/// What an ARP message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Who has the target?
    Request,
    /// The sender has its address.
    Reply,
}

/// Takes a frame apart.
///
/// # Errors
/// It is no ARP request or reply for IPv4 over Ethernet.
pub fn decode(frame: &[u8]) -> Result<Arp, Refusal> {
    let arp = ArpPacket::new(frame::payload(frame, EtherTypes::Arp)?).ok_or(Refusal::Truncated)?;
    let lengths = (arp.get_hw_addr_len(), arp.get_proto_addr_len());
    if arp.get_hardware_type() != ArpHardwareTypes::Ethernet
        || arp.get_protocol_type() != EtherTypes::Ipv4
        || lengths != (6, 4)
    {
        return Err(Refusal::OtherProtocol);
    }
    let operation = match arp.get_operation() {
        ArpOperations::Request => Operation::Request,
        ArpOperations::Reply => Operation::Reply,
        ArpOperation(_) => return Err(Refusal::OtherProtocol),
    };
    let sender_mac = arp.get_sender_hw_addr();
    if sender_mac.is_multicast() || sender_mac.is_zero() {
        return Err(Refusal::Malformed);
    }
    Ok(Arp {
        operation,
        sender_mac,
        sender: arp.get_sender_proto_addr(),
        target_mac: arp.get_target_hw_addr(),
        target: arp.get_target_proto_addr(),
    })
}

impl Arp {
    /// Tells everybody that `mac` has `address` (gratuitous ARP; RFC 5227 section 3, "announcement").
    #[must_use]
    pub fn announcement(mac: Mac, address: Ipv4Addr) -> Self {
        Self::request(mac, address, address)
    }

    /// Asks whether somebody has `address`, without claiming it (RFC 5227 section 2.1.1).
    #[must_use]
    pub fn probe(mac: Mac, address: Ipv4Addr) -> Self {
        Self::request(mac, Ipv4Addr::UNSPECIFIED, address)
    }

    /// Asks for the MAC of `target`.
    #[must_use]
    pub fn request(mac: Mac, sender: Ipv4Addr, target: Ipv4Addr) -> Self {
        Self { operation: Operation::Request, sender_mac: mac, sender, target_mac: Mac::zero(), target }
    }

    /// The answer to a request (or probe) for an address that `mac` has; `None` to anything else.
    #[must_use]
    pub fn answer(&self, mac: Mac) -> Option<Self> {
        if self.operation != Operation::Request || self.sender == self.target {
            return None;
        }
        Some(Self {
            operation: Operation::Reply,
            sender_mac: mac,
            sender: self.target,
            target_mac: self.sender_mac,
            target: self.sender,
        })
    }

    /// The address that the sender says it has: not in a probe.
    #[must_use]
    pub fn claim(&self) -> Option<(Ipv4Addr, Mac)> {
        (!self.sender.is_unspecified()).then_some((self.sender, self.sender_mac))
    }

    /// The frame: a request goes to everybody, a reply to its target.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (destination, operation) = match self.operation {
            Operation::Request => (Mac::broadcast(), ArpOperations::Request),
            Operation::Reply => (self.target_mac, ArpOperations::Reply),
        };
        let mut message = Vec::with_capacity(ArpPacket::minimum_packet_size());
        message.extend_from_slice(&ArpHardwareTypes::Ethernet.0.to_be_bytes());
        message.extend_from_slice(&EtherTypes::Ipv4.0.to_be_bytes());
        message.extend_from_slice(&[6, 4]);
        message.extend_from_slice(&operation.0.to_be_bytes());
        message.extend_from_slice(&self.sender_mac.octets());
        message.extend_from_slice(&self.sender.octets());
        message.extend_from_slice(&self.target_mac.octets());
        message.extend_from_slice(&self.target.octets());
        frame::encode(destination, self.sender_mac, EtherTypes::Arp, &message)
    }
}

#[cfg(test)]
mod tests;
