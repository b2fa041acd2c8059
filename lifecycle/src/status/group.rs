//! What the VIP groups look like: who leads, at which addresses, and what that rests on.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
