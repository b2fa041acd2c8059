//! Machines of Cluster API on which nodes of ours run: each node leaves before its Machine does, and then the Machine is let go.
#![allow(clippy::disallowed_methods, reason = "a driver: it looks now and then, and at the clock")]

use super::{Clusters, writes};
use crate::node::Node;
use fulcrum_config::NodeName;
use fulcrum_k8s::{Fleet, HOOK, OwnNode};
use fulcrum_lifecycle::{Alarm, Kubernetes, Severity, Snapshots, led_by, overrides};
use fulcrum_peer::PeerState;
use fulcrum_vip_manager::Role;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::sleep;

#[cfg(test)]
mod tests;

/// Between two looks; and while no Machine waits.
const PACE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(1));
/// A node that was not heard for so long is gone: one that starts anew is back before.
const GONE: Duration = Duration::from_secs(10);

/// What becomes of the Machine of `own`, for as long as it is known; a node that is on none stays.
pub(super) fn fate(fleet: &Fleet, own: &NodeName) -> Option<OwnNode> {
    let leaving = fleet.leaving.as_ref()?;
    let of_own = leaving.iter().find(|(_, machine)| machine.node == *own);
    Some(
        of_own
            .map_or(OwnNode::Stays, |(name, _)| OwnNode::Leaves(format!("Machine {name} is being deleted"))),
    )
}

/// Those that wait, for the status.
pub(super) fn leaving(fleet: &Fleet) -> Vec<String> {
    let leaving = fleet.leaving.iter().flatten().filter(|(_, machine)| machine.waits);
    leaving.map(|(name, machine)| format!("{name} ({})", machine.node)).collect()
}

/// What does not work.
pub(super) fn alarms(clusters: &[Kubernetes]) -> impl Iterator<Item = Alarm> {
    clusters.iter().filter_map(|cluster| {
        let why = cluster.machines_error.as_ref()?;
        Some(Alarm {
            severity: Severity::Warning,
            what: format!("Machines of Kubernetes cluster {}: {why}", cluster.cluster),
            affected: "nodes of this load balancer whose Machine is deleted: they are not told, and such a Machine waits".to_owned(),
            remedy: format!(
                "remove the cause that is named; to let a Machine go by hand, drain its node (fulcrum drain lb-node NODE --wait), then \
                 take its annotation {HOOK} away"
            ),
        })
    })
}

/// What decides whether a Machine need not wait any more.
struct View<'a> {
    own: &'a NodeName,
    /// This node's own connections, if it is drained.
    left: Option<u64>,
    /// Whether this node speaks for those that are gone.
    writes: bool,
    /// Nodes that are gone.
    gone: &'a [NodeName],
    /// Whether a node leads anything, as far as is known.
    leads: &'a dyn Fn(&NodeName) -> bool,
    /// Whether each group has a leader that is another node.
    others_lead: &'a dyn Fn(&NodeName) -> bool,
}

/// A node says itself when it is empty, as only it knows its connections. For one that is gone the writer speaks.
fn is_free(node: &NodeName, view: &View<'_>) -> bool {
    let is_empty =
        if node == view.own { view.left == Some(0) } else { view.writes && view.gone.contains(node) };
    is_empty && !(view.leads)(node) && (view.others_lead)(node)
}

fn others_lead(node: &NodeName, snapshots: &Snapshots) -> bool {
    snapshots.vip.groups.values().all(|group| match (group.role, &group.leader) {
        (Role::Leader, _) => *node != snapshots.config.node,
        (Role::Init | Role::Standby, leader) => {
            leader.as_ref().is_some_and(|leader| leader.node.as_ref() != Some(node))
        }
    })
}

/// Which nodes were not heard for long.
#[derive(Debug, Default)]
struct Unheard(BTreeMap<NodeName, Instant>);

impl Unheard {
    /// Takes which of its peers a node hears.
    fn heard<'a>(
        &mut self,
        peers: impl Iterator<Item = (&'a NodeName, PeerState)>,
        now: Instant,
    ) -> Vec<NodeName> {
        let silent = peers.filter(|(_, state)| *state != PeerState::Up);
        let since = silent.map(|(node, _)| (node.clone(), self.0.get(node).copied().unwrap_or(now)));
        self.0 = since.collect();
        let is_gone = |since: &Instant| now.saturating_duration_since(*since) >= GONE;
        self.0.iter().filter(|(_, since)| is_gone(since)).map(|(node, _)| node.clone()).collect()
    }
}

/// Sees to it, for as long as the node runs.
pub(super) async fn tend(node: Arc<Node>) {
    let clusters = node.clusters();
    let mut unheard = Unheard::default();
    loop {
        let waits = see_to(&node, &clusters, &mut unheard);
        sleep(if waits { PACE.0 } else { PACE.1 }).await;
    }
}

/// Lets those go that need not wait any more. Says whether any waits.
fn see_to(node: &Node, clusters: &Clusters, unheard: &mut Unheard) -> bool {
    let snapshots = node.handle().snapshots();
    let config = &snapshots.config;
    let peers = snapshots.peer.peers.iter().map(|(name, peer)| (name, peer.state));
    let gone = unheard.heard(peers, Instant::now());
    let of_own = format!("lb-node {}", config.node);
    clusters.release(|waits| {
        let drained = overrides(&snapshots).into_iter().find(|it| it.of == of_own);
        let view = View {
            own: &config.node,
            left: drained.and_then(|it| it.connections),
            writes: writes(node, config),
            gone: &gone,
            leads: &|node| !led_by(node, &snapshots).is_empty(),
            others_lead: &|node| others_lead(node, &snapshots),
        };
        is_free(waits, &view)
    })
}
