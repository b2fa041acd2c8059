//! Machines of Cluster API on which nodes of ours run, and which wait for us before they go.

use crate::objects::ObjectName;
use fulcrum_config::{Config, Machines, NodeKind, NodeName};
use kube::core::DynamicObject;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::net::IpAddr;

#[cfg(test)]
mod tests;

/// The annotation by which a Machine waits for us: before its machine is switched off, and after its Node was drained.
pub const HOOK: &str = "pre-terminate.delete.hook.machine.cluster.x-k8s.io/fulcrum";

/// A Machine that is being deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaving {
    /// The node of ours on it.
    pub node: NodeName,
    /// Whether it has our hook; without it, or without it any more, its node leaves all the same.
    pub waits: bool,
    pub(crate) uid: String,
    pub(crate) version: String,
}

/// Those of a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fleet {
    /// Machines with nodes of ours that are being deleted; none, as long as it is not known.
    pub leaving: Option<BTreeMap<ObjectName, Leaving>>,
    /// Why what is known may be out of date, or can't be said, for people.
    pub error: Option<String>,
}

/// Whose nodes they are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Of<'a> {
    pub(crate) config: &'a Config,
    pub(crate) machines: &'a Machines,
    /// The Kubernetes node that this node runs on.
    pub(crate) own_node: &'a str,
}

/// Whether a Machine is about to go.
pub(crate) fn is_leaving(machine: &DynamicObject) -> bool {
    machine.metadata.deletion_timestamp.is_some()
}

/// What it is to us, if it is about to go and a node of ours is on it.
pub(crate) fn leaving(machine: &DynamicObject, of: Of<'_>) -> Option<Leaving> {
    let is_of_cluster =
        |name: &String| machine.data.pointer("/spec/clusterName") == Some(&Json::from(name.as_str()));
    if !is_leaving(machine) || !of.machines.cluster.as_ref().is_none_or(is_of_cluster) {
        return None;
    }
    let annotations = machine.metadata.annotations.as_ref();
    Some(Leaving {
        node: by_name(machine, of).or_else(|| by_address(machine, of.config))?,
        waits: annotations.is_some_and(|all| all.contains_key(HOOK)),
        uid: machine.metadata.uid.clone()?,
        version: machine.metadata.resource_version.clone()?,
    })
}

/// Its Kubernetes node is called as a node of ours, or this node says that it is on it.
fn by_name(machine: &DynamicObject, of: Of<'_>) -> Option<NodeName> {
    let name = machine.data.pointer("/status/nodeRef/name")?.as_str()?;
    if name == of.own_node {
        return Some(of.config.node.clone());
    }
    let (node, settings) = of.config.nodes.get_key_value(&NodeName::new(name))?;
    (settings.kind == NodeKind::Fulcrum && *node != of.config.node).then(|| node.clone())
}

/// It has an address of a node of ours.
fn by_address(machine: &DynamicObject, config: &Config) -> Option<NodeName> {
    let said = machine.data.pointer("/status/addresses")?.as_array()?;
    let said: Vec<IpAddr> = said.iter().filter_map(|it| it.get("address")?.as_str()?.parse().ok()).collect();
    let ours = config.nodes.iter().filter(|(_, node)| node.kind == NodeKind::Fulcrum);
    let mut on_it = ours.filter(|(_, node)| node.addresses.iter().any(|address| said.contains(address)));
    on_it.next().map(|(name, _)| name.clone())
}
