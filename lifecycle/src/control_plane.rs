//! Groups of class control-plane: which nodes could lead them at once, and whether one of them may be moved now.
//!
//! Each node says over the peer link which of them it could lead, which it moves or wants to move, and of which moves of
//! others it has heard. A node moves one only once all whose links are up have heard that it will and move none
//! themselves. Of two that ask at once each hears of the other before it is answered, and the one of the higher name
//! gives way.

use crate::join::Snapshots;
use fulcrum_config::{Class, Config, GroupName, NodeName};
use fulcrum_peer::{PeerObserved, PeerState};
use fulcrum_vip_manager::Role;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

#[cfg(test)]
pub(crate) mod tests;

/// How long a group may be without a ready standby before that is an alarm: a node that is started anew needs some of it.
const WITHOUT_STANDBY: Duration = Duration::from_secs(5);

/// The groups of class control-plane.
pub(crate) fn protected(config: &Config) -> impl Iterator<Item = &GroupName> {
    config.groups.values().filter(|group| group.class == Class::ControlPlane).map(|group| &group.name)
}

/// Where what is known of other nodes is found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known<'a> {
    pub(crate) config: &'a Config,
    pub(crate) vip: &'a fulcrum_vip_manager::Observed,
    pub(crate) peer: &'a fulcrum_peer::Observed,
}

impl<'a> From<&'a Snapshots> for Known<'a> {
    fn from(snapshots: &'a Snapshots) -> Self {
        Self { config: &snapshots.config, vip: &snapshots.vip, peer: &snapshots.peer }
    }
}

/// Another node of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standby {
    pub(crate) node: NodeName,
    /// Whether the link to it is up.
    pub(crate) linked: bool,
    /// Why it can't be said that it is ready; nothing if it is.
    pub(crate) fault: Option<String>,
}

/// The other nodes of a group, those first that take over first.
pub(crate) fn standbys(known: Known<'_>, group: &GroupName) -> Vec<Standby> {
    let (config, own) = (known.config, &known.config.node);
    let Some(configured) = config.groups.get(group) else { return Vec::new() };
    let order = known.vip.groups.get(group).map_or(&[][..], |observed| &observed.order);
    let place = |node: &NodeName| order.iter().position(|it| it == node).unwrap_or(usize::MAX);
    let nodes = configured.priorities.iter().filter(|(node, _)| *node != own);
    let mut nodes: Vec<_> =
        nodes.map(|(node, priority)| (place(node), Reverse(*priority), node.clone())).collect();
    nodes.sort();
    let standby = |(_, _, node): (usize, Reverse<fulcrum_config::Priority>, NodeName)| {
        let peer = known.peer.peers.get(&node);
        let linked = peer.is_some_and(|peer| peer.state == PeerState::Up);
        Standby { linked, fault: fault(config, &node, peer, group), node }
    };
    nodes.into_iter().map(standby).collect()
}

fn fault(config: &Config, node: &NodeName, peer: Option<&PeerObserved>, group: &GroupName) -> Option<String> {
    let Some(peer) = peer else {
        return Some(
            "it has no link to this node (`keys` of both), so that nothing is known of it".to_owned(),
        );
    };
    if peer.state != PeerState::Up {
        return Some(format!("the link to it is down: {}", peer.reason));
    }
    let Some(word) = peer.word.as_ref().filter(|_| peer.config.is_some()) else {
        return Some("it has not said yet how it is".to_owned());
    };
    if peer.config.is_some_and(|it| it.digest != config.shared) {
        return Some("it runs another configuration".to_owned());
    }
    let mut reasons = word.unready.iter().flatten();
    let said = reasons.find(|(_, groups)| groups.contains(group)).map(|(why, _)| why);
    let is_protected = config.groups.get(group).is_some_and(|group| group.class == Class::ControlPlane);
    match said {
        Some(why) => Some(format!("it is not ready for it: {why} (look at 'fulcrum status' on {node})")),
        None if is_protected && !word.ready.contains(group) => {
            Some(format!("it is not ready for it: look at 'fulcrum status' on {node}"))
        }
        None => None,
    }
}

pub(crate) fn told(standbys: &[Standby]) -> Vec<String> {
    let fault = |it: &Standby| Some(format!("{}: {}", it.node, it.fault.as_ref()?));
    standbys.iter().filter_map(fault).collect()
}

