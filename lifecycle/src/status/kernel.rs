//! What the kernel does for this node: the fence, the forwarding plane, settings.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What silences this node at an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// The interface.
    pub interface: String,
    /// Whether the kernel does it, whatever becomes of this process.
    pub kernel: bool,
    /// For people: `kernel (tcx)`, `kernel (clsact)`, or `none: ` and why.
    pub what: String,
}

/// The forwarding plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plane {
    /// Each interface that it works at, with how it is attached there: `tcx`, `clsact`, or `xdp (DRIVER), tcx`.
    pub interfaces: BTreeMap<String, String>,
    /// Of those where it does not work in the driver: why not.
    #[serde(default)]
    pub without_xdp: BTreeMap<String, String>,
    /// Packets of its services that it did not forward, by the reason.
    pub not_forwarded: BTreeMap<String, u64>,
    /// Packets of checks that go to a VIP at the backend's MAC, and of the answers, by what became of them.
    #[serde(default)]
    pub checks: BTreeMap<String, u64>,
    /// Flows that are known one by one: those of mode fullnat, and those whose place in the hash changed hands.
    pub noted_flows: u64,
    /// The peers that know all of those: with such a one they outlive this node.
    #[serde(default)]
    pub flows_held_by: Vec<String>,
    /// Whether this node knows those of every peer that it has a link to.
    #[serde(default)]
    pub flows_in_sync: bool,
    /// What was told and heard of them.
    #[serde(default)]
    pub flow_counters: BTreeMap<String, u64>,
    /// What would become of flows if another node led now.
    #[serde(default)]
    pub failover: Failover,
}

/// What would become of forwarded flows if another node led now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failover {
    /// Flows that are known one by one and that nobody has ended.
    pub live: u64,
    /// Those of them that a peer knows too, and so would go on.
    pub held: u64,
    /// Services whose flows are found again by hash, but for those that are noted; nobody counts them.
    pub by_hash: Vec<String>,
    /// Those of them that no peer is known to have the same tables of: their flows may go to other backends there.
    pub by_unproven_hash: Vec<String>,
}

/// A kernel setting that matters here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Its path below `/proc/sys`.
    pub name: String,
    /// What it is.
    pub value: String,
    /// What it should be.
    pub wanted: String,
    /// What it was before this node first set it; it is put back at an orderly stop.
    pub found: String,
    /// Whether it is as it should be.
    pub good: bool,
}
