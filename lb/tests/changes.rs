//! What happens to connections when the table changes, and when backends die.
#![allow(missing_docs, clippy::disallowed_methods)] // Tests wait for real sockets.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)] // Also on other threads.

mod common;

use common::{
    PATIENCE, Proxy, Server, address, connect, exchange, read_error, service, spawn, table, up, vip,
};
use fulcrum_config::{Backend, BackendAddress, BackendName, OnDown, PortRange, ServiceName, Weight};
use fulcrum_lb::{BackendState, BackendUse};
use socket2::{Domain, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A connection through which a byte has gone both ways.
fn established(to: SocketAddr) -> TcpStream {
    let mut stream = connect(to);
    ping(&mut stream);
    stream
}

fn ping(stream: &mut TcpStream) {
    stream.write_all(b"p").unwrap();
    stream.read_exact(&mut [0]).unwrap();
}

#[test]
fn a_dead_backend_s_connections_are_reset_paced() {
    let (dying, well) = (Server::echo(), Server::echo());
    let mut service = service("paced", &[dying.address, well.address]);
    service.on_down = OnDown::Reset { spread: Duration::from_secs(2) };
    let mut desired = up(service);
    let to = vip(&desired);
    let proxy = Proxy::start(vec![desired.clone()]);
    let mut streams: Vec<TcpStream> = (0..20).map(|_| established(to)).collect();
    let observed = proxy.wait_service("paced", |service| service.stats.connections == 20);
    assert!(observed.backends.values().all(|backend| backend.connections == 10), "{observed:?}");

    desired.backends[0].usage = BackendUse::Down;
    let start = Instant::now();
    proxy.change(desired);
    let waits: Vec<_> = streams
        .drain(..)
        .map(|mut stream| {
            spawn(move || {
                stream.set_read_timeout(Some(Duration::from_secs(4))).unwrap();
                let ended = read_error(&mut stream);
                (ended, start.elapsed(), stream)
            })
        })
        .collect();
    let ended: Vec<_> = waits.into_iter().map(|wait| wait.join().unwrap()).collect();
    let (reset, mut kept): (Vec<_>, Vec<_>) =
        ended.into_iter().partition(|(ended, ..)| *ended == Some(ErrorKind::ConnectionReset));
    assert_eq!((reset.len(), kept.len()), (10, 10));
    let times = || reset.iter().map(|(_, after, _)| *after);
    assert!(times().min().unwrap() < Duration::from_secs(1), "none is closed at once");
    assert!(times().max().unwrap() > Duration::from_millis(500), "all are closed at once");
    kept.iter_mut().for_each(|(_, _, stream)| ping(stream));
    let observed = proxy.wait_service("paced", |service| service.stats.closed_backend_down == 10);
    assert_eq!(observed.stats.connections, 10);
}

#[test]
fn a_request_that_has_just_begun_may_end_when_its_backend_goes_down() {
    let dying = Server::echo();
    let mut service = service("young", &[dying.address]);
    service.on_down = OnDown::Reset { spread: Duration::from_secs(2) };
    let mut desired = up(service);
    let to = vip(&desired);
    let proxy = Proxy::start(vec![desired.clone()]);
    let mut old = established(to);
    std::thread::sleep(Duration::from_millis(700));
    let mut young = established(to);
    desired.backends[0].usage = BackendUse::Down;
    proxy.change(desired);
    old.set_read_timeout(Some(Duration::from_secs(4))).unwrap();
    assert_eq!(read_error(&mut old), Some(ErrorKind::ConnectionReset));
    ping(&mut young);
    young.set_read_timeout(Some(Duration::from_secs(4))).unwrap();
    assert_eq!(read_error(&mut young), Some(ErrorKind::ConnectionReset), "and is closed in time");
}

/// A listener that answers no SYN: its queue is full. It lasts as long as what is returned.
fn silent() -> (SocketAddr, impl Sized) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::from((address(), 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let at = listener.local_addr().unwrap().as_socket().unwrap();
    let mut queued = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&at, Duration::from_millis(300)) {
        queued.push(stream);
        assert!(queued.len() < 100, "its queue never fills");
    }
    (at, (listener, queued))
}

#[test]
fn connections_that_wait_for_a_dead_backend_get_another_at_once() {
    let (waits, _silent) = silent();
    let well = Server::echo();
    let mut service = service("waiting", &[waits, well.address]);
    // Neither helps within the patience of this test.
    service.on_down = OnDown::Reset { spread: Duration::from_secs(300) };
    service.timeouts.connect = Duration::from_secs(300);
    let mut desired = up(service);
    let to = vip(&desired);
    let proxy = Proxy::start(vec![desired.clone()]);
    let mut streams: Vec<TcpStream> = (0..20).map(|_| connect(to)).collect();
    proxy.wait_service("waiting", |service| {
        let backend = |name: &str| service.backends.get(&BackendName::new(name)).copied().unwrap_or_default();
        service.stats.connections == 20 && backend("b0").connections == 10 && backend("b1").connected == 10
    });
    desired.backends[0].usage = BackendUse::Down;
    proxy.change(desired);
    streams.iter_mut().for_each(ping);
    let observed = proxy.wait_service("waiting", |service| service.stats.retries == 10);
    assert_eq!((observed.stats.connections, observed.stats.closed_backend_down), (20, 0));
    assert_eq!(observed.backends[&BackendName::new("b1")].connections, 20);
}

#[test]
fn with_drain_a_dead_backend_s_connections_go_on() {
    let (dying, well) = (Server::named("dying"), Server::named("alive"));
    let mut service = service("lenient", &[dying.address, well.address]);
    service.on_down = OnDown::Drain;
    let mut desired = up(service);
    let to = vip(&desired);
    let proxy = Proxy::start(vec![desired.clone()]);
    let name = |stream: &mut TcpStream| {
        let mut name = [0; 5];
        stream.read_exact(&mut name).unwrap();
        String::from_utf8_lossy(&name).into_owned()
    };
    let mut first = connect(to);
    assert_eq!(name(&mut first), "dying");
    desired.backends[0].usage = BackendUse::Down;
    proxy.change(desired);
    // The change has come when nobody gets the dying one any more; then the first connection still stands.
    let start = Instant::now();
    while (0..4).any(|_| name(&mut connect(to)) == "dying") {
        assert!(start.elapsed() < PATIENCE);
    }
    first.write_all(b"still here").unwrap();
    first.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let kind = first.read(&mut [0]).unwrap_err().kind();
    assert!(matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut), "{kind:?}");
}

