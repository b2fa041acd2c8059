//! Sockets that take connections.
//!
//! They exist from the moment a service is configured, whether or not its VIP is here (free bind), so that a
//! takeover opens nothing. A service that cannot serve keeps its sockets bound but not listening: the kernel
//! answers each SYN with RST, and no handshake is completed for nothing. (`shutdown` takes a socket out of
//! listening on Linux, `listen` puts it back.)

use crate::connect;
use crate::table::ServiceCell;
use arc_swap::ArcSwap;
use fulcrum_config::Timeouts;
use rustix::io::Errno;
use rustix::net::{Shutdown, SocketFlags, SocketType, sockopt};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Handshakes that may be under way or wait to be accepted (the kernel lowers it to net.core.somaxconn).
const BACKLOG: i32 = 65_535;

/// A bound socket of one service.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) socket: OwnedFd,
    pub(crate) address: SocketAddr,
    /// Who takes its connections now.
    pub(crate) service: ArcSwap<ServiceCell>,
}

impl Listener {
    pub(crate) fn new(socket: OwnedFd, address: SocketAddr, service: &Arc<ServiceCell>) -> Self {
        Self { socket, address, service: ArcSwap::new(Arc::clone(service)) }
    }

    /// Options of the connections that it takes from now on.
    pub(crate) fn set_options(&self, timeouts: &Timeouts) {
        if let Err(error) = connect::set_lasting_options(&self.socket, timeouts) {
            tracing::warn!(%error, address = %self.address, "new connections keep their former timeouts");
        }
    }

    /// Has the kernel complete handshakes.
    pub(crate) fn listen(&self) -> Result<(), Errno> {
        rustix::net::listen(&self.socket, BACKLOG)
    }

    /// Has the kernel refuse. A socket that does not listen is left alone: it would be marked as read to the
    /// end, and so would be all that it accepts later.
    pub(crate) fn refuse(&self) {
        if sockopt::socket_acceptconn(&self.socket).unwrap_or(false) {
            // It fails if the socket was not listening, which is what is wanted.
            let _ = rustix::net::shutdown(&self.socket, Shutdown::Read);
        }
    }
}

/// Binds `count` sockets to `address`, among which the kernel spreads connections.
pub(crate) fn bind(address: SocketAddr, count: usize, timeouts: &Timeouts) -> Result<Vec<OwnedFd>, Errno> {
    let mut sockets = Vec::with_capacity(count);
    for _ in 0..count {
        let socket = prepare(address, timeouts)?;
        // The first asks for the address alone: another process that has it is noticed, not joined.
        if sockets.is_empty() {
            rustix::net::bind(&socket, &address)?;
            sockopt::set_socket_reuseport(&socket, true)?;
        } else {
            sockopt::set_socket_reuseport(&socket, true)?;
            rustix::net::bind(&socket, &address)?;
        }
        sockets.push(socket);
    }
    Ok(sockets)
}

/// Accepted sockets inherit these options, which saves as many system calls for each connection.
fn prepare(address: SocketAddr, timeouts: &Timeouts) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(connect::family(address.ip()), SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
        sockopt::set_ipv6_freebind(&socket, true)?;
    } else {
        sockopt::set_ip_freebind(&socket, true)?;
    }
    sockopt::set_tcp_nodelay(&socket, true)?;
    connect::reset_on_close(&socket, true);
    connect::set_lasting_options(&socket, timeouts)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::INVAL))?;
    Ok(socket)
}
