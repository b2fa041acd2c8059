//! The backend of every measurement: echo on TCP and UDP, and a source of bytes without end.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// Answers with what it is sent (TCP and UDP).
pub(crate) const ECHO: u16 = 7001;
/// Sends zeros until the client has enough (TCP).
pub(crate) const SOURCE: u16 = 7002;

const BACKLOG: u32 = 16_384;
const CHUNK: usize = 256 * 1024;

/// Serves until it is killed; UDP on each of `addresses`.
///
/// # Errors
/// A port is taken.
pub(crate) fn run(addresses: &[Ipv4Addr]) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let echo = listen(ECHO)?;
        let source = listen(SOURCE)?;
        // One socket for each address, so that an answer leaves from the address that was asked.
        for address in addresses {
            tokio::spawn(echo_datagrams(UdpSocket::bind((*address, ECHO)).await?));
        }
        tokio::spawn(accept(source, |stream| tokio::spawn(pour(stream))));
        accept(echo, |stream| tokio::spawn(echo_stream(stream))).await;
        Ok(())
    })
}

fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))?;
    socket.listen(BACKLOG)
}

async fn accept<T>(listener: TcpListener, each: impl Fn(TcpStream) -> T) {
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let _ = each(stream);
        }
    }
}

async fn echo_stream(mut stream: TcpStream) {
    let mut buffer = [0_u8; 512];
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(count) => {
                let answer = buffer.get(..count).unwrap_or_default();
                if stream.write_all(answer).await.is_err() {
                    return;
                }
            }
        }
    }
}

async fn pour(mut stream: TcpStream) {
    let zeros = vec![0_u8; CHUNK];
    while stream.write_all(&zeros).await.is_ok() {}
}

async fn echo_datagrams(socket: UdpSocket) {
    let mut buffer = [0_u8; 2048];
    loop {
        let Ok((count, from)) = socket.recv_from(&mut buffer).await else { continue };
        let answer = buffer.get(..count).unwrap_or_default();
        if socket.try_send_to(answer, from).is_err() {
            let _ = socket.send_to(answer, from).await;
        }
    }
}