#[test]
fn a_backend_that_dies_mid_way_ends_its_connections_and_the_next_go_elsewhere() {
    let dying = Server::start(|mut stream| {
        // Before it has read, it would count as one that did not accept, and another would be tried.
        let _ = stream.read(&mut [0]);
        let _ = stream.write_all(b"half a rep");
        common::reset(stream);
    });
    let well = Server::echo();
    let desired = up(service("mid-way", &[dying.address, well.address]));
    let to = vip(&desired);
    let _proxy = Proxy::start(vec![desired]);
    // Many times: data and reset are seen together or one after the other.
    for _ in 0..50 {
        let mut cut = connect(to);
        cut.write_all(b"x").unwrap();
        assert_eq!(read_error(&mut cut), Some(ErrorKind::ConnectionReset), "a cut reply must not look whole");
        assert_eq!(exchange(to, b"hello"), b"hello");
    }
}

#[test]
fn changes_under_load_break_no_connection() {
    let servers: Vec<Server> = (0..3).map(|_| Server::echo()).collect();
    let addresses: Vec<SocketAddr> = servers.iter().map(|server| server.address).collect();
    let desired = up(service("busy", &addresses));
    let to = vip(&desired);
    let proxy = Proxy::start(vec![desired.clone()]);
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let stop = Arc::clone(&stop);
            spawn(move || {
                let mut lasting = established(to);
                let mut count = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    ping(&mut lasting);
                    assert_eq!(exchange(to, b"hello"), b"hello");
                    count += 1;
                }
                count
            })
        })
        .collect();
    for round in 0..60_u32 {
        let mut changed = desired.clone();
        let index = usize::try_from(round % 3).unwrap();
        match round % 4 {
            0 => changed.backends[index].usage = BackendUse::Draining,
            1 => changed.backends[index].weight = 50 + round,
            2 => {
                changed.backends.remove(index);
            }
            _ => {
                let mut other = up(service("other", &addresses));
                Arc::make_mut(&mut other.service).name = ServiceName::new(&format!("other{round}"));
                proxy.change(other);
            }
        }
        proxy.change(changed);
        std::thread::sleep(Duration::from_millis(20));
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        assert!(client.join().unwrap() > 0);
    }
    let reset = proxy.observed.borrow().services[&ServiceName::new("busy")].stats.reset;
    assert_eq!(reset, 0);
}

#[test]
fn a_removed_service_takes_no_more_and_keeps_what_it_has() {
    let server = Server::echo();
    let desired = up(service("removed", &[server.address]));
    let to = vip(&desired);
    let proxy = Proxy::start(vec![desired]);
    let mut stream = established(to);
    proxy.desired.send_replace(table(Vec::new()));
    let start = Instant::now();
    while TcpStream::connect_timeout(&to, PATIENCE).is_ok() {
        assert!(start.elapsed() < PATIENCE);
    }
    ping(&mut stream);
    // Whoever waits for its last connection waits for this one, too.
    proxy.wait(|observed| observed.services.is_empty() && observed.connections == 1);
    ping(&mut stream);
    drop(stream);
    proxy.wait(|observed| observed.connections == 0);
}

