//! A frame in, a frame out: checks leave to the VIP, answers from the VIP come in as the backend's. As root.
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

use fulcrum_ebpf::layout::Checked;
use fulcrum_ebpf::plane::Verdict;
use fulcrum_ebpf::{Checks, Mode};
use packets::{ACK, Packet, SYN, tcp, udp};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;

/// Of a check for the first VIP, and of one for the second.
const PRIORITIES: [u32; 2] = [0x1234_5670, 0x89ab_cde0];
/// What a check has left at first.
const HOPS: u8 = 8;

fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().expect("runs");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A node and its neighbours, for one family.
struct Node {
    checks: Checks,
    interface: u32,
    vips: [IpAddr; 2],
    backends: [IpAddr; 2],
    node: IpAddr,
}

impl Node {
    fn new(of: impl Fn(u8) -> IpAddr) -> Self {
        let (vips, backends) = ([of(100), of(101)], [of(21), of(22)]);
        let mut checks = Checks::load(Mode::Auto).expect("the kernel takes it; as root");
        let wanted = backends.iter().flat_map(|backend| {
            PRIORITIES.iter().zip(vips).map(|(priority, vip)| (Checked::new(*backend, *priority), vip))
        });
        checks.set_checked(&wanted.collect()).unwrap();
        let shown = ip("-o link show eth0");
        let interface = shown.split(':').next().unwrap().parse().unwrap();
        Self { checks, interface, vips, backends, node: of(11) }
    }

    fn ask(&mut self, priority: u32, packet: &Packet) -> Packet {
        let frame = packet.frame();
        let (verdict, out) = self.checks.try_ask(self.interface, priority, &frame).unwrap();
        assert_eq!(verdict, Verdict::Pass);
        assert_eq!(out[..14], frame[..14], "the MACs are those of before");
        Packet::read(&out)
    }

    fn answer(&mut self, packet: &Packet) -> Packet {
        let (verdict, out) = self.checks.try_answer(self.interface, &packet.frame()).unwrap();
        assert_eq!(verdict, Verdict::Pass);
        Packet::read(&out)
    }

    fn counted(&self) -> Vec<u64> {
        self.checks.counters().into_iter().map(|(_, count)| count).collect()
    }
}

/// Runs `test` for each family, in a network namespace that goes with the thread.
fn on_a_node(test: impl Fn(Node) + Sync) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            #[allow(deprecated, reason = "the files of this thread stay as they are")]
            rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNET).expect("a namespace; as root");
            ip("link add eth0 address 02:00:00:00:00:01 type veth peer name peer0");
            ip("link set eth0 up");
            test(Node::new(|number| IpAddr::from([10, 0, 0, number])));
            test(Node::new(|number| IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(number)])));
        });
        thread.join().expect("no panic");
    });
}

fn at(ip: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(ip, port)
}

#[test]
fn a_check_leaves_to_its_vip_and_the_answer_comes_in_as_the_backends() {
    on_a_node(|mut node| {
        let (asked, own) = (at(node.backends[0], 80), at(node.node, 40_000));
        for (priority, vip) in PRIORITIES.into_iter().zip(node.vips) {
            for out in [tcp(own, asked, SYN, b""), tcp(own, asked, ACK, b"GET"), udp(own, asked, b"odd")] {
                let sent = node.ask(priority, &out);
                assert_eq!((sent.from, sent.to, sent.ttl), (own, at(vip, 80), HOPS));
                assert_eq!(sent.segment.len(), out.segment.len());
            }
            for answer in [tcp(at(vip, 80), own, SYN | ACK, b""), udp(at(vip, 80), own, b"even")] {
                let heard = node.answer(&answer);
                assert_eq!((heard.from, heard.to, heard.ttl), (asked, own, answer.ttl));
            }
        }
        assert_eq!(node.counted(), [6, 4, 0]);
    });
}

#[test]
fn a_datagram_without_a_checksum_goes_on_without_one() {
    on_a_node(|mut node| {
        if node.node.is_ipv6() {
            return;
        }
        let mut packet = udp(at(node.node, 40_000), at(node.backends[0], 53), b"?");
        packet.segment[6..8].fill(0);
        let sent = node.ask(PRIORITIES[0], &packet);
        assert_eq!((sent.to, &sent.segment), (at(node.vips[0], 53), &packet.segment));
    });
}

