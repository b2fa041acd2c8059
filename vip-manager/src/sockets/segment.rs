//! A packet socket for the answers to this node's own SYNs: no socket of the kernel's knows of those.

use super::{filter, ready};
use crate::sys;
use rustix::net::RecvFlags;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

/// Ethernet types.
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

/// One socket.
pub(crate) struct SegmentSocket {
    socket: Socket,
}

impl SegmentSocket {
    /// Opens it, for answers to `own` at ports from `first` on.
    pub(crate) fn open(interface: u32, own: IpAddr, first: u16) -> io::Result<Self> {
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)))?;
        socket.set_nonblocking(true)?;
        socket.attach_filter(&filter::segments(own, first))?;
        let ether_type = if own.is_ipv4() { IPV4 } else { IPV6 };
        sys::bind_packet(socket.as_fd(), interface, ether_type)?;
        Ok(Self { socket })
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
}

impl AsFd for SegmentSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
