//! TCP connections for probes; the TCP check is nothing more.

use super::{Failure, Stage};
use fulcrum_config::ProxyProtocolVersion;
use socket2::SockRef;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

/// PROXY protocol v1, section 2.1: the receiver ignores the addresses.
const PROXY_V1_UNKNOWN: &[u8] = b"PROXY UNKNOWN\r\n";
/// PROXY protocol v2, section 2.2: signature, version 2 and command LOCAL, no address family, no bytes to follow.
const PROXY_V2_LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// Connects, and sends the header that says that this connection is not a client's, if one is expected.
pub(super) async fn with_header(
    address: SocketAddr,
    proxy_protocol: Option<ProxyProtocolVersion>,
    stage: &Stage,
) -> Result<TcpStream, Failure> {
    let mut stream = tcp(address, stage).await?;
    stage.set("sending the PROXY header");
    match proxy_protocol {
        Some(ProxyProtocolVersion::V1) => stream.write_all(PROXY_V1_UNKNOWN).await?,
        Some(ProxyProtocolVersion::V2) => stream.write_all(PROXY_V2_LOCAL).await?,
        None => {}
    }
    Ok(stream)
}

/// Connects. When the stream is dropped, it closes with RST: a closed probe must not stay behind in TIME-WAIT,
/// neither here (10,000 probes a second would use up the ports) nor at the backend.
pub(super) async fn tcp(address: SocketAddr, stage: &Stage) -> Result<TcpStream, Failure> {
    stage.set("connecting");
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    SockRef::from(&socket).set_linger(Some(Duration::ZERO))?;
    let stream = socket.connect(address).await?;
    // On loopback the kernel may pick the port that is asked as our own: the probe then meets itself.
    if stream.local_addr()? == address {
        return Err(io::Error::from(io::ErrorKind::ConnectionRefused).into());
    }
    stream.set_nodelay(true)?;
    Ok(stream)
}
