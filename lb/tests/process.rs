//! What happens to a whole process that is killed, runs out of file descriptors, or whose peers do not read.
//!
//! Each case starts this program again as the process to be harmed, and so this file has a `main` of its own.
#![allow(missing_docs, clippy::disallowed_methods)] // Tests wait for real sockets.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::panic)]

mod common;

use common::{PATIENCE, Proxy, Server, backend, connect, exchange, read_error, service, up, vip};
use fulcrum_lb::{Observed, ServiceDesired};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.iter().position(|argument| argument == "serve") {
        Some(at) => serve(&arguments[at + 1..]),
        None => {
            a_killed_process_leaves_resets();
            new_connections_are_refused_and_old_ones_kept_without_descriptors();
            new_connections_are_refused_though_every_descriptor_that_is_given_up_is_taken();
            a_flood_of_a_workload_leaves_the_control_plane_its_connections();
            peers_that_never_read_cost_little_memory();
            println!("5 cases passed");
        }
    }
}

/// The process to be harmed: `serve VIP PORT BACKEND FILES THIEF`. It serves a workload at the port and the
/// control plane at the next one, and takes `THIEF` descriptors away from the
/// engine once it serves. Each line it reads is answered with what is observed.
fn serve(arguments: &[String]) {
    let [vip, port, to, files, thief] = arguments else { panic!("serve VIP PORT BACKEND FILES THIEF") };
    let files: u64 = files.parse().unwrap();
    if files > 0 {
        let limit = Rlimit { current: Some(files), maximum: Some(files) };
        setrlimit(Resource::Nofile, limit).unwrap();
    }
    let (vip, port, to) = (vip.parse().unwrap(), port.parse().unwrap(), to.parse().unwrap());
    let mut control = desired("control", vip, port + 1, to);
    control.protected = true;
    let proxy = Proxy::start(vec![desired("workload", vip, port, to), control]);
    let stolen: Vec<_> = match thief.parse::<u64>().unwrap() {
        GREEDY => {
            std::thread::spawn(steal_for_ever);
            Vec::new()
        }
        thief => (0..thief).map_while(|_| std::fs::File::open("/dev/null").ok()).collect(),
    };
    for line in std::io::stdin().lines() {
        line.unwrap();
        let Observed { connections, connections_limit, refused_at_limit, .. } = *proxy.observed.borrow();
        println!("{connections} {connections_limit} {refused_at_limit}");
    }
    drop(stolen);
}

/// A thief that takes every descriptor as soon as there is one.
const GREEDY: u64 = u64::MAX;

fn steal_for_ever() {
    let mut stolen = Vec::new();
    loop {
        stolen.extend(std::fs::File::open("/dev/null").ok());
    }
}

fn desired(name: &str, vip: IpAddr, port: u16, to: SocketAddr) -> ServiceDesired {
    let mut service = service(name, &[]);
    service.vips = vec![vip];
    service.ports = fulcrum_config::PortRange::single(port);
    service.backends = vec![Arc::new(backend("b", to))];
    up(service)
}

/// Hundredths of a second that a process has computed.
fn cpu_ticks(process: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// Kilobytes of memory that are a process's own.
fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    vip: SocketAddr,
}

struct Counts {
    connections: u64,
    limit: u64,
    refused: u64,
}

