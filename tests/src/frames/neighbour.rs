//! Who has this address? Asked from outside, by ARP or neighbour discovery, again and again.

use super::{Capture, inject};
use crate::error::Result;
use crate::lab::Machine;
use pnet::packet::Packet;
use pnet::packet::arp::{ArpHardwareTypes, ArpOperations, ArpPacket, MutableArpPacket};
use pnet::packet::ethernet::{EtherTypes, EthernetPacket, MutableEthernetPacket};
use pnet::packet::icmpv6::ndp::{MutableNeighborSolicitPacket, NdpOption, NdpOptionTypes};
use pnet::packet::icmpv6::{self, Icmpv6Code, Icmpv6Packet, Icmpv6Types};
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::ipv6::{Ipv6Packet, MutableIpv6Packet};
use pnet::util::MacAddr;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Asks for an address every few milliseconds and keeps each answer with its MAC.
#[derive(Debug)]
pub struct NeighbourProbe {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    capture: Capture,
    address: IpAddr,
}

impl NeighbourProbe {
    /// Starts to ask from `machine` who has `address`.
    ///
    /// # Errors
    /// The machine's interface can't be opened.
    pub fn start(machine: &Machine, address: IpAddr, interval: Duration) -> Result<Self> {
        let capture = Capture::start(machine.namespace(), "eth0", move |frame| {
            answer(frame).is_some_and(|(_, about)| about == address)
        })?;
        let stop = Arc::new(AtomicBool::new(false));
        let question = neighbour_question(machine, address);
        let (machine, thread_stop) = (machine.clone(), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !thread_stop.load(Ordering::Relaxed) {
                // A link that is gone for a while gives no answers, which is what the probe is to see.
                inject(&machine, std::slice::from_ref(&question)).ok();
                std::thread::sleep(interval);
            }
        });
        Ok(Self { stop, thread: Some(thread), capture, address })
    }

    /// Each answer until now: when, and which MAC it names. Announcements nobody asked for are not answers.
    #[must_use]
    pub fn answers(&self) -> Vec<(Instant, MacAddr)> {
        let frames = self.capture.frames();
        frames.iter().filter_map(|frame| Some((frame.at, answer(&frame.bytes)?.0))).collect()
    }

    /// The MACs that answered at or after a moment.
    #[must_use]
    pub fn macs_since(&self, moment: Instant) -> BTreeSet<MacAddr> {
        self.answers().into_iter().filter(|(at, _)| *at >= moment).map(|(_, mac)| mac).collect()
    }

    /// The address asked for.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }
}

