//! Addresses, ports and descriptors.

use super::*;

#[test]
fn a_range_of_ports_reaches_the_same_ports() {
    let host = address();
    let servers: Vec<Server> = ["0:", "1:", "2:"]
        .iter()
        .zip(7000..)
        .map(|(name, port)| Server::at(name, (host, port).into()))
        .collect();
    let mut lab = Lab::new(&[]);
    lab.service.ports = PortRange { first: 7000, last: 7002 };
    lab.backends.push((BackendAddress { ip: host.into(), port: None }, BackendUse::Live));
    let lab = lab.serve();
    for (server, expected) in servers.iter().zip([b"0:x", b"1:x", b"2:x"]) {
        let vip = SocketAddr::new(lab.service.vips[0], server.address.port());
        assert_eq!(ask(&client_of(vip), b"x"), expected);
    }
}

#[test]
fn an_address_in_use_is_said_and_tried_again() {
    let server = Server::start("a:");
    let mut lab = Lab::new(&[&server]);
    let squatter = UdpSocket::bind(lab.vip()).unwrap();
    let errors = lab.apply();
    assert_eq!(errors.len(), 1);
    assert!(
        errors[0].contains(&lab.vip().to_string()) && errors[0].contains("another process"),
        "{errors:?}"
    );
    drop(squatter);
    let cell = Arc::clone(lab.tables.services().next().unwrap());
    assert_eq!(lab.workers.apply(&cell), Vec::<String>::new());
    assert_eq!(ask(&lab.client(), b"x"), b"a:x");
}

#[test]
fn a_second_process_is_noticed() {
    let server = Server::start("a:");
    let mut lab = Lab::new(&[&server]).serve();
    let mut other = Lab::new(&[&server]);
    other.service.vips = lab.service.vips.clone();
    assert_eq!(other.apply().len(), 1);
    // But a socket of our own that is about to be closed is not in the way.
    for _ in 0..50 {
        for usage in [BackendUse::Down, BackendUse::Live] {
            lab.backends[0].1 = usage;
            assert_eq!(lab.apply(), Vec::<String>::new());
        }
    }
    assert!(is_answered(&lab.client()));
}

#[test]
fn an_address_moves_between_services() {
    let server = Server::start("a:");
    let mut lab = Lab::new(&[&server]).serve();
    let (vip, other) = (lab.service.vips[0], IpAddr::from(address()));
    let state = backend(lab.backends[0].0, BackendUse::Live);
    // The one that gains the address is applied first.
    let mut gains = Service { name: ServiceName::new("a"), vips: vec![other], ..lab.service.clone() };
    gains.backends = vec![Arc::clone(&state.backend)];
    let mut loses = Service { name: ServiceName::new("b"), ..gains.clone() };
    for (gained, left) in [(other, vip), (vip, other)] {
        (gains.vips, loses.vips) = (vec![gained], vec![left]);
        let services = [&gains, &loses].map(|service| {
            let backends = vec![state.clone()];
            let desired = ServiceDesired {
                service: Arc::new(service.clone()),
                up: true,
                protected: false,
                backends,
                sources: vec![],
            };
            (service.name.clone(), Arc::new(desired))
        });
        assert_eq!(
            lab.apply_desired(&Desired { services: services.into(), ..Desired::default() }),
            Vec::<String>::new()
        );
    }
    for vip in [vip, other] {
        assert!(is_answered(&client_of(SocketAddr::new(vip, 5353))));
    }
}

#[test]
fn with_many_addresses_each_has_one_socket() {
    let server = Server::start("a:");
    let mut lab = Lab::with_workers(&[&server], 2);
    lab.workers = UdpWorkers::new(Arc::clone(&lab.workers.shared), 4 * 1100, None, crate::Sockets::default());
    lab.service.ports = PortRange { first: 10_000, last: 10_575 };
    let lab = lab.serve();
    assert_eq!(lab.workers.len(), 2 * 512 + 64);
    for port in [10_000, 10_511, 10_512, 10_513, 10_575] {
        assert_eq!(ask(&client_of(SocketAddr::new(lab.service.vips[0], port)), b"x"), b"a:x");
    }
}

