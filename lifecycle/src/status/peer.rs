//! What is known of the other nodes over the peer link.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The link to the other nodes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PeerLink {
    /// `on`, `no-keys`, `no-own-key` or `no-peer-key`.
    pub state: String,
    /// What that means and what to do, unless it is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The pin of this node's key.
    pub key: Option<String>,
    /// What stands for what the nodes share of this node's configuration.
    pub config_digest: String,
    /// Each peer that has keys, by name.
    pub peers: Vec<Peer>,
}

/// What is known of one peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// `up`, `down` or `refused`.
    pub state: String,
    /// For how long.
    pub since_seconds: u64,
    /// Why, as a sentence.
    pub reason: String,
    /// Where it was reached.
    pub address: Option<String>,
    /// From a heartbeat to its echo, smoothed; none while the link is down.
    pub round_trip_ms: Option<f64>,
    /// The version it said last.
    pub version: Option<String>,
    /// How many configurations it has applied since it started.
    pub config_generation: Option<u64>,
    /// The serial number of what it runs.
    #[serde(default)]
    pub config_serial: Option<u64>,
    /// What stands for what the nodes share of its configuration.
    pub config_digest: Option<String>,
    /// Whether that is the same as here; none if it is not known.
    pub config_agrees: Option<bool>,
    /// Its counters.
    pub counters: BTreeMap<String, u64>,
}
