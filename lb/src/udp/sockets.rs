//! Making the sockets of UDP services.

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

/// Asked for, so that a burst of a few thousand datagrams waits instead of being lost.
const LISTENER_BUFFER: usize = 4 << 20;

/// `count` sockets on one address of a service. They may exist before its VIP is on this node (free bind), and
/// replies sent through them leave from the VIP. The kernel gives all datagrams of one client address and port
/// to the same one of them. With `ours`, sockets of this process may still have the address.
pub(super) fn listeners(address: SocketAddr, count: usize, ours: bool) -> io::Result<Vec<OwnedFd>> {
    let mut sockets = Vec::with_capacity(count);
    for _ in 0..count {
        let socket = listener(address)?;
        // The first asks for the address alone: another process that has it is noticed, not joined.
        if sockets.is_empty() && !ours {
            socket.bind(&address.into())?;
            socket.set_reuse_port(true)?;
        } else {
            socket.set_reuse_port(true)?;
            socket.bind(&address.into())?;
        }
        sockets.push(socket.into());
    }
    Ok(sockets)
}

fn listener(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
        socket.set_freebind_v6(true)?;
    } else {
        socket.set_freebind_v4(true)?;
    }
    // The system may grant less; that loses datagrams in bursts only, so it is no reason to serve none.
    let _ = socket.set_recv_buffer_size(LISTENER_BUFFER);
    let _ = socket.set_send_buffer_size(LISTENER_BUFFER);
    Ok(socket)
}

/// A socket connected to a backend, sending from `from` if that is given (the client's own address).
pub(super) fn upstream(backend: SocketAddr, from: Option<SocketAddr>) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::for_address(backend), Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    if let Some(from) = from {
        match from.ip() {
            IpAddr::V4(_) => socket.set_ip_transparent_v4(true)?,
            IpAddr::V6(_) => socket.set_ip_transparent_v6(true)?,
        }
        // One client may have sessions with several services.
        socket.set_reuse_address(true)?;
        socket.bind(&from.into())?;
    }
    socket.connect(&backend.into())?;
    Ok(socket.into())
}

/// What went wrong with a listener, for people.
pub(super) fn explain(address: SocketAddr, error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EADDRINUSE) => {
            format!(
                "{address}: another process has this UDP port (`ss -lnup` shows which); stop it, or use another port"
            )
        }
        Some(libc::EMFILE | libc::ENFILE) => {
            format!(
                "{address}: not served, too many open files; raise the limit (LimitNOFILE=) or serve fewer ports"
            )
        }
        Some(libc::EACCES | libc::EPERM) => {
            format!(
                "{address}: not allowed to bind; the process needs CAP_NET_BIND_SERVICE for ports below 1024"
            )
        }
        _ => format!("{address}: cannot take datagrams: {error}"),
    }
}
