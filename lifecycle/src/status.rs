//! What the whole node looks like: the JSON of `fulcrum status --json`.
//!
//! Names and shapes here are a promise to those who parse them: fields are added, never renamed.

mod group;
mod hook;
mod kernel;
mod outside;
mod peer;
mod service;

pub use group::{Address, Group, Leader, Link, Proof, Track, Votes};
pub use hook::{Hook, HookRun};
pub use kernel::{Failover, Fence, Plane, Setting};
pub use outside::{Kubernetes, Override, Source};
pub use peer::{Peer, PeerLink};
pub use service::{Backend, Checks, Forwarded, Pool, Service, TablesOf};

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The whole node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// This node's name.
    pub node: String,
    /// The version of the daemon.
    pub version: String,
    /// Since the daemon started.
    pub uptime_seconds: u64,
    /// Which configuration runs.
    pub config: Config,
    /// Each VIP group, by name.
    pub groups: Vec<Group>,
    /// Each service, by name.
    pub services: Vec<Service>,
    /// Each pool of addresses, by name; once for each family that it has.
    #[serde(default)]
    pub pools: Vec<Pool>,
    /// The link to the other nodes.
    #[serde(default)]
    pub peer_link: PeerLink,
    /// How the votes stand for groups with `on_split: one`, if there is one.
    #[serde(default)]
    pub votes: Option<Votes>,
    /// Whether the guard process lives and has the present state.
    pub guard: bool,
    /// What silences this node for the VIPs that it does not lead, at each interface with VIPs behind it.
    #[serde(default)]
    pub fence: Vec<Fence>,
    /// The forwarding plane in the kernel, if a service asks for it.
    #[serde(default)]
    pub plane: Option<Plane>,
    /// Configuration applied, listeners stand, first health round done.
    pub ready: bool,
    /// What `ready` still waits for, for people.
    pub not_ready: Vec<String>,
    /// What someone should look at, worst first.
    pub alarms: Vec<Alarm>,
    /// The kernel settings that matter here.
    pub settings: Vec<Setting>,
    /// What is limited, how much of it is used, and how often the limit was reached.
    pub limits: BTreeMap<String, Limit>,
    /// Counters of each engine as a whole.
    pub counters: BTreeMap<String, BTreeMap<String, u64>>,
    /// Each hook, by name.
    #[serde(default)]
    pub hooks: Vec<Hook>,
    /// What operators asked for over the file.
    #[serde(default)]
    pub overrides: Vec<Override>,
    /// Each Kubernetes cluster whose Services are served, by name.
    #[serde(default)]
    pub kubernetes: Vec<Kubernetes>,
    /// What services come from that do not stand in the file.
    #[serde(default)]
    pub sources: Vec<Source>,
    /// The process that this one took over from, as long as it finishes connections.
    #[serde(default)]
    pub finishing: Option<Finishing>,
}

/// Which configuration runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// The file.
    pub file: String,
    /// Whether the file's present content runs.
    pub state: ConfigState,
    /// How long it has been running.
    pub loaded_seconds_ago: u64,
    /// Grows with each configuration applied; 1 is that of the start.
    pub generation: u64,
    /// Grows with each change of what the nodes share; a node with the lower one is behind.
    #[serde(default)]
    pub serial: u64,
    /// The peer that it came from, if it is newer than this node's own file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received_from: Option<String>,
    /// What the parser found worth saying.
    pub warnings: Vec<String>,
    /// Why the file itself does not run, if it was refused: each mistake in a line.
    pub refused: Vec<String>,
}

/// Whether the file's present content runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConfigState {
    /// The file as it was read last.
    Current,
    /// The file was refused; the last good configuration runs.
    LastGood,
}

/// Something that someone should look at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Alarm {
    /// How bad it is.
    pub severity: Severity,
    /// What happened.
    pub what: String,
    /// What it affects.
    pub affected: String,
    /// What to do.
    #[serde(rename = "do")]
    pub remedy: String,
}

/// How bad an alarm is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Traffic is lost, or will be at the next fault.
    Critical,
    /// Something is not as asked.
    Warning,
}

/// Something that is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// In use now.
    pub used: u64,
    /// At most.
    pub limit: u64,
    /// How often something was refused because of it.
    pub reached: u64,
}

/// A process that was upgraded in place and finishes its connections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finishing {
    /// It.
    pub pid: i32,
    /// What it has left.
    pub connections: u64,
    /// After so many seconds it ends all the same.
    pub seconds: u64,
}
