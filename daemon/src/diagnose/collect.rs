//! Asks the machine: programs with a deadline, files with a limit. What can't be had is said.
#![allow(clippy::disallowed_methods, reason = "a driver: starts programs and waits for them")]

use super::archive::Archive;
use crate::program::run_for;
use std::io::Read;
use std::path::Path;
use std::process::Command;
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
    let asked = PROGRAMS.map(|(name, command)| (name, command, std::thread::spawn(move || run(command))));
    for (name, command, told) in asked {
        match told.join().unwrap_or_else(|_| Err("it could not be asked".to_owned())) {
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

fn run(command: &[&str]) -> Result<String, String> {
    let (program, arguments) = command.split_first().ok_or("no program")?;
    let ended = run_for(Command::new(program).args(arguments).env("LC_ALL", "C"), DEADLINE, LIMIT)?;
    if ended.out.is_empty() && !ended.status.success() {
        return Err(format!("{}: {}", ended.status, ended.err.lines().next().unwrap_or_default()));
    }
    Ok(ended.out)
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
