//! Whether a frame speaks for an address.

use pnet::packet::Packet;
use pnet::packet::arp::ArpPacket;
use pnet::packet::ethernet::{EtherTypes, EthernetPacket};
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::ipv4::Ipv4Packet;
use pnet::packet::ipv6::Ipv6Packet;
use std::net::IpAddr;

/// RFC 4861 section 4.4.
const ADVERTISEMENT: u8 = 136;

/// Whether `frame` comes from one of these addresses, or says by ARP or ND that its sender has it.
#[must_use]
pub fn speaks_for(frame: &[u8], addresses: &[IpAddr]) -> bool {
    speakers(frame).into_iter().flatten().any(|speaker| addresses.contains(&speaker))
}

fn speakers(frame: &[u8]) -> Option<Vec<IpAddr>> {
    let ethernet = EthernetPacket::new(frame)?;
    let payload = ethernet.payload();
    match ethernet.get_ethertype() {
        EtherTypes::Arp => Some(vec![ArpPacket::new(payload)?.get_sender_proto_addr().into()]),
        EtherTypes::Ipv4 => Some(vec![Ipv4Packet::new(payload)?.get_source().into()]),
        EtherTypes::Ipv6 => {
            let ip = Ipv6Packet::new(payload)?;
            let mut speakers = vec![ip.get_source().into()];
            let message = ip.payload();
            if ip.get_next_header() == IpNextHeaderProtocols::Icmpv6
                && message.first() == Some(&ADVERTISEMENT)
            {
                speakers.push(<[u8; 16]>::try_from(message.get(8..24)?).ok()?.into());
            }
            Some(speakers)
        }
        _ => None,
    }
}