#[test]
fn too_many_addresses_are_refused_and_given_back() {
    let server = Server::start("a:");
    let mut lab = Lab::new(&[&server]);
    lab.workers = UdpWorkers::new(shared(1), 4 * 10, None, crate::Sockets::default());
    lab.service.ports = PortRange { first: 10_000, last: 10_010 };
    let errors = lab.apply();
    assert!(errors.len() == 1 && errors[0].contains("too many open files"), "{errors:?}");
    lab.service.ports = PortRange { first: 10_005, last: 10_014 };
    assert_eq!(lab.apply(), Vec::<String>::new());
}

#[test]
fn sessions_leave_half_of_the_descriptors_to_others() {
    let server = Server::start("a:");
    let mut lab = Lab::new(&[&server]);
    let shared = shared(1);
    shared.descriptors.set_limit(8);
    lab.workers = UdpWorkers::new(Arc::clone(&shared), 1000, None, crate::Sockets::default());
    let lab = lab.serve();
    for _ in 0..10 {
        assert_eq!(ask(&lab.client(), b"x"), b"a:x");
    }
    lab.until("evicted", |stats| (stats.connections, stats.sessions_evicted) == (4, 6));
    assert!(shared.descriptors.take(4) && !shared.descriptors.take(1));
    shared.descriptors.give_back(4);
    drop(lab);
    wait_for("all given back", || shared.descriptors.take(8));
}

#[test]
fn without_descriptors_old_sessions_go_on() {
    let server = Server::start("a:");
    let mut lab = Lab::new(&[&server]);
    let shared = shared(1);
    // Half of them is for sessions.
    shared.descriptors.set_limit(20);
    shared.descriptors.take(18);
    lab.workers = UdpWorkers::new(Arc::clone(&shared), 1000, None, crate::Sockets::default());
    lab.service.udp.idle = Duration::from_secs(2);
    let lab = lab.serve();
    let clients: Vec<UdpSocket> = (0..3).map(|_| lab.client()).collect();
    assert_eq!(ask(&clients[0], b"x"), b"a:x");
    assert_eq!(ask(&clients[1], b"x"), b"a:x");
    clients[2].send(b"x").unwrap();
    lab.until("refused", |stats| stats.refused_limit == 1);
    assert_eq!(shared.descriptors.refused(), 1);
    assert_eq!(ask(&clients[0], b"y"), b"a:y");
    lab.until("idle", |stats| stats.connections == 0);
    assert_eq!(ask(&clients[2], b"y"), b"a:y");
}

#[test]
fn a_transparent_session_sends_from_the_client_s_address() {
    for (backend, client) in [("127.0.0.1:9", "192.0.2.1:5000"), ("[::1]:9", "[2001:db8::1]:5000")] {
        let (backend, client): (SocketAddr, SocketAddr) = (backend.parse().unwrap(), client.parse().unwrap());
        // Two at once: a client may have sessions with several services.
        let sockets = [sockets::upstream(backend, Some(client)), sockets::upstream(backend, Some(client))];
        for socket in sockets {
            assert_eq!(UdpSocket::from(socket.unwrap()).local_addr().unwrap(), client);
        }
    }
}

#[test]
fn listeners_stand_before_the_vip_does() {
    let server = Server::start("a:");
    let mut lab = Lab::new(&[&server]);
    lab.service.vips = vec!["192.0.2.77".parse().unwrap(), "2001:db8::77".parse().unwrap()];
    assert_eq!(lab.apply(), Vec::<String>::new());
}

#[test]
fn a_removed_service_or_address_is_gone() {
    let server = Server::start("a:");
    let mut lab = Lab::new(&[&server]).serve();
    let kept = lab.service.vips[0];
    let moved = lab.client();
    assert_eq!(ask(&moved, b"x"), b"a:x");
    lab.service.vips = vec![address().into()];
    assert_eq!(lab.apply(), Vec::<String>::new());
    lab.until("ended", |stats| stats.connections == 0);
    assert!(is_refused(&client_of(SocketAddr::new(kept, 5353))));
    let client = lab.client();
    assert_eq!(ask(&client, b"x"), b"a:x");
    lab.apply_desired(&Desired::default());
    assert!(is_refused(&client));
    assert_eq!(lab.apply(), Vec::<String>::new());
    assert_eq!(ask(&lab.client(), b"x"), b"a:x");
}

#[test]
fn dropping_the_workers_closes_everything() {
    let server = Server::start("a:");
    let lab = Lab::new(&[&server]).serve();
    let client = lab.client();
    assert_eq!(ask(&client, b"x"), b"a:x");
    drop(lab);
    assert!(is_refused(&client));
}
