//! The link to the other nodes: what of it is shown, and what is an alarm.

use crate::join::{Facts, Snapshots, counters, milliseconds, seconds, word};
use crate::status::{Alarm, Peer, PeerLink, Severity};
use fulcrum_config::NodeName;
use fulcrum_peer::{LinkState, PeerObserved, PeerState};
use std::cmp::Ordering;
use std::time::{Duration, Instant};

#[cfg(test)]
pub(crate) mod tests;

/// How long a link may be down before that is an alarm: a peer that is started anew needs some of it.
const DOWN: Duration = Duration::from_secs(5);

pub(crate) fn status(snapshots: &Snapshots, now: Instant) -> PeerLink {
    let seen = &snapshots.peer;
    PeerLink {
        state: word(&seen.state),
        why: why(seen.state, snapshots).map(str::to_owned),
        key: seen.own_pin.map(|pin| pin.to_string()),
        config_digest: snapshots.config.shared.to_string(),
        peers: seen.peers.iter().map(|(name, peer)| peer_status(name, peer, snapshots, now)).collect(),
    }
}

fn why(state: LinkState, snapshots: &Snapshots) -> Option<&'static str> {
    match state {
        LinkState::NoKeys if snapshots.config.nodes.len() < 2 => Some("there is no other node"),
        LinkState::NoKeys => Some(
            "no keys configured; the nodes take over by their adverts alone. For a link, run 'fulcrum peer-key' on \
             each node and write what it prints as `keys` of that node in `nodes`",
        ),
        LinkState::NoOwnKey => Some(
            "other nodes have keys, this one has none: write what 'fulcrum peer-key' prints here in `nodes`",
        ),
        LinkState::NoPeerKey => {
            Some("no other node has keys: write what 'fulcrum peer-key' prints there in `nodes`")
        }
        LinkState::On => None,
    }
}

pub(crate) fn agrees(peer: &PeerObserved, snapshots: &Snapshots) -> Option<bool> {
    peer.config.map(|config| config.digest == snapshots.config.shared)
}

fn peer_status(name: &NodeName, peer: &PeerObserved, snapshots: &Snapshots, now: Instant) -> Peer {
    Peer {
        name: name.to_string(),
        state: word(&peer.state),
        since_seconds: seconds(peer.since, now),
        reason: peer.reason.to_string(),
        address: peer.address.map(|address| address.to_string()),
        round_trip_ms: peer.round_trip.map(milliseconds),
        version: peer.version.as_deref().map(str::to_owned),
        config_generation: peer.config.map(|config| config.generation),
        config_serial: peer.config.map(|config| config.serial),
        config_digest: peer.config.map(|config| config.digest.to_string()),
        config_agrees: agrees(peer, snapshots),
        counters: counters(&peer.counters),
    }
}

/// Which of two configurations is the older one.
pub(crate) fn differs(name: &NodeName, peer: &PeerObserved, serial: u64) -> String {
    let theirs = peer.config.map_or(0, |config| config.serial);
    match theirs.cmp(&serial) {
        Ordering::Less => {
            format!(
                "{name} runs another configuration than this node: it is behind (serial {theirs}, here {serial})"
            )
        }
        Ordering::Greater => {
            format!(
                "{name} runs another configuration than this node, which is behind (serial {serial}, there {theirs})"
            )
        }
        Ordering::Equal => format!(
            "{name} runs another configuration than this node, and neither is newer: both were changed by themselves"
        ),
    }
}

pub(crate) fn alarms(facts: &Facts, snapshots: &Snapshots) -> Vec<Alarm> {
    let seen = &snapshots.peer;
    let mut alarms: Vec<Alarm> = seen
        .errors
        .iter()
        .map(|error| warning(error.clone(), "remove the cause that is named; it is tried again by itself"))
        .collect();
    if snapshots.peer_ended {
        alarms.push(warning("the peer link has ended by itself", "look at the log, and restart the daemon"));
    }
    if !seen.own_pin_listed
        && let Some(pin) = seen.own_pin
    {
        alarms.push(warning(
            format!("this node's key {pin} is none of its `keys` in {}: peers refuse it", facts.config_file),
            "list it in the files of all nodes, then 'fulcrum reload' on each; then take the old one off",
        ));
    }
    for (name, peer) in &seen.peers {
        alarms.extend(of_peer(name, peer, snapshots));
    }
    alarms
}

#[allow(clippy::disallowed_methods, reason = "says how long it has been so; nothing is decided by it")]
fn of_peer(name: &NodeName, peer: &PeerObserved, snapshots: &Snapshots) -> Option<Alarm> {
    let port = snapshots.config.peer.port;
    match peer.state {
        PeerState::Up if agrees(peer, snapshots) == Some(false) => Some(Alarm {
            severity: Severity::Warning,
            what: differs(name, peer, snapshots.serial),
            affected: "what changes when the leader does: services, backends or limits may be others there"
                .to_owned(),
            remedy: "it catches up by itself within seconds; if not, look there for the reason, or 'fulcrum reload' on the \
                     node whose file is right"
                .to_owned(),
        }),
        PeerState::Up => None,
        PeerState::Down if peer.since.elapsed() < DOWN => None,
        PeerState::Down => Some(warning(
            format!("the peer link to {name} is down: {}", peer.reason),
            &format!("look whether {name} runs, and that UDP port {port} is open between the nodes, both ways"),
        )),
        PeerState::Refused => Some(warning(
            format!("the peer link to {name} is refused: {}", peer.reason),
            "make `keys` of each node in both files what 'fulcrum peer-key' prints on that node, then 'fulcrum reload'",
        )),
    }
}

fn warning(what: impl Into<String>, remedy: &str) -> Alarm {
    Alarm {
        severity: Severity::Warning,
        what: what.into(),
        affected: "what the nodes tell each other; takeovers work by adverts as without a link".to_owned(),
        remedy: remedy.to_owned(),
    }
}