impl Process {
    fn start(to: SocketAddr, files: u64, thief: u64) -> Self {
        let vip = vip(&up(service("process", &[])));
        let program = std::env::current_exe().unwrap();
        let arguments = [vip.ip().to_string(), vip.port().to_string(), to.to_string()];
        let mut child = Command::new(program)
            .arg("serve")
            .args(arguments)
            .args([files.to_string(), thief.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut process = Self { child, input, output, vip };
        process.counts();
        process
    }

    fn counts(&mut self) -> Counts {
        self.input.write_all(b"\n").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        let numbers: Vec<u64> = line.split_whitespace().map(|number| number.parse().unwrap()).collect();
        Counts { connections: numbers[0], limit: numbers[1], refused: numbers[2] }
    }

    fn wait(&mut self, wanted: impl Fn(&Counts) -> bool) -> Counts {
        let start = Instant::now();
        loop {
            let counts = self.counts();
            if wanted(&counts) {
                return counts;
            }
            assert!(
                start.elapsed() < PATIENCE,
                "{} of {}, {} refused",
                counts.connections,
                counts.limit,
                counts.refused
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ping(stream: &mut TcpStream) -> bool {
    stream.write_all(b"p").and_then(|()| stream.read_exact(&mut [0])).is_ok()
}

fn a_killed_process_leaves_resets() {
    let server = Server::echo();
    let mut process = Process::start(server.address, 0, 0);
    let mut streams: Vec<TcpStream> = (0..10).map(|_| connect(process.vip)).collect();
    assert!(streams.iter_mut().all(ping));
    process.child.kill().unwrap();
    for stream in &mut streams {
        assert_eq!(
            read_error(stream),
            Some(ErrorKind::ConnectionReset),
            "a FIN would make a cut reply look whole"
        );
    }
}

/// With `thief` descriptors gone, the engine's own limit is out of reach: with one parity of what remains
/// `accept` itself fails, with the other the socket to the backend.
fn new_connections_are_refused_and_old_ones_kept_without_descriptors() {
    let server = Server::echo();
    for thief in [0, 100, 101] {
        let mut process = Process::start(server.address, 160, thief);
        let (mut kept, refused) = flood(process.vip);
        assert!(!kept.is_empty() && refused > 0, "{} kept, {refused} refused", kept.len());
        assert!(kept.iter_mut().all(ping), "an old connection suffered");
        let kept_count = kept.len() as u64;
        let counts = process.wait(|counts| counts.connections == kept_count && counts.refused > 0);
        assert!(counts.connections <= counts.limit);
        // Nobody spins: a second of being full costs next to nothing.
        let before = cpu_ticks(process.child.id());
        std::thread::sleep(Duration::from_secs(1));
        let spent = cpu_ticks(process.child.id()) - before;
        assert!(spent < 50, "{spent} hundredths of a second");
        drop(kept);
        process.wait(|counts| counts.connections == 0);
        assert_eq!(exchange(process.vip, b"room again"), b"room again");
    }
    assert!(
        getrlimit(Resource::Nofile).current.is_none_or(|files| files > 160),
        "only the child was limited"
    );
}

fn new_connections_are_refused_though_every_descriptor_that_is_given_up_is_taken() {
    let server = Server::echo();
    let process = Process::start(server.address, 160, GREEDY);
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", process.child.id())).unwrap().count();
    let start = Instant::now();
    while descriptors() < 160 {
        assert!(start.elapsed() < PATIENCE, "{} descriptors", descriptors());
    }
    let (start, mut attempts) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_secs(3) {
        attempts += 1;
        let connected = TcpStream::connect_timeout(&process.vip, PATIENCE).ok();
        let error = connected.and_then(|mut stream| {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let read = stream.read(&mut [0]);
            read.err()
        });
        let hung = error.is_some_and(|error| error.kind() == ErrorKind::WouldBlock);
        assert!(!hung, "client {attempts} waits for nothing");
    }
}

fn a_flood_of_a_workload_leaves_the_control_plane_its_connections() {
    let server = Server::echo();
    let mut process = Process::start(server.address, 160, 0);
    let (kept, refused) = flood(process.vip);
    let Counts { connections, limit, .. } = process.wait(|counts| counts.connections == kept.len() as u64);
    assert!(refused > 0 && connections < limit, "the workload has all {limit}");
    let control = SocketAddr::new(process.vip.ip(), process.vip.port() + 1);
    for _ in 0..10 {
        assert_eq!(exchange(control, b"hello"), b"hello");
    }
}

/// Both ends of each connection send for ever, and neither reads: what the proxy keeps is bounded.
fn peers_that_never_read_cost_little_memory() {
    /// Few: the kernel's own buffers are full, too, and those hold megabytes.
    const CONNECTIONS: u64 = 20;
    /// In kilobytes: a remainder of at most 64 KiB each way.
    const EACH: u64 = 128;
    /// Everything else.
    const SLACK: u64 = 4 * 1024;
    let sent = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&sent);
    let server = Server::start(move |mut stream| {
        while let Ok(written @ 1..) = stream.write(&[b's'; 65_536]) {
            count.fetch_add(written as u64, Ordering::Relaxed);
        }
    });
    let mut process = Process::start(server.address, 0, 0);
    let before = resident(process.child.id());
    let mut streams: Vec<TcpStream> = (0..CONNECTIONS).map(|_| connect(process.vip)).collect();
    streams.iter().for_each(|stream| stream.set_nonblocking(true).unwrap());
    // Until nobody could send anything for half a second.
    let (start, mut moved, mut quiet) = (Instant::now(), 0, 0);
    while quiet < 25 {
        for stream in &mut streams {
            while let Ok(written @ 1..) = stream.write(&[b'c'; 65_536]) {
                sent.fetch_add(written as u64, Ordering::Relaxed);
            }
        }
        let now = sent.load(Ordering::Relaxed);
        quiet = if now == moved { quiet + 1 } else { 0 };
        moved = now;
        assert!(start.elapsed() < 3 * PATIENCE, "it takes and takes: {moved} bytes");
        std::thread::sleep(Duration::from_millis(20));
    }
    let grown = resident(process.child.id()).saturating_sub(before);
    assert!(grown <= CONNECTIONS * EACH + SLACK, "{grown} KiB for {moved} bytes");
    process.wait(|counts| counts.connections == CONNECTIONS);
    drop(streams);
    process.wait(|counts| counts.connections == 0);
}

/// More connections than there is room for: those that are served, and how many were refused.
fn flood(to: SocketAddr) -> (Vec<TcpStream>, usize) {
    let mut kept = Vec::new();
    for _ in 0..120 {
        // The refusal may come before `connect` has returned, or after.
        let connected = TcpStream::connect_timeout(&to, PATIENCE).ok();
        if let Some(stream) = &connected {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
        }
        kept.extend(connected.and_then(|mut stream| ping(&mut stream).then_some(stream)));
    }
    let refused = 120 - kept.len();
    (kept, refused)
}
