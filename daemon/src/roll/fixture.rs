//! Rolls and nodes for the tests.

use super::journal::{Entry, Journal, Options};
use super::report::{Group, Leader, Link, Look, Peer, PeerLink, Report};
use std::time::Duration;

pub(crate) fn options() -> Options {
    Options {
        exec: vec!["./recreate".to_owned(), "{node}".to_owned()],
        deadline: Duration::from_secs(300),
        exec_deadline: Duration::from_secs(1800),
        ready_deadline: Duration::from_secs(600),
        preflight: true,
        backup: None,
        force: false,
    }
}

pub(crate) fn journal(nodes: &[&str]) -> Journal {
    Journal::new(options(), nodes.iter().map(|node| Entry::new(node, 0)).collect())
}

/// A group that `leader` leads, as `node` sees it.
pub(crate) fn group(name: &str, node: &str, leader: &str) -> Group {
    Group {
        name: name.to_owned(),
        role: if node == leader { "leader" } else { "standby" }.to_owned(),
        leader: Some(Leader { node: Some(leader.to_owned()) }),
        priority: Some(100),
        links: vec![Link { interface: "eth0".to_owned(), up: true, address: None }],
        ..Group::default()
    }
}

/// Nodes that are ready, with these groups and their leaders.
pub(crate) fn look(nodes: &[&str], groups: &[(&str, &str)]) -> Look {
    let peer = |name: &&str| Peer {
        name: (*name).to_owned(),
        state: "up".to_owned(),
        config_agrees: Some(true),
        ..Peer::default()
    };
    let report = |node: &&str| Report {
        node: (*node).to_owned(),
        version: "0.1.0".to_owned(),
        ready: true,
        groups: groups.iter().map(|(name, leader)| group(name, node, leader)).collect(),
        peer_link: PeerLink {
            state: "on".to_owned(),
            why: None,
            peers: nodes.iter().filter(|other| *other != node).map(peer).collect(),
        },
        ..Report::default()
    };
    nodes.iter().map(|node| ((*node).to_owned(), Ok(report(node)))).collect()
}
