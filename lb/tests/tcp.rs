//! The TCP proxy as clients and backends see it.
#![allow(missing_docs, clippy::disallowed_methods)] // Tests wait for real sockets.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)] // Also on other threads.

mod common;

use common::{
    PATIENCE, Proxy, Server, closed_port, connect, exchange, read_all, read_error, refusal, reset, service,
    spawn, up, vip,
};
use fulcrum_lb::BackendUse;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

fn wait(wanted: &dyn Fn() -> bool) {
    let start = Instant::now();
    while !wanted() {
        assert!(start.elapsed() < PATIENCE);
    }
}

#[test]
fn bytes_go_both_ways_and_are_counted() {
    let server = Server::echo();
    let desired = up(service("echo", &[server.address]));
    let to = vip(&desired);
    let proxy = Proxy::start(vec![desired]);
    assert_eq!(exchange(to, b"hello"), b"hello");
    let observed =
        proxy.wait_service("echo", |service| service.stats.accepted == 1 && service.stats.connections == 0);
    assert_eq!((observed.stats.accepted, observed.stats.bytes_in, observed.stats.bytes_out), (1, 5, 5));
    let backend = observed.backends.values().next().unwrap();
    assert_eq!((backend.connected, backend.connections, backend.bytes_in, backend.bytes_out), (1, 0, 5, 5));
}

#[test]
fn a_server_that_speaks_first_is_heard() {
    let server = Server::named("welcome");
    let desired = up(service("first", &[server.address]));
    let to = vip(&desired);
    let _proxy = Proxy::start(vec![desired]);
    let mut stream = connect(to);
    let mut welcome = [0; 7];
    stream.read_exact(&mut welcome).unwrap();
    assert_eq!(&welcome, b"welcome");
}

#[test]
fn the_client_may_close_first() {
    // Replies only after the client's FIN.
    let server = Server::start(|mut stream| {
        let request = read_all(&mut stream);
        stream.write_all(&request.repeat(1000)).unwrap();
    });
    let desired = up(service("client-first", &[server.address]));
    let to = vip(&desired);
    let _proxy = Proxy::start(vec![desired]);
    assert_eq!(exchange(to, b"0123456789").len(), 10_000);
    // Also when it has nothing to say.
    assert_eq!(exchange(to, b""), b"");
}

#[test]
fn the_backend_may_close_first() {
    let (sender, received) = mpsc::channel();
    let server = Server::start(move |mut stream| {
        stream.write_all(b"bye").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        sender.send(read_all(&mut stream)).unwrap();
    });
    let desired = up(service("backend-first", &[server.address]));
    let to = vip(&desired);
    let _proxy = Proxy::start(vec![desired]);
    let mut stream = connect(to);
    assert_eq!(read_all(&mut stream), b"bye");
    stream.write_all(b"still talking").unwrap();
    drop(stream);
    assert_eq!(received.recv_timeout(PATIENCE).unwrap(), b"still talking");
}

#[test]
fn a_reset_by_the_client_reaches_the_backend() {
    let (sender, received) = mpsc::channel();
    let server = Server::start(move |mut stream| {
        stream.write_all(b"x").unwrap();
        sender.send(read_error(&mut stream)).unwrap();
    });
    let desired = up(service("client-reset", &[server.address]));
    let to = vip(&desired);
    let proxy = Proxy::start(vec![desired]);
    let mut stream = connect(to);
    stream.read_exact(&mut [0]).unwrap();
    reset(stream);
    assert_eq!(received.recv_timeout(PATIENCE).unwrap(), Some(ErrorKind::ConnectionReset));
    proxy.wait_service("client-reset", |service| service.stats.reset == 1 && service.stats.connections == 0);
}

