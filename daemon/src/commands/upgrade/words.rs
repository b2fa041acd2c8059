//! Programs that are run with a deadline, and what a daemon lacks.
#![allow(clippy::disallowed_methods, reason = "waits for a program, for as long as it may take")]

use fulcrum_lifecycle::Status;
use std::io::{Read, Seek};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// As much of what a program prints is looked at.
const PRINTED: u64 = 64 * 1024;
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// What a program printed on its standard output, if it succeeded within `deadline`; else its last words.
pub(super) fn run(command: &mut Command, deadline: Duration) -> Result<String, String> {
    // Files, for a child that it leaves behind may keep a pipe open.
    let mut out = tempfile::tempfile().map_err(|error| error.to_string())?;
    let mut wrong = tempfile::tempfile().map_err(|error| error.to_string())?;
    let to = |file: &std::fs::File| file.try_clone().map(Stdio::from).map_err(|error| error.to_string());
    command.stdin(Stdio::null()).stdout(to(&out)?).stderr(to(&wrong)?).process_group(0);
    let mut child = command.spawn().map_err(|error| format!("it can't be run: {error}"))?;
    let begun = Instant::now();
    let status = loop {
        match child.try_wait().map_err(|error| error.to_string())? {
            Some(status) => break status,
            None if begun.elapsed() < deadline => std::thread::sleep(LOOK),
            None => {
                let group = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
                if let Some(group) = group {
                    let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
                }
                let _ = child.wait();
                return Err(format!("it did not end within {} s", deadline.as_secs()));
            }
        }
    };
    let text = |file: &mut std::fs::File| {
        let mut bytes = Vec::new();
        let read = file.rewind().and_then(|()| file.take(PRINTED).read_to_end(&mut bytes));
        read.map(|_| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    };
    if status.success() {
        return Ok(text(&mut out));
    }
    let said = text(&mut wrong);
    let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    Err(format!("{status}: {last}"))
}

/// What the daemon that answers lacks to take the place of the one before.
/// `since` is the time since it was restarted.
pub(super) fn lacks(before: &Status, now: &Status, version: Option<&str>, since: Duration) -> Option<String> {
    if now.node != before.node {
        return Some(format!("node {} answers", now.node));
    }
    if now.uptime_seconds > since.as_secs().saturating_add(1) {
        return Some("the process of before answers still: was the daemon restarted?".to_owned());
    }
    if let Some(version) = version.filter(|version| *version != now.version) {
        return Some(format!("version {} answers, not {version}", now.version));
    }
    if !now.ready {
        return Some(format!("it is not ready: {}", now.not_ready.join("; ")));
    }
    let was_up = before.peer_link.peers.iter().filter(|peer| peer.state == "up");
    for peer in was_up {
        let found = now.peer_link.peers.iter().find(|it| it.name == peer.name);
        match found {
            Some(found) if found.state != "up" => {
                return Some(format!("its link to {} is not up", peer.name));
            }
            Some(found) if found.config_agrees == Some(false) && peer.config_agrees == Some(true) => {
                return Some(format!("it runs another configuration than {}", peer.name));
            }
            Some(_) => {}
            None => return Some(format!("it does not know {}", peer.name)),
        }
    }
    None
}
