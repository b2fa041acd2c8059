//! Which nodes of a cluster fail at once.

use crate::objects::{ObjectName, Objects};
use fulcrum_config::Cluster;
use k8s_openapi::api::core::v1::Node;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

#[cfg(test)]
mod tests;

/// The failure domain of a node, as the first of the cluster's labels says it that the node has.
pub(crate) fn domain<'a>(cluster: &Cluster, node: &'a Node) -> Option<&'a str> {
    let labels = node.metadata.labels.as_ref()?;
    let said = cluster.domain_labels.iter().find_map(|label| labels.get(label))?;
    (!said.is_empty()).then_some(said.as_str())
}

/// The failure domains of a cluster's nodes.
pub(crate) struct Domains<'a> {
    of: BTreeMap<&'a str, &'a str>,
}

impl<'a> Domains<'a> {
    pub(crate) fn of(cluster: &Cluster, objects: &'a Objects) -> Self {
        let nodes = objects.nodes.iter();
        let of = nodes.filter_map(|(name, node)| Some((name.as_str(), domain(cluster, node)?)));
        Self { of: of.collect() }
    }

    /// How many nodes each has.
    pub(crate) fn sizes(&self) -> BTreeMap<String, usize> {
        let mut sizes: BTreeMap<String, usize> = BTreeMap::new();
        for domain in self.of.values() {
            let size = sizes.entry((*domain).to_owned()).or_default();
            *size = size.saturating_add(1);
        }
        sizes
    }

    /// What is to be said of a Service whose ready pods, two or more, are all in one domain, while nodes are in several.
    pub(crate) fn note(&self, objects: &Objects, service: &ObjectName) -> Option<String> {
        // A pod of two families is one pod.
        let mut pods: BTreeMap<&str, BTreeSet<IpAddr>> = BTreeMap::new();
        let mut domains = BTreeSet::new();
        for slice in objects.slices_of(service) {
            for pod in slice.pods.iter().filter(|pod| !pod.terminates) {
                pods.entry(&slice.address_type).or_default().insert(pod.address?);
                // One of which it is not known may be elsewhere.
                domains.insert(*self.of.get(pod.node.as_deref()?)?);
            }
        }
        let pods = pods.values().map(BTreeSet::len).max()?;
        let first = self.of.values().next()?;
        let (one, None) = (*domains.first()?, domains.iter().nth(1)) else { return None };
        let is_spread = self.of.values().any(|domain| domain != first);
        (pods > 1 && is_spread).then(|| {
            format!(
                "all of its {pods} ready pods are in failure domain {one}: when that fails, nothing answers"
            )
        })
    }
}
