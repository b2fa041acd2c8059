//! The kernel's own routes to the addresses of the loopback, in its table "local": without one an address is
//! there and receives nothing.

use super::messages::dump_local_routes;
use super::{Netlink, enlarge};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use socket2::SockFilter;
use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

/// The kernel's numbers of the multicast groups for routes of both families.
const GROUPS: [u32; 2] = [7, 11];
/// The kernel's table of local addresses (`RT_TABLE_LOCAL`).
pub(super) const TABLE_LOCAL: u8 = 255;
/// The message that a route is gone (`RTM_DELROUTE`).
const ROUTE_GONE: u16 = 25;
/// Messages are small, and only counted.
const MESSAGE_BYTES: usize = 4096;
/// The most messages that are read at once.
const READ_AT_ONCE: u32 = 100_000;

/// Where things stand in a message: after its header the family, three bytes, and the table.
const TYPE_OFFSET: u32 = 4;
const TABLE_OFFSET: u32 = 20;

/// Tells when a local route goes, and which there are.
pub(crate) struct Routes {
    changes: Socket,
    requests: Netlink,
    buffer: Vec<u8>,
}

impl Routes {
    pub(crate) fn open() -> io::Result<Self> {
        let mut changes = Socket::new(NETLINK_ROUTE)?;
        // Before it hears anything: a router's other tables may change a thousand times a second.
        socket2::SockRef::from(&changes).attach_filter(&local_routes_gone())?;
        changes.bind(&SocketAddr::new(0, 0))?;
        for group in GROUPS {
            changes.add_membership(group)?;
        }
        changes.set_non_blocking(true)?;
        enlarge(&changes);
        let requests = Netlink::open()?;
        // So that the kernel gives one table; without it all of them, which are sifted here.
        let _ = requests.socket.set_netlink_get_strict_chk(true);
        Ok(Self { changes, requests, buffer: Vec::with_capacity(MESSAGE_BYTES) })
    }

    /// Whether a local route went since the last call.
    pub(crate) fn changed(&mut self) -> bool {
        let mut changed = false;
        for _ in 0..READ_AT_ONCE {
            self.buffer.clear();
            match self.changes.recv(&mut self.buffer, 0) {
                Ok(_) => changed = true,
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => changed = true,
                Err(_) => break,
            }
        }
        changed
    }

    /// The addresses that are routed to the interface `index` in the table "local".
    pub(crate) fn local(&mut self, index: u32) -> io::Result<BTreeSet<IpAddr>> {
        let mut addresses = BTreeSet::new();
        for request in dump_local_routes() {
            let answers = self.requests.dump(request)?;
            for answer in &answers {
                if let RouteNetlinkMessage::NewRoute(route) = answer {
                    addresses.extend(host_of(route, index));
                }
            }
        }
        Ok(addresses)
    }
}

impl AsFd for Routes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.changes.as_fd()
    }
}

/// The address of a local route to one host by the interface `index`.
fn host_of(route: &RouteMessage, index: u32) -> Option<IpAddr> {
    let by_it = route.attributes.contains(&RouteAttribute::Oif(index));
    if route.header.table != TABLE_LOCAL || !by_it {
        return None;
    }
    let address = route.attributes.iter().find_map(|attribute| {
        let RouteAttribute::Destination(destination) = attribute else { return None };
        match destination {
            RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
            RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
            RouteAddress::Mpls(_) | RouteAddress::Other(_) | _ => None,
        }
    })?;
    let whole = if address.is_ipv4() { 32 } else { 128 };
    (route.header.destination_prefix_length == whole).then_some(address)
}

/// A classic BPF program that lets through only the end of a route in the table "local".
fn local_routes_gone() -> [SockFilter; 6] {
    const LOAD_HALF: u16 = 0x28;
    const LOAD_BYTE: u16 = 0x30;
    const JUMP_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    // The message has this machine's order of bytes, the program the network's.
    let gone = u16::from_be_bytes(ROUTE_GONE.to_ne_bytes());
    [
        SockFilter::new(LOAD_HALF, 0, 0, TYPE_OFFSET),
        SockFilter::new(JUMP_EQUAL, 0, 3, gone.into()),
        SockFilter::new(LOAD_BYTE, 0, 0, TABLE_OFFSET),
        SockFilter::new(JUMP_EQUAL, 0, 1, TABLE_LOCAL.into()),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}
