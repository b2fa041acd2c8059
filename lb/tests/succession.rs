//! One engine takes over from another, as if in another process: the sockets stay open, and no client notices.
#![allow(missing_docs, clippy::disallowed_methods)] // Tests wait for real sockets.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)] // Also on other threads.

mod common;

use common::{PATIENCE, Proxy, Server, address, connect, service, table, up, vip};
use fulcrum_config::Protocol;
use fulcrum_lb::{Desired, Options, ServiceDesired, Sockets, Stage};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};
use tokio::sync::watch;

fn start(services: Vec<ServiceDesired>, stage: Stage, sockets: &Sockets) -> Proxy {
    let (desired, receiver) = watch::channel(Desired { stage, ..table(services) });
    let options = Options { workers: Some(2), sockets: sockets.clone(), ..Options::default() };
    let observed = fulcrum_lb::start(receiver, options).unwrap();
    let proxy = Proxy { desired, observed };
    proxy.wait(|observed| observed.ready && observed.stage == stage);
    proxy
}

fn enter(proxy: &Proxy, stage: Stage) {
    proxy.desired.send_modify(|desired| desired.stage = stage);
    proxy.wait(|observed| observed.stage == stage);
}

/// From one process to another.
fn hand_over(from: &Sockets) -> Sockets {
    let to = Sockets::default();
    from.take_all().into_iter().for_each(|(protocol, address, socket)| to.put(protocol, address, socket));
    to
}

fn accepted(proxy: &Proxy, name: &str) -> u64 {
    proxy.wait_service(name, |_| true).stats.accepted
}

fn ping(stream: &mut TcpStream) {
    stream.write_all(b"p").unwrap();
    stream.read_exact(&mut [0]).unwrap();
}

fn served(to: SocketAddr) -> TcpStream {
    let mut stream = connect(to);
    ping(&mut stream);
    stream
}

#[test]
fn clients_are_the_new_one_s_once_it_is_whole_and_connections_stay_where_they_are() {
    let backend = Server::echo();
    let desired = up(service("web", &[backend.address]));
    let to = vip(&desired);
    let lent = Sockets::default();
    let old = start(vec![desired.clone()], Stage::Whole, &lent);
    let mut session = served(to);
    enter(&old, Stage::Lends);
    let new = start(vec![desired], Stage::Heir, &hand_over(&lent));
    // Both have the listeners, and only one takes clients.
    for _ in 0..20 {
        served(to);
    }
    old.wait_service("web", |service| service.stats.accepted == 21);
    assert_eq!(accepted(&new, "web"), 0);

    enter(&new, Stage::Whole);
    enter(&old, Stage::Left);
    let before = accepted(&old, "web");
    let mut streams: Vec<TcpStream> = (0..40).map(|_| served(to)).collect();
    new.wait_service("web", |service| service.stats.accepted == 40);
    assert_eq!(accepted(&old, "web"), before);
    ping(&mut session);
    old.wait(|observed| observed.connections == 1);
    // Its service may go before it does.
    old.desired.send_modify(|desired| desired.services.clear());
    old.wait(|observed| observed.services.is_empty() && observed.connections == 1);
    ping(&mut session);
    // What becomes of the old one is no matter to the others.
    drop(session);
    old.wait(|observed| observed.connections == 0);
    drop(old);
    streams.iter_mut().for_each(ping);
    streams.push(served(to));
}

#[test]
fn what_the_new_one_gives_up_again_is_closed_for_good() {
    let backend = Server::echo();
    let desired = up(service("web", &[backend.address]));
    let to = vip(&desired);
    let lent = Sockets::default();
    let old = start(vec![desired.clone()], Stage::Whole, &lent);
    enter(&old, Stage::Lends);
    let new = start(vec![desired], Stage::Heir, &hand_over(&lent));
    enter(&new, Stage::Whole);
    enter(&old, Stage::Left);
    served(to);
    new.desired.send_modify(|desired| desired.services.clear());
    new.wait(|observed| observed.services.is_empty());
    let refused = std::iter::repeat_with(|| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        TcpStream::connect_timeout(&to, PATIENCE)
    });
    let refused = refused.take(500).find_map(Result::err).expect("nobody listens any more");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[test]
