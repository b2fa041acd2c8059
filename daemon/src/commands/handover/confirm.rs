//! Whether the new leaders answer, as the node that led before finds out by asking from outside.
#![allow(clippy::disallowed_methods, reason = "waits between two looks")]

use crate::client::Client;
use crate::commands::ask;
use crate::error::Failure;
use crate::wire::HandedOver;
use fulcrum_lifecycle::{Group, Status};
use serde::Serialize;
use std::fmt;
use std::time::{Duration, Instant};

/// How long an answer is waited for.
const BOUND: Duration = Duration::from_secs(5);
/// Whether it is asked for at all shows sooner.
const ASKED: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(50);

/// Whether a group is answered for.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Confirmed {
    confirmed: bool,
    /// How long after the handover that was known, or why it is not.
    how: String,
}

impl fmt::Display for Confirmed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.confirmed {
            write!(f, "confirmed from outside: {}", self.how)
        } else {
            write!(f, "not confirmed from outside: {}", self.how)
        }
    }
}

/// What a look shows.
enum Seen {
    Answered,
    /// This node asks nobody.
    Unasked,
    NotYet(String),
}

/// Looks at each group that was moved until it is answered for, for a while.
pub(super) fn confirm(client: &Client, moved: &[HandedOver]) -> Result<Vec<Confirmed>, Failure> {
    let begun = Instant::now();
    let mut known: Vec<Option<Confirmed>> = vec![None; moved.len()];
    while known.iter().any(Option::is_none) {
        let status: Status = ask(client)?;
        let waited = begun.elapsed();
        for (done, known) in moved.iter().zip(&mut known).filter(|(_, known)| known.is_none()) {
            let group = status.groups.iter().find(|group| group.name == done.group);
            *known = judge(group.map_or(Seen::Unasked, |group| look(group, &done.leader)), waited);
        }
        std::thread::sleep(LOOK);
    }
    Ok(known.into_iter().flatten().collect())
}

fn judge(seen: Seen, waited: Duration) -> Option<Confirmed> {
    let not = |how: String| Some(Confirmed { confirmed: false, how });
    match seen {
        Seen::Answered => {
            let how = format!("every VIP is answered for by ARP or ND, {} ms later", waited.as_millis());
            Some(Confirmed { confirmed: true, how })
        }
        Seen::Unasked if waited >= ASKED => {
            not("this node does not ask for it (`proof` is off, or another standby asks)".to_owned())
        }
        Seen::NotYet(what) if waited >= BOUND => not(what),
        Seen::Unasked | Seen::NotYet(_) => None,
    }
}

fn look(group: &Group, leader: &str) -> Seen {
    let now = group.leader.as_ref().map(|leader| leader.node.as_deref().unwrap_or(&leader.address));
    if now != Some(leader) {
        return Seen::NotYet(format!("{} leads it by now", now.unwrap_or("nobody")));
    }
    let proofs: Option<Vec<_>> =
        group.addresses.iter().map(|it| Some((&it.address, it.proof.as_ref()?))).collect();
    let Some(proofs) = proofs else { return Seen::Unasked };
    let open = proofs.iter().find(|(_, proof)| proof.state != "answered");
    open.map_or(Seen::Answered, |(address, proof)| {
        let what = match proof.state.as_str() {
            "unknown" => "no answer was heard so far".to_owned(),
            state => format!("{state} {}", proof.by.join(", ")).trim().to_owned(),
        };
        Seen::NotYet(format!("{address}: {what} (within {} s)", BOUND.as_secs()))
    })
}