#[test]
fn a_port_asks_one_backend_after_another() {
    on_a_node(|mut node| {
        let own = at(node.node, 40_000);
        for backend in [node.backends[0], node.backends[1], node.backends[0]] {
            node.ask(PRIORITIES[0], &tcp(own, at(backend, 80), SYN, b""));
            let heard = node.answer(&tcp(at(node.vips[0], 80), own, SYN | ACK, b""));
            assert_eq!(heard.from, at(backend, 80));
        }
    });
}

#[test]
fn what_is_no_check_leaves_as_it_is() {
    on_a_node(|mut node| {
        let (asked, own) = (at(node.backends[0], 80), at(node.node, 40_000));
        for (priority, to) in [(0, asked), (6, asked), (PRIORITIES[0], at(node.node, 80))] {
            let packet = tcp(own, to, SYN, b"");
            let sent = node.ask(priority, &packet);
            assert_eq!((sent.to, sent.ttl), (packet.to, packet.ttl), "priority {priority}");
        }
        // A backend that is checked no more.
        node.checks.set_checked(&BTreeMap::new()).unwrap();
        assert_eq!(node.ask(PRIORITIES[0], &tcp(own, asked, SYN, b"")).to, asked);
        assert_eq!(node.counted(), [0, 0, 0]);
    });
}

#[test]
fn what_answers_no_check_comes_in_as_it_is() {
    on_a_node(|mut node| {
        let (vip, own) = (at(node.vips[0], 80), at(node.node, 40_000));
        let unasked = tcp(vip, own, SYN | ACK, b"");
        assert_eq!(node.answer(&unasked).from, vip, "nobody asked");
        node.ask(PRIORITIES[0], &tcp(own, at(node.backends[0], 80), SYN, b""));
        let others = [
            (tcp(vip, at(node.node, 40_001), ACK, b""), "another port of this node"),
            (tcp(at(node.vips[0], 81), own, ACK, b""), "another port of the VIP"),
            (tcp(at(node.vips[1], 80), own, ACK, b""), "another VIP"),
            (tcp(vip, at(node.backends[1], 40_000), ACK, b""), "another node"),
            (udp(vip, own, b""), "another protocol"),
        ];
        for (packet, what) in others {
            assert_eq!(node.answer(&packet).from, packet.from, "{what}");
        }
        let mut to_another_machine = unasked.frame();
        to_another_machine[5] = 77;
        let (_, heard) = node.checks.try_answer(node.interface, &to_another_machine).unwrap();
        assert_eq!(Packet::read(&heard).from, vip, "to another machine's MAC");
        assert_eq!(node.answer(&unasked).from, at(node.backends[0], 80));
        assert_eq!(node.counted(), [1, 1, 0]);
    });
}

#[test]
fn pieces_and_frames_cut_short_are_left_alone() {
    on_a_node(|mut node| {
        let (asked, own, vip) = (at(node.backends[0], 80), at(node.node, 40_000), at(node.vips[0], 80));
        node.ask(PRIORITIES[0], &tcp(own, asked, SYN, b""));
        if node.node.is_ipv4() {
            for fragment in [0x2000, 0x2001, 0x0001] {
                let piece = Packet { fragment, ..tcp(vip, own, ACK, b"a piece") };
                let (_, out) = node.checks.try_answer(node.interface, &piece.frame()).unwrap();
                assert_eq!(out, piece.frame());
            }
        }
        // The kernel tries no frame without a whole IP header.
        let (least, ports) = if node.node.is_ipv4() { (34, 38) } else { (54, 58) };
        let frame = tcp(vip, own, ACK, b"").frame();
        for length in least..ports {
            let (verdict, out) = node.checks.try_answer(node.interface, &frame[..length]).unwrap();
            assert_eq!((verdict, &out[..]), (Verdict::Pass, &frame[..length]), "{length} bytes");
        }
    });
}
