//! Whether the node that is to take a group over in a planned change is ready for it, as far as this node can know.
//!
//! Each node says over the peer link why it could not lead groups at once ([`own`]), and which backends fail its checks.
//! The node that leads adds what it knows itself: how tables and flows compare. A group whose other nodes have no link to
//! this one (adverts alone, foreign partners) may be moved; then it is said what is not known.

use crate::control_plane::{Standby, standbys, told};
use crate::join::Snapshots;
use crate::verdicts::Comparison;
use crate::{peers, sync};
use fulcrum_config::{GroupName, NodeName, Service};

mod own;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use own::{Own, fails, in_words, reasons};

/// Who takes a group over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// That node.
    pub node: NodeName,
    /// What is not known of it, for people.
    pub unknown: Vec<String>,
}

/// The node that takes over a group that this node leaves, if it is ready; or the one that was named, if that can be had.
///
/// # Errors
/// What is the matter, for people: of each other node if there are several.
pub fn target(
    snapshots: &Snapshots,
    group: &GroupName,
    named: Option<&NodeName>,
) -> Result<Target, Vec<String>> {
    let standbys = standbys(snapshots.into(), group);
    let chosen = match named {
        Some(named) => chosen(snapshots, group, &standbys, named).map_err(|why| vec![why])?,
        None => {
            let Some(first) = first(snapshots, &standbys) else {
                return Err(if standbys.is_empty() {
                    vec!["there is no other node that could take it".to_owned()]
                } else {
                    told(&standbys)
                });
            };
            first
        }
    };
    let node = chosen.node.clone();
    let Some(peer) = snapshots.peer.peers.get(&node) else {
        let unknown = format!(
            "whether {node} is ready is not known: it has no link to this node ('fulcrum status' says why)"
        );
        return Ok(Target { node, unknown: vec![unknown] });
    };
    if peers::agrees(peer, snapshots) == Some(false) {
        return Err(vec![peers::differs(&node, peer, snapshots.serial)]);
    }
    if let Some(fault) = &chosen.fault {
        return Err(vec![format!("{node}: {fault}")]);
    }
    let lacks = lacks(snapshots, group, &node);
    if !lacks.is_empty() {
        return Err(lacks.into_iter().map(|what| format!("{node}: {what}")).collect());
    }
    let is_older = peer.word.as_ref().is_some_and(|word| word.unready.is_none());
    let unknown = is_older.then(|| format!("{node} runs a version that does not say whether it is ready"));
    Ok(Target { node, unknown: unknown.into_iter().collect() })
}

/// Whether a group can go to the node that was named, ready or not.
///
/// # Errors
/// Why not, for people.
pub fn may_be_named(snapshots: &Snapshots, group: &GroupName, named: &NodeName) -> Result<(), String> {
    chosen(snapshots, group, &standbys(snapshots.into(), group), named).map(|_| ())
}

/// Whoever takes it: one whose link is down is dead, presumably; of one that has none nothing is known.
fn first<'a>(snapshots: &Snapshots, standbys: &'a [Standby]) -> Option<&'a Standby> {
    let has_link = |node: &NodeName| snapshots.peer.peers.contains_key(node);
    standbys.iter().find(|it| it.linked || !has_link(&it.node))
}

/// The one that was named, if the group can go there.
fn chosen<'a>(
    snapshots: &Snapshots,
    group: &GroupName,
    standbys: &'a [Standby],
    named: &NodeName,
) -> Result<&'a Standby, String> {
    let Some(chosen) = standbys.iter().find(|it| it.node == *named) else {
        let names: Vec<&str> = standbys.iter().map(|it| it.node.as_str()).collect();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        return Err(format!("{named} is no other node of group {group}; there are: {names}"));
    };
    let is_elected = snapshots.config.groups.get(group).is_some_and(|group| group.is_elected());
    match first(snapshots, standbys) {
        Some(first) if !is_elected && first.node != *named => Err(format!(
            "group {group} has a VRID, and goes to the standby of the highest priority that lives, which is {}; to have it \
             go to {named}, give that one the higher priority, or leave the group's `vrid` out",
            first.node
        )),
        Some(_) | None => Ok(chosen),
    }
}

/// What of this node's state is not there, as far as this node sees.
fn lacks(snapshots: &Snapshots, group: &GroupName, node: &NodeName) -> Vec<String> {
    let services = snapshots.config.services.values().filter(|service| service.group == *group);
    let services: Vec<&Service> = services.map(|service| &**service).collect();
    let mut lacks: Vec<String> =
        services.iter().filter_map(|service| fails_there(snapshots, service, node)).collect();
    let forwarded: Vec<&&Service> =
        services.iter().filter(|service| service.mode.forwarding().is_some()).collect();
    for service in &forwarded {
        let view = snapshots.verdicts.services.get(&service.name);
        let agreement = view.and_then(|view| view.tables.get(node));
        let comparison = agreement.map_or(Comparison::NotTold, |agreement| agreement.comparison);
        if comparison != Comparison::InSync {
            lacks.push(format!("service {}: {}", service.name, sync::said(comparison)));
        }
    }
    let knows_flows = snapshots.lb.plane.as_ref().is_some_and(|plane| plane.flows.held_by.contains(node));
    if !forwarded.is_empty() && !knows_flows {
        lacks.push("it does not know all connections of this node yet".to_owned());
    }
    lacks
}

/// Backends that pass this node's checks and fail those of the other: it would not use them. The other way round the group
/// goes where more of them are reached.
fn fails_there(snapshots: &Snapshots, service: &Service, node: &NodeName) -> Option<String> {
    let word = snapshots.peer.peers.get(node)?.word.as_ref()?;
    let fails = word.fails.get(&service.name)?;
    let health = snapshots.health.services.get(&service.name)?;
    let is_good = |name: &&str| {
        let good = health.backends.iter().find(|(it, _)| it.as_str() == *name);
        good.is_some_and(|(_, health)| health.verdict.usable())
    };
    let names: Vec<&str> = fails.iter().map(|name| name.as_str()).filter(is_good).collect();
    (!names.is_empty()).then(|| {
        let names = names.join(", ");
        format!(
            "service {}: {names} fails the checks there, and passes them here (look at routes and firewalls there)",
            service.name
        )
    })
}
