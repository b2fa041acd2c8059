//! VRRPv3 adverts (RFC 9568 section 5): bytes checked once, here; only valid values come out.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! |Version| Type  | Virtual Rtr ID|   Priority    |  IPvX Count   |
//! |Reserve|   Max Advertise Int   |          Checksum             |
//! |                         IPvX Address(es)                      |
//! ```

mod refusal;

pub use refusal::Refusal;

use fulcrum_config::{AdvertInterval, Family, Vrid};
use pnet::packet::ip::IpNextHeaderProtocol;
use pnet::packet::ipv4::Ipv4Packet;
use pnet::util;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// IP protocol number of VRRP.
pub const PROTOCOL: u8 = 112;
/// The TTL or hop limit of every advert (RFC 9568 sections 5.1.1.3 and 5.1.2.3).
pub const HOP_LIMIT: u8 = 255;
/// Where IPv4 adverts go (section 5.1.1.2).
pub const MULTICAST_IPV4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
/// Where IPv6 adverts go (section 5.1.2.2).
pub const MULTICAST_IPV6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);
/// The most IPv4 addresses in an advert: the count is one byte.
pub const MAX_ADDRESSES_IPV4: usize = 255;
/// The most IPv6 addresses we put into an advert, so that it fits in the smallest MTU of IPv6 (1280).
pub const MAX_ADDRESSES_IPV6: usize = 77;

const VERSION: u8 = 3;
const TYPE_ADVERTISEMENT: u8 = 1;
const HEADER: usize = 8;
const CHECKSUM_WORD: usize = 3;

/// A valid VRRPv3 advertisement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advert {
    /// Whose state it tells.
    pub vrid: Vrid,
    /// 0: the sender resigns; 255: it owns the addresses.
    pub priority: u8,
    /// The sender's Max Advertise Interval.
    pub interval: AdvertInterval,
    /// The addresses of the virtual router. Never empty; all of one family; at most 255.
    pub addresses: Arc<[IpAddr]>,
    /// What the checksum covers.
    pub checksum: ChecksumForm,
}

/// What the checksum of an IPv4 advert covers. IPv6 always has the pseudo-header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChecksumForm {
    /// The message alone, as RFC 9568 section 5.2.8 says for IPv4.
    Message,
    /// The message and a pseudo-header, as keepalived and FRR read RFC 5798.
    PseudoHeader,
}

/// A VRRP message as it came from the network, with what its IP header said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received<'a> {
    /// Who sent it.
    pub source: IpAddr,
    /// Where it was sent.
    pub destination: IpAddr,
    /// TTL or hop limit on arrival.
    pub hop_limit: u8,
    /// Everything behind the IP header.
    pub message: &'a [u8],
}

impl<'a> Received<'a> {
    /// Takes an IPv4 packet apart, as a raw socket hands it up.
    ///
    /// # Errors
    /// [`Refusal::Truncated`] or [`Refusal::NotVrrp`].
    pub fn from_ipv4(packet: &'a [u8]) -> Result<Self, Refusal> {
        let header = Ipv4Packet::new(packet).ok_or(Refusal::Truncated)?;
        if header.get_next_level_protocol() != IpNextHeaderProtocol(PROTOCOL) {
            return Err(Refusal::NotVrrp);
        }
        let start = usize::from(header.get_header_length()).saturating_mul(4);
        let end = usize::from(header.get_total_length());
        if start < Ipv4Packet::minimum_packet_size() {
            return Err(Refusal::Truncated);
        }
        Ok(Self {
            source: header.get_source().into(),
            destination: header.get_destination().into(),
            hop_limit: header.get_ttl(),
            message: packet.get(start..end).ok_or(Refusal::Truncated)?,
        })
    }
}

