//! The way to a backend, as the kernel knows it.

use fulcrum_ebpf::plane::layout::Hop;
use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

/// The kernel answers at once; this is only so that a lost answer can't hold the loop for ever.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);
const ANSWER_BYTES: usize = 8192;

/// Where packets for an address go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// By an interface, to a neighbour there.
    Hop(Hop),
    /// It is this node's own.
    Local,
    /// Nowhere.
    None,
}

/// Asks the kernel.
#[derive(Debug)]
pub(crate) struct Routes {
    socket: Socket,
    sequence: u32,
}

impl Routes {
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        socket2::SockRef::from(&socket).set_read_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// The way to `address` now.
    ///
    /// # Errors
    /// The kernel does not answer.
    pub(crate) fn way_to(&mut self, address: IpAddr) -> io::Result<Way> {
        self.sequence = self.sequence.wrapping_add(1);
        self.socket.send(&request(address, self.sequence), 0)?;
        let mut buffer = Vec::with_capacity(ANSWER_BYTES);
        loop {
            buffer.clear();
            self.socket.recv(&mut buffer, 0)?;
            let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&buffer)
                .map_err(|error| io::Error::other(error.to_string()))?;
            if answer.header.sequence_number != self.sequence {
                continue;
            }
            let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(route)) = answer.payload else {
                // Unreachable, most of the time.
                return Ok(Way::None);
            };
            return Ok(way(&route, address));
        }
    }
}

/// Whether the kernel forwards what comes in by an interface; nothing if it does not say.
pub(crate) fn forwards(family: &str, interface: &str) -> Option<bool> {
    let value =
        std::fs::read_to_string(format!("/proc/sys/net/{family}/conf/{interface}/forwarding")).ok()?;
    Some(value.trim() != "0")
}

fn request(address: IpAddr, sequence: u32) -> Vec<u8> {
    let mut route = RouteMessage::default();
    let (family, length, destination) = match address {
        IpAddr::V4(address) => (AddressFamily::Inet, 32, RouteAddress::Inet(address)),
        IpAddr::V6(address) => (AddressFamily::Inet6, 128, RouteAddress::Inet6(address)),
    };
    route.header.address_family = family;
    route.header.destination_prefix_length = length;
    route.attributes = vec![RouteAttribute::Destination(destination)];
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST;
    header.sequence_number = sequence;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(RouteNetlinkMessage::GetRoute(route)));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

fn way(route: &RouteMessage, address: IpAddr) -> Way {
    if route.header.kind == RouteType::Local {
        return Way::Local;
    }
    if route.header.kind != RouteType::Unicast {
        return Way::None;
    }
    let mut hop = Hop { interface: 0, address };
    for attribute in &route.attributes {
        if let RouteAttribute::Oif(index) = attribute {
            hop.interface = *index;
        } else if let RouteAttribute::Gateway(gateway) = attribute {
            let gateway = match gateway {
                RouteAddress::Inet(gateway) => IpAddr::V4(*gateway),
                RouteAddress::Inet6(gateway) => IpAddr::V6(*gateway),
                RouteAddress::Mpls(_) | RouteAddress::Other(_) | _ => return Way::None,
            };
            hop.address = gateway;
        } else if let RouteAttribute::Via(_) = attribute {
            // An IPv4 destination behind an IPv6 router (RFC 5549): not known to the programs.
            return Way::None;
        }
    }
    if hop.interface == 0 { Way::None } else { Way::Hop(hop) }
}
