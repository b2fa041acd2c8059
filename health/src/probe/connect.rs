//! TCP connections for probes; the TCP check is nothing more.

use super::{Failure, Stage};
use socket2::SockRef;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};

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
