//! How it stands between this node and a cluster.

use crate::own_node::OwnNode;
use fulcrum_config::UnixTime;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How it stands, as status and metrics show it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Since when its API answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reached_since: Option<UnixTime>,
    /// Since when it does not, so that what is known may be out of date; what was applied last stays in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_since: Option<UnixTime>,
    /// What does not work, for people, until it works again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What of MetalLB's objects it has, if they are read, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metallb: Option<String>,
    /// Whether this node is the one that applies and writes.
    pub writes: bool,
    /// Services that ask for an address.
    pub services: usize,
    /// Of them, those that are not served, or not wholly.
    pub not_served: usize,
    /// Its nodes.
    pub nodes: usize,
    /// The failure domains of its nodes, and how many nodes each has; of nodes that say none nothing is here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub domains: BTreeMap<String, usize>,
    /// Its slices of endpoints.
    pub slices: usize,
    /// What was written to it since the start of this process.
    pub writes_total: u64,
    /// Writes that failed.
    pub write_errors: u64,
    /// Events that were left out, because there were too many.
    pub events_left_out: u64,
    /// What it has in mind with the Kubernetes node that this node runs on; none, if it runs on none, or it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_node: Option<OwnNode>,
}

impl State {
    /// Its API answers.
    pub(crate) fn reached(&mut self, now: UnixTime) {
        self.reached_since.get_or_insert(now);
        self.stale_since = None;
        self.error = None;
    }

    /// Its API does not answer as it should.
    pub(crate) fn failed(&mut self, why: String, now: UnixTime) {
        self.reached_since = None;
        self.stale_since.get_or_insert(now);
        self.error = Some(why);
    }
}
