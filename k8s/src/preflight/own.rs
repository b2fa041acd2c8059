//! Nodes of ours that run on nodes of a cluster: what that says of their failure domains, against what the file says.

use crate::domains::domain;
use fulcrum_config::preflight::Line;
use fulcrum_config::{Cluster, Config, NodeKind};
use k8s_openapi::api::core::v1::Node;
use std::collections::BTreeMap;

#[cfg(test)]
mod tests;

const CHECK: &str = "failure-domain";

/// `own` is the Kubernetes node that this node runs on; the others run on those that are called as they are.
pub(super) fn lines(about: &str, cluster: &Cluster, config: &Config, own: &str, nodes: &[Node]) -> Vec<Line> {
    let said: BTreeMap<&str, &str> = nodes
        .iter()
        .filter_map(|node| Some((node.metadata.name.as_deref()?, domain(cluster, node)?)))
        .collect();
    let mut lines = Vec::new();
    let mut sharing: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, node) in config.nodes.iter().filter(|(_, node)| node.kind == NodeKind::Fulcrum) {
        let machine = if *name == config.node { own } else { name.as_str() };
        let Some(is) = said.get(machine) else { continue };
        sharing.entry(is).or_default().push(name.as_str());
        if let Some(written) = node.domain.as_ref().filter(|written| written.as_str() != *is) {
            let found = format!(
                "{name} has `domain: {written}` in the file, and its Kubernetes node {machine} is in {is}"
            );
            let remedy = "write into the file what is so: leaders and their standbys are spread by that";
            lines.push(Line::warning(CHECK, about, found, remedy));
        }
    }
    for (domain, names) in sharing.iter().filter(|(_, names)| names.len() > 1) {
        let found = format!(
            "{} run on Kubernetes nodes of {domain}: when it fails, they fail at once",
            names.join(" and ")
        );
        lines.push(Line::warning(CHECK, about, found, "have them run on nodes of different failure domains"));
    }
    if lines.is_empty() && !sharing.is_empty() {
        let found = "our nodes run on Kubernetes nodes of different failure domains, as the file says";
        lines.push(Line::ok(CHECK, about, found));
    }
    lines
}
