//! Ten thousand targets on one node: all get their verdicts, and the engine's CPU time is printed.

// A test stops at what it did not expect.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use fulcrum_config::CheckKind;
use fulcrum_health::{Desired, Observed, Options, Verdict, start};
use socket2::{Domain, Socket, Type};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;
use tokio::sync::watch;

#[path = "../src/fixtures.rs"]
#[allow(dead_code)]
mod fixtures;

const TARGETS: u32 = 10_000;
const ROUNDS: u64 = 2;

/// Each on an address of its own of 127.0.0.0/8.
fn addresses(port: u16) -> Vec<SocketAddr> {
    (0..TARGETS).map(|n| (Ipv4Addr::from(0x7f02_0000 + n), port).into()).collect()
}

fn count(observed: &Observed, verdict: Verdict) -> usize {
    let backends = observed.services.values().flat_map(|service| service.backends.values());
    backends.filter(|backend| backend.verdict == verdict).count()
}

/// Thousands may connect before they are accepted.
fn listener() -> TcpListener {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into()).unwrap();
    socket.listen(65_535).unwrap();
    socket.into()
}

/// CPU time of the engine's thread, from /proc (user and system, in ticks of 10 ms).
fn engine_cpu() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let stats = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("stat")).ok());
    let ticks: u64 = stats
        .filter(|stat| stat.contains("(health)"))
        .map(|stat| {
            let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
            fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
        })
        .sum();
    Duration::from_millis(ticks * 10)
}

#[tokio::test]
async fn ten_thousand_targets_get_their_verdicts() {
    let alive = listener();
    let port = alive.local_addr().unwrap().port();
    // Ends with the process.
    std::thread::spawn(move || alive.incoming().for_each(drop));
    let closed = TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();

    let mut check = fixtures::check(CheckKind::Tcp);
    (check.interval, check.jitter_percent) = (2 * fixtures::SECOND, 10);
    let services = |prefix: &str, port| {
        let chunks: Vec<_> = addresses(port).chunks(4).map(<[SocketAddr]>::to_vec).collect();
        let service = |(n, backends): (usize, &Vec<SocketAddr>)| {
            fixtures::service(&format!("{prefix}-{n}"), Some(check.clone()), backends)
        };
        chunks.iter().enumerate().map(service).collect::<Vec<_>>()
    };
    let (sender, receiver) = watch::channel(fixtures::desired(services("alive", port)));
    let mut observed = start(receiver, Options::default()).unwrap();
    let mut wait_for = async |what: fn(&Observed) -> bool| {
        let waiting = observed.wait_for(what);
        tokio::time::timeout(Duration::from_secs(120), waiting).await.expect("in time").unwrap().clone()
    };

    wait_for(|observed| count(observed, Verdict::Up) == TARGETS as usize).await;
    let before = engine_cpu();
    let seen = wait_for(|observed| observed.targets.values().all(|target| target.probes > ROUNDS)).await;
    let cpu = engine_cpu().saturating_sub(before);
    println!(
        "{} targets, {:?}, CPU of the engine for about {ROUNDS} rounds: {cpu:?}",
        TARGETS, seen.counters
    );
    assert_eq!(count(&seen, Verdict::Up), TARGETS as usize);

    sender.send_replace(fixtures::desired(services("dead", closed)));
    let seen = wait_for(|observed| count(observed, Verdict::Down) == TARGETS as usize).await;
    assert!(seen.services.values().all(|service| !service.up));
    assert_eq!(seen.targets.len(), TARGETS as usize);
}
