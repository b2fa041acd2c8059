//! Waits until this node has finished the proxied connections of groups that it handed over.
#![allow(clippy::disallowed_methods, reason = "waits between two looks")]

use crate::client::Client;
use crate::commands::{ask, print};
use crate::error::Failure;
use fulcrum_lifecycle::Status;
use serde::Serialize;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

const LOOK: Duration = Duration::from_millis(100);
/// Time between two lines where there is no terminal.
const LINE: Duration = Duration::from_secs(10);

/// What became of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Finished {
    /// There were so many to begin with.
    connections: u64,
    /// So many were left when the time was over.
    cut: u64,
}

/// How it stands.
struct Left {
    connections: u64,
    /// The longest that any of the groups may still take; none if none drains.
    seconds: Option<u64>,
}

pub(super) fn wait(client: &Client, groups: &[String], tells: bool) -> Result<Finished, Failure> {
    let first = left(&ask(client)?, groups);
    let mut last = Left { ..first };
    let mut told = Instant::now();
    let is_terminal = io::stderr().is_terminal();
    while let Some(seconds) = last.seconds {
        let line = format!("{} connections to finish, for {seconds} s at most", last.connections);
        if tells && is_terminal {
            eprint!("\r\x1b[K{line}");
            let _ = io::stderr().flush();
        } else if tells && told.elapsed() >= LINE {
            told = Instant::now();
            eprintln!("{line}");
        }
        std::thread::sleep(LOOK);
        let now = left(&ask(client)?, groups);
        let connections = match now.seconds {
            Some(_) => now.connections,
            // There was time left: their end ended it, and not the deadline.
            None if seconds > 0 => 0,
            None => last.connections,
        };
        last = Left { connections, ..now };
    }
    let finished = Finished { connections: first.connections, cut: last.connections };
    if tells {
        if is_terminal {
            eprint!("\r\x1b[K");
        }
        let Finished { connections, cut } = finished;
        let kept = connections.saturating_sub(cut);
        print(&format!("{kept} of {connections} connections finished, {cut} cut at the deadline\n"))?;
    }
    Ok(finished)
}

fn left(status: &Status, groups: &[String]) -> Left {
    let draining = status.groups.iter().filter(|group| groups.contains(&group.name));
    let draining: Vec<_> =
        draining.filter_map(|group| Some((group.name.as_str(), group.draining_seconds?))).collect();
    let is_left = |group: &str| draining.iter().any(|(name, _)| *name == group);
    let services = status
        .services
        .iter()
        .filter(|service| is_left(&service.group) && service.mode == "proxy" && service.protocol == "tcp");
    let connections = services.map(|service| service.connections).fold(0, u64::saturating_add);
    Left { connections, seconds: draining.iter().map(|(_, seconds)| *seconds).max() }
}
