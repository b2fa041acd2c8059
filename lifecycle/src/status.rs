//! What the whole node looks like: the JSON of `fulcrum status --json`.
//!
//! Names and shapes here are a promise to those who parse them: fields are added, never renamed.

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

/// A program that is run when something has happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hook {
    /// Its name.
    pub name: String,
    /// What it is run after.
    pub on: Vec<String>,
    /// The program and its arguments, or the web server that is called.
    pub command: Vec<String>,
    /// What it is still to be told.
    pub waiting: u64,
    /// Each that runs.
    pub running: Vec<HookRun>,
    /// How often it ended in which way: `succeeded`, `failed`, `killed` (at its deadline), `not-started`.
    pub runs: BTreeMap<String, u64>,
    /// How long all runs took together.
    pub run_seconds: f64,
    /// What it was not told: `superseded` by something later about the same, or `queue-full`.
    pub left_out: BTreeMap<String, u64>,
    /// The last runs that ended, the latest first.
    pub last: Vec<HookRun>,
}

/// A run of a hook.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HookRun {
    /// What it was run after.
    pub event: String,
    /// What that was about, for people.
    pub of: String,
    /// The group that it was about, if it was about one.
    pub group: Option<String>,
    /// Since it ended; since it began, if it runs.
    pub seconds_ago: u64,
    /// `running`, `succeeded`, `failed`, `killed` or `not-started`.
    pub outcome: String,
    /// The same, for people.
    pub what: String,
    /// How long it took.
    pub took_ms: f64,
    /// The first line that it printed.
    pub said: Option<String>,
}

/// How the votes stand for groups that are to have no leader rather than two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Votes {
    /// Nodes that hear this one, itself included.
    pub votes: usize,
    /// All nodes.
    pub nodes: usize,
    /// Whether this node may lead on what it leads.
    pub leads_on: bool,
    /// Whether it may take over what none of those leads that it hears.
    pub takes_over: bool,
    /// What decides between halves of the nodes: `none`, or in words.
    pub witness: String,
    /// Why it could not be asked, if it could not.
    pub witness_error: Option<String>,
    /// The node that holds its lock, if one does.
    pub lock_holder: Option<String>,
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

/// One VIP group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// `control-plane` or `workload`.
    pub class: String,
    /// Its VRID; none if the nodes elect its leader over the peer link.
    pub vrid: Option<u8>,
    /// Of an elected group: who takes over, one after the other.
    #[serde(default)]
    pub standbys: Vec<String>,
    /// Of an elected group: who is to lead it for an even spread over the nodes, if another than who does.
    #[serde(default)]
    pub moves_to: Option<String>,
    /// Of a group of class control-plane: the nodes that could lead it at once, as far as this node knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_nodes: Option<Vec<String>>,
    /// What this node is in it: `leader`, `standby` or `init`.
    pub role: String,
    /// For how long.
    pub since_seconds: u64,
    /// Why, as a sentence.
    pub reason: String,
    /// Who leads, as far as this node knows.
    pub leader: Option<Leader>,
    /// This node's priority after tracks; none if it is ineligible.
    pub priority: Option<u8>,
    /// Grows at each change of leader.
    pub epoch: u64,
    /// Changes of this node's role.
    pub transitions: u64,
    /// From the decision of the last takeover here to the first announcement sent.
    pub takeover_ms: Option<f64>,
    /// Each VIP.
    pub addresses: Vec<Address>,
    /// Each track.
    pub tracks: Vec<Track>,
    /// Each interface and family that it advertises on.
    pub links: Vec<Link>,
    /// An operator asked this node to leave it.
    pub standing_down: bool,
    /// This node leads no more and finishes its proxied connections: for so long at most.
    #[serde(default)]
    pub draining_seconds: Option<u64>,
    /// What this node waits for before it takes the group back from a leader of lower priority.
    #[serde(default)]
    pub waits: Option<String>,
    /// While this node leads: the node that finishes its own connections, whose packets are passed on to it.
    #[serde(default)]
    pub finisher: Option<String>,
    /// While this node asks from outside whether the leader answers: so long ago it last did for each VIP.
    #[serde(default)]
    pub proven_seconds_ago: Option<u64>,
}

/// Who leads a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leader {
    /// Its name, if it is a configured node.
    pub node: Option<String>,
    /// Where its adverts come from; empty if it is this node and not yet known.
    pub address: String,
    /// The priority it advertises.
    pub priority: u8,
}

/// One VIP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// The address.
    pub address: String,
    /// `absent`, `probing`, `answering`, `conflict` or `failed`.
    pub state: String,
    /// Who else has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What this node found out by asking for it from outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
}

/// Whether a VIP is answered as it should be, as this node finds out by asking for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// `unknown`, `answered`, `not-answered`, `port-not-answered`, `answered-twice`, `answered-by-another`, `answered-unled` or `nobody-answers`
    /// (on the whole link).
    pub state: String,
    /// For how long.
    pub since_seconds: u64,
    /// Since the leader, and nobody else, last answered.
    pub answered_seconds_ago: Option<u64>,
    /// The MACs that answer and should not, or one of which should not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by: Vec<String>,
    /// The TCP ports that are neither accepted nor refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<u16>,
}

/// One track.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Track {
    /// What is tracked.
    pub what: String,
    /// Whether it is good.
    pub good: bool,
}

/// One interface and family that a group advertises on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The interface.
    pub interface: String,
    /// `ipv4` or `ipv6`.
    pub family: String,
    /// Whether adverts can be sent and received there.
    pub up: bool,
    /// Our address there.
    pub address: Option<String>,
    /// What was sent, received and refused.
    pub counters: BTreeMap<String, u64>,
}

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
