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

/// The sockets of one link.
pub(crate) struct VrrpSocket {
    family: Family,
    /// Bound to the device only, so that it hears multicast too.
    receiver: Socket,
    /// Bound to our address there, link-local for IPv6.
    sender: Sender,
    /// Bound to our configured IPv6 address: peers that are configured with theirs expect it.
    unicast: Option<Sender>,
    interface: u32,
}

/// A socket that adverts leave by, and the address they come from.
struct Sender {
    source: IpAddr,
    socket: Socket,
}

impl VrrpSocket {
    /// `source` is the interface's own address, link-local for IPv6; `unicast` is where adverts to IPv6
    /// addresses that are not link-local come from.
    pub(crate) fn open(
        name: &str,
        interface: u32,
        source: IpAddr,
        unicast: Option<IpAddr>,
    ) -> io::Result<Self> {
        let family = Family::of(source);
        let receiver = raw_socket(family, name)?;
        receiver.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
        match family {
            Family::Ipv4 => {
                receiver.join_multicast_v4_n(&MULTICAST_IPV4, &InterfaceIndexOrAddress::Index(interface))?;
                receiver.set_multicast_all_v4(false)?;
            }
            Family::Ipv6 => {
                receiver.join_multicast_v6(&MULTICAST_IPV6, interface)?;
                receiver.set_multicast_all_v6(false)?;
                receiver.set_recv_hoplimit_v6(true)?;
                sys::set_int_option(receiver.as_fd(), libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
            }
        }
        let sender = Sender::open(name, interface, source)?;
        let unicast = unicast.map(|source| Sender::open(name, interface, source)).transpose()?;
        Ok(Self { family, receiver, sender, unicast, interface })
    }

    /// Where an advert to `destination` comes from.
    pub(crate) fn source_for(&self, destination: IpAddr) -> IpAddr {
        self.sender_for(destination).source
    }

    /// Whether an advert to `destination` leaves by the second sending socket.
    pub(crate) fn is_unicast(&self, destination: IpAddr) -> bool {
        self.unicast.is_some() && !is_on_link(destination)
    }

    /// Sends an advert, from the VRRP header on.
    pub(crate) fn send(&self, destination: IpAddr, payload: &[u8]) -> io::Result<()> {
        let address = match destination {
            IpAddr::V4(address) => SocketAddr::from((address, 0)).into(),
            IpAddr::V6(address) => scoped(address, self.interface),
        };
        self.sender_for(destination).socket.send_to(payload, &address)?;
        Ok(())
    }

    /// Second descriptors of the sending sockets, for the guard.
    pub(crate) fn senders(&self) -> io::Result<(OwnedFd, Option<OwnedFd>)> {
        let clone = |sender: &Sender| sender.socket.try_clone().map(OwnedFd::from);
        Ok((clone(&self.sender)?, self.unicast.as_ref().map(clone).transpose()?))
    }

    fn sender_for(&self, destination: IpAddr) -> &Sender {
        self.unicast.as_ref().filter(|_| !is_on_link(destination)).unwrap_or(&self.sender)
    }

    /// The next advert that waits, if any.
    pub(crate) fn receive<'a>(&self, buffer: &'a mut [u8]) -> io::Result<Option<Incoming<'a>>> {
        match self.family {
            Family::Ipv4 => self.receive_v4(buffer),
            Family::Ipv6 => self.receive_v6(buffer),
        }
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

impl Sender {
    fn open(name: &str, interface: u32, source: IpAddr) -> io::Result<Self> {
        let socket = raw_socket(Family::of(source), name)?;
        socket.attach_filter(&filter::nothing())?;
        match source {
            IpAddr::V4(source) => {
                socket.set_multicast_loop_v4(false)?;
                socket.set_multicast_ttl_v4(u32::from(HOP_LIMIT))?;
                socket.set_ttl_v4(u32::from(HOP_LIMIT))?;
                socket.set_tos_v4(NETWORK_CONTROL)?;
                socket.bind(&SocketAddr::from((source, 0)).into())?;
            }
            IpAddr::V6(source) => {
                socket.set_multicast_loop_v6(false)?;
                socket.set_multicast_hops_v6(u32::from(HOP_LIMIT))?;
                socket.set_unicast_hops_v6(u32::from(HOP_LIMIT))?;
                socket.set_multicast_if_v6(interface)?;
                socket.set_tclass_v6(NETWORK_CONTROL)?;
                socket.bind(&scoped(source, interface))?;
            }
        }
        Ok(Self { source, socket })
    }
}

/// Whether an address only means something on its link: link-local, or a group.
fn is_on_link(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => address.is_unicast_link_local() || address.is_multicast(),
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
