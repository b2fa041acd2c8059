//! Timeouts, limits, PROXY protocol, log lines: what a service may ask for.
#![allow(missing_docs, clippy::disallowed_methods)] // Tests wait for real sockets.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)] // Also on other threads.

mod common;

use common::{PATIENCE, Proxy, Server, connect, exchange, read_all, read_error, refusal, service, up, vip};
use fulcrum_config::{Balance, ConnectionLog, ProxyProtocolVersion, Rate};
use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv6Addr, Shutdown};
use std::sync::mpsc;
use std::time::Duration;

#[test]
fn a_backend_that_never_answers_ends_with_the_idle_timeout() {
    let server = Server::start(|mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let mut service = service("silent", &[server.address]);
    service.timeouts.idle = Duration::from_millis(300);
    let desired = up(service);
    let to = vip(&desired);
    let proxy = Proxy::start(vec![desired]);
    let mut asking = connect(to);
    asking.write_all(b"anybody there?").unwrap();
    let mut silent = connect(to);
    assert_eq!(read_error(&mut asking), Some(ErrorKind::ConnectionReset));
    assert_eq!(read_error(&mut silent), Some(ErrorKind::ConnectionReset), "a client that never sends");
    proxy.wait_service("silent", |service| service.stats.timed_out == 2 && service.stats.connections == 0);
}

#[test]
fn traffic_keeps_a_connection_beyond_its_idle_timeout() {
    let server = Server::echo();
    let mut service = service("busy", &[server.address]);
    service.timeouts.idle = Duration::from_millis(2_500);
    let desired = up(service);
    let to = vip(&desired);
    let _proxy = Proxy::start(vec![desired]);
    let mut stream = connect(to);
    for _ in 0..16 {
        stream.write_all(b"x").unwrap();
        stream.read_exact(&mut [0]).unwrap();
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn half_a_connection_ends_with_its_own_timeout() {
    let server = Server::start(|mut stream| {
        let _ = stream.write_all(b"bye");
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let mut service = service("half", &[server.address]);
    service.timeouts.half_close = Duration::from_millis(300);
    let desired = up(service);
    let to = vip(&desired);
    let proxy = Proxy::start(vec![desired]);
    let mut stream = connect(to);
    assert_eq!(read_all(&mut stream), b"bye");
    proxy.wait_service("half", |service| service.stats.timed_out == 1);
    drop(stream);
}

#[test]
fn no_connection_outlives_its_maximum() {
    let server = Server::echo();
    let mut service = service("max", &[server.address]);
    service.timeouts.max = Some(Duration::from_millis(500));
    let desired = up(service);
    let to = vip(&desired);
    let proxy = Proxy::start(vec![desired]);
    let mut stream = connect(to);
    let start = std::time::Instant::now();
    while stream.write_all(b"x").and_then(|()| stream.read_exact(&mut [0])).is_ok() {
        std::thread::sleep(Duration::from_millis(20));
        assert!(start.elapsed() < PATIENCE);
    }
    proxy.wait_service("max", |service| service.stats.timed_out == 1);
}

#[test]
fn limits_and_sources_refuse_and_are_counted() {
    let server = Server::echo();
    let mut limited = service("limited", &[server.address]);
    limited.limits.connections = Some(1);
    let mut rated = service("rated", &[server.address]);
    rated.limits.rate = Some(Rate { per_second: 1, burst: 1 });
    let mut closed = service("closed", &[server.address]);
    closed.sources = vec!["192.0.2.0/24".parse().unwrap()];
    let (limited, rated, closed) = (up(limited), up(rated), up(closed));
    let (to_limited, to_rated, to_closed) = (vip(&limited), vip(&rated), vip(&closed));
    let proxy = Proxy::start(vec![limited, rated, closed]);

    let mut held = connect(to_limited);
    held.write_all(b"x").unwrap();
    held.read_exact(&mut [0]).unwrap();
    assert_eq!(refusal(to_limited), Some(ErrorKind::ConnectionReset));
    assert_eq!(exchange(to_rated, b"first"), b"first");
    assert_eq!(refusal(to_rated), Some(ErrorKind::ConnectionReset));
    assert_eq!(refusal(to_closed), Some(ErrorKind::ConnectionReset));
    proxy.wait_service("limited", |service| service.stats.refused_limit == 1);
    proxy.wait_service("rated", |service| service.stats.refused_rate == 1);
    proxy.wait_service("closed", |service| service.stats.refused_source == 1);

    drop(held);
    proxy.wait_service("limited", |service| service.stats.connections == 0);
    assert_eq!(exchange(to_limited, b"again"), b"again");
}

#[test]
fn a_proxy_header_goes_to_the_backend_in_front_of_the_first_byte() {
    let (sender, received) = mpsc::channel();
    let server = Server::start(move |mut stream| sender.send(read_all(&mut stream)).unwrap());
    let mut service = service("send", &[server.address]);
    service.proxy_protocol.send = Some(ProxyProtocolVersion::V1);
    let desired = up(service);
    let to = vip(&desired);
    let _proxy = Proxy::start(vec![desired]);
    let mut stream = connect(to);
    let from = stream.local_addr().unwrap();
    stream.write_all(b"hello").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let expected = format!("PROXY TCP4 {} {} {} {}\r\nhello", from.ip(), to.ip(), from.port(), to.port());
    let got = received.recv_timeout(PATIENCE).unwrap();
    assert_eq!(String::from_utf8_lossy(&got), expected);
}

#[test]
fn a_proxy_header_is_taken_from_listed_sources_and_passed_on() {
    let (sender, received) = mpsc::channel();
    let server = Server::start(move |mut stream| sender.send(read_all(&mut stream)).unwrap());
    let mut service = service("receive", &[server.address]);
    service.proxy_protocol.receive_from = vec!["127.0.0.0/8".parse().unwrap()];
    service.proxy_protocol.send = Some(ProxyProtocolVersion::V1);
    let desired = up(service);
    let to = vip(&desired);
    let proxy = Proxy::start(vec![desired]);
    let header = b"PROXY TCP4 192.0.2.7 198.51.100.9 4711 443\r\n";
    let mut stream = connect(to);
    // In pieces, the last one with the first bytes of the client.
    for piece in [&header[..9], &header[9..40]] {
        stream.write_all(piece).unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
    stream.write_all(&[&header[40..], b"hello"].concat()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let got = received.recv_timeout(PATIENCE).unwrap();
    assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(header) + "hello");

    let mut wrong = connect(to);
    wrong.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(read_error(&mut wrong), Some(ErrorKind::ConnectionReset));
    proxy.wait_service("receive", |service| service.stats.refused_proxy_header == 1);
}

#[test]
fn ipv6_and_ipv4_are_served_alike() {
    let server = Server::echo();
    let mut service = service("both", &[server.address]);
    service.vips.push(Ipv6Addr::LOCALHOST.into());
    let port = common::closed_port().port();
    service.ports = fulcrum_config::PortRange::single(port);
    let desired = up(service);
    let to = vip(&desired);
    let _proxy = Proxy::start(vec![desired]);
    assert_eq!(exchange(to, b"four"), b"four");
    assert_eq!(exchange((Ipv6Addr::LOCALHOST, port).into(), b"six"), b"six");
}

#[test]
fn every_way_to_choose_serves() {
    let servers = [Server::named("a"), Server::named("b"), Server::named("c")];
    let addresses: Vec<_> = servers.iter().map(|server| server.address).collect();
    let methods = [
        Balance::Maglev,
        Balance::RoundRobin,
        Balance::LeastConnections,
        Balance::RandomTwo,
        Balance::Source,
    ];
    let services: Vec<_> = methods
        .iter()
        .map(|method| {
            let mut service = service(&format!("{method:?}"), &addresses);
            service.balance = *method;
            up(service)
        })
        .collect();
    let targets: Vec<_> = services.iter().map(vip).collect();
    let _proxy = Proxy::start(services);
    for (method, to) in methods.iter().zip(targets) {
        let mut names = BTreeSet::new();
        for _ in 0..40 {
            let mut name = [0];
            connect(to).read_exact(&mut name).unwrap();
            names.insert(name[0]);
        }
        let expected = if *method == Balance::Source { 1 } else { 3 };
        assert_eq!(names.len(), expected, "{method:?}");
    }
}

#[test]
fn logged_connections_beyond_the_rate_are_counted() {
    let server = Server::echo();
    let mut service = service("logged", &[server.address]);
    service.log = Some(ConnectionLog { sample: 1, lines_per_second: 1 });
    let desired = up(service);
    let to = vip(&desired);
    let proxy = Proxy::start(vec![desired]);
    for _ in 0..20 {
        assert_eq!(exchange(to, b"x"), b"x");
    }
    proxy.wait_service("logged", |service| service.stats.log_dropped > 0);
}

#[test]
fn with_transparent_the_backend_sees_the_client_s_own_address() {
    let (sender, received) = mpsc::channel();
    let server = Server::start(move |stream| sender.send(stream.peer_addr().unwrap()).unwrap());
    let mut service = service("transparent", &[server.address]);
    service.transparent = true;
    let desired = up(service);
    let to = vip(&desired);
    let _proxy = Proxy::start(vec![desired]);
    let own = common::address();
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::from((own, 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    assert_eq!(received.recv_timeout(PATIENCE).unwrap().ip(), own);
}

#[test]
fn a_backend_that_does_not_accept_in_time_is_left_for_the_next() {
    // Its queue is full: the kernel drops further handshakes, as a dead machine would.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::from((common::address(), 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let full = socket.local_addr().unwrap().as_socket().unwrap();
    let _waiting: Vec<_> = (0..4)
        .map(|_| {
            let client = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            client.set_nonblocking(true).unwrap();
            let _ = client.connect(&full.into());
            client
        })
        .collect();
    let server = Server::echo();
    let mut service = service("slow", &[full, server.address]);
    service.timeouts.connect = Duration::from_millis(300);
    let desired = up(service);
    let to = vip(&desired);
    let proxy = Proxy::start(vec![desired]);
    assert_eq!(exchange(to, b"hello"), b"hello");
    proxy.wait_service("slow", |service| service.stats.retries == 1);
}
