//! Asks the machine: programs with a deadline, files with a limit. What can't be had is said.
#![allow(clippy::disallowed_methods, reason = "a driver: starts programs and waits for them")]

use super::archive::Archive;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// For each program.
const DEADLINE: Duration = Duration::from_secs(3);
/// For each program and file.
const LIMIT: u64 = 8 << 20;

/// Programs whose output says how the machine is, and the file that it goes into.
const PROGRAMS: [(&str, &[&str]); 10] = [
    ("kernel/addresses.txt", &["ip", "-details", "address", "show"]),
    ("kernel/links.txt", &["ip", "-statistics", "link", "show"]),
    ("kernel/routes.txt", &["ip", "route", "show", "table", "all"]),
    ("kernel/routes6.txt", &["ip", "-6", "route", "show", "table", "all"]),
    ("kernel/rules.txt", &["ip", "rule", "show"]),
    ("kernel/neighbours.txt", &["ip", "-statistics", "neighbour", "show"]),
    ("kernel/sockets.txt", &["ss", "-lntup"]),
    ("kernel/uname.txt", &["uname", "-a"]),
    ("kernel/unit.txt", &["systemctl", "status", "--no-pager", "--lines", "0", "fulcrum"]),
    (
        "log.txt",
        &[
            "journalctl",
            "--unit",
            "fulcrum",
            "--lines",
            "5000",
            "--no-pager",
            "--output",
            "short-iso-precise",
        ],
    ),
];

const FILES: [(&str, &str); 8] = [
    ("kernel/os-release.txt", "/etc/os-release"),
    ("kernel/version.txt", "/proc/version"),
    ("kernel/cpu.txt", "/proc/loadavg"),
    ("kernel/memory.txt", "/proc/meminfo"),
    ("kernel/softnet.txt", "/proc/net/softnet_stat"),
    ("kernel/snmp.txt", "/proc/net/snmp"),
    ("kernel/netstat.txt", "/proc/net/netstat"),
    ("kernel/pressure.txt", "/proc/pressure/cpu"),
];

/// Settings of each interface that decide who answers and what is dropped.
const SETTINGS: [&str; 8] = [
    "ipv4/conf/*/arp_ignore",
    "ipv4/conf/*/arp_announce",
    "ipv4/conf/*/arp_filter",
    "ipv4/conf/*/rp_filter",
    "ipv4/conf/*/forwarding",
    "ipv4/conf/*/accept_local",
    "ipv6/conf/*/forwarding",
    "ipv6/conf/*/disable_ipv6",
];

/// All of it, and what can't be had.
pub(crate) fn machine(archive: &mut Archive, missing: &mut Vec<String>) {
    let asked = PROGRAMS.map(|(name, command)| (name, command, start(command)));
    for (name, command, told) in asked {
        let text = told.recv_timeout(DEADLINE).unwrap_or_else(|_| Err("it did not end in time".to_owned()));
        match text {
            Ok(text) => archive.add(name, text),
            Err(why) => missing.push(format!("{name}: '{}': {why}", command.join(" "))),
        }
    }
    for (name, path) in FILES {
        match read(Path::new(path)) {
            Ok(text) => archive.add(name, text),
            Err(error) => missing.push(format!("{name}: {path}: {error}")),
        }
    }
    archive.add("kernel/settings.txt", settings());
}

/// Runs a program on a thread of its own: one that hangs is left alone.
fn start(command: &'static [&'static str]) -> mpsc::Receiver<Result<String, String>> {
    let (tell, told) = mpsc::channel();
    let _ = std::thread::Builder::new().spawn(move || {
        let _ = tell.send(run(command));
    });
    told
}

fn run(command: &[&str]) -> Result<String, String> {
    let (program, arguments) = command.split_first().ok_or("no program")?;
    let mut child = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let (mut bytes, mut errors) = (Vec::new(), Vec::new());
    if let Some(out) = child.stdout.take() {
        out.take(LIMIT).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    }
    if let Some(out) = child.stderr.take() {
        out.take(LIMIT).read_to_end(&mut errors).map_err(|error| error.to_string())?;
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    if bytes.is_empty() && !status.success() {
        let errors = String::from_utf8_lossy(&errors);
        return Err(format!("{status}: {}", errors.lines().next().unwrap_or_default()));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn read(path: &Path) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(LIMIT).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn settings() -> String {
    let mut lines = Vec::new();
    for setting in SETTINGS {
        let Some((before, after)) = setting.split_once('*') else { continue };
        let directory = Path::new("/proc/sys/net").join(before);
        let entries = std::fs::read_dir(&directory).into_iter().flatten().flatten();
        for entry in entries {
            let path = entry.path().join(after.trim_start_matches('/'));
            if let Ok(value) = std::fs::read_to_string(&path) {
                lines.push(format!("{} = {}\n", path.display(), value.trim()));
            }
        }
    }
    lines.sort();
    lines.concat()
}
