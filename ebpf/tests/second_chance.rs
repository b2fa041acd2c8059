//! A frame in, a verdict out: what is this node's stays here, what is not goes to the node that finishes. As root.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a test"
)]

#[allow(dead_code, reason = "others need more of it")]
#[path = "forward/packets.rs"]
mod packets;

use fulcrum_ebpf::layout::Finisher;
use fulcrum_ebpf::plane::Verdict;
use fulcrum_ebpf::{Mode, SecondChance};
use packets::{ACK, FIN, Packet, RST, SYN, tcp, udp};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;

const VIPS: [&str; 2] = ["10.0.0.100", "fd00::100"];
const CLIENTS: [&str; 2] = ["10.0.0.7", "fd00::7"];
const PEERS: [&str; 2] = ["10.0.0.12", "fd00::12"];

fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().expect("runs");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A node that leads after another one, for one family.
struct Node {
    second: SecondChance,
    interface: u32,
    vip: IpAddr,
    client: SocketAddr,
    /// Where this node listens.
    service: SocketAddr,
    /// A connection of this node.
    known: SocketAddr,
    _sockets: (TcpListener, TcpStream, TcpStream),
}

impl Node {
    fn new(family: usize) -> Self {
        let vip: IpAddr = VIPS[family].parse().unwrap();
        let listener = TcpListener::bind((vip, 0)).unwrap();
        let service = listener.local_addr().unwrap();
        let accepted = TcpStream::connect(service).unwrap();
        let (served, _) = listener.accept().unwrap();
        let known = accepted.local_addr().unwrap();
        let shown = ip("-o link show eth0");
        let interface = shown.split(':').next().unwrap().parse().unwrap();
        let mut second = SecondChance::load(Mode::Auto).expect("the kernel takes it; as root");
        second.set_finishers(&finishers(interface, family)).unwrap();
        let client = SocketAddr::new(CLIENTS[family].parse().unwrap(), 40_000);
        Self { second, interface, vip, client, service, known, _sockets: (listener, accepted, served) }
    }

    fn verdict(&mut self, packet: &Packet) -> Verdict {
        self.second.try_frame(self.interface, &packet.frame()).unwrap().verdict
    }

    fn counted(&self) -> Vec<u64> {
        self.second.counters().into_iter().map(|(_, count)| count).collect()
    }
}

fn finishers(interface: u32, family: usize) -> BTreeMap<IpAddr, Finisher> {
    let finisher = Finisher::new(interface, PEERS[family].parse().unwrap(), false);
    BTreeMap::from([(VIPS[family].parse().unwrap(), finisher)])
}

/// Runs `test` for each family, in a network namespace that goes with the thread.
fn on_a_node(test: impl Fn(Node) + Sync) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            #[allow(deprecated, reason = "the files of this thread stay as they are")]
            rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNET).expect("a namespace; as root");
            ip("link set lo up");
            ip("link add eth0 address 02:00:00:00:00:01 type veth peer name peer0");
            ip("link set eth0 up");
            ip("link set peer0 up");
            ip("addr add 10.0.0.100/32 dev lo");
            ip("addr add fd00::100/128 dev lo nodad");
            (0..VIPS.len()).for_each(|family| test(Node::new(family)));
        });
        thread.join().expect("no panic");
    });
}

#[test]
fn packets_of_connections_that_nobody_here_has_go_to_who_finishes_them() {
    on_a_node(|mut node| {
        for flags in [ACK, ACK | FIN, RST, SYN | ACK] {
            let packet = tcp(node.client, node.service, flags, b"of another node");
            let tried = node.second.try_frame(node.interface, &packet.frame()).unwrap();
            assert_eq!(tried.verdict, Verdict::Redirect, "flags {flags}");
            // One hop more, and every checksum is right.
            let passed = Packet::read(&tried.frame);
            assert_eq!((passed.ttl, passed.segment), (packet.ttl - 1, packet.segment));
        }
        assert_eq!(node.counted(), [4, 0]);
    });
}

#[test]
fn what_is_this_node_s_stays_here() {
    on_a_node(|mut node| {
        let (client, service) = (node.client, node.service);
        assert_eq!(node.verdict(&tcp(client, service, SYN, b"")), Verdict::Pass, "a new connection");
        let known = tcp(node.known, service, ACK, b"of this node");
        assert_eq!(node.verdict(&known), Verdict::Pass, "its own connection");
        assert_eq!(node.verdict(&udp(client, service, b"?")), Verdict::Pass, "not TCP");
        let elsewhere = SocketAddr::new(PEERS[usize::from(node.vip.is_ipv6())].parse().unwrap(), 80);
        assert_eq!(node.verdict(&tcp(client, elsewhere, ACK, b"")), Verdict::Pass, "not to a VIP");
        let mut to_another_machine = tcp(client, service, ACK, b"").frame();
        to_another_machine[5] = 77;
        let tried = node.second.try_frame(node.interface, &to_another_machine).unwrap();
        assert_eq!(tried.verdict, Verdict::Pass, "to another machine's MAC");
        assert_eq!(node.counted(), [0, 0]);
    });
}

#[test]
fn nobody_gets_anything_once_nobody_finishes() {
    on_a_node(|mut node| {
        let packet = tcp(node.client, node.service, ACK, b"");
        assert_eq!(node.verdict(&packet), Verdict::Redirect);
        node.second.set_finishers(&BTreeMap::new()).unwrap();
        assert_eq!(node.verdict(&packet), Verdict::Pass);
        node.second.set_finishers(&finishers(node.interface, usize::from(node.vip.is_ipv6()))).unwrap();
        assert_eq!(node.verdict(&packet), Verdict::Redirect);
    });
}

#[test]
fn a_packet_is_not_sent_back_and_forth_for_ever() {
    on_a_node(|mut node| {
        let packet = tcp(node.client, node.service, ACK, b"");
        assert_eq!(node.verdict(&packet.clone().with_ttl(2)), Verdict::Redirect);
        assert_eq!(node.verdict(&packet.with_ttl(1)), Verdict::Drop);
        assert_eq!(node.counted(), [1, 1]);
    });
}

#[test]
fn what_the_last_one_gets_it_passes_on_no_more() {
    on_a_node(|mut node| {
        let family = usize::from(node.vip.is_ipv6());
        let last = Finisher::new(node.interface, PEERS[family].parse().unwrap(), true);
        node.second.set_finishers(&BTreeMap::from([(node.vip, last)])).unwrap();
        let packet = tcp(node.client, node.service, ACK, b"of the new leader");
        let tried = node.second.try_frame(node.interface, &packet.frame()).unwrap();
        assert_eq!(tried.verdict, Verdict::Redirect);
        let passed = Packet::read(&tried.frame);
        assert_eq!((passed.ttl, &passed.segment), (1, &packet.segment));
        assert_eq!(node.verdict(&passed), Verdict::Drop, "if it is not its own");
        let known = tcp(node.known, node.service, ACK, b"").with_ttl(1);
        assert_eq!(node.verdict(&known), Verdict::Pass);
    });
}

#[test]
fn frames_cut_short_anywhere_pass() {
    on_a_node(|mut node| {
        let frame = tcp(node.client, node.service, ACK, b"").frame();
        // The kernel tries no frame without a whole IP header.
        let least = if node.vip.is_ipv4() { 34 } else { 54 };
        for length in least..frame.len() {
            let tried = node.second.try_frame(node.interface, &frame[..length]).unwrap();
            assert_eq!(tried.verdict, Verdict::Pass, "{length} bytes");
        }
    });
}