#[test]
fn a_reset_by_the_backend_reaches_the_client() {
    let server = Server::start(|mut stream| {
        stream.read_exact(&mut [0]).unwrap();
        reset(stream);
    });
    let desired = up(service("backend-reset", &[server.address]));
    let to = vip(&desired);
    let proxy = Proxy::start(vec![desired]);
    let mut stream = connect(to);
    stream.write_all(b"x").unwrap();
    assert_eq!(read_error(&mut stream), Some(ErrorKind::ConnectionReset));
    proxy.wait_service("backend-reset", |service| service.stats.reset == 1);
}

#[test]
fn without_a_live_backend_the_kernel_refuses_at_once() {
    let server = Server::named("x");
    let live = up(service("refuse", &[server.address]));
    let to = vip(&live);
    let mut down = live.clone();
    down.backends[0].usage = BackendUse::Down;
    let proxy = Proxy::start(vec![down.clone()]);
    let refused = || TcpStream::connect_timeout(&to, PATIENCE).map_err(|error| error.kind());
    assert_eq!(refused().unwrap_err(), ErrorKind::ConnectionRefused);
    // A worker that has not heard of the last change yet may accept, and reset what it accepted when it hears.
    let serves = || {
        let mut name = [0];
        let read =
            TcpStream::connect_timeout(&to, PATIENCE).and_then(|mut stream| stream.read_exact(&mut name));
        read.is_ok() && &name == b"x"
    };
    for _ in 0..3 {
        proxy.change(live.clone());
        wait(&serves);
        proxy.change(down.clone());
        wait(&|| refused().is_err());
    }
}

#[test]
fn a_service_that_began_without_a_live_backend_waits_for_what_its_clients_say() {
    let server = Server::echo();
    let mut live = up(service("later", &[server.address]));
    let to = vip(&live);
    let mut down = live.clone();
    down.backends[0].usage = BackendUse::Down;
    let proxy = Proxy::start(vec![down.clone()]);
    // Another class has other workers, which find the listeners as these left them.
    for protected in [false, true, true, false] {
        (down.protected, live.protected) = (protected, protected);
        proxy.apply(down.clone());
        assert!(TcpStream::connect_timeout(&to, PATIENCE).is_err());
        // A worker that has not heard of the change yet would reset what it has accepted when it hears.
        proxy.apply(live.clone());
        for _ in 0..8 {
            let mut stream = connect(to);
            // By now the backend's connection stands, too.
            std::thread::sleep(Duration::from_millis(20));
            stream.write_all(b"late").unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            assert_eq!(read_all(&mut stream), b"late");
        }
    }
}

#[test]
fn the_next_backend_is_tried_before_the_first_byte() {
    let server = Server::echo();
    let desired = up(service("retry", &[closed_port(), server.address]));
    let to = vip(&desired);
    let proxy = Proxy::start(vec![desired]);
    for _ in 0..10 {
        assert_eq!(exchange(to, b"hello"), b"hello");
    }
    let observed =
        proxy.wait_service("retry", |service| service.stats.accepted == 10 && service.stats.connections == 0);
    assert_eq!(observed.stats.connect_failed, 0);
    assert_eq!(observed.stats.retries, 5, "every other connection began with the closed port");
}

#[test]
fn a_backend_that_cannot_be_reached_ends_in_a_reset() {
    let desired = up(service("unreachable", &[closed_port()]));
    let to = vip(&desired);
    let proxy = Proxy::start(vec![desired]);
    assert_eq!(refusal(to), Some(ErrorKind::ConnectionReset));
    proxy.wait_service("unreachable", |service| service.stats.connect_failed == 1);
}

