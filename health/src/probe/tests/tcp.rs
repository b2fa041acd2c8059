use super::*;
use std::io::ErrorKind;
use tokio::io::AsyncReadExt;

#[tokio::test]
async fn a_listener_is_up_even_if_it_says_nothing() {
    let address = server(|stream| async move {
        let _held = stream;
        std::future::pending().await
    })
    .await;
    assert_eq!(run(address, CheckKind::Tcp).await, Outcome::Passed);
}

#[tokio::test]
async fn a_closed_port_refuses() {
    for _ in 0..50 {
        assert_eq!(run(nobody().await, CheckKind::Tcp).await, failed("connection refused"));
    }
}

#[tokio::test]
async fn a_full_accept_queue_times_out() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut held = Vec::new();
    for _ in 0..8 {
        let connecting = tokio::time::timeout(Duration::from_millis(20), TcpStream::connect(address));
        held.push(connecting.await);
    }
    assert_eq!(run(address, CheckKind::Tcp).await, timed_out("connecting"));
}

#[tokio::test]
async fn the_probe_closes_with_rst() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    assert_eq!(run(listener.local_addr().unwrap(), CheckKind::Tcp).await, Outcome::Passed);
    let (mut stream, _) = listener.accept().await.unwrap();
    let error = stream.read(&mut [0]).await.expect_err("an end, which leaves TIME-WAIT behind");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn ipv6_works_alike() {
    let listener = TcpListener::bind("[::1]:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    assert_eq!(run(address, CheckKind::Tcp).await, Outcome::Passed);
    drop(listener);
    assert_eq!(run(address, CheckKind::Tcp).await, failed("connection refused"));
}

fn for_a_vip(address: SocketAddr, kind: CheckKind) -> Target {
    Target { vip: Some([192, 0, 2, 1].into()), ..target(address, kind) }
}

/// Nothing rewrites packets here, so the target itself is asked.
#[tokio::test]
async fn a_check_for_a_vip_has_its_priority_and_a_port_of_its_own() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = for_a_vip(listener.local_addr().unwrap(), CheckKind::Tcp);
    let stage = Stage::default();
    let stream = connect::tcp(&target, &stage).await.unwrap();
    let priority = socket2::SockRef::from(&stream).priority();
    // Only who may administer the network can set it.
    if rustix::process::geteuid().is_root() {
        assert_eq!(priority.unwrap(), fulcrum_config::priority_of_checks([192, 0, 2, 1].into()));
    }
    let own = stream.local_addr().unwrap().port();
    assert!(std::net::TcpListener::bind(("0.0.0.0", own)).is_err(), "nobody else gets its port");
}
