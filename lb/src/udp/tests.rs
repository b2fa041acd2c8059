use super::sys::{BATCH, Batch};
use super::token::Token;
use super::*;
use crate::balance::Seed;
use crate::proxy_protocol::{Endpoints, Transport, decode_datagram, encode};
use crate::shared::WorkerShared;
use crate::table::{Change, Tables};
use crate::{BackendState, BackendUse, Desired, ServiceDesired, ServiceStats};
use fulcrum_config::{
    Backend, BackendAddress, BackendName, Balance, ConnectionLog, GroupName, PortRange, Protocol,
    ProxyProtocolVersion, Rate, Service, Weight,
};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

mod sessions;

const PATIENCE: Duration = Duration::from_secs(10);

/// A loopback address that no other test uses, not even one of another run at the same time.
fn address() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    let number = u8::try_from(NEXT.fetch_add(1, Ordering::Relaxed)).unwrap();
    Ipv4Addr::new(127, 0x80 | (high & 0x7f), low, number)
}

/// Answers each datagram with its own name and a colon in front of it.
struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(name: &'static str) -> Self {
        Self::at(name, SocketAddr::new(address().into(), 0))
    }

    fn at(name: &'static str, address: SocketAddr) -> Self {
        let socket = UdpSocket::bind(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let address = socket.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    let reply = [name.as_bytes(), &buffer[..length]].concat();
                    let _ = socket.send_to(&reply, from);
                }
            }
        });
        Self { address, stop, thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn service(vip: IpAddr, ports: PortRange) -> Service {
    let name = ServiceName::new("dns");
    Service {
        protocol: Protocol::Udp,
        ports,
        balance: Balance::RoundRobin,
        ..Service::new(name, GroupName::new("g"), vec![vip], ports.first)
    }
}

fn shared(workers: usize) -> Arc<Shared> {
    let shared = Shared::new((0..workers).map(|_| WorkerShared::new().unwrap()).collect());
    shared.descriptors.set_limit(1000);
    Arc::new(shared)
}

/// A load balancer with one service.
struct Lab {
    tables: Tables,
    workers: UdpWorkers,
    service: Service,
    backends: Vec<(BackendAddress, BackendUse)>,
    up: bool,
}

impl Lab {
    fn new(servers: &[&Server]) -> Self {
        Self::with_workers(servers, 1)
    }

    #[allow(clippy::disallowed_methods)] // Real sockets need the real time.
    fn with_workers(servers: &[&Server], count: usize) -> Self {
        let address =
            |server: &&Server| BackendAddress { ip: server.address.ip(), port: Some(server.address.port()) };
        Self {
            tables: Tables::new(Seed::default(), count, Instant::now()),
            workers: UdpWorkers::new(shared(count), 1000, None),
            service: service(super::tests::address().into(), PortRange::single(5353)),
            backends: servers.iter().map(|server| (address(server), BackendUse::Live)).collect(),
            up: true,
        }
    }

    /// Applies what the fields say now; returns the errors.
    fn apply(&mut self) -> Vec<String> {
        let backends: Vec<BackendState> =
            self.backends.iter().map(|(address, usage)| backend(*address, *usage)).collect();
        self.service.backends = backends.iter().map(|state| Arc::clone(&state.backend)).collect();
        let service = ServiceDesired {
            service: Arc::new(self.service.clone()),
            up: self.up,
            protected: false,
            backends,
        };
        let desired = Desired {
            services: [(self.service.name.clone(), Arc::new(service))].into(),
            ..Desired::default()
        };
        self.apply_desired(&desired)
    }

    fn apply_desired(&mut self, desired: &Desired) -> Vec<String> {
        let mut errors = Vec::new();
        for change in self.tables.apply(desired) {
            match change {
                Change::Made { cell, .. } => errors.extend(self.workers.apply(&cell)),
                Change::Removed(cell) => self.workers.remove(&cell.name),
            }
        }
        errors
    }

    fn serve(mut self) -> Self {
        assert_eq!(self.apply(), Vec::<String>::new());
        self
    }

    fn vip(&self) -> SocketAddr {
        SocketAddr::new(self.service.vips[0], self.service.ports.first)
    }

    fn stats(&self) -> ServiceStats {
        self.tables.services().next().unwrap().observed(Vec::new()).stats
    }

    fn client(&self) -> UdpSocket {
        client_of(self.vip())
    }

    /// Waits until the counters are as they should be.
    fn until(&self, what: &str, right: impl Fn(&ServiceStats) -> bool) {
        wait_for(what, || right(&self.stats()));
    }
}

#[allow(clippy::disallowed_methods)] // Real sockets need the real time.
fn wait_for(what: &str, right: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !right() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn backend(address: BackendAddress, usage: BackendUse) -> BackendState {
    let backend = Backend {
        name: BackendName::new(&format!("{address:?}")),
        address,
        weight: Weight::ONE,
        backup: false,
        drain: false,
    };
    BackendState { backend: Arc::new(backend), usage, weight: 100 }
}

/// A socket that takes datagrams from `vip` only, so that a reply from any other address is a failure.
fn client_of(vip: SocketAddr) -> UdpSocket {
    let any: IpAddr = if vip.is_ipv4() { "127.0.0.1".parse().unwrap() } else { "::1".parse().unwrap() };
    let socket = UdpSocket::bind((any, 0)).unwrap();
    socket.connect(vip).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 65_536];
    let length = socket.recv(&mut buffer).unwrap();
    buffer.truncate(length);
    buffer
}

fn ask(socket: &UdpSocket, question: &[u8]) -> Vec<u8> {
    socket.send(question).unwrap();
    receive(socket)
}

/// Whether nothing comes, for a while.
fn is_silent(socket: &UdpSocket) -> bool {
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let silent = socket.recv(&mut [0; 100]).is_err();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    silent
}

/// Whether the kernel says that nobody listens, at the latest with one of several datagrams.
fn is_refused(socket: &UdpSocket) -> bool {
    (0..100).any(|_| {
        let error = socket.send(b"?").and_then(|_| {
            socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            socket.recv(&mut [0; 100])
        });
        error.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    })
}

/// Whether an answer comes to one of some datagrams: one may be lost to a port that is about to be closed.
fn is_answered(socket: &UdpSocket) -> bool {
    socket.set_read_timeout(Some(PATIENCE / 20)).unwrap();
    (0..20).any(|_| socket.send(b"x").and_then(|_| socket.recv(&mut [0; 10])).is_ok())
}

#[test]
fn tokens_survive_packing() {
    for token in [
        Token::Wake,
        Token::Listener(0),
        Token::Listener(123_456),
        Token::Session { service: 0, id: 0 },
        Token::Session { service: 4_999, id: 0xffff_fffe },
    ] {
        assert_eq!(Token::unpack(token.pack()), token);
    }
}

#[test]
fn replies_come_from_the_vip() {
    let server = Server::start("a:");
    let lab = Lab::new(&[&server]).serve();
    let client = lab.client();
    assert_eq!(ask(&client, b"one"), b"a:one");
    assert_eq!(ask(&client, b"two"), b"a:two");
    lab.until("counted", |stats| stats.datagrams_out == 2);
    let stats = lab.stats();
    assert_eq!((stats.accepted, stats.connections, stats.datagrams_in), (1, 1, 2));
    assert_eq!((stats.bytes_in, stats.bytes_out, stats.datagrams_dropped), (6, 10, 0));
}

#[test]
fn ipv6_and_ipv4_in_front_of_either() {
    let (four, six) = (Server::start("4:"), Server::at("6:", "[::1]:0".parse().unwrap()));
    let free = UdpSocket::bind("[::1]:0").unwrap().local_addr().unwrap();
    let mut lab = Lab::new(&[&four, &six]);
    lab.service.vips.push(free.ip());
    lab.service.ports = PortRange::single(free.port());
    let lab = lab.serve();
    let mut answers = Vec::new();
    for vip in lab.service.vips.clone() {
        for _ in 0..2 {
            answers.push(ask(&client_of(SocketAddr::new(vip, free.port())), b"x"));
        }
    }
    answers.sort();
    assert_eq!(answers, [b"4:x", b"4:x", b"6:x", b"6:x"]);
}

#[test]
fn idle_sessions_end() {
    let server = Server::start("a:");
    let mut lab = Lab::new(&[&server]);
    lab.service.udp.idle = Duration::from_millis(50);
    let lab = lab.serve();
    let client = lab.client();
    assert_eq!(ask(&client, b"x"), b"a:x");
    lab.until("idle", |stats| stats.connections == 0 && stats.timed_out == 1);
    assert_eq!(ask(&client, b"y"), b"a:y");
    assert_eq!(lab.stats().accepted, 2);
}

#[test]
fn a_shorter_idle_time_reaches_old_sessions() {
    let server = Server::start("a:");
    let mut lab = Lab::new(&[&server]).serve();
    let (old, other) = (lab.client(), lab.client());
    assert_eq!(ask(&old, b"x"), b"a:x");
    assert_eq!(ask(&other, b"y"), b"a:y");
    lab.service.udp.idle = Duration::from_millis(30);
    assert_eq!(lab.apply(), Vec::<String>::new());
    lab.until("idle", |stats| stats.connections == 0);
}

#[test]
fn the_session_idle_longest_makes_room() {
    let server = Server::start("a:");
    let mut lab = Lab::new(&[&server]);
    lab.service.udp.sessions = 4;
    let lab = lab.serve();
    let clients: Vec<UdpSocket> = (0..10).map(|_| lab.client()).collect();
    for client in &clients {
        assert_eq!(ask(client, b"x"), b"a:x");
        assert!(lab.stats().connections <= 4);
    }
    lab.until("evicted", |stats| (stats.connections, stats.sessions_evicted, stats.accepted) == (4, 6, 10));
    // The last four still have theirs; the first has not, and gets another.
    assert_eq!(ask(&clients[6], b"y"), b"a:y");
    assert_eq!(lab.stats().accepted, 10);
    assert_eq!(ask(&clients[0], b"y"), b"a:y");
    assert_eq!(lab.stats().accepted, 11);
}

#[test]
fn sessions_end_with_their_last_reply() {
    let server = Server::start("a:");
    let mut lab = Lab::new(&[&server]);
    lab.service.udp.responses = Some(1);
    let lab = lab.serve();
    let client = lab.client();
    // Two questions from one port, as resolvers ask for A and AAAA: both are answered.
    for _ in 0..50 {
        client.send(b"x").unwrap();
        client.send(b"y").unwrap();
        assert_eq!([receive(&client), receive(&client)], [b"a:x", b"a:y"]);
    }
    lab.until("ended", |stats| stats.connections == 0);
    assert_eq!(lab.stats().timed_out, 0);
}

#[test]
fn thousands_of_datagrams_each_find_their_client() {
    let (a, b) = (Server::start("a:"), Server::start("b:"));
    let lab = Lab::with_workers(&[&a, &b], 2).serve();
    let clients: Vec<UdpSocket> = (0..100).map(|_| lab.client()).collect();
    for round in 0..60_u32 {
        // All send before any reads, so that batches are full; few enough for the smallest buffers.
        for (number, client) in clients.iter().enumerate() {
            client.send(format!("{number}/{round}").as_bytes()).unwrap();
        }
        for (number, client) in clients.iter().enumerate() {
            let answer = String::from_utf8(receive(client)).unwrap();
            assert_eq!(answer.split_once(':').unwrap().1, format!("{number}/{round}"));
        }
    }
    lab.until("counted", |stats| stats.datagrams_out == 6_000);
    let stats = lab.stats();
    assert_eq!((stats.datagrams_in, stats.accepted, stats.datagrams_dropped), (6_000, 100, 0));
}

#[test]
fn a_burst_of_one_client_keeps_its_order() {
    let server = Server::start("a:");
    let lab = Lab::new(&[&server]).serve();
    let client = lab.client();
    for burst in 0..20_u32 {
        for number in 0..100_u32 {
            client.send(format!("{burst}/{number}").as_bytes()).unwrap();
        }
        for number in 0..100_u32 {
            assert_eq!(receive(&client), format!("a:{burst}/{number}").as_bytes());
        }
    }
}

#[test]
fn the_longest_and_the_empty_datagram_pass() {
    let server = Server::start("");
    let lab = Lab::new(&[&server]).serve();
    let client = lab.client();
    let longest: Vec<u8> = (0..65_507_u32).map(|n| n.to_le_bytes()[0]).collect();
    assert_eq!(ask(&client, &longest), longest);
    assert_eq!(ask(&client, b""), b"");
    assert_eq!(ask(&client, b"x"), b"x");
}

#[test]
fn a_datagram_too_long_with_its_header_is_dropped_alone() {
    let server = Server::start("");
    let mut lab = Lab::new(&[&server]);
    lab.service.proxy_protocol.send = Some(ProxyProtocolVersion::V2);
    let lab = lab.serve();
    let client = lab.client();
    client.send(&[7; 65_507]).unwrap();
    assert!(ask(&client, b"x").ends_with(b"x"));
    assert_eq!(lab.stats().datagrams_dropped, 1);
}

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

#[test]
fn limits_refuse_new_sessions_only() {
    let server = Server::start("a:");
    let mut lab = Lab::new(&[&server]);
    lab.service.limits.connections_per_client = Some(2);
    let lab = lab.serve();
    let clients: Vec<UdpSocket> = (0..3).map(|_| lab.client()).collect();
    assert_eq!(ask(&clients[0], b"x"), b"a:x");
    assert_eq!(ask(&clients[1], b"x"), b"a:x");
    clients[2].send(b"x").unwrap();
    assert!(is_silent(&clients[2]));
    assert_eq!(ask(&clients[0], b"y"), b"a:y");
    let stats = lab.stats();
    assert_eq!((stats.refused_limit, stats.datagrams_dropped, stats.connections), (1, 1, 2));
}

#[test]
fn rates_and_sources_refuse_too() {
    let server = Server::start("a:");
    let mut lab = Lab::new(&[&server]);
    lab.service.limits.rate = Some(Rate { per_second: 1, burst: 1 });
    let mut lab = lab.serve();
    let (first, second) = (lab.client(), lab.client());
    assert_eq!(ask(&first, b"x"), b"a:x");
    second.send(b"x").unwrap();
    lab.until("rate", |stats| stats.refused_rate == 1);
    lab.service.sources = vec!["192.0.2.0/24".parse().unwrap()];
    lab.apply();
    second.send(b"x").unwrap();
    lab.until("source", |stats| stats.refused_source == 1);
    assert_eq!(ask(&first, b"y"), b"a:y", "a session lives by the rules it began with");
}

#[test]
fn each_datagram_has_a_header_in_front() {
    let server = Server::start("");
    let mut lab = Lab::new(&[&server]);
    lab.service.proxy_protocol.send = Some(ProxyProtocolVersion::V2);
    let lab = lab.serve();
    let client = lab.client();
    for payload in [b"one".as_slice(), b"two", b""] {
        let seen = ask(&client, payload);
        let (length, endpoints) = decode_datagram(&seen).unwrap();
        let expected = Endpoints { source: client.local_addr().unwrap(), destination: lab.vip() };
        assert_eq!((endpoints, &seen[length..]), (Some(expected), payload));
    }
}

#[test]
fn headers_are_taken_from_listed_sources_only() {
    let server = Server::start("");
    let mut lab = Lab::new(&[&server]);
    lab.service.proxy_protocol.receive_from = vec!["127.0.0.1/32".parse().unwrap()];
    lab.service.proxy_protocol.send = Some(ProxyProtocolVersion::V2);
    lab.service.sources = vec!["192.0.2.0/24".parse().unwrap(), "127.0.0.2/32".parse().unwrap()];
    let lab = lab.serve();
    let front = lab.client();
    let ends = |source: &str| Endpoints {
        source: source.parse().unwrap(),
        destination: "198.51.100.1:53".parse().unwrap(),
    };
    let with_header = |ends, payload: &[u8]| {
        [&encode(ProxyProtocolVersion::V2, Transport::Datagram, Some(ends)), payload].concat()
    };
    // A listed source speaks for its clients, even for two by one port, and they are what is judged.
    for client in ["192.0.2.1:1000", "192.0.2.2:1000"] {
        let seen = ask(&front, &with_header(ends(client), b"x"));
        assert_eq!(seen, with_header(ends(client), b"x"));
    }
    front.send(&with_header(ends("203.0.113.1:1000"), b"x")).unwrap();
    lab.until("source", |stats| stats.refused_source == 1);
    // Hostile or missing headers.
    let good = with_header(ends("192.0.2.1:1000"), b"");
    for wrong in [b"x".as_slice(), b"", &good[..20], b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\nx", &[b'\r'; 600]] {
        front.send(wrong).unwrap();
    }
    lab.until("headers", |stats| stats.refused_proxy_header == 5);
    assert!(is_silent(&front));
    // Who is not listed is not believed: its header is a payload.
    let other = UdpSocket::bind("127.0.0.2:0").unwrap();
    other.connect(lab.vip()).unwrap();
    other.set_read_timeout(Some(PATIENCE)).unwrap();
    let sent = with_header(ends("192.0.2.1:1000"), b"x");
    let own = Endpoints { source: other.local_addr().unwrap(), destination: lab.vip() };
    assert_eq!(ask(&other, &sent), with_header(own, &sent));
}

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
            let desired =
                ServiceDesired { service: Arc::new(service.clone()), up: true, protected: false, backends };
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
    lab.workers = UdpWorkers::new(Arc::clone(&lab.workers.shared), 4 * 1100, None);
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
    lab.workers = UdpWorkers::new(shared(1), 4 * 10, None);
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
    lab.workers = UdpWorkers::new(Arc::clone(&shared), 1000, None);
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
    lab.workers = UdpWorkers::new(Arc::clone(&shared), 1000, None);
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

#[test]
fn ended_sessions_are_logged() {
    let server = Server::start("a:");
    let (sender, records) = std::sync::mpsc::channel();
    let mut lab = Lab::new(&[&server]);
    let queue = LogQueue::start(move |record| sender.send(record.clone()).unwrap()).unwrap();
    lab.workers = UdpWorkers::new(shared(1), 1000, Some(queue));
    lab.service.log = Some(ConnectionLog { sample: 1, lines_per_second: 100 });
    lab.service.udp.responses = Some(1);
    let lab = lab.serve();
    let client = lab.client();
    assert_eq!(ask(&client, b"x"), b"a:x");
    let record = records.recv_timeout(PATIENCE).unwrap();
    assert_eq!((record.client, record.vip), (client.local_addr().unwrap(), lab.vip()));
    assert_eq!(record.backend.unwrap().1, server.address);
    assert_eq!((record.bytes_in, record.bytes_out), (1, 3));
    assert_eq!((record.protocol, record.end), (Protocol::Udp, crate::connection_log::End::Closed));
}

/// Fails as the system might: the descriptor is none that can be waited on.
#[test]
fn a_worker_that_cannot_wait_for_datagrams_tells_that_it_has_ended() {
    let shared = shared(1);
    let wake = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap());
    let (_commands, receiver) = channel();
    let mut worker = Worker::new(0, Arc::clone(&shared), wake, receiver, None).unwrap();
    worker.epoll = std::fs::File::open("/dev/null").unwrap().into();
    shared.spawn("udp-0".to_owned(), move || worker.run()).unwrap().join().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(shared.ended.notified());
}

