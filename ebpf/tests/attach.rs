//! Attaching, replacing and leaving, each in a network namespace of its own. As root.
#![allow(clippy::expect_used, clippy::disallowed_methods, reason = "a test")]

use aya::maps::{Array, MapData};
use aya::programs::{SchedClassifier, TcAttachType};
use fulcrum_ebpf::{Attachment, Fence, Mode, Pins, SecondChance};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

fn run(program: &str, arguments: &str) -> String {
    let output = Command::new(program).args(arguments.split_whitespace()).output().expect("runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {arguments}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs `test` in a network namespace that goes with the thread, where there is an interface `eth0`.
fn in_a_namespace<T: Send>(test: impl FnOnce(u32) -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            #[allow(deprecated, reason = "the files of this thread stay as they are")]
            rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNET).expect("a namespace; as root");
            // A namespace that is gone may have had this one's number, and left something.
            let _ = std::fs::remove_dir_all(pins());
            run("ip", "link add eth0 type veth peer name peer0");
            let shown = run("ip", "-o link show eth0");
            let index = shown.split(':').next().expect("an index").parse().expect("a number");
            test(index)
        });
        thread.join().expect("no panic")
    })
}

fn pins() -> PathBuf {
    let namespace = std::fs::metadata("/proc/thread-self/ns/net").expect("proc").ino();
    PathBuf::from("/sys/fs/bpf/fulcrum").join(namespace.to_string())
}

/// The programs at eth0 by tcx and by clsact, of both directions.
fn attached() -> [usize; 4] {
    let tcx = |direction| SchedClassifier::query_tcx("eth0", direction).expect("tcx").1.len();
    let clsact = |direction: &str| {
        let shown = run("/sbin/tc", &format!("filter show dev eth0 {direction}"));
        shown.lines().filter(|line| line.contains("fulcrum_")).count()
    };
    [tcx(TcAttachType::Ingress), tcx(TcAttachType::Egress), clsact("ingress"), clsact("egress")]
}

/// The kernel ends a link that nobody holds soon, not at once.
fn wait_attached(expected: [usize; 4]) {
    let begun = Instant::now();
    while attached() != expected {
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}, not {expected:?}", attached());
    }
}

fn programs() -> Vec<u32> {
    let ids = |direction| SchedClassifier::query_tcx("eth0", direction).expect("tcx").1;
    let both = ids(TcAttachType::Ingress).into_iter().chain(ids(TcAttachType::Egress));
    both.map(|program| program.id()).collect()
}

fn attach(mode: Mode, index: u32) -> (Fence, Attachment) {
    let mut fence = Fence::load(mode).expect("the kernel takes the fence; as root");
    let attachment = fence.attach("eth0", index).expect("attached");
    assert_eq!(fence.attach("eth0", index).expect("once is enough"), attachment);
    (fence, attachment)
}

#[test]
fn each_life_replaces_the_one_before_and_a_stop_leaves_nothing() {
    in_a_namespace(|index| {
        let (first, attachment) = attach(Mode::Auto, index);
        assert_eq!((attachment, attached()), (Attachment::Tcx, [1, 1, 0, 0]));
        let before = programs();
        // As if it had been killed.
        drop(first);
        assert_eq!((attached(), programs()), ([1, 1, 0, 0], before.clone()));
        let (second, _) = attach(Mode::Auto, index);
        wait_attached([1, 1, 0, 0]);
        assert!(programs().iter().all(|program| !before.contains(program)));
        drop(second);
        for _ in 0..2 {
            let (by_clsact, attachment) = attach(Mode::Clsact, index);
            assert_eq!(attachment, Attachment::Clsact);
            wait_attached([0, 0, 1, 1]);
            drop(by_clsact);
        }
        let (last, _) = attach(Mode::Auto, index);
        wait_attached([1, 1, 0, 0]);
        last.stop();
        wait_attached([0; 4]);
        assert!(!pins().exists());
        let (by_clsact, _) = attach(Mode::Clsact, index);
        by_clsact.stop();
        wait_attached([0; 4]);
    });
}

#[test]
fn it_is_taken_off_interfaces_that_are_no_more_concerned() {
    in_a_namespace(|index| {
        for mode in [Mode::Auto, Mode::Clsact] {
            drop(attach(mode, index));
            let mut fence = Fence::load(mode).expect("the kernel takes the fence; as root");
            fence.retain(|_| false, &["eth0".to_owned(), "peer0".to_owned()]);
            wait_attached([0; 4]);
            fence.stop();
        }
    });
}

#[test]
fn what_a_namespace_that_is_gone_has_left_is_removed() {
    let left = in_a_namespace(|index| {
        drop(attach(Mode::Auto, index));
        assert!(pins().exists());
        pins()
    });
    let begun = Instant::now();
    in_a_namespace(|_| {
        // The kernel takes its time to end a namespace.
        while left.exists() {
            Fence::load(Mode::Auto).expect("the kernel takes the fence; as root").stop();
            assert!(begun.elapsed() < Duration::from_secs(20), "{} is still there", left.display());
            std::thread::sleep(Duration::from_millis(50));
        }
    });
}

#[test]
fn maps_alone_are_removed_with_their_namespace_and_not_before() {
    in_a_namespace(|_| {
        let own = pins();
        let gone = own.with_file_name(format!("{}", 10_000_000_000 + u64::from(std::process::id())));
        drop(Pins::open().expect("opened"));
        for directory in [&own, &gone] {
            std::fs::create_dir_all(directory).expect("made");
            let map = Array::<MapData, u32>::create(1, 0).expect("a map");
            map.pin(directory.join("map-backends-1")).expect("pinned");
        }
        drop(Pins::open().expect("opened"));
        assert!(own.join("map-backends-1").exists() && !gone.exists());
        std::fs::remove_dir_all(own).expect("removed");
    });
}

#[test]
fn the_second_chance_stands_behind_the_fence_by_tcx_and_by_clsact() {
    for (mode, expected) in [(Mode::Auto, [2, 1, 0, 0]), (Mode::Clsact, [0, 0, 2, 1])] {
        in_a_namespace(|index| {
            let mut second = SecondChance::load(mode).expect("the kernel takes it; as root");
            second.attach("eth0", index).expect("attached");
            let (fence, _) = attach(mode, index);
            assert_eq!(attached(), expected);
            eprintln!("{}", run("/sbin/tc", "filter show dev eth0 ingress"));
            fence.stop();
            second.stop();
            wait_attached([0; 4]);
        });
    }
}
