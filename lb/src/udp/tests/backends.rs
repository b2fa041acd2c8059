//! Backends that come, go, drain and refuse.

use super::*;

#[test]
fn a_session_leaves_a_backend_that_went_down() {
    let (a, b) = (Server::start("a:"), Server::start("b:"));
    let mut lab = Lab::new(&[&a, &b]).serve();
    let client = lab.client();
    let first = ask(&client, b"x");
    let used = usize::from(first == b"b:x");
    lab.backends[used].1 = BackendUse::Down;
    lab.apply();
    let second = ask(&client, b"x");
    assert_ne!(first, second, "the very next datagram goes elsewhere");
    // It stays where it is when the first comes back.
    lab.backends[used].1 = BackendUse::Live;
    lab.apply();
    assert_eq!(ask(&client, b"x"), second);
    let stats = lab.stats();
    assert_eq!((stats.accepted, stats.connections, stats.retries), (1, 1, 1));
}

#[test]
fn a_draining_backend_keeps_its_sessions() {
    let (a, b) = (Server::start("a:"), Server::start("b:"));
    let mut lab = Lab::new(&[&a, &b]).serve();
    let client = lab.client();
    let first = ask(&client, b"x");
    lab.backends[usize::from(first == b"b:x")].1 = BackendUse::Draining;
    lab.apply();
    assert_eq!(ask(&client, b"x"), first);
    for _ in 0..4 {
        assert_ne!(ask(&lab.client(), b"x"), first);
    }
}

#[test]
fn without_a_backend_the_port_is_closed() {
    let server = Server::start("a:");
    let mut lab = Lab::with_workers(&[&server], 2).serve();
    let client = lab.client();
    assert_eq!(ask(&client, b"x"), b"a:x");
    lab.backends[0].1 = BackendUse::Down;
    lab.apply();
    assert!(is_refused(&client));
    lab.until("ended", |stats| (stats.connections, stats.closed_backend_down) == (0, 1));
    lab.backends[0].1 = BackendUse::Live;
    assert_eq!(lab.apply(), Vec::<String>::new());
    assert_eq!(ask(&lab.client(), b"y"), b"a:y");
}

#[test]
fn sessions_that_may_go_on_keep_the_port_open() {
    let server = Server::start("a:");
    let mut lab = Lab::new(&[&server]);
    lab.service.udp.idle = Duration::from_secs(2);
    let mut lab = lab.serve();
    let (old, new) = (lab.client(), lab.client());
    assert_eq!(ask(&old, b"x"), b"a:x");
    lab.backends[0].1 = BackendUse::Draining;
    lab.apply();
    new.send(b"y").unwrap();
    lab.until("refused", |stats| stats.refused_no_backend == 1);
    assert_eq!(ask(&old, b"z"), b"a:z");
    lab.until("idle", |stats| stats.connections == 0);
    assert!(is_refused(&new), "the last session took the socket with it");
}

#[test]
fn the_last_reply_leaves_before_the_port_closes() {
    let server = UdpSocket::bind((address(), 0)).unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    let at = server.local_addr().unwrap();
    let mut lab = Lab::new(&[]);
    lab.backends.push((BackendAddress { ip: at.ip(), port: Some(at.port()) }, BackendUse::Live));
    lab.service.udp.responses = Some(1);
    let mut lab = lab.serve();
    let (client, new) = (lab.client(), lab.client());
    client.send(b"x").unwrap();
    let (_, session) = server.recv_from(&mut [0; 10]).unwrap();
    lab.backends[0].1 = BackendUse::Draining;
    lab.apply();
    new.send(b"y").unwrap();
    lab.until("refusing", |stats| stats.refused_no_backend == 1);
    server.send_to(b"reply", session).unwrap();
    assert_eq!(receive(&client), b"reply");
    assert!(is_refused(&client));
}

#[test]
fn a_backend_that_refuses_is_left_for_another() {
    let server = Server::start("a:");
    let closed = UdpSocket::bind((address(), 0)).unwrap().local_addr().unwrap();
    let mut lab = Lab::new(&[&server]);
    lab.backends.push((BackendAddress { ip: closed.ip(), port: Some(closed.port()) }, BackendUse::Live));
    let lab = lab.serve();
    for _ in 0..4 {
        assert!(is_answered(&lab.client()));
    }
    assert!(lab.stats().retries >= 1);
}

#[test]
fn a_lone_backend_that_refuses_is_tried_again() {
    let closed = UdpSocket::bind((address(), 0)).unwrap().local_addr().unwrap();
    let mut lab = Lab::new(&[]);
    lab.backends.push((BackendAddress { ip: closed.ip(), port: Some(closed.port()) }, BackendUse::Live));
    let lab = lab.serve();
    let client = lab.client();
    for _ in 0..20 {
        client.send(b"x").unwrap();
    }
    lab.until("all seen", |stats| stats.datagrams_in == 20);
    let _server = Server::at("a:", closed);
    assert!(is_answered(&client));
    assert_eq!(lab.stats().accepted, 1);
}