#[test]
fn a_batch_is_received_and_sent_in_order() {
    use std::os::fd::AsFd;
    let (from, to) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    let mut batch = Batch::new();
    for number in 0..100_u8 {
        from.send_to(&[number; 3], to.local_addr().unwrap()).unwrap();
    }
    assert_eq!(batch.receive(to.as_fd(), 0, BATCH).unwrap(), BATCH);
    assert_eq!((batch.payload(63), batch.source(63)), ([63; 3].as_slice(), from.local_addr().ok()));
    assert_eq!(batch.receive(to.as_fd(), 10, BATCH).unwrap(), 36, "slots 10 to 45");
    assert_eq!((batch.payload(10), batch.payload(45)), ([64; 3].as_slice(), [99; 3].as_slice()));
    assert_eq!(batch.payload(9), [9; 3], "not touched");
    assert_eq!(batch.receive(to.as_fd(), 0, BATCH).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    let outgoing: Vec<_> =
        (10..20).map(|slot| super::sys::Outgoing { slot, skip: 1, to: from.local_addr().ok() }).collect();
    assert_eq!(batch.send(to.as_fd(), b"head", &outgoing).unwrap(), 10);
    for number in 64..74 {
        assert_eq!(receive(&from), [b"head".as_slice(), &[number; 2]].concat());
    }
}
