//! What the services, their backends and the pools of their addresses look like.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Its group.
    pub group: String,
    /// Its addresses.
    pub vips: Vec<String>,
    /// Those of them that are of pools, each with its pool.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pools: BTreeMap<String, String>,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// `443`, or `8000-8099`.
    pub ports: String,
    /// The data plane that serves it.
    pub mode: String,
    /// Why that one.
    pub mode_reason: String,
    /// Whether it takes connections: enough backends are up.
    pub up: bool,
    /// Connections (UDP: sessions) now; of a forwarded service the flows that are known one by one.
    pub connections: u64,
    /// Its counters.
    pub stats: BTreeMap<String, u64>,
    /// Why its listeners do not stand.
    pub errors: Vec<String>,
    /// Its backends, in the order of the file.
    pub backends: Vec<Backend>,
    /// How it stands with the other nodes, if the kernel forwards it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forwarded: Option<Forwarded>,
    /// How its backends are checked, if they answer for the VIP themselves (mode dsr).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checks: Option<Checks>,
}

/// One backend of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Backend {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub address: String,
    /// `up`, `down`, `unchecked`, `draining` or `disabled`.
    pub state: String,
    /// Why, for people.
    pub reason: String,
    /// For how long.
    pub since_seconds: u64,
    /// Its configured weight, lowered by slow start.
    pub weight: f64,
    /// Used only when no other is left.
    pub backup: bool,
    /// What it is used for by the verdicts of another node: `live`, `draining` or `down`; `state` is by this node's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served_as: Option<String>,
    /// Connections now.
    pub connections: u64,
    /// Its counters.
    pub stats: BTreeMap<String, u64>,
}

/// How checks of backends travel that answer for a VIP themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checks {
    /// As clients' packets do: to the VIP, at the backend's MAC. If not, some go to the backend's own address.
    pub at_vip: bool,
    /// Why they don't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// How a forwarded service stands with the other nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forwarded {
    /// Whose verdicts about its backends count here: `own`, or those of this node, which leads or led.
    pub verdicts_of: String,
    /// After a takeover: for how long those of the one that led are kept.
    pub kept_seconds: Option<u64>,
    /// The backends of which this node's own checks say something else.
    pub disputed: Vec<String>,
    /// How its tables compare with those of each other node, where this one or the other leads.
    pub tables: Vec<TablesOf>,
    /// Whether each of its flows is known; if not, most have their backend by hash and are not among its `connections`.
    #[serde(default)]
    pub each_flow_known: bool,
}

/// How the tables of a service compare with another node's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TablesOf {
    /// The other node.
    pub peer: String,
    /// Whether both would send every flow to the same backend.
    pub in_sync: bool,
    /// How they differ, for people.
    pub what: String,
    /// For how long they are in sync, or are not.
    pub since_seconds: u64,
}

/// A pool of addresses, of one family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// The group that its addresses belong to while they are in use; none where each is a group of its own.
    pub group: Option<String>,
    /// `ipv4` or `ipv6`.
    pub family: String,
    /// Whether services get addresses of it that do not name it.
    pub auto_assign: bool,
    /// Addresses that services have.
    pub used: u64,
    /// Addresses that nobody has; of more than 2^64 - 1 so many.
    pub free: u64,
    /// Both.
    pub total: u64,
}
