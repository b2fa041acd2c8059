//! Prints what a packet costs in the forwarding plane: nanoseconds by BPF_PROG_TEST_RUN. As root.
//!
//! The kernel does not put the packet back between the runs of one test. So two services rewrite it for each other, to
//! and fro, and each run finds a packet as fresh as the first; only its time to live runs out, after 60 runs. What is
//! printed is the least and the middle of 2,000 means of 60 runs.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    reason = "an example"
)]

use fulcrum_ebpf::layout::{Group, State};
use fulcrum_ebpf::plane::layout::{
    Backend, Class, Endpoint, Hop, Reply, Service, ServiceMode, Settings, Slots, Transport,
};
use fulcrum_ebpf::{Fence, Mode, Plane};
use std::net::{IpAddr, SocketAddr};
use std::process::Command;

const RUNS: u32 = 60;
const ROUNDS: usize = 2_000;

fn run(program: &str, arguments: &str) {
    let status = Command::new(program).args(arguments.split_whitespace()).status().expect("runs");
    assert!(status.success(), "{program} {arguments}");
}

fn frame(from: SocketAddr, to: SocketAddr, flags: u8) -> Vec<u8> {
    let ports = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
    let tcp = [&ports[..], &[0; 8], &[0x50, flags, 0, 0, 0, 0, 0, 0]].concat();
    let macs = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9];
    match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let header = [8, 0, 0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0];
            [&macs[..], &header, &from.octets(), &to.octets(), &tcp].concat()
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let header = [0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, 6, 64];
            [&macs[..], &header, &from.octets(), &to.octets(), &tcp].concat()
        }
        _ => Vec::new(),
    }
}

struct Bench {
    plane: Plane,
    interface: u32,
}

impl Bench {
    /// Service `index` at `vip`, whose one backend is `backend`.
    fn serve(&mut self, index: u16, service: Service, vip: SocketAddr, backend: SocketAddr) {
        let (service_index, backend_index) = (u32::from(index), u32::from(index) + 1);
        let hop = Hop { interface: self.interface, address: backend.ip() };
        self.plane.set_service(service_index, service).expect("set");
        self.plane
            .set_backend(backend_index, Backend::new(backend.ip(), backend.port(), true, Some(hop)))
            .expect("set");
        self.plane.set_endpoint(Endpoint::new(vip, Transport::Tcp), service_index).expect("set");
        self.set_tables(index, index + 1, index + 1);
    }

    fn set_tables(&mut self, index: u16, current: u16, previous: u16) {
        self.plane.set_current(index.into(), &Slots([current; _])).expect("set");
        self.plane.set_previous(index.into(), &Slots([previous; _])).expect("set");
    }

    fn print(&mut self, what: &str, frame: &[u8]) {
        let time =
            |plane: &mut Plane| plane.try_frame(self.interface, frame, RUNS).expect("runs").time.as_nanos();
        let mut times: Vec<u128> = (0..ROUNDS).map(|_| time(&mut self.plane)).collect();
        times.sort_unstable();
        println!(
            "{what:<44} {:>4} ns {:>4} ns",
            times.first().unwrap_or(&0),
            times.get(ROUNDS / 2).unwrap_or(&0)
        );
    }
}

fn main() {
    #[allow(deprecated, reason = "there is one thread")]
    rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNET).expect("a namespace; as root");
    run("ip", "link add eth0 type veth peer name peer0");
    run("ip", "link set eth0 address 02:00:00:00:00:01 up");
    run("ip", "link set peer0 up");
    run("ip", "address add 10.0.0.2/24 dev eth0");
    run("ip", "address add fd00::2/64 dev eth0 nodad");
    run("ip", "neighbour add 10.0.0.7 lladdr 02:00:00:00:00:09 dev eth0");
    run("ip", "neighbour add fd00::7 lladdr 02:00:00:00:00:09 dev eth0");
    run("sysctl", "-qw net.ipv4.ip_forward=1");
    run("sysctl", "-qw net.ipv6.conf.all.forwarding=1");
    let shown = Command::new("ip").args(["-o", "link", "show", "eth0"]).output().expect("runs").stdout;
    let shown = String::from_utf8_lossy(&shown).into_owned();
    let interface = shown.split(':').next().and_then(|index| index.parse().ok()).expect("an index");
    let mut fence = Fence::load_shared(Mode::Auto).expect("loaded; as root");
    let plane = Plane::load(Mode::Auto).expect("loaded");
    let mut bench = Bench { plane, interface };
    bench.plane.attach("eth0", bench.interface).expect("attached");
    bench.plane.set_settings(Settings::new(*b"one of the seeds", true)).expect("set");
    bench.plane.set_room(Class::Workload, 1000).expect("set");
    fence.set_group(0, Group::new(State::Leading, 1, u64::MAX)).expect("set");

    bench.print("not IP", &[&[0; 12][..], &[0x88, 0xcc], &[0; 46]].concat());
    for [client, one, other] in [
        ["10.0.0.7:40000", "10.0.0.100:80", "10.0.0.101:81"],
        ["[fd00::7]:40000", "[fd00::100]:80", "[fd00::101]:81"],
    ] {
        let at = |text: &str| text.parse::<SocketAddr>().expect("an address and port");
        let (client, one, other) = (at(client), at(one), at(other));
        let family = if one.is_ipv4() { "IPv4" } else { "IPv6" };
        fence.set_vip(one.ip(), 0).expect("room");
        fence.set_vip(other.ip(), 0).expect("room");
        let (to_one, elsewhere) = (frame(client, one, 16), frame(client, SocketAddr::new(one.ip(), 9), 16));
        bench.print(&format!("{family} not ours"), &elsewhere);
        bench.serve(0, Service::new(ServiceMode::Dsr, false, false), one, other);
        bench.print(&format!("{family} dsr"), &to_one);
        let nat = |pinned| Service::new(ServiceMode::Nat, false, pinned);
        bench.serve(0, nat(false), one, other);
        bench.serve(1, nat(false), other, one);
        bench.print(&format!("{family} nat"), &to_one);
        bench.serve(0, nat(true), one, other);
        bench.serve(1, nat(true), other, one);
        bench.set_tables(0, 2, 1);
        bench.set_tables(1, 1, 2);
        bench.print(&format!("{family} nat with a flow entry"), &to_one);
        let syn = frame(client, one, 2);
        bench.serve(0, nat(true), one, other);
        bench.serve(1, nat(true), other, one);
        bench.print(&format!("{family} nat, a SYN by hash"), &syn);
        bench.serve(0, nat(true).in_turn(), one, other);
        bench.serve(1, nat(true).in_turn(), other, one);
        bench.plane.set_schedule(0, &Slots([1; _])).expect("set");
        bench.plane.set_schedule(1, &Slots([2; _])).expect("set");
        bench.print(&format!("{family} nat, a SYN in turn, sent again"), &syn);
        for (from, seen) in [(one, other), (other, one)] {
            bench.plane.remove_endpoint(&Endpoint::new(from, Transport::Tcp)).expect("there");
            bench.plane.set_reply(Endpoint::new(from, Transport::Tcp), Reply::new(seen, 0, 1)).expect("set");
        }
        bench.print(&format!("{family} nat, a reply"), &frame(one, client, 16));
    }
    bench.plane.stop();
    fence.stop();
}
