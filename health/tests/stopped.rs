//! A process that is stopped for longer than its timeouts takes no backend down when it goes on.
//!
//! The test starts itself once more as a child, which runs the engine and prints its verdicts.

// A test stops at what it did not expect.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use fulcrum_config::{Check, CheckKind};
use fulcrum_health::{Desired, Options, Verdict, start};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::watch;

#[path = "../src/fixtures.rs"]
#[allow(dead_code)]
mod fixtures;

const ROLE: &str = "FULCRUM_TEST_STOPPED";
const BACKENDS: usize = 50;

/// While the engine is stopped the servers do not answer either, so that no answer waits for it when it goes on.
static SILENT: AtomicBool = AtomicBool::new(false);

/// Answers each request after a while, so that probes are in flight at any time.
fn slow_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // Ends with the process.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let _ = stream.read(&mut [0; 1024]);
                pause(Duration::from_millis(300));
                while SILENT.load(Ordering::SeqCst) {
                    pause(Duration::from_millis(10));
                }
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            });
        }
    });
    address
}

#[allow(clippy::disallowed_methods)] // A server of a test, and the time that a process is stopped.
fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// The child: prints "up" when all backends are, "down" when one is, and what it dropped.
async fn engine(servers: &str) {
    let servers: Vec<SocketAddr> = servers.split(',').map(|server| server.parse().unwrap()).collect();
    let check = Check {
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        fall: 1,
        // They soon spread over the interval.
        jitter_percent: 50,
        ..fixtures::check(CheckKind::Http(fixtures::http_check()))
    };
    let (_sender, receiver) =
        watch::channel(fixtures::desired([fixtures::service("web", Some(check), &servers)]));
    let mut observed = start(receiver, Options::default()).unwrap();
    loop {
        observed.changed().await.unwrap();
        let seen = observed.borrow_and_update().clone();
        let backends = seen.services.values().flat_map(|service| service.backends.values());
        let verdicts: Vec<Verdict> = backends.map(|backend| backend.verdict).collect();
        if verdicts.contains(&Verdict::Down) {
            println!("\nengine: down");
        } else if verdicts.iter().all(|verdict| *verdict == Verdict::Up) {
            println!("\nengine: up, {} dropped", seen.counters.stalled);
        }
    }
}

/// Ends the child with the test, whatever becomes of it.
struct Engine(Child);

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Engine {
    #[allow(clippy::disallowed_methods)] // A test may start itself.
    fn start(servers: &str) -> Self {
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--nocapture", "--exact", "a_stopped_process_takes_no_backend_down"])
            .env(ROLE, servers)
            .stdout(Stdio::piped())
            .spawn();
        Self(child.unwrap())
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }
}

#[tokio::test]
async fn a_stopped_process_takes_no_backend_down() {
    if let Ok(servers) = std::env::var(ROLE) {
        return engine(&servers).await;
    }
    let servers: Vec<String> = (0..BACKENDS).map(|_| slow_server().to_string()).collect();
    let mut engine = Engine::start(&servers.join(","));
    let output = BufReader::new(engine.0.stdout.take().unwrap()).lines();
    let mut lines = output.map(|line| line.unwrap()).filter(|line| line.starts_with("engine: "));
    assert!(lines.by_ref().take(3).all(|line| line.starts_with("engine: up")));
    for _ in 0..2 {
        SILENT.store(true, Ordering::SeqCst);
        engine.signal(Signal::STOP);
        pause(Duration::from_secs(4));
        engine.signal(Signal::CONT);
        // It finds its timeouts over before any answer comes.
        pause(Duration::from_millis(50));
        SILENT.store(false, Ordering::SeqCst);
        // Counters come every second: the second line is of after the stop.
        for line in lines.by_ref().take(3) {
            assert!(line.starts_with("engine: up"), "{line}");
        }
    }
    let last = lines.next().unwrap();
    assert_ne!(last, "engine: up, 0 dropped", "no probe was in flight: the test has shown nothing");
}
