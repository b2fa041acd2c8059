//! What programs say of themselves, and what a daemon lacks.

use crate::program::run_for;
use fulcrum_lifecycle::Status;
use std::process::Command;
use std::time::Duration;

#[cfg(test)]
mod tests;

/// As much of what a program prints is looked at.
const PRINTED: u64 = 64 * 1024;

/// What a program printed on its standard output, if it succeeded within `deadline`; else its last words.
pub(super) fn run(command: &mut Command, deadline: Duration) -> Result<String, String> {
    let ended = run_for(command, deadline, PRINTED)?;
    if ended.status.success() {
        return Ok(ended.out);
    }
    let last = ended.err.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    Err(format!("{}: {last}", ended.status))
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