impl Drop for NeighbourProbe {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// The ARP request or neighbour solicitation with which `machine` asks for `address`.
#[must_use]
pub fn neighbour_question(machine: &Machine, address: IpAddr) -> Vec<u8> {
    let own: MacAddr = machine.mac().parse().unwrap_or(MacAddr::zero());
    match (address, machine.ipv4(), machine.ipv6()) {
        (IpAddr::V4(address), IpAddr::V4(from), _) => arp_request(own, from, address),
        (IpAddr::V6(address), _, IpAddr::V6(from)) => solicitation(own, from, address),
        _ => Vec::new(),
    }
}

fn ethernet(to: MacAddr, from: MacAddr, kind: pnet::packet::ethernet::EtherType, payload: &[u8]) -> Vec<u8> {
    let size = EthernetPacket::minimum_packet_size().saturating_add(payload.len());
    let mut frame = vec![0; size];
    if let Some(mut packet) = MutableEthernetPacket::new(&mut frame) {
        packet.set_destination(to);
        packet.set_source(from);
        packet.set_ethertype(kind);
        packet.set_payload(payload);
    }
    frame
}

fn arp_request(own: MacAddr, from: Ipv4Addr, address: Ipv4Addr) -> Vec<u8> {
    let mut bytes = vec![0; ArpPacket::minimum_packet_size()];
    if let Some(mut arp) = MutableArpPacket::new(&mut bytes) {
        arp.set_hardware_type(ArpHardwareTypes::Ethernet);
        arp.set_protocol_type(EtherTypes::Ipv4);
        arp.set_hw_addr_len(6);
        arp.set_proto_addr_len(4);
        arp.set_operation(ArpOperations::Request);
        arp.set_sender_hw_addr(own);
        arp.set_sender_proto_addr(from);
        arp.set_target_proto_addr(address);
    }
    ethernet(MacAddr::broadcast(), own, EtherTypes::Arp, &bytes)
}

/// RFC 4861 section 4.3, to the solicited-node address, with our own link-layer address as its option.
fn solicitation(own: MacAddr, from: Ipv6Addr, address: Ipv6Addr) -> Vec<u8> {
    let [.., x, y, z] = address.octets();
    let to = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, u16::from_be_bytes([0xff, x]), u16::from_be_bytes([y, z]));
    let mut bytes = vec![0; 32];
    if let Some(mut packet) = MutableNeighborSolicitPacket::new(&mut bytes) {
        packet.set_icmpv6_type(Icmpv6Types::NeighborSolicit);
        packet.set_icmpv6_code(Icmpv6Code(0));
        packet.set_target_addr(address);
        packet.set_options(&[NdpOption {
            option_type: NdpOptionTypes::SourceLLAddr,
            length: 1,
            data: vec![own.0, own.1, own.2, own.3, own.4, own.5],
        }]);
    }
    let checksum = Icmpv6Packet::new(&bytes).map(|packet| icmpv6::checksum(&packet, &from, &to));
    if let (Some(checksum), Some(mut packet)) = (checksum, icmpv6::MutableIcmpv6Packet::new(&mut bytes)) {
        packet.set_checksum(checksum);
    }
    let mut datagram = vec![0; Ipv6Packet::minimum_packet_size().saturating_add(bytes.len())];
    if let Some(mut packet) = MutableIpv6Packet::new(&mut datagram) {
        packet.set_version(6);
        packet.set_payload_length(32);
        packet.set_next_header(IpNextHeaderProtocols::Icmpv6);
        packet.set_hop_limit(255);
        packet.set_source(from);
        packet.set_destination(to);
        packet.set_payload(&bytes);
    }
    ethernet(MacAddr::new(0x33, 0x33, 0xff, x, y, z), own, EtherTypes::Ipv6, &datagram)
}

/// The MAC and the address that a frame is an answer about, if it is one, sent to the asker alone.
fn answer(frame: &[u8]) -> Option<(MacAddr, IpAddr)> {
    let ethernet = EthernetPacket::new(frame)?;
    if ethernet.get_destination().is_multicast() || ethernet.get_destination().is_broadcast() {
        return None;
    }
    if ethernet.get_ethertype() == EtherTypes::Arp {
        let arp = ArpPacket::new(ethernet.payload())?;
        (arp.get_operation() == ArpOperations::Reply)
            .then(|| (arp.get_sender_hw_addr(), arp.get_sender_proto_addr().into()))
    } else if ethernet.get_ethertype() == EtherTypes::Ipv6 {
        let ip = Ipv6Packet::new(ethernet.payload())?;
        if ip.get_next_header() != IpNextHeaderProtocols::Icmpv6 {
            return None;
        }
        let (target, mac) = advertisement(ip.payload())?;
        Some((mac.unwrap_or(ethernet.get_source()), target.into()))
    } else {
        None
    }
}

/// The target of a neighbour advertisement and the MAC of its first option (RFC 4861 sections 4.4 and 4.6.1), which
/// the answer to a multicast question always has. pnet's own parser of options overflows on hostile lengths.
fn advertisement(message: &[u8]) -> Option<(Ipv6Addr, Option<MacAddr>)> {
    const ADVERTISEMENT: u8 = 136;
    const TARGET_LINK_LAYER: u8 = 2;
    if *message.first()? != ADVERTISEMENT {
        return None;
    }
    let target = <[u8; 16]>::try_from(message.get(8..24)?).ok()?;
    let mac = match message.get(24..32) {
        Some([TARGET_LINK_LAYER, 1, mac @ ..]) => <[u8; 6]>::try_from(mac).ok().map(MacAddr::from),
        Some(_) | None => None,
    };
    Some((target.into(), mac))
}