#[test]
fn many_short_connections_all_succeed() {
    let server = Server::echo();
    let desired = up(service("many", &[server.address]));
    let to = vip(&desired);
    let proxy = Proxy::start(vec![desired]);
    let clients: Vec<_> = (0..8_u8)
        .map(|client| {
            spawn(move || {
                for number in 0..250_u8 {
                    assert_eq!(exchange(to, &[client, number]), [client, number]);
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    proxy.wait_service("many", |service| service.stats.accepted == 2_000 && service.stats.connections == 0);
}

#[test]
fn a_gigabyte_arrives_unchanged() {
    const TOTAL: usize = 1 << 30;
    let server = Server::start(|mut stream| {
        // Compares what comes with what should, and says how much of it was right.
        let (pattern, mut buffer, mut right) = (pattern(), vec![0; 1 << 18], 0_usize);
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            let mut rest = &buffer[..count];
            while !rest.is_empty() {
                let expected = &pattern[right % pattern.len()..];
                let (piece, later) = rest.split_at(rest.len().min(expected.len()));
                if *piece != expected[..piece.len()] {
                    return;
                }
                right += piece.len();
                rest = later;
            }
        }
        stream.write_all(&right.to_be_bytes()).unwrap();
    });
    let desired = up(service("bulk", &[server.address]));
    let to = vip(&desired);
    let proxy = Proxy::start(vec![desired]);
    let mut stream = connect(to);
    let (pattern, mut sent) = (pattern(), 0);
    while sent < TOTAL {
        stream.write_all(&pattern).unwrap();
        sent += pattern.len();
    }
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut stream), sent.to_be_bytes());
    proxy.wait_service("bulk", |service| service.stats.bytes_in == sent as u64);
}

/// What a client gets of a server that sends one byte out of band on the way.
fn urgent_on_the_way(name: &str, then: impl Fn(TcpStream) + Send + Sync + 'static) {
    // None is like the urgent byte, which may or may not be among them.
    let halves: [Vec<u8>; 2] = [1, 2]
        .map(|skip| pattern().iter().map(|byte| byte | 0x80).cycle().skip(skip).take(4 << 20).collect());
    let sent = halves.clone();
    let server = Server::start(move |mut stream| {
        stream.write_all(&sent[0]).unwrap();
        socket2::SockRef::from(&stream).send_out_of_band(b"!").unwrap();
        stream.write_all(&sent[1]).unwrap();
        then(stream);
    });
    let desired = up(service(name, &[server.address]));
    let to = vip(&desired);
    let _proxy = Proxy::start(vec![desired]);
    let expected = halves.concat();
    for _ in 0..5 {
        let mut stream = connect(to);
        let (mut got, mut buffer) = (Vec::<u8>::new(), vec![0_u8; 1 << 16]);
        while got.len() < expected.len() {
            let count = stream.read(&mut buffer).unwrap();
            assert!(count > 0, "an orderly end after {} bytes", got.len());
            got.extend(buffer[..count].iter().filter(|byte| **byte != b'!'));
        }
        assert!(got == expected, "what comes is not what was sent");
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(stream.read(&mut buffer).unwrap(), 0);
    }
}

#[test]
fn nothing_behind_an_urgent_byte_is_lost_when_the_server_closes() {
    urgent_on_the_way("urgent-closed", drop);
}

#[test]
fn nothing_behind_an_urgent_byte_waits_for_the_end() {
    urgent_on_the_way("urgent-open", |mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
    });
}

/// Random bytes of a length that fits no buffer, so that nothing can be lost, doubled or swapped unseen.
fn pattern() -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(&mut next).take(1_000_003).collect()
}

#[test]
fn a_client_that_never_reads_does_not_fill_memory() {
    let server = Server::start(|mut stream| {
        stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        let block = vec![7; 1 << 20];
        // Ends when nothing more is taken.
        while stream.write_all(&block).is_ok() {}
        let _ = stream.read(&mut [0]);
    });
    let desired = up(service("never-reads", &[server.address]));
    let to = vip(&desired);
    let proxy = Proxy::start(vec![desired]);
    let stream = connect(to);
    let taken = || proxy.observed.borrow().services.values().next().unwrap().stats.bytes_out;
    let mut before = 0;
    loop {
        std::thread::sleep(Duration::from_millis(700));
        if taken() == before && before > 0 {
            break;
        }
        before = taken();
        assert!(before < 1 << 30, "backpressure never came");
    }
    // Others are served meanwhile, and this one is only waiting.
    assert_eq!(proxy.observed.borrow().connections, 1);
    drop(stream);
    proxy.wait(|observed| observed.connections == 0);
}
