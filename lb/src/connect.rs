//! Sockets towards backends, and the options both kinds of sockets need.

use crate::sys;
use fulcrum_config::Timeouts;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// A peer that is silent for so long is probed,
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// so often,
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// this many times.
const KEEPALIVE_PROBES: u32 = 3;
/// What the kernel may hold unsent before it says "not now": backpressure starts here.
const UNSENT: u32 = 128 * 1024;

/// Begins a connection to `target`.
///
/// `from` is the address to connect from where it is not ours to choose. `data_follows` says that bytes for
/// the target are at hand: then the handshake's last ACK may wait and travel with them.
pub(crate) fn begin(target: SocketAddr, from: Option<IpAddr>, data_follows: bool) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family(target.ip()), SocketType::STREAM, flags, None)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    if data_follows {
        sockopt::set_tcp_quickack(&socket, false)?;
    }
    if let Some(from) = from {
        set_transparent(&socket, from)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::PERM))?;
        sys::set_bind_address_no_port(&socket)?;
        rustix::net::bind(&socket, &SocketAddr::new(from, 0))?;
    }
    match rustix::net::connect(&socket, &target) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error),
    }
}

/// Lets a socket bind to an address that is not ours (needs CAP_NET_ADMIN or CAP_NET_RAW).
fn set_transparent(socket: impl AsFd, from: IpAddr) -> io::Result<()> {
    let socket = SockRef::from(&socket);
    match from {
        IpAddr::V4(_) => socket.set_ip_transparent_v4(true),
        IpAddr::V6(_) => socket.set_ip_transparent_v6(true),
    }
}

/// Whether this process or the system has no descriptor or no memory for one more socket.
pub(crate) fn is_exhausted(error: Errno) -> bool {
    matches!(error, Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
}

/// AF_INET or AF_INET6.
pub(crate) fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 }
}

/// Options that matter only to a connection that lasts: on a listener they are inherited, on the way to a
/// backend they are set when the connection has outlived its first timer.
pub(crate) fn set_lasting_options(socket: impl AsFd, timeouts: &Timeouts) -> io::Result<()> {
    let socket = SockRef::from(&socket);
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(timeouts.unacknowledged))?;
    socket.set_tcp_notsent_lowat(UNSENT)
}

/// What `close` does from now on: with `true` it resets the connection and forgets what was not sent.
pub(crate) fn reset_on_close(socket: impl AsFd, reset: bool) {
    // On a socket that is gone already there is nothing left to do.
    let _ = sockopt::set_socket_linger(socket, reset.then_some(Duration::ZERO));
}
