//! Prints how many packets of 64 bytes one processor forwards in a second: by the forwarding plane, native XDP and tcx, beside
//! nftables. As root, in network namespaces of its own.
//!
//! ```text
//! sender 10.1.0.7 eth0 ── c0 10.1.0.2  node  10.2.0.2 b0 ── eth0 backend 10.2.0.9
//! ```
//!
//! A program at the sender's end makes the frames (`c/tests/packets.c`), which come in at `c0` as they would from a driver: the
//! kernel has made no packet of them yet. The backend's end drops them by their MAC. Subjects take turns; sender, node and
//! backend share the processor, so the times of a packet have all three in them, and `dropped` is what is not the node's.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "an example"
)]

use aya::Ebpf;
use aya::maps::Array;
use aya::programs::{TestRun, TestRunAttrs, TestRunOptions, Xdp};
use fulcrum_ebpf::layout::{Group, State};
use fulcrum_ebpf::plane::layout::{
    Backend, Class, Endpoint, Hop, Service, ServiceMode, Settings, Slots, Transport,
};
use fulcrum_ebpf::{Fence, Mode, Plane};
use std::fs::File;
use std::net::SocketAddr;
use std::process::Command;

const SENDER: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/packets.o"));
const FRAMES: u32 = 200_000;
const ROUNDS: usize = 7;
const MAC: &str = "02:00:00:00:00:01";
const NAT: &str = "10.1.0.100:80";
const DSR: &str = "10.1.0.101:80";
const BY_NFTABLES: &str = "10.1.0.102:80";
const BACKEND: &str = "10.2.0.9:80";
/// The MACs of the node's end, of nobody, and of the sender.
const NODE: [u8; 6] = [2, 0, 0, 0, 0, 1];
const NOBODY: [u8; 6] = [2, 0, 0, 0, 0, 9];
const CLIENT: [u8; 6] = [2, 0, 0, 0, 0, 7];

