//! A datagram and its answer.

use super::connect::{any_port, mark};
use super::{Failure, Stage};
use fulcrum_config::Target;
use tokio::net::UdpSocket;

/// The largest datagram.
const DATAGRAM: usize = 65_535;

/// Sends `send`, and expects an answer that contains `expect`.
pub(super) async fn ask(target: &Target, send: &[u8], expect: &[u8], stage: &Stage) -> Result<(), Failure> {
    let socket = connect(target, stage).await?;
    socket.send(send).await?;
    stage.set("waiting for a UDP answer");
    let answer = receive(&socket).await?;
    if expect.is_empty() || answer.windows(expect.len()).any(|window| window == expect) {
        return Ok(());
    }
    let expect = String::from_utf8_lossy(expect);
    Err(Failure::Answer(format!("the UDP answer ({} bytes) does not contain \"{expect}\"", answer.len())))
}

/// A socket that hears only the target, and its ICMP errors.
pub(super) async fn connect(target: &Target, stage: &Stage) -> Result<UdpSocket, Failure> {
    stage.set("sending a datagram");
    let socket = UdpSocket::bind(any_port(target.address)).await?;
    mark(&socket, target);
    socket.connect(target.address).await?;
    Ok(socket)
}

/// The next datagram.
pub(super) async fn receive(socket: &UdpSocket) -> Result<Vec<u8>, Failure> {
    let mut buffer = vec![0; DATAGRAM];
    let length = socket.recv(&mut buffer).await?;
    buffer.truncate(length);
    Ok(buffer)
}
