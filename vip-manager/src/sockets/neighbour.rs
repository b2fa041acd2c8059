//! A packet socket for whole ARP or neighbour discovery frames of one interface.
//!
//! VIPs live on the loopback, for which the kernel answers neither: this process does, so that one that is
//! frozen or dead is silent.

use super::{filter, ready};
use crate::sys;
use fulcrum_config::Family;
use rustix::net::RecvFlags;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd};

/// Ethernet types.
const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;
/// linux/if_packet.h: leave out what this machine sends.
const PACKET_IGNORE_OUTGOING: i32 = 23;

/// One socket.
pub(crate) struct NeighbourSocket {
    family: Family,
    interface: u32,
    socket: Socket,
    /// Solicited-node groups are joined here, so that NICs and switches that snoop pass them.
    groups: Option<Socket>,
    joined: BTreeSet<Ipv6Addr>,
}

impl NeighbourSocket {
    /// Opens it; it hears nothing before [`NeighbourSocket::listen_for`].
    pub(crate) fn open(family: Family, interface: u32) -> io::Result<Self> {
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)))?;
        socket.set_nonblocking(true)?;
        socket.attach_filter(&filter::nothing())?;
        sys::set_int_option(socket.as_fd(), libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)?;
        let (ether_type, groups) = match family {
            Family::Ipv4 => (ARP, None),
            Family::Ipv6 => (IPV6, Some(Socket::new(Domain::IPV6, Type::DGRAM, None)?)),
        };
        sys::bind_packet(socket.as_fd(), interface, ether_type)?;
        Ok(Self { family, interface, socket, groups, joined: BTreeSet::new() })
    }

    /// Lets through what concerns `addresses`, VIPs and gateways, and what `others` say of themselves.
    pub(crate) fn listen_for(&mut self, addresses: &[IpAddr], others: &[IpAddr]) -> io::Result<()> {
        self.socket.attach_filter(&self.program(addresses, others))?;
        self.join(addresses)
    }

    /// Lets through what concerns `addresses`, without being in their groups: what is said to this node, or to all.
    pub(crate) fn hear(&mut self, addresses: &[IpAddr]) -> io::Result<()> {
        self.socket.attach_filter(&self.program(addresses, &[]))
    }

    fn program(&self, addresses: &[IpAddr], others: &[IpAddr]) -> Vec<SockFilter> {
        match self.family {
            Family::Ipv4 => filter::arp(addresses, others),
            Family::Ipv6 => filter::neighbour_discovery(addresses, others),
        }
    }

    /// The same for a device with a virtual MAC: only what is sent to that MAC alone, for the interface below
    /// hears everything else.
    pub(crate) fn listen_for_own(&mut self, addresses: &[IpAddr]) -> io::Result<()> {
        self.socket.attach_filter(&filter::to_us(self.program(addresses, &[])))
    }

    /// Sends a whole frame.
    pub(crate) fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.socket.send(frame)?;
        Ok(())
    }

    /// The next frame that waits, if any: its length in `buffer`.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let read = rustix::net::recv(&self.socket, buffer, RecvFlags::DONTWAIT);
        Ok(ready(read.map_err(io::Error::from))?.map(|(length, _)| length))
    }

    fn join(&mut self, addresses: &[IpAddr]) -> io::Result<()> {
        let Some(socket) = &self.groups else { return Ok(()) };
        let wanted: BTreeSet<Ipv6Addr> = addresses
            .iter()
            .filter_map(|address| match address {
                IpAddr::V4(_) => None,
                IpAddr::V6(address) => Some(solicited_node(*address)),
            })
            .collect();
        for group in self.joined.difference(&wanted) {
            socket.leave_multicast_v6(group, self.interface)?;
        }
        for group in wanted.difference(&self.joined) {
            socket.join_multicast_v6(group, self.interface)?;
        }
        self.joined = wanted;
        Ok(())
    }
}

impl AsFd for NeighbourSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The solicited-node multicast address (RFC 4291 section 2.7.1).
fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}
