//! What the kernel says about changes of links and addresses.

use super::{enlarge, parse};
use netlink_packet_core::NetlinkPayload;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// The kernel's numbers of the multicast groups for links and for addresses of both families.
const GROUPS: [u32; 3] = [1, 5, 9];
/// The kernel's messages of this kind are far smaller.
const DATAGRAM_BYTES: usize = 64 * 1024;

/// The most datagrams that [`Monitor::discard`] throws away; far more than the receive buffer holds.
const DISCARDED_AT_ONCE: u32 = 100_000;

/// What a read of the monitor gave.
pub(crate) enum Change {
    /// Messages, in order.
    Messages(Vec<RouteNetlinkMessage>),
    /// Messages were lost: everything must be read again.
    Overflow,
    /// Nothing more now.
    Nothing,
}

/// A socket on which the kernel tells of every change.
pub(crate) struct Monitor {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Monitor {
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        for group in GROUPS {
            socket.add_membership(group)?;
        }
        socket.set_non_blocking(true)?;
        enlarge(&socket);
        Ok(Self { socket, buffer: Vec::with_capacity(DATAGRAM_BYTES) })
    }

    /// Throws away everything that waits: a dump that is made afterwards knows better.
    pub(crate) fn discard(&mut self) {
        for _ in 0..DISCARDED_AT_ONCE {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, 0) {
                Ok(_) => {}
                // What was lost once more is in the dump as well.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                Err(_) => return,
            }
        }
    }

    pub(crate) fn read(&mut self) -> Change {
        self.buffer.clear();
        match self.socket.recv(&mut self.buffer, 0) {
            Ok(_) => Change::Messages(
                parse(&self.buffer)
                    .into_iter()
                    .filter_map(|message| {
                        if let NetlinkPayload::InnerMessage(inner) = message.payload {
                            return Some(inner);
                        }
                        None
                    })
                    .collect(),
            ),
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Change::Overflow,
            Err(_) => Change::Nothing,
        }
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
