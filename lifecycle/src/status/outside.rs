//! What comes from outside the file: of Kubernetes, other sources of services, and operators.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How it stands between this node and a Kubernetes cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kubernetes {
    /// Its name.
    pub cluster: String,
    /// The kubeconfig, or `in-cluster`.
    pub access: String,
    /// The class of Services that are served.
    pub class: String,
    /// Since when its API answers, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reached_since: Option<u64>,
    /// Since when it does not, likewise: what is known may be out of date; what was applied last stays in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_since: Option<u64>,
    /// What does not work, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What of MetalLB's objects it has, if they are read, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metallb: Option<String>,
    /// Whether this node is the one that applies and writes.
    pub writes: bool,
    /// Services that ask for an address.
    pub services: u64,
    /// Of them, those that are not served, or not wholly; known to the node that writes.
    pub not_served: u64,
    /// Its nodes.
    pub nodes: u64,
    /// The failure domains of its nodes, and how many nodes each has; nodes that say none are left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub domains: BTreeMap<String, u64>,
    /// Its slices of endpoints.
    pub endpoint_slices: u64,
    /// What this process wrote to it.
    pub writes_total: u64,
    /// Services to which something could not be written, counted at each attempt.
    pub write_errors: u64,
    /// Events that were left out, because there were too many at once.
    pub events_left_out: u64,
    /// Why the Kubernetes node that this node runs on is about to go, if it is: this node is drained as long as that is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_node_leaves: Option<String>,
    /// Machines of Cluster API that are being deleted and wait for a node of ours, which is drained: `fleet/prod-abc (lb-2)`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub machines_leaving: Vec<String>,
    /// Why such Machines are not known, or can't be let go, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machines_error: Option<String>,
}

/// What services come from that do not stand in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Its name; those of its services begin with it.
    pub name: String,
    /// Who had it say what it says, as the audit log says it.
    pub by: String,
    /// When, in seconds since 1970.
    pub since: u64,
    /// The serial number of the configuration that it is part of here.
    pub serial: u64,
    /// Services that are in force.
    pub services: u64,
    /// Services that are not, and why.
    #[serde(default)]
    pub set_aside: BTreeMap<String, String>,
    /// Why nothing of it can be used, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// What an operator asked for over the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// `backend shop/web-1`, `lb-node lb-1`, `pool public`.
    pub of: String,
    /// `drained`, `disabled`, `weight 5`.
    pub what: String,
    /// Who asked, as the audit log says it.
    pub by: String,
    /// When, in seconds since 1970.
    pub since: u64,
    /// When the connections that are left are closed, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    /// Connections that are left on this node: of a backend; or all that it proxies, if it is this node that is drained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<u64>,
    /// Groups that a drained node leads still, as this one knows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leads: Vec<String>,
}