#[test]
fn a_renamed_service_refuses_nobody() {
    let server = Server::echo();
    let first = up(service("before", &[server.address]));
    let to = vip(&first);
    let mut second = first.clone();
    Arc::make_mut(&mut second.service).name = ServiceName::new("after");
    // Its place among the names decides which of the two is changed first.
    let proxy = Proxy::start(vec![first.clone()]);
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let client = spawn(move || {
        let mut count = 0_u64;
        while !stopped.load(Ordering::Relaxed) {
            assert_eq!(exchange(to, b"hello"), b"hello");
            count += 1;
        }
        count
    });
    for round in 0..20 {
        let service = if round % 2 == 0 { second.clone() } else { first.clone() };
        proxy.desired.send_replace(table(vec![service]));
        std::thread::sleep(Duration::from_millis(20));
    }
    stop.store(true, Ordering::Relaxed);
    assert!(client.join().unwrap() > 0);
}

#[test]
fn when_the_engine_ends_clients_are_reset() {
    let server = Server::echo();
    let desired = up(service("ends", &[server.address]));
    let to = vip(&desired);
    let proxy = Proxy::start(vec![desired]);
    let mut stream = established(to);
    drop(proxy);
    assert_eq!(read_error(&mut stream), Some(ErrorKind::ConnectionReset));
}

#[test]
fn a_port_of_another_process_is_named_and_taken_when_it_is_free() {
    let server = Server::echo();
    let desired = up(service("taken", &[server.address]));
    let to = vip(&desired);
    let other = std::net::TcpListener::bind(to).unwrap();
    let (sender, receiver) = tokio::sync::watch::channel(table(vec![desired]));
    let proxy = Proxy { observed: fulcrum_lb::start(receiver, two_workers()).unwrap(), desired: sender };
    let observed = proxy.wait_service("taken", |service| !service.errors.is_empty());
    assert!(observed.errors[0].contains(&to.to_string()), "{:?}", observed.errors);
    assert!(!proxy.observed.borrow().ready);
    drop(other);
    proxy.wait(|observed| observed.ready);
    assert_eq!(exchange(to, b"hello"), b"hello");
}

#[test]
fn a_port_that_another_took_meanwhile_is_served_when_it_is_free_again() {
    let server = Server::echo();
    let live = up(service("lost", &[server.address]));
    let to = vip(&live);
    let mut down = live.clone();
    down.backends[0].usage = BackendUse::Down;
    let proxy = Proxy::start(vec![down]);
    // Where nobody listens it may.
    let other = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    other.set_reuse_address(true).unwrap();
    other.bind(&to.into()).unwrap();
    other.listen(16).unwrap();
    proxy.apply(live);
    drop(other);
    let start = Instant::now();
    while TcpStream::connect_timeout(&to, PATIENCE).is_err() {
        assert!(start.elapsed() < PATIENCE, "nobody listens");
    }
    assert_eq!(exchange(to, b"hello"), b"hello");
}

fn two_workers() -> fulcrum_lb::Options {
    fulcrum_lb::Options { workers: Some(2), ..fulcrum_lb::Options::default() }
}

#[test]
fn a_range_of_ports_reaches_the_same_ports_of_the_backend() {
    let ip = address();
    let listeners: Vec<_> =
        (9000..9003).map(|port| std::net::TcpListener::bind((ip, port)).unwrap()).collect();
    for listener in listeners {
        spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let port = stream.local_addr().unwrap().port();
                let _ = stream.write_all(&port.to_be_bytes());
            }
        });
    }
    let mut service = service("range", &[]);
    service.ports = PortRange { first: 9000, last: 9002 };
    let backend = Arc::new(Backend {
        name: BackendName::new("all"),
        address: BackendAddress { ip: ip.into(), port: None },
        weight: Weight::ONE,
        backup: false,
        drain: false,
        disabled: false,
    });
    service.backends = vec![Arc::clone(&backend)];
    let mut desired = up(service);
    desired.backends = vec![BackendState { backend, usage: BackendUse::Live, weight: 100 }];
    let to = vip(&desired);
    let _proxy = Proxy::start(vec![desired]);
    for port in 9000..9003_u16 {
        let mut reply = [0; 2];
        connect(SocketAddr::new(to.ip(), port)).read_exact(&mut reply).unwrap();
        assert_eq!(u16::from_be_bytes(reply), port);
    }
}