/// The node that takes over a group of this node's, if that one is ready.
///
/// # Errors
/// What is the matter with each that is not, for people.
pub fn successor(snapshots: &Snapshots, group: &GroupName) -> Result<NodeName, Vec<String>> {
    let standbys = standbys(snapshots.into(), group);
    match standbys.iter().find(|it| it.linked) {
        Some(first) if first.fault.is_none() => Ok(first.node.clone()),
        Some(_) | None => Err(told(&standbys)),
    }
}

/// The nodes that could lead a group at once, as far as this node knows, this one among them.
#[must_use]
pub fn able(snapshots: &Snapshots, group: &GroupName) -> BTreeSet<NodeName> {
    let others = standbys(snapshots.into(), group).into_iter().filter(|it| it.fault.is_none());
    let own = snapshots.ready.contains(group).then(|| snapshots.config.node.clone());
    others.map(|it| it.node).chain(own).collect()
}

/// Whether a group that this node has moved has a leader again, and another node that is ready; where operators drain all
/// others there is none to wait for.
#[must_use]
pub fn is_settled(snapshots: &Snapshots, group: &GroupName) -> bool {
    let Some(observed) = snapshots.vip.groups.get(group) else { return true };
    if observed.role == Role::Leader {
        return true;
    }
    let leader = observed.leader.as_ref().and_then(|leader| leader.node.as_ref());
    let config = &snapshots.config;
    let others = config.groups.get(group).into_iter().flat_map(|group| group.priorities.keys());
    let mut others = others.filter(|node| Some(*node) != leader);
    let all_drained = others.all(|node| config.overrides.is_drained(node));
    let has_ready = able(snapshots, group).iter().any(|node| Some(node) != leader);
    observed.leader.is_some() && (has_ready || all_drained)
}

/// Whether this node may move a group now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// It may.
    Now,
    /// Not yet: why.
    Wait(String),
    /// Not before another that asked at the same time: why.
    GiveWay(String),
}

/// Whether the node `own`, which has said that it will move a group by this `number`, may.
#[must_use]
pub fn turn(own: &NodeName, number: u64, peers: &BTreeMap<NodeName, PeerObserved>) -> Turn {
    let mut waits = None;
    for (name, peer) in peers.iter().filter(|(_, peer)| peer.state == PeerState::Up) {
        let unheard = || format!("{name} has not said yet whether it moves one");
        let Some(word) = &peer.word else {
            waits = Some(unheard());
            continue;
        };
        if let Some(group) = word.moves.keys().next() {
            let why = format!("{name} moves group {group}, which is not settled yet");
            if name < own {
                return Turn::GiveWay(why);
            }
            waits = Some(why);
        } else if !word.knows.contains(&number) {
            waits.get_or_insert_with(unheard);
        }
    }
    waits.map_or(Turn::Now, Turn::Wait)
}

/// The numbers of the moves that peers have told of.
pub(crate) fn known_moves(peer: &fulcrum_peer::Observed) -> BTreeSet<u64> {
    peer.peers
        .values()
        .filter_map(|peer| peer.word.as_ref())
        .flat_map(|word| word.moves.values().copied())
        .collect()
}

/// The groups that this node leads, and that no other node is known to be ready for.
pub(crate) fn without_standby(known: Known<'_>) -> BTreeSet<GroupName> {
    let has_none = |name: &&GroupName| standbys(known, name).iter().all(|it| it.fault.is_some());
    let can_have = known.peer.state == fulcrum_peer::LinkState::On;
    protected(known.config)
        .filter(|_| can_have)
        .filter(|name| known.vip.leads(name))
        .filter(has_none)
        .cloned()
        .collect()
}

pub(crate) fn alarms(snapshots: &Snapshots, now: Instant) -> Vec<crate::Alarm> {
    let lasts = |since: Instant| now.saturating_duration_since(since) >= WITHOUT_STANDBY;
    let alarm = |(group, _): (&GroupName, &Instant)| crate::Alarm {
        severity: crate::Severity::Critical,
        what: format!(
            "group {group}, of class control-plane, has no standby that is known to be ready: {}",
            told(&standbys(snapshots.into(), group)).join("; ")
        ),
        affected: format!("the services of group {group}, if this node fails; it can't be handed over"),
        remedy: "look at 'fulcrum status' on the nodes that are named".to_owned(),
    };
    snapshots.without_standby.iter().filter(|(_, since)| lasts(**since)).map(alarm).collect()
}
