//! TCP connections for probes; the TCP check is nothing more.

use super::{Failure, Stage};
use fulcrum_config::{ProxyProtocolVersion, Target, priority_of_checks};
use socket2::SockRef;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

/// PROXY protocol v1, section 2.1: the receiver ignores the addresses.
const PROXY_V1_UNKNOWN: &[u8] = b"PROXY UNKNOWN\r\n";
/// PROXY protocol v2, section 2.2: signature, version 2 and command LOCAL, no address family, no bytes to follow.
const PROXY_V2_LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// Connects, and sends the header that says that this connection is not a client's, if one is expected.
pub(super) async fn with_header(target: &Target, stage: &Stage) -> Result<TcpStream, Failure> {
    let mut stream = tcp(target, stage).await?;
    stage.set("sending the PROXY header");
    match target.proxy_protocol {
        Some(ProxyProtocolVersion::V1) => stream.write_all(PROXY_V1_UNKNOWN).await?,
        Some(ProxyProtocolVersion::V2) => stream.write_all(PROXY_V2_LOCAL).await?,
        None => {}
    }
    Ok(stream)
}

/// Connects. When the stream is dropped, it closes with RST: a closed probe must not stay behind in TIME-WAIT,
/// neither here (10,000 probes a second would use up the ports) nor at the backend.
pub(super) async fn tcp(target: &Target, stage: &Stage) -> Result<TcpStream, Failure> {
    stage.set("connecting");
    let address = target.address;
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    SockRef::from(&socket).set_linger(Some(Duration::ZERO))?;
    if target.vip.is_some() {
        mark(&socket, target);
        // A port that no other socket has: to the backends all that ask for one VIP are of one connection, if they
        // ask from one port.
        socket
            .bind(any_port(address))
            .map_err(|error| Failure::Local(format!("no port is free: {error}")))?;
    }
    let stream = socket.connect(address).await?;
    // On loopback the kernel may pick the port that is asked as our own: the probe then meets itself.
    if stream.local_addr()? == address {
        return Err(io::Error::from(io::ErrorKind::ConnectionRefused).into());
    }
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Any address of this node of the same family, and any port.
pub(super) fn any_port(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

/// Says to the data plane that packets of this socket are to bear the VIP. Who may not say that has no data plane that
/// could heed it either.
pub(super) fn mark(socket: &impl AsFd, target: &Target) {
    if let Some(vip) = target.vip {
        let _ = SockRef::from(socket).set_priority(priority_of_checks(vip));
    }
}
