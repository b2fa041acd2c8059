use super::*;
use tokio::net::UdpSocket;

fn udp(send: &[u8], expect: &[u8]) -> CheckKind {
    CheckKind::Udp { send: send.into(), expect: expect.into() }
}

/// Answers each datagram with `answer` of it, or not.
pub(super) async fn answering(answer: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 65_535];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            if let Some(answer) = answer(&buffer[..length]) {
                socket.send_to(&answer, from).await.unwrap();
            }
        }
    });
    address
}

#[tokio::test]
async fn the_answer_must_contain_what_is_expected() {
    let echo = answering(|question| Some([b">", question, b"<"].concat())).await;
    assert_eq!(run(echo, udp(b"ping", b"ping<")).await, Outcome::Passed);
    assert_eq!(run(echo, udp(b"ping", b"")).await, Outcome::Passed);
    assert_eq!(run(echo, udp(b"", b"><")).await, Outcome::Passed, "an empty datagram is one");
    assert_eq!(
        run(echo, udp(b"ping", b"pong")).await,
        failed("the UDP answer (6 bytes) does not contain \"pong\"")
    );
    let large = answering(|_| Some(vec![b'x'; 60_000])).await;
    assert_eq!(run(large, udp(b"ping", b"xx")).await, Outcome::Passed);
}

#[tokio::test]
async fn no_answer_times_out_and_a_closed_port_refuses() {
    let silent = answering(|_| None).await;
    assert_eq!(run(silent, udp(b"ping", b"")).await, timed_out("waiting for a UDP answer"));
    let closed = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    assert_eq!(run(closed, udp(b"ping", b"")).await, failed("connection refused"));
}