fn run(words: &str) -> String {
    let mut split = words.split_whitespace();
    let output = Command::new(split.next().expect("a program")).args(split).output().expect("runs");
    assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Three namespaces, removed with it.
struct Scene {
    names: [String; 3],
}

impl Scene {
    fn new() -> Self {
        let scene = Self {
            names: ["sender", "node", "backend"].map(|name| format!("fp{}-{name}", std::process::id())),
        };
        let [sender, node, backend] = &scene.names;
        for name in &scene.names {
            run(&format!("ip netns add {name}"));
        }
        for (far, near, at) in [(sender, "c0", "10.1.0.2/24"), (backend, "b0", "10.2.0.2/24")] {
            run(&format!("ip link add eth0 netns {far} type veth peer name {near} netns {node}"));
            run(&format!("ip -n {node} address add {at} dev {near}"));
            for (name, end) in [(far, "eth0"), (node, near)] {
                run(&format!("ip -n {name} link set {end} up"));
                // What a program sends is taken only by an end that polls.
                for (offload, on) in [("tx", "off"), ("tso", "off"), ("gso", "off"), ("gro", "on")] {
                    run(&format!("ip netns exec {name} ethtool -K {end} {offload} {on}"));
                }
            }
        }
        run(&format!("ip -n {node} link set c0 address {MAC}"));
        run(&format!("ip -n {node} neighbour add 10.2.0.9 lladdr 02:00:00:00:00:09 dev b0"));
        run(&format!("ip -n {backend} link set lo up"));
        run(&format!("ip netns exec {node} sysctl -qw net.ipv4.ip_forward=1"));
        scene
    }

    /// This thread goes there.
    fn enter(&self, place: usize) {
        let file = File::open(format!("/run/netns/{}", self.names[place])).expect("a namespace");
        rustix::thread::move_into_link_name_space(
            std::os::fd::AsFd::as_fd(&file),
            Some(rustix::thread::LinkNameSpaceType::Network),
        )
        .expect("entered");
    }

    fn delivered(&self) -> u64 {
        let words = format!("ip netns exec {} cat /sys/class/net/eth0/statistics/rx_packets", self.names[2]);
        run(&words).trim().parse().expect("a number")
    }

    fn index(&self, place: usize, name: &str) -> u32 {
        let shown = run(&format!("ip -n {} -o link show {name}", self.names[place]));
        shown.split(':').next().and_then(|index| index.parse().ok()).expect("an index")
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

/// A datagram of 18 bytes to there.
fn frame(to: SocketAddr, mac: [u8; 6]) -> [u8; 64] {
    let address = match to {
        SocketAddr::V4(to) => to.ip().octets(),
        SocketAddr::V6(_) => [0; 4],
    };
    let mut frame = [0; 64];
    frame[..6].copy_from_slice(&mac);
    frame[6..12].copy_from_slice(&CLIENT);
    frame[12..14].copy_from_slice(&[8, 0]);
    frame[14..24].copy_from_slice(&[0x45, 0, 0, 46, 0, 0, 0x40, 0, 64, 17]);
    frame[26..30].copy_from_slice(&[10, 1, 0, 7]);
    frame[30..34].copy_from_slice(&address);
    let checksum = sum(&frame[14..34], 0);
    frame[24..26].copy_from_slice(&(!checksum).to_be_bytes());
    frame[36..38].copy_from_slice(&to.port().to_be_bytes());
    frame[38..40].copy_from_slice(&26_u16.to_be_bytes());
    // The port and what makes up for it are 0 here, and 0xffff together there, which is the same.
    let checksum = sum(&frame[26..60], 17 + 26);
    frame[40..42].copy_from_slice(&(!checksum).to_be_bytes());
    frame
}

fn sum(bytes: &[u8], more: u32) -> u16 {
    let sum = bytes.chunks(2).fold(more, |sum, two| sum + u32::from(two[0]) * 256 + u32::from(two[1]));
    let sum = (sum & 0xffff) + (sum >> 16);
    u16::try_from((sum & 0xffff) + (sum >> 16)).expect("folded")
}

/// Nanoseconds that this thread and the kernel's thread for what it put off have had the processor: others, who may want
/// it too, do not count.
fn busy() -> f64 {
    let of = |path: String| -> f64 {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.split(' ').next().and_then(|time| time.parse().ok()).unwrap_or_default()
    };
    let is_put_off = |path: &std::path::PathBuf| {
        std::fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim() == "ksoftirqd/0")
    };
    let mut threads = std::fs::read_dir("/proc").expect("there").flatten().map(|entry| entry.path());
    let put_off = threads.find(is_put_off).expect("there");
    of("/proc/thread-self/schedstat".to_owned()) + of(format!("{}/schedstat", put_off.display()))
}

/// Who forwards.
#[derive(Debug, Clone, Copy)]
enum Subject {
    /// Nobody: the node drops what is for another MAC.
    Dropped,
    /// The kernel's routing, without a change of address.
    Routed,
    Nftables,
    Tcx(&'static str),
    Xdp(&'static str),
}

const SUBJECTS: [(&str, Subject); 7] = [
    ("dropped", Subject::Dropped),
    ("routed", Subject::Routed),
    ("nftables DNAT", Subject::Nftables),
    ("nat, tcx", Subject::Tcx(NAT)),
    ("dsr, tcx", Subject::Tcx(DSR)),
    ("nat, XDP", Subject::Xdp(NAT)),
    ("dsr, XDP", Subject::Xdp(DSR)),
];

struct Bench {
    scene: Scene,
    sender: Ebpf,
    plane: Plane,
    node_end: u32,
    backend_end: u32,
    sender_end: u32,
}

impl Bench {
    /// Nanoseconds for each packet that got there, and how many of those that were sent.
    fn measure(&mut self, subject: Subject) -> (f64, f64) {
        let (to, mac) = match subject {
            Subject::Dropped => (BACKEND, NOBODY),
            Subject::Routed => (BACKEND, NODE),
            Subject::Nftables => (BY_NFTABLES, NODE),
            Subject::Tcx(to) | Subject::Xdp(to) => (to, NODE),
        };
        self.scene.enter(1);
        self.plane.retain(|_| false, &[]);
        if matches!(subject, Subject::Tcx(_) | Subject::Xdp(_)) {
            self.plane.attach("c0", self.node_end).expect("attached");
        }
        if matches!(subject, Subject::Xdp(_)) {
            for (name, index) in [("c0", self.node_end), ("b0", self.backend_end)] {
                self.plane.attach_xdp(name, index).expect("attached");
                self.plane.open_xdp(index, NODE).expect("opened");
            }
        }
        let mut made =
            Array::<_, [u8; 64]>::try_from(self.sender.map_mut("frame").expect("there")).expect("an array");
        made.set(0, frame(to.parse().expect("an address"), mac), 0).expect("set");
        self.scene.enter(0);
        self.send(FRAMES / 20);
        let before = self.scene.delivered();
        let begun = busy();
        self.send(FRAMES);
        let took = busy() - begun;
        let delivered = (self.scene.delivered() - before) as f64;
        let counted = if matches!(subject, Subject::Dropped) { f64::from(FRAMES) } else { delivered };
        (took / counted, delivered / f64::from(FRAMES))
    }

    fn send(&mut self, frames: u32) {
        let mut context = [0; 24];
        context[4..8].copy_from_slice(&60_u32.to_ne_bytes());
        context[12..16].copy_from_slice(&self.sender_end.to_ne_bytes());
        let options = TestRunOptions {
            data_in: Some(&[0; 60]),
            ctx_in: Some(&context),
            repeat: frames,
            attrs: TestRunAttrs::new().xdp_live_frames(64),
            ..TestRunOptions::default()
        };
        let program: &mut Xdp =
            self.sender.program_mut("send_frames").expect("there").try_into().expect("XDP");
        program.test_run(options).expect("sent");
    }
}

/// Services at both VIPs, whose one backend is the same.
fn serve(plane: &mut Plane, hop: Hop) {
    let backend: SocketAddr = BACKEND.parse().expect("an address");
    plane.set_settings(Settings::new(*b"one of the seeds", true)).expect("set");
    plane.set_room(Class::Workload, 1000).expect("set");
    for (index, vip, mode) in [(0, NAT, ServiceMode::Nat), (1, DSR, ServiceMode::Dsr)] {
        let vip = vip.parse().expect("an address");
        plane.set_service(index, Service::new(mode, false, false)).expect("set");
        plane.set_backend(1, Backend::new(backend.ip(), backend.port(), true, Some(hop))).expect("set");
        plane.set_current(index, &Slots([1; _])).expect("set");
        plane.set_previous(index, &Slots([1; _])).expect("set");
        plane.set_endpoint(Endpoint::new(vip, Transport::Udp), index).expect("set");
    }
}

fn main() {
    let mut one = rustix::thread::CpuSet::new();
    one.set(0);
    rustix::thread::sched_setaffinity(None, &one).expect("set");
    let scene = Scene::new();
    scene.enter(1);
    let rule = "add table ip rate; add chain ip rate pre { type nat hook prerouting priority dstnat; }; \
                add rule ip rate pre ip daddr 10.1.0.102 udp dport 80 dnat to 10.2.0.9:80";
    assert!(Command::new("nft").arg(rule).status().expect("runs").success(), "nft");
    let mut fence = Fence::load_shared(Mode::Auto).expect("loaded; as root");
    let mut plane = Plane::load(Mode::Auto).expect("loaded");
    let hop = Hop { interface: scene.index(1, "b0"), address: "10.2.0.9".parse().expect("an address") };
    serve(&mut plane, hop);
    fence.set_group(0, Group::new(State::Leading, 1, u64::MAX)).expect("set");
    for vip in [NAT, DSR] {
        fence.set_vip(vip.parse::<SocketAddr>().expect("an address").ip(), 0).expect("room");
    }
    let mut sender = Ebpf::load(SENDER).expect("loaded");
    let program: &mut Xdp = sender.program_mut("send_frames").expect("there").try_into().expect("XDP");
    program.load().expect("loaded");
    let (node_end, backend_end) = (scene.index(1, "c0"), scene.index(1, "b0"));
    let sender_end = scene.index(0, "eth0");
    let mut bench = Bench { scene, sender, plane, node_end, backend_end, sender_end };
    let mut seen = SUBJECTS.map(|_| Vec::new());
    let mut least = SUBJECTS.map(|_| 1.0_f64);
    for round in 1..=ROUNDS {
        eprintln!("round {round}/{ROUNDS}");
        for (place, (_, subject)) in SUBJECTS.into_iter().enumerate() {
            let (time, share) = bench.measure(subject);
            seen[place].push(time);
            least[place] = least[place].min(share);
        }
    }
    let middle = seen.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[ROUNDS / 2]
    });
    println!(
        "{:<16} {:>14} {:>15} {:>12} {:>11} {:>12} {:>10}",
        "", "CPU ns, median", "packets/s/core", "to nftables", "node's part", "to nftables", "delivered"
    );
    for (((name, _), time), share) in SUBJECTS.iter().zip(middle).zip(least) {
        let (ratio, part) = (middle[2] / time, time - middle[0]);
        let of_part = (middle[2] - middle[0]) / part;
        println!(
            "{name:<16} {time:>14.0} {:>15.0} {ratio:>12.2} {part:>11.0} {of_part:>12.2} {share:>10.3}",
            1e9 / time
        );
    }
    bench.scene.enter(1);
    bench.plane.stop();
    fence.stop();
}
