//! TCP segments as whole frames (RFC 9293 section 3.1): the SYN that asks whether a port answers, the answer, and the RST
//! after which nobody waits for more.

use crate::frame::{self, Mac, Refusal};
use pnet::packet::ethernet::EtherTypes;
use pnet::packet::ip::IpNextHeaderProtocols::Tcp;
use pnet::packet::ipv4::{self, Ipv4Packet};
use pnet::packet::ipv6::Ipv6Packet;
use pnet::packet::tcp::TcpPacket;
use pnet::util;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

const HOP_LIMIT: u8 = 64;
const CHECKSUM_WORD: usize = 8;
const CHECKSUM: std::ops::Range<usize> = 16..18;
/// A maximum segment size that fits everywhere (RFC 9293 section 3.7.1), as every host says one.
const MAXIMUM_SEGMENT_SIZE: [u8; 4] = [2, 4, 0x04, 0xc4];

/// The two ends of a connection, as one of them sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// This node's MAC.
    pub own_mac: Mac,
    /// This node's address and port.
    pub own: SocketAddr,
    /// The MAC that frames go to.
    pub mac: Mac,
    /// The other end's address and port.
    pub other: SocketAddr,
}

/// The answer to a SYN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// Whose.
    pub ends: Ends,
    /// What it acknowledges: the SYN's sequence number and one.
    pub acknowledged: u32,
    /// Whether it accepts the connection; if not, it refuses.
    pub accepts: bool,
}

impl Ends {
    /// A SYN with this sequence number; `None` if the addresses are of two families.
    #[must_use]
    pub fn syn(&self, sequence: u32) -> Option<Vec<u8>> {
        self.frame(sequence, SYN, &MAXIMUM_SEGMENT_SIZE)
    }

    /// The RST that ends what was accepted; `None` if the addresses are of two families.
    #[must_use]
    pub fn reset(&self, sequence: u32) -> Option<Vec<u8>> {
        self.frame(sequence, RST, &[])
    }

    fn frame(&self, sequence: u32, flags: u8, options: &[u8]) -> Option<Vec<u8>> {
        let words = u8::try_from(options.len().checked_div(4)?).ok()?.checked_add(5)?;
        let mut segment = Vec::with_capacity(24);
        segment.extend_from_slice(&self.own.port().to_be_bytes());
        segment.extend_from_slice(&self.other.port().to_be_bytes());
        segment.extend_from_slice(&sequence.to_be_bytes());
        segment.extend_from_slice(&[0; 4]);
        let window = if flags == SYN { [0xff, 0xff] } else { [0, 0] };
        segment.extend_from_slice(&[words.checked_shl(4)?, flags, window[0], window[1], 0, 0, 0, 0]);
        segment.extend_from_slice(options);
        match (self.own.ip(), self.other.ip()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let sum = util::ipv4_checksum(&segment, CHECKSUM_WORD, &[], &own, &other, Tcp);
                segment.get_mut(CHECKSUM)?.copy_from_slice(&sum.to_be_bytes());
                let packet = packet_v4(own, other, &segment)?;
                Some(frame::encode(self.mac, self.own_mac, EtherTypes::Ipv4, &packet))
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let sum = util::ipv6_checksum(&segment, CHECKSUM_WORD, &[], &own, &other, Tcp);
                segment.get_mut(CHECKSUM)?.copy_from_slice(&sum.to_be_bytes());
                let packet = packet_v6(own, other, &segment)?;
                Some(frame::encode(self.mac, self.own_mac, EtherTypes::Ipv6, &packet))
            }
            (IpAddr::V4(_) | IpAddr::V6(_), _) => None,
        }
    }
}

/// RFC 791 section 3.1; not to be cut.
fn packet_v4(source: Ipv4Addr, destination: Ipv4Addr, segment: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(segment.len().checked_add(20)?).ok()?.to_be_bytes();
    let mut packet = vec![0x45, 0, length[0], length[1], 0, 0, 0x40, 0, HOP_LIMIT, Tcp.0, 0, 0];
    packet.extend_from_slice(&source.octets());
    packet.extend_from_slice(&destination.octets());
    let checksum = ipv4::checksum(&Ipv4Packet::new(&packet)?).to_be_bytes();
    packet.get_mut(10..12)?.copy_from_slice(&checksum);
    packet.extend_from_slice(segment);
    Some(packet)
}

/// RFC 8200 section 3.
fn packet_v6(source: Ipv6Addr, destination: Ipv6Addr, segment: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(segment.len()).ok()?.to_be_bytes();
    let mut packet = vec![0x60, 0, 0, 0, length[0], length[1], Tcp.0, HOP_LIMIT];
    packet.extend_from_slice(&source.octets());
    packet.extend_from_slice(&destination.octets());
    packet.extend_from_slice(segment);
    Some(packet)
}

/// Takes a frame apart. Its checksum is not looked at: what a virtual machine sends may carry none, and whoever
/// acknowledges the right number has seen the SYN.
///
/// # Errors
/// It is no answer to a SYN.
pub fn decode(frame: &[u8]) -> Result<Answer, Refusal> {
    let (source, destination, segment) = match frame.get(12..14) {
        Some([0x08, 0x00]) => segment_v4(frame)?,
        Some([0x86, 0xdd]) => segment_v6(frame)?,
        Some(_) => return Err(Refusal::OtherProtocol),
        None => return Err(Refusal::Truncated),
    };
    let tcp = TcpPacket::new(segment).ok_or(Refusal::Truncated)?;
    let accepts = match tcp.get_flags() & (FIN | SYN | RST | ACK) {
        flags if flags == SYN | ACK => true,
        flags if flags == RST | ACK => false,
        _ => return Err(Refusal::OtherProtocol),
    };
    let macs = frame.split_first_chunk::<6>().and_then(|(own, rest)| Some((*own, *rest.first_chunk::<6>()?)));
    let (own_mac, mac) = macs.ok_or(Refusal::Truncated)?;
    let ends = Ends {
        own_mac: Mac::from(own_mac),
        own: SocketAddr::new(destination, tcp.get_destination()),
        mac: Mac::from(mac),
        other: SocketAddr::new(source, tcp.get_source()),
    };
    Ok(Answer { ends, acknowledged: tcp.get_acknowledgement(), accepts })
}

fn segment_v4(frame: &[u8]) -> Result<(IpAddr, IpAddr, &[u8]), Refusal> {
    let packet = frame::payload(frame, EtherTypes::Ipv4)?;
    let header = Ipv4Packet::new(packet).ok_or(Refusal::Truncated)?;
    let words = usize::from(header.get_header_length());
    if header.get_version() != 4 || words < 5 {
        return Err(Refusal::Malformed);
    }
    if header.get_next_level_protocol() != Tcp || header.get_fragment_offset() != 0 {
        return Err(Refusal::OtherProtocol);
    }
    let segment = packet.get(words.saturating_mul(4)..).ok_or(Refusal::Truncated)?;
    Ok((header.get_source().into(), header.get_destination().into(), segment))
}

fn segment_v6(frame: &[u8]) -> Result<(IpAddr, IpAddr, &[u8]), Refusal> {
    let packet = frame::payload(frame, EtherTypes::Ipv6)?;
    let header = Ipv6Packet::new(packet).ok_or(Refusal::Truncated)?;
    if header.get_version() != 6 || header.get_next_header() != Tcp {
        return Err(Refusal::OtherProtocol);
    }
    let segment = packet.get(40..).ok_or(Refusal::Truncated)?;
    Ok((header.get_source().into(), header.get_destination().into(), segment))
}

#[cfg(test)]
mod tests;