/// Checks what section 7.1 says can be checked without knowing the virtual routers, in its order.
///
/// # Errors
/// Which check failed first.
pub fn decode(received: &Received<'_>) -> Result<Advert, Refusal> {
    let message = received.message;
    if received.hop_limit != HOP_LIMIT {
        return Err(Refusal::HopLimit(received.hop_limit));
    }
    let &[version_type, vrid, priority, count, interval_high, interval_low, _, _, ref body @ ..] = message
    else {
        return Err(Refusal::Truncated);
    };
    match version_type >> 4 {
        VERSION => {}
        2 => return Err(Refusal::Version2),
        other => return Err(Refusal::Version(other)),
    }
    if version_type & 0x0f != TYPE_ADVERTISEMENT {
        return Err(Refusal::Type(version_type & 0x0f));
    }
    if count == 0 {
        return Err(Refusal::NoAddresses);
    }
    let addresses = decode_addresses(Family::of(received.source), usize::from(count), body)?;
    let checksum = checksum_form(received).ok_or(Refusal::Checksum)?;
    let interval = u16::from_be_bytes([interval_high & 0x0f, interval_low]);
    Ok(Advert {
        vrid: Vrid::new(vrid).map_err(|_| Refusal::VridZero)?,
        priority,
        interval: AdvertInterval::from_centiseconds(interval).map_err(|_| Refusal::IntervalZero)?,
        addresses,
        checksum,
    })
}

fn decode_addresses(family: Family, count: usize, body: &[u8]) -> Result<Arc<[IpAddr]>, Refusal> {
    let size = match family {
        Family::Ipv4 => 4,
        Family::Ipv6 => 16,
    };
    let addresses: Arc<[IpAddr]> = body.chunks_exact(size).take(count).filter_map(address).collect();
    if addresses.len() == count { Ok(addresses) } else { Err(Refusal::Truncated) }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let ipv4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    ipv4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// The form in which the checksum is right, if any.
fn checksum_form(received: &Received<'_>) -> Option<ChecksumForm> {
    let forms: &[ChecksumForm] = match received.source {
        IpAddr::V4(_) => &[ChecksumForm::Message, ChecksumForm::PseudoHeader],
        IpAddr::V6(_) => &[ChecksumForm::PseudoHeader],
    };
    let stated = received.message.get(6..HEADER)?;
    forms.iter().copied().find(|form| {
        checksum(received.message, received.source, received.destination, *form).to_be_bytes() == stated
    })
}

/// The checksum of `message`, whatever its checksum field holds.
fn checksum(message: &[u8], source: IpAddr, destination: IpAddr, form: ChecksumForm) -> u16 {
    let protocol = IpNextHeaderProtocol(PROTOCOL);
    match (source, destination) {
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            util::ipv6_checksum(message, CHECKSUM_WORD, &[], &source, &destination, protocol)
        }
        (IpAddr::V4(source), IpAddr::V4(destination)) if form == ChecksumForm::PseudoHeader => {
            util::ipv4_checksum(message, CHECKSUM_WORD, &[], &source, &destination, protocol)
        }
        (IpAddr::V4(_) | IpAddr::V6(_), _) => util::checksum(message, CHECKSUM_WORD),
    }
}

impl Advert {
    /// The VRRP message (without IP header) from `source` to `destination`, which the checksum may cover.
    ///
    /// Addresses beyond the count's 255 are left out.
    #[must_use]
    pub fn encode(&self, source: IpAddr, destination: IpAddr) -> Vec<u8> {
        let addresses = self.addresses.get(..usize::from(u8::MAX)).unwrap_or(&self.addresses);
        let count = u8::try_from(addresses.len()).unwrap_or(u8::MAX);
        let [interval_high, interval_low] = self.interval.centiseconds().to_be_bytes();
        let mut message = vec![
            VERSION << 4 | TYPE_ADVERTISEMENT,
            self.vrid.get(),
            self.priority,
            count,
            interval_high & 0x0f,
            interval_low,
            0,
            0,
        ];
        for address in addresses {
            match address {
                IpAddr::V4(address) => message.extend_from_slice(&address.octets()),
                IpAddr::V6(address) => message.extend_from_slice(&address.octets()),
            }
        }
        let checksum = checksum(&message, source, destination, self.checksum).to_be_bytes();
        if let Some(field) = message.get_mut(6..HEADER) {
            field.copy_from_slice(&checksum);
        }
        message
    }
}

#[cfg(test)]
mod tests;
