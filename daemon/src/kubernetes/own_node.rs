//! A node of ours that runs on a Kubernetes node hands over before that one goes: it is drained as an operator would drain it,
//! for as long as the cluster has that in mind.
#![allow(clippy::disallowed_methods, reason = "a driver: it looks now and then")]

use super::Clusters;
use crate::node::{Node, Target, Wish};
use fulcrum_config::{Config, GroupName, NodeKind, NodeName};
use fulcrum_k8s::{DRAIN, OwnNode};
use fulcrum_lifecycle::{Alarm, Severity, able, led_by};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

#[cfg(test)]
mod tests;

/// Between two looks.
const PACE: Duration = Duration::from_millis(250);
/// After one that was not granted, then twice that, and so on: it may have cost a run of hooks.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(8));
/// What asks for these drains begins so; no operator is called so.
const BY: &str = "Kubernetes cluster ";
/// Where a pod is told which Kubernetes node it is on.
const NAME: &str = "NODE_NAME";

/// What a cluster has in mind with the Kubernetes node that this node is on; nothing, as long as it is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fate {
    pub(super) cluster: String,
    pub(super) seen: Option<OwnNode>,
}

/// What is to be asked for, of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Due {
    Drain { by: String },
    Undrain { why: &'static str },
}

/// The Kubernetes node that this node is on, if it is on one.
pub(crate) fn name(own: &NodeName) -> String {
    std::env::var(NAME).ok().filter(|name| !name.is_empty()).unwrap_or_else(|| own.to_string())
}

/// A drain, unless there is one; its end, if it was asked for here and no cluster has anything in mind any more. What an
/// operator drained, an operator takes back.
fn due(fates: &[Fate], config: &Config) -> Option<Due> {
    let drained = config.overrides.nodes.get(&config.node);
    let leaves = fates.iter().find_map(|fate| match &fate.seen {
        Some(OwnNode::Leaves(why)) => Some(format!("{BY}{}: {why}", fate.cluster)),
        Some(OwnNode::Stays | OwnNode::Missing(_)) | None => None,
    });
    let all_stay = fates.iter().all(|fate| fate.seen == Some(OwnNode::Stays));
    let is_ours = drained.is_some_and(|noted| noted.by.starts_with(BY));
    match leaves {
        Some(by) if drained.is_none() => Some(Due::Drain { by }),
        Some(_) if is_ours && is_last(config) => Some(Due::Undrain { why: "no other node is left" }),
        None if is_ours && all_stay => Some(Due::Undrain { why: "its node stays" }),
        _ => None,
    }
}

/// Whether this node is to give way: all are drained, which were so at the same moment, and one is to lead.
fn is_last(config: &Config) -> bool {
    let is_other = |name: &&NodeName| {
        **name != config.node && config.nodes.get(*name).is_some_and(|node| node.kind == NodeKind::Fulcrum)
    };
    let mut others = config.nodes.keys().filter(is_other).peekable();
    others.peek().is_some() && others.all(|name| *name < config.node && config.overrides.is_drained(name))
}

/// Why this node is not to be drained yet: of several that are to go, one is emptied after the other; and another that is not
/// drained is to be ready for each group that it leads.
fn not_yet(
    config: &Config,
    led_by: impl Fn(&NodeName) -> Vec<String>,
    able: impl Fn(&GroupName) -> BTreeSet<NodeName>,
) -> Option<String> {
    let others = config.overrides.nodes.keys().filter(|node| **node != config.node);
    for other in others {
        if let Some(group) = led_by(other).first() {
            return Some(format!("{other} is drained, too, and leads group {group} yet"));
        }
    }
    let is_ready = |node: &NodeName| *node != config.node && !config.overrides.is_drained(node);
    let is_alone = |group: &&String| !able(&GroupName::new(group)).iter().any(is_ready);
    let own = led_by(&config.node);
    own.iter().find(is_alone).map(|group| format!("no other node is ready for group {group}"))
}

/// What is wrong with it.
pub(super) fn alarms(fates: &[Fate], held: Option<&str>) -> Vec<Alarm> {
    let missing = fates.iter().filter_map(|fate| match &fate.seen {
        Some(OwnNode::Missing(name)) => Some(Alarm {
            severity: Severity::Warning,
            what: format!(
                "Kubernetes cluster {} has no node {name}, on which this node is to run",
                fate.cluster
            ),
            affected: "the handover before that node is taken away: nothing tells of it".to_owned(),
            remedy: format!(
                "set {NAME} in the daemon's environment to its name, or `own_node: false` of that cluster"
            ),
        }),
        Some(OwnNode::Leaves(_) | OwnNode::Stays) | None => None,
    });
    let held = held.map(|why| Alarm {
        severity: Severity::Warning,
        what: format!("the machine that this node runs on is about to go, and this node is not drained: {why}"),
        affected: "what this node leads: it is handed over in a hurry when the daemon is ended, or taken over when the machine is".to_owned(),
        remedy: format!(
            "remove the cause that is named; it is tried again by itself, as long as its Machine or Node is being deleted, or the Node is cordoned, tainted or has the label {DRAIN}"
        ),
    });
    missing.chain(held).collect()
}

/// Sees to it, for as long as the node runs.
pub(super) async fn tend(node: Arc<Node>) {
    let clusters = node.clusters();
    let mut pace = PACE;
    loop {
        let refused = see_to(&node, &clusters).await.err();
        pace = match refused {
            Some(_) => pace.saturating_mul(2).clamp(AGAIN.0, AGAIN.1),
            None => PACE,
        };
        if clusters.hold(refused.clone())
            && let Some(why) = refused
        {
            tracing::warn!(target: "kubernetes", "the machine that this node runs on is about to go, and this node is not drained: {why}");
        }
        sleep(pace).await;
    }
}

/// Asks for what is due; an error says why that was not granted.
async fn see_to(node: &Arc<Node>, clusters: &Clusters) -> Result<(), String> {
    let config = node.handle().config();
    let Some(due) = due(&clusters.fates(&config.node), &config) else { return Ok(()) };
    let own = Target::Node(config.node.to_string());
    let (wish, by) = match due {
        Due::Drain { by } => {
            let snapshots = node.handle().snapshots();
            if let Some(why) =
                not_yet(&config, |node| led_by(node, &snapshots), |group| able(&snapshots, group))
            {
                return Err(why);
            }
            (Wish::Drain(own, None), by)
        }
        Due::Undrain { why } => (Wish::Undrain(own), format!("{BY}({why})")),
    };
    node.override_file(&wish, &by, BTreeSet::new()).await.map_err(|refusal| refusal.error)?;
    let what = if matches!(wish, Wish::Undrain(_)) { "is not drained any more" } else { "is drained" };
    tracing::info!(target: "kubernetes", "this node {what}: {by}");
    Ok(())
}
