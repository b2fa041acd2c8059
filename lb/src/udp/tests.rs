use super::sys::{BATCH, Batch};
use super::token::Token;
use super::*;
use crate::balance::Seed;
use crate::proxy_protocol::{Endpoints, Transport, decode_datagram, encode};
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

mod backends;
mod limits;
mod listeners;
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
    let shared = Shared::new(workers).unwrap();
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
            workers: UdpWorkers::new(shared(count), 1000, None, crate::Sockets::default()),
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
            sources: vec![],
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
        disabled: false,
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
fn ended_sessions_are_logged() {
    let server = Server::start("a:");
    let (sender, records) = std::sync::mpsc::channel();
    let mut lab = Lab::new(&[&server]);
    let queue = LogQueue::start(move |record| sender.send(record.clone()).unwrap()).unwrap();
    lab.workers = UdpWorkers::new(shared(1), 1000, Some(queue), crate::Sockets::default());
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
    let mut worker = Worker::new(0, Arc::clone(&shared), wake, receiver, Arc::default(), None).unwrap();
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
