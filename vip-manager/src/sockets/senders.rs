//! A packet socket that shows which machine an advert came from: raw sockets don't.

use super::{filter, ready};
use crate::frame::Mac;
use crate::sys;
use fulcrum_config::Family;
use rustix::net::RecvFlags;
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;

/// Ethernet types.
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
/// Senders that are remembered.
const SENDERS: usize = 64;
/// Frames that are read at a time.
const FRAMES: usize = 256;
/// All that is looked at of a frame: up to the VRID behind the longest IPv4 header.
const BYTES: usize = 14 + 60 + 2;

/// One socket, and what it showed.
pub(crate) struct SenderSocket {
    family: Family,
    socket: Socket,
    is_open: bool,
    /// The last machine that sent from an address for a VRID, newest last.
    seen: VecDeque<(IpAddr, u8, Mac)>,
    /// Addresses and VRIDs of adverts of VRRPv2.
    version_2: BTreeSet<(IpAddr, u8)>,
}

impl SenderSocket {
    /// Opens it; it shows nothing before [`SenderSocket::listen`].
    pub(crate) fn open(family: Family, interface: u32) -> io::Result<Self> {
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)))?;
        socket.set_nonblocking(true)?;
        socket.attach_filter(&filter::nothing())?;
        let ether_type = match family {
            Family::Ipv4 => IPV4,
            Family::Ipv6 => IPV6,
        };
        sys::bind_packet(socket.as_fd(), interface, ether_type)?;
        Ok(Self { family, socket, is_open: false, seen: VecDeque::new(), version_2: BTreeSet::new() })
    }

    /// Whether to look at adverts.
    pub(crate) fn listen(&mut self, is_open: bool) -> io::Result<()> {
        if self.is_open == is_open {
            return Ok(());
        }
        let program = if is_open { filter::adverts(self.family) } else { filter::nothing() };
        self.socket.attach_filter(&program)?;
        self.is_open = is_open;
        Ok(())
    }

    /// Reads what waits.
    pub(crate) fn read(&mut self) {
        if !self.is_open {
            return;
        }
        let mut buffer = [0; BYTES];
        for _ in 0..FRAMES {
            let read = rustix::net::recv(&self.socket, &mut buffer[..], RecvFlags::DONTWAIT);
            let Ok(Some((length, _))) = ready(read.map_err(io::Error::from)) else { return };
            let frame = buffer.get(..length.min(BYTES)).unwrap_or_default();
            if let Some((sender, version)) = sender(self.family, frame) {
                self.remember(sender);
                if version == 2 && self.version_2.len() < SENDERS {
                    self.version_2.insert((sender.0, sender.1));
                }
            }
        }
    }

    fn remember(&mut self, (source, vrid, mac): (IpAddr, u8, Mac)) {
        self.seen.retain(|(from, of, _)| (*from, *of) != (source, vrid));
        if self.seen.len() >= SENDERS {
            self.seen.pop_front();
        }
        self.seen.push_back((source, vrid, mac));
    }

    /// Address, VRID and machine of each advert that was seen.
    pub(crate) fn seen(&self) -> impl Iterator<Item = &(IpAddr, u8, Mac)> {
        self.seen.iter()
    }

    /// Address and VRID of those that speak VRRPv2.
    pub(crate) fn version_2(&self) -> impl Iterator<Item = &(IpAddr, u8)> {
        self.version_2.iter()
    }

    /// The machine that sent from `source` for `vrid` last.
    pub(crate) fn mac(&self, source: IpAddr, vrid: u8) -> Option<Mac> {
        self.seen.iter().find(|(from, of, _)| (*from, *of) == (source, vrid)).map(|(_, _, mac)| *mac)
    }
}

/// Source address, VRID and MAC of a frame that the filter let through, and its version of VRRP.
fn sender(family: Family, frame: &[u8]) -> Option<((IpAddr, u8, Mac), u8)> {
    let (_, rest) = frame.split_at_checked(6)?;
    let (mac, _) = rest.split_first_chunk::<6>()?;
    let (_, packet) = frame.split_at_checked(14)?;
    let (source, header): (IpAddr, usize) = match family {
        Family::Ipv4 => {
            let source = packet.get(12..)?.first_chunk::<4>()?;
            let words = usize::from(packet.first()? & 0x0f);
            (Ipv4Addr::from(*source).into(), words.checked_mul(4)?)
        }
        Family::Ipv6 => (Ipv6Addr::from(*packet.get(8..)?.first_chunk::<16>()?).into(), 40),
    };
    let vrid = *packet.get(header.checked_add(1)?)?;
    let version = packet.get(header)? >> 4;
    let [a, b, c, d, e, f] = *mac;
    Some(((source, vrid, Mac::new(a, b, c, d, e, f)), version))
}

#[cfg(test)]
mod tests;
