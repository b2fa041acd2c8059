//! Many services on one node: from a cold start to the last of them served, and one of them changed.

use crate::report::median;
use crate::serve::{ECHO, SOURCE};
use crate::subject::fulcrum_program;
use crate::topology::{BACKENDS, FOURTH, Place, Topology};
use std::fmt::Write;
use std::fs;
use std::io::{self, Read};
use std::process::Stdio;
use std::time::{Duration, Instant};

const VIP: &str = "10.77.1.100";
const FIRST_PORT: u16 = 10_000;
/// Services asked before all count as served: the first, the last and some in between.
const ASKED: u16 = 25;

/// Starts a node with `count` services of four backends each `rounds` times and gives a table.
///
/// # Errors
/// The node does not come into service.
pub(crate) fn run(count: u16, rounds: usize) -> io::Result<String> {
    let mut rows: [Vec<f64>; 6] = Default::default();
    for round in 0..rounds {
        eprintln!("round {}/{rounds}", round + 1);
        for (row, value) in rows.iter_mut().zip(once(count)?) {
            row.push(value);
        }
    }
    let mut text = format!(
        "\n### {count} services with 4 backends each, milliseconds\n\n| what | median | worst |\n|---|---:|---:|\n"
    );
    let words = [
        "`fulcrum check` of the file",
        "cold start to the last service served (with the election)",
        "`fulcrum reload` of one changed service: the whole command",
        "reload begun to the changed service serving its new backend",
        "of that: the daemon reads and checks the file",
        "of that: the change applied, from there until every worker has it",
    ];
    for (what, values) in words.iter().zip(&rows) {
        let worst = values.iter().copied().fold(f64::NAN, f64::max);
        let _ = writeln!(text, "| {what} | {:.0} | {worst:.0} |", median(values.iter().copied()));
    }
    Ok(text)
}

fn once(count: u16) -> io::Result<[f64; 6]> {
    let directory = tempfile::tempdir()?;
    let topology = Topology::new()?;
    let me = std::env::current_exe()?.to_string_lossy().into_owned();
    let program = fulcrum_program()?;
    let _backend = topology.start(Place::Backends, &me, &[&["serve"], &BACKENDS[..]].concat())?;
    let file = directory.path().join("fulcrum.yaml");
    let path = file.to_string_lossy().into_owned();
    let last = FIRST_PORT.saturating_add(count).saturating_sub(1);
    fs::write(&file, config(directory.path(), count, ECHO))?;

    let begun = now();
    topology.run(Place::Balancer, &program, &["check", &path])?;
    let check = begun.elapsed();

    let begun = now();
    let _node = topology.start(Place::Balancer, &program, &["run", "--config", &path])?;
    let step = usize::from((count / ASKED).max(1));
    for port in (FIRST_PORT..=last).step_by(step).chain([last]) {
        until_served(&topology, &me, port, "echo", &begun)?;
    }
    let served = begun.elapsed();

    // The last service's backends now send without being asked.
    fs::write(&file, config(directory.path(), count, SOURCE))?;
    let begun = now();
    let socket = directory.path().join("admin.sock");
    let mut reload = topology.command(Place::Balancer, &program);
    let reload = reload.args(["reload", "--json", "--socket"]).arg(&socket).stdout(Stdio::piped()).spawn()?;
    until_served(&topology, &me, last, "source", &begun)?;
    let changed = begun.elapsed();
    let output = reload.wait_with_output()?;
    let command = begun.elapsed();
    if !output.status.success() {
        return Err(io::Error::other("fulcrum reload failed"));
    }
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let told = |what: &str| {
        answer
            .get(what)
            .and_then(serde_json::Value::as_f64)
            .ok_or_else(|| io::Error::other("an older fulcrum"))
    };
    let [check, served, command, changed] =
        [check, served, command.max(changed), changed].map(|time| time.as_secs_f64() * 1e3);
    Ok([check, served, command, changed, told("read_ms")?, told("applied_ms")?])
}

fn until_served(topology: &Topology, me: &str, port: u16, kind: &str, begun: &Instant) -> io::Result<()> {
    let mut ask = topology.command(Place::Clients, me);
    let target = format!("{VIP}:{port}");
    let mut child = ask.args(["await", kind, &target]).stdout(Stdio::piped()).spawn()?;
    let mut text = String::new();
    child.stdout.as_mut().map_or(Ok(0), |output| output.read_to_string(&mut text))?;
    if child.wait()?.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("{target} was not served within {:?}", begun.elapsed())))
}

/// Asks `target` until it answers as a backend of this kind does, for at most 30 seconds.
///
/// # Errors
/// It never did.
pub(crate) fn wait_for(kind: &str, target: std::net::SocketAddr) -> io::Result<()> {
    let begun = now();
    while begun.elapsed() < Duration::from_secs(30) {
        if answers(kind, target).unwrap_or(false) {
            return Ok(());
        }
        crate::pause(Duration::from_millis(1));
    }
    Err(io::ErrorKind::TimedOut.into())
}

fn answers(kind: &str, target: std::net::SocketAddr) -> io::Result<bool> {
    let mut stream = std::net::TcpStream::connect_timeout(&target, Duration::from_millis(50))?;
    stream.set_read_timeout(Some(Duration::from_millis(20)))?;
    if kind == "echo" {
        io::Write::write_all(&mut stream, b"?")?;
    }
    let mut answer = [0_u8; 1];
    Ok(stream.read(&mut answer)? == 1 && answer == if kind == "echo" { *b"?" } else { [0] })
}

fn config(directory: &std::path::Path, count: u16, last_backend_port: u16) -> String {
    let mut text = format!(
        "node: lb-1\n\
         nodes:\n  lb-1: {{addresses: [10.77.1.1], priority: 200}}\n\
         interfaces:\n  c0: {{networks: [10.77.1.0/24]}}\n\
         groups:\n  bench: {{vrid: 7, vips: [{VIP}]}}\n\
         admin: {{socket: {dir}/admin.sock, state_dir: {dir}/state}}\n\
         services:\n",
        dir = directory.display(),
    );
    for index in 0..count {
        let port = if index + 1 == count { last_backend_port } else { ECHO };
        let _ = writeln!(
            text,
            "  service-{index}:\n    vip: {VIP}\n    port: {}\n    backends:",
            FIRST_PORT + index
        );
        for (number, backend) in BACKENDS.iter().chain(&[FOURTH]).enumerate() {
            let _ = writeln!(text, "    - {{name: b{number}, address: {backend}, port: {port}}}");
        }
    }
    text
}

fn now() -> Instant {
    Instant::now()
}
