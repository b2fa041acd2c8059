//! What a cluster has in mind with the Kubernetes node that this node of ours runs on.

use crate::objects::Objects;
use crate::translate::leaving_taint;
use k8s_openapi::api::core::v1::Node;
use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

/// The label by which an operator has a node of ours hand over; `false` is as if it were not there.
pub const DRAIN: &str = "fulcrum.dev/drain";

/// What becomes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OwnNode {
    /// Nothing.
    Stays,
    /// It is about to go, or to be worked on: which it is, and why.
    Leaves(String),
    /// There is none of this name.
    Missing(String),
}

/// What becomes of the node `name`. Unlike that of a backend, a cordon counts: it is all that `kubectl drain` and Cluster API
/// say of a node beforehand, pods of a DaemonSet are not evicted, and another node leads at no cost.
#[must_use]
pub fn own_node(objects: &Objects, name: &str) -> OwnNode {
    let Some(node) = objects.nodes.get(name) else { return OwnNode::Missing(name.to_owned()) };
    reason(node).map_or(OwnNode::Stays, |why| OwnNode::Leaves(format!("node {name} {why}")))
}

fn reason(node: &Node) -> Option<String> {
    if node.metadata.deletion_timestamp.is_some() {
        return Some("is being deleted".to_owned());
    }
    if let Some(taint) = leaving_taint(node) {
        return Some(format!("has the taint {taint}"));
    }
    let label = node.metadata.labels.as_ref().and_then(|labels| labels.get(DRAIN));
    if label.is_some_and(|value| value != "false") {
        return Some(format!("has the label {DRAIN}"));
    }
    let is_cordoned = node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false);
    is_cordoned.then(|| "is cordoned".to_owned())
}