fn one_that_is_given_up_leaves_everything_to_the_old_one() {
    let backend = Server::echo();
    let mut desired = up(service("web", &[backend.address]));
    let to = vip(&desired);
    let lent = Sockets::default();
    let old = start(vec![desired.clone()], Stage::Whole, &lent);
    enter(&old, Stage::Lends);
    drop(start(vec![desired.clone()], Stage::Heir, &hand_over(&lent)));
    enter(&old, Stage::Whole);
    for _ in 0..20 {
        served(to);
    }
    old.wait_service("web", |service| service.stats.accepted == 20);
    // Nor does it keep a listener open that the old one closes.
    desired.up = false;
    old.change(desired);
    let refused = std::iter::repeat_with(|| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        TcpStream::connect_timeout(&to, PATIENCE)
    });
    assert!(refused.take(500).any(|result| result.is_err()), "it refuses at once");
}

/// Sends back what it gets, with the port that it came from.
fn udp_server() -> SocketAddr {
    let socket = UdpSocket::bind((address(), 0)).unwrap();
    let at = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&from.port().to_be_bytes(), from);
        }
    });
    at
}

fn ask(socket: &UdpSocket) -> [u8; 2] {
    let mut answer = [0; 2];
    socket.send(b"?").unwrap();
    socket.recv(&mut answer).unwrap();
    answer
}

#[test]
fn datagrams_go_through_the_new_one_and_none_is_lost() {
    let mut service = service("dns", &[udp_server()]);
    service.protocol = Protocol::Udp;
    let desired = up(service);
    let to = vip(&desired);
    let lent = Sockets::default();
    let old = start(vec![desired.clone()], Stage::Whole, &lent);
    let client = UdpSocket::bind((address(), 0)).unwrap();
    client.connect(to).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let through_old = ask(&client);
    enter(&old, Stage::Lends);
    let new = start(vec![desired], Stage::Heir, &hand_over(&lent));
    assert_eq!(ask(&client), through_old);
    enter(&new, Stage::Whole);
    enter(&old, Stage::Left);
    let through_new = ask(&client);
    assert_ne!(through_new, through_old, "a session of the new one has a socket of its own");
    drop(old);
    assert_eq!(ask(&client), through_new);
    new.wait_service("dns", |service| service.stats.datagrams_in >= 2);
}

/// Whether an epoll of this process reports a socket.
fn is_watched(socket: &OwnedFd) -> bool {
    let inode = std::fs::File::from(socket.try_clone().unwrap()).metadata().unwrap().ino();
    let inode = format!(" ino:{inode:x} ");
    let known = std::fs::read_dir("/proc/self/fdinfo").unwrap().flatten();
    known.filter_map(|entry| std::fs::read_to_string(entry.path()).ok()).any(|text| text.contains(&inode))
}

#[test]
fn what_the_new_one_gives_up_is_not_reported_to_it_while_the_old_one_has_it() {
    let mut service = service("dns", &[udp_server()]);
    service.protocol = Protocol::Udp;
    let desired = up(service);
    let lent = Sockets::default();
    let old = start(vec![desired.clone()], Stage::Whole, &lent);
    enter(&old, Stage::Lends);
    let (handed, mut kept) = (Sockets::default(), Vec::new());
    for (protocol, address, socket) in lent.take_all() {
        kept.push(socket.try_clone().unwrap());
        handed.put(protocol, address, socket);
    }
    let new = start(vec![desired], Stage::Heir, &handed);
    enter(&new, Stage::Whole);
    enter(&old, Stage::Left);
    let wait_for = |wanted: bool| {
        let start = Instant::now();
        while kept.iter().any(|socket| is_watched(socket) != wanted) {
            assert!(start.elapsed() < PATIENCE, "wanted: {wanted}");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    wait_for(true);
    new.desired.send_modify(|desired| desired.services.clear());
    wait_for(false);
}
