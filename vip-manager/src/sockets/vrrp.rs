//! Raw sockets for IP protocol 112.

use super::{filter, ready};
use crate::advert::{HOP_LIMIT, MULTICAST_IPV4, MULTICAST_IPV6, PROTOCOL, Received, Refusal};
use crate::sys;
use fulcrum_config::Family;
use rustix::net::RecvFlags;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockAddr, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Class selector 6: network control, before all other traffic in the queues of switches.
const NETWORK_CONTROL: u32 = 0xc0;
/// Adverts that wait while this process does not run.
const RECEIVE_BUFFER_BYTES: usize = 512 * 1024;

/// A packet that arrived: its parts, or why it has none.
pub(crate) type Incoming<'a> = Result<Received<'a>, Refusal>;

/// The pair of sockets of one link.
pub(crate) struct VrrpSocket {
    family: Family,
    /// Bound to the device only, so that it hears multicast too.
    receiver: Socket,
    /// Bound to our address, so that adverts come from it.
    sender: Socket,
    interface: u32,
}

impl VrrpSocket {
    /// `source` is the interface's own address, link-local for IPv6.
    pub(crate) fn open(name: &str, interface: u32, source: IpAddr) -> io::Result<Self> {
        let family = Family::of(source);
        let receiver = raw_socket(family, name)?;
        receiver.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
        let sender = raw_socket(family, name)?;
        sender.attach_filter(&filter::nothing())?;
        match source {
            IpAddr::V4(source) => {
                receiver.join_multicast_v4_n(&MULTICAST_IPV4, &InterfaceIndexOrAddress::Index(interface))?;
                receiver.set_multicast_all_v4(false)?;
                sender.set_multicast_loop_v4(false)?;
                sender.set_multicast_ttl_v4(u32::from(HOP_LIMIT))?;
                sender.set_ttl_v4(u32::from(HOP_LIMIT))?;
                sender.set_tos_v4(NETWORK_CONTROL)?;
                sender.bind(&SocketAddr::from((source, 0)).into())?;
            }
            IpAddr::V6(source) => {
                receiver.join_multicast_v6(&MULTICAST_IPV6, interface)?;
                receiver.set_multicast_all_v6(false)?;
                receiver.set_recv_hoplimit_v6(true)?;
                sys::set_int_option(receiver.as_fd(), libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
                sender.set_multicast_loop_v6(false)?;
                sender.set_multicast_hops_v6(u32::from(HOP_LIMIT))?;
                sender.set_unicast_hops_v6(u32::from(HOP_LIMIT))?;
                sender.set_multicast_if_v6(interface)?;
                sender.set_tclass_v6(NETWORK_CONTROL)?;
                sender.bind(&scoped(source, interface))?;
            }
        }
        Ok(Self { family, receiver, sender, interface })
    }

    /// Sends an advert, from the VRRP header on.
    pub(crate) fn send(&self, destination: IpAddr, payload: &[u8]) -> io::Result<()> {
        let address = match destination {
            IpAddr::V4(address) => SocketAddr::from((address, 0)).into(),
            IpAddr::V6(address) => scoped(address, self.interface),
        };
        self.sender.send_to(payload, &address)?;
        Ok(())
    }

    /// The next advert that waits, if any.
    pub(crate) fn receive<'a>(&self, buffer: &'a mut [u8]) -> io::Result<Option<Incoming<'a>>> {
        match self.family {
            Family::Ipv4 => self.receive_v4(buffer),
            Family::Ipv6 => self.receive_v6(buffer),
        }
    }

    /// A second descriptor of the sending socket, for the guard.
    pub(crate) fn sender(&self) -> io::Result<OwnedFd> {
        Ok(self.sender.try_clone()?.into())
    }

    /// IPv4 gives the packet with its header.
    fn receive_v4<'a>(&self, buffer: &'a mut [u8]) -> io::Result<Option<Incoming<'a>>> {
        let read = rustix::net::recv(&self.receiver, &mut *buffer, RecvFlags::DONTWAIT);
        let Some((length, _)) = ready(read.map_err(io::Error::from))? else { return Ok(None) };
        Ok(Some(Received::from_ipv4(buffer.get(..length).unwrap_or_default())))
    }

    /// IPv6 gives the payload, and the rest in control messages.
    fn receive_v6<'a>(&self, buffer: &'a mut [u8]) -> io::Result<Option<Incoming<'a>>> {
        let Some(datagram) = ready(sys::receive_v6(self.receiver.as_fd(), buffer))? else { return Ok(None) };
        Ok(Some(Ok(Received {
            source: datagram.source.into(),
            destination: datagram.destination.into(),
            hop_limit: datagram.hop_limit,
            message: buffer.get(..datagram.length).unwrap_or_default(),
        })))
    }
}

impl AsFd for VrrpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.receiver.as_fd()
    }
}

fn raw_socket(family: Family, interface: &str) -> io::Result<Socket> {
    let domain = match family {
        Family::Ipv4 => Domain::IPV4,
        Family::Ipv6 => Domain::IPV6,
    };
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(i32::from(PROTOCOL))))?;
    socket.set_nonblocking(true)?;
    socket.bind_device(Some(interface.as_bytes()))?;
    Ok(socket)
}

fn scoped(address: Ipv6Addr, interface: u32) -> SockAddr {
    let scope = if address.is_unicast_link_local() || address.is_multicast() { interface } else { 0 };
    SockAddr::from(SocketAddrV6::new(address, 0, 0, scope))
}
