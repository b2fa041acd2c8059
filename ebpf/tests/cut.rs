//! A cut that ends, in a network namespace of its own. As root.
#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test"
)]

use fulcrum_ebpf::{Cut, Mode};
use rustix::time::{ClockId, clock_gettime};
use std::net::UdpSocket;
use std::process::Command;
use std::time::{Duration, Instant};

fn run(program: &str, arguments: &str) -> String {
    let output = Command::new(program).args(arguments.split_whitespace()).output().expect("runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {arguments}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Frames that came out at the other end.
fn received() -> u64 {
    let shown = run("ip", "-s link show peer0");
    let mut lines = shown.lines().skip_while(|line| !line.trim_start().starts_with("RX:")).skip(1);
    let words: Vec<&str> = lines.next().expect("counters").split_whitespace().collect();
    words[1].parse().expect("a number")
}

/// Whether frames pass the interface.
fn passes(socket: &UdpSocket) -> bool {
    let before = received();
    for _ in 0..20 {
        // A dropped frame is an error here.
        let _ = socket.send_to(b"here", "10.9.9.2:9");
    }
    received() >= before + 20
}

fn programs() -> usize {
    let tcx = |direction| aya::programs::SchedClassifier::query_tcx("eth0", direction).expect("tcx").1.len();
    let clsact = |direction: &str| {
        let shown = run("/sbin/tc", &format!("filter show dev eth0 {direction}"));
        shown.lines().filter(|line| line.contains("fulcrum_cut")).count()
    };
    tcx(aya::programs::TcAttachType::Ingress)
        + tcx(aya::programs::TcAttachType::Egress)
        + clsact("ingress")
        + clsact("egress")
}

fn wait(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(10), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn in_a_namespace(test: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            #[allow(deprecated, reason = "the files of this thread stay as they are")]
            rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNET).expect("a namespace; as root");
            run("ip", "link add eth0 type veth peer name peer0");
            run("ip", "address add 10.9.9.1/24 dev eth0");
            run("ip", "link set eth0 up");
            run("ip", "link set peer0 up");
            run("ip", "neighbour add 10.9.9.2 lladdr 02:00:00:00:00:02 dev eth0");
            test();
        });
        thread.join().expect("no panic");
    });
}

fn ends(mode: Mode) {
    in_a_namespace(|| {
        let index = run("ip", "-o link show eth0").split(':').next().and_then(|it| it.parse().ok());
        let socket = UdpSocket::bind("10.9.9.1:0").expect("a socket");
        wait("the link", || passes(&socket));
        let mut cut = Cut::load(mode).expect("loaded; as root");
        cut.attach("eth0", index.expect("a number")).expect("attached");
        assert!(programs() >= 2 && passes(&socket), "attached, it drops nothing yet");
        let now = Duration::try_from(clock_gettime(ClockId::Monotonic)).expect("a time");
        cut.begin(now, Duration::from_secs(2)).expect("begun");
        let begun = Instant::now();
        assert!(!passes(&socket), "cut off");
        // Nobody takes it off.
        wait("the end", || passes(&socket));
        assert!(begun.elapsed() > Duration::from_millis(1500), "{:?}", begun.elapsed());
        assert!(programs() >= 2, "the programs are there still");
        drop(cut);
        wait("them to be gone", || programs() == 0);
    });
}

#[test]
fn a_cut_ends_by_itself_and_leaves_nothing() {
    ends(Mode::Auto);
}

#[test]
fn by_clsact_a_cut_ends_by_itself_and_leaves_nothing() {
    ends(Mode::Clsact);
}
