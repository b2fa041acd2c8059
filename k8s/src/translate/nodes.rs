//! Which nodes of a cluster take connections.

use super::Around;
use k8s_openapi::api::core::v1::Node;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
/// A node with one of these is about to go. A cordon (`node.kubernetes.io/unschedulable`) is none: it keeps its pods.
const LEAVING: &[&str] = &[
    "ToBeDeletedByClusterAutoscaler",
    "karpenter.sh/disrupted",
    "karpenter.sh/disruption",
    "node.kubernetes.io/out-of-service",
    "node.cloudprovider.kubernetes.io/shutdown",
];
/// A node with one of these is not there yet.
const COMING: &[&str] =
    &["node.cloudprovider.kubernetes.io/uninitialized", "node.cluster.x-k8s.io/uninitialized"];

/// A node that can take connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Machine {
    pub(super) name: String,
    /// Its addresses within the cluster.
    pub(super) addresses: Vec<IpAddr>,
    /// Whether it keeps its connections and gets no new ones.
    pub(super) drains: bool,
}

impl Machine {
    /// Its address of the family that `is_wanted`.
    pub(super) fn address(&self, is_wanted: impl Fn(&IpAddr) -> bool) -> Option<IpAddr> {
        self.addresses.iter().copied().find(is_wanted)
    }
}

/// The nodes that can take connections, by name.
///
/// Where none is ready, it is more likely that the control plane does not hear them than that all of them failed: all
/// of them count then, and their checks say which answer.
pub(super) fn machines(nodes: &BTreeMap<String, Arc<Node>>, around: &Around<'_>) -> Vec<Machine> {
    let mut taken = BTreeSet::new();
    let mut nodes: Vec<&Node> = nodes.values().map(Arc::as_ref).filter(|node| is_member(node)).collect();
    // Who was there first keeps an address that two say they have, whatever a newcomer is called; but a machine that joined
    // again under another name leaves its old one behind, dead. So a newcomer can claim the address of a dead one alone.
    nodes.sort_by_key(|node| {
        let is_dead = is_leaving(node) || !is_ready(node);
        (is_dead, node.metadata.creation_timestamp.clone(), node.metadata.name.clone())
    });
    let heard = nodes.iter().any(|node| is_ready(node) && !is_leaving(node));
    let machine = |node: &&Node| {
        let addresses = addresses(node, around, &mut taken);
        let drains = is_leaving(node) || (heard && !is_ready(node));
        let name = node.metadata.name.clone()?;
        (!addresses.is_empty()).then_some(Machine { name, addresses, drains })
    };
    let mut machines: Vec<Machine> = nodes.iter().filter_map(machine).collect();
    machines.sort_by(|one, other| one.name.cmp(&other.name));
    machines
}

fn is_member(node: &Node) -> bool {
    let excluded = node.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(EXCLUDED));
    !excluded && !has_taint(node, COMING)
}

fn is_leaving(node: &Node) -> bool {
    node.metadata.deletion_timestamp.is_some() || leaving_taint(node).is_some()
}

/// The first taint of a node that is about to go.
pub(crate) fn leaving_taint(node: &Node) -> Option<&str> {
    let mut keys = taints(node);
    keys.find(|key| LEAVING.contains(key))
}

fn has_taint(node: &Node, keys: &[&str]) -> bool {
    taints(node).any(|key| keys.contains(&key))
}

fn taints(node: &Node) -> impl Iterator<Item = &str> {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    taints.iter().map(|taint| taint.key.as_str())
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// What a node says of itself need not be true: addresses of ours, or of a node before it, are left out.
fn addresses(node: &Node, around: &Around<'_>, taken: &mut BTreeSet<IpAddr>) -> Vec<IpAddr> {
    let all = node.status.as_ref().and_then(|status| status.addresses.as_deref()).unwrap_or_default();
    let internal = all.iter().filter(|address| address.type_ == "InternalIP");
    let parsed = internal.filter_map(|address| address.address.parse().ok());
    parsed.filter(|address| around.may_be_backend(*address) && taken.insert(*address)).collect()
}
