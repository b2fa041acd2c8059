//! What this room is told and what it tells.

use crate::serving::Services;
use crate::sockets::Sockets;
use fulcrum_config::{
    Allocations, BackendName, Config, Fragments, GroupName, KeyPin, NodeName, Overrides, ServiceName,
    SharedDigest,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc, watch};

/// Whom to keep a link to, and what to say there.
#[derive(Debug, Clone)]
pub struct Desired {
    /// The configuration that runs. Whenever this is sent, the private key is read again.
    pub config: Arc<Config>,
    /// Grows with each configuration applied; 1 is that of the start.
    pub generation: u64,
    /// What to say of this node's adverts; `answers` comes from below.
    pub word: Word,
    /// What it answers to each peer.
    pub answers: BTreeMap<NodeName, BTreeMap<GroupName, u64>>,
    /// Grows with each change of what the nodes share of their configurations.
    pub serial: u64,
    /// What to say of changes of the configuration.
    pub changes: Changes,
    /// What to say of forwarded services.
    pub serving: Arc<Services>,
}

/// What a node says of changes of the configuration that the nodes share.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// What it would apply if the peers would.
    pub offer: Option<Arc<Offer>>,
    /// Whether it would apply what a peer offers.
    pub answers: BTreeMap<NodeName, Arc<Answer>>,
    /// What it runs, for peers whose serial number is lower.
    pub text: Option<Arc<Text>>,
}

/// A configuration that a node would apply if its peers would.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Chosen at random.
    pub number: u64,
    /// Groups of class control-plane that it may harm.
    pub forced: BTreeSet<GroupName>,
    /// Of the file.
    pub text: Arc<str>,
    /// What services would have from pools then. None if the version of the sender knows of no pools.
    pub allocations: Option<Arc<Allocations>>,
    /// What operators would have asked for over the file then. None if the version of the sender knows of none.
    pub overrides: Option<Arc<Overrides>>,
    /// What would come from outside the file then. None if the version of the sender knows of nothing.
    pub fragments: Option<Arc<Fragments>>,
}

/// The answer to an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Of the offer.
    pub number: u64,
    /// Of what the answering node ran then.
    pub serial: u64,
    /// Why not, for people; nothing if it would be applied.
    pub errors: Vec<String>,
}

/// A configuration that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// Its serial number.
    pub serial: u64,
    /// Of the file.
    pub text: Arc<str>,
    /// What services have from pools. None if the version of the sender knows of no pools.
    pub allocations: Option<Arc<Allocations>>,
    /// What operators asked for over the file. None if the version of the sender knows of none.
    pub overrides: Option<Arc<Overrides>>,
    /// What comes from outside the file. None if the version of the sender knows of nothing.
    pub fragments: Option<Arc<Fragments>>,
}

/// What a node says of its adverts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Word {
    /// The groups that it leads, and where it sends their adverts from.
    pub leads: BTreeMap<GroupName, BTreeSet<IpAddr>>,
    /// Groups of which it asks whether the other leads, each with the number of the question.
    pub asks: BTreeMap<GroupName, u64>,
    /// The questions of the other that it had heard when it said this.
    pub answers: BTreeMap<GroupName, u64>,
    /// The groups of which it has connections, or will have when it leads no more, and finishes them if their packets
    /// are passed on to it.
    pub holds: BTreeSet<GroupName>,
    /// Where it sends adverts of those from.
    pub sources: BTreeSet<IpAddr>,
    /// Groups that it is to take over because their leader does not answer for an address, though it says that it leads.
    pub accuses: BTreeSet<GroupName>,
    /// Groups of class control-plane that it leads, or could lead at once.
    pub ready: BTreeSet<GroupName>,
    /// Why it could not lead groups at once, and which: whatever their class. None if the version of the sender does not say.
    pub unready: Option<BTreeMap<String, BTreeSet<GroupName>>>,
    /// Backends that fail its own checks, up to a number.
    pub fails: BTreeMap<ServiceName, BTreeSet<BackendName>>,
    /// Groups of that class that it moves to another node, or wants to, each with a number chosen at random.
    pub moves: BTreeMap<GroupName, u64>,
    /// The numbers of other nodes' moves that it had heard of when it said this.
    pub knows: BTreeSet<u64>,
    /// Groups that it wants to hand over, once the node that is to lead them is prepared.
    pub prepares: BTreeMap<GroupName, Preparing>,
    /// How it went to prepare what other nodes want to hand over to this one, by their numbers. None if the version of the
    /// sender does not prepare.
    pub prepared: Option<BTreeMap<u64, Prepared>>,
}

/// A group that is to be handed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preparing {
    /// Chosen at random.
    pub number: u64,
    /// The node that is to lead it.
    pub to: NodeName,
    /// It is handed over whatever comes of it.
    pub forced: bool,
}

/// How a node was prepared to lead a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepared {
    /// How many hooks were run.
    pub hooks: usize,
    /// Why it is not to lead it, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// How what the nodes' data planes tell each other of flows travels; what it says is theirs to understand.
#[derive(Debug)]
pub struct FlowLink {
    /// The peers whose link is up: a number that is another each time that something may have been missed.
    pub peers: watch::Sender<BTreeMap<NodeName, u64>>,
    /// From this node, to all of them.
    pub to_peers: mpsc::Receiver<Arc<[u8]>>,
    /// From each; an empty one means that some could not be taken.
    pub from_peers: mpsc::Sender<(NodeName, Arc<[u8]>)>,
}

/// The last heartbeat of this node's that a peer has echoed, on a link that is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Echoed {
    /// When this node sent it.
    pub sent: Instant,
    /// The groups that the peer led when it echoed, or leads since; none if what it says of them is not here yet.
    pub leads: Option<BTreeSet<GroupName>>,
}

/// What is done with each peer's last echo, each time that there is a newer one, or one less.
pub type TellEchoes = Box<dyn FnMut(BTreeMap<NodeName, Echoed>) + Send>;

/// How what the nodes tell each other of the groups that they elect leaders of travels; what it says is not for this room.
#[derive(Debug)]
pub struct HeartbeatLink {
    /// From this node, each to all whose link is up.
    pub to_peers: mpsc::Receiver<Arc<[u8]>>,
    /// From each; what finds no room is lost.
    pub from_peers: mpsc::Sender<(NodeName, Arc<[u8]>)>,
    /// Told that there is something.
    pub arrived: Arc<Notify>,
}

/// How the engine works on this node.
pub struct Options {
    /// The version to tell peers.
    pub version: String,
    /// Who wants to know of echoes at once.
    pub echoes: Option<TellEchoes>,
    /// Where what is said of elected groups comes from and goes.
    pub heartbeats: Option<HeartbeatLink>,
    /// Those of another process of this node, or for one.
    pub sockets: Sockets,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("version", &self.version).finish_non_exhaustive()
    }
}

/// What was found: a whole snapshot, latest wins.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// Whether there can be links at all.
    pub state: LinkState,
    /// The pin of this node's key, once it was read.
    pub own_pin: Option<KeyPin>,
    /// Whether the configuration lists that key for this node; if not, peers refuse it.
    pub own_pin_listed: bool,
    /// What keeps the link from working here, for people; tried again by itself.
    pub errors: Vec<String>,
    /// Each node that has keys, this one excepted.
    pub peers: BTreeMap<NodeName, PeerObserved>,
    /// Counters since the start.
    pub counters: Counters,
}

/// Whether there can be links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkState {
    /// The configuration has no keys.
    #[default]
    NoKeys,
    /// Other nodes have keys, this one has none.
    NoOwnKey,
    /// This node has keys, no other has any.
    NoPeerKey,
    /// Links are kept.
    On,
}

/// Counters that belong to no peer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Packets that began a connection from an address of no node that has keys.
    pub strangers: u64,
    /// Connections that were refused because too many were being set up.
    pub too_many: u64,
    /// Connections from a node's address whose key was none of those listed, or that failed otherwise while they were
    /// set up.
    pub handshakes_refused: u64,
    /// Connections whose key was taken off the list meanwhile.
    pub keys_withdrawn: u64,
    /// Messages of flows that the data plane was too busy to take.
    pub flows_lost: u64,
    /// What was said of elected groups and could not be sent, or not be taken.
    pub heartbeats_lost: u64,
}

/// What is known of one peer.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerObserved {
    /// Whether the link to it stands.
    pub state: PeerState,
    /// Since when.
    pub since: Instant,
    /// Why, for people.
    pub reason: Arc<str>,
    /// Where it is.
    pub address: Option<SocketAddr>,
    /// Time from a heartbeat to its echo, smoothed.
    pub round_trip: Option<Duration>,
    /// The version it said last.
    pub version: Option<Arc<str>>,
    /// What it said last that it runs.
    pub config: Option<PeerConfig>,
    /// What it said last of its adverts; none while the link is not up, or if it has changed since.
    pub word: Option<Arc<Word>>,
    /// What it would apply; none while the link is not up.
    pub offer: Option<Arc<Offer>>,
    /// Its answer to this node's offer.
    pub answer: Option<Arc<Answer>>,
    /// What it runs, if that is newer than what this node runs.
    pub text: Option<Arc<Text>>,
    /// What it says of forwarded services; nothing while the link is not up.
    pub serving: Arc<Services>,
    /// Counters since the start.
    pub counters: PeerCounters,
}

/// What a peer runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerConfig {
    /// How many configurations it has applied.
    pub generation: u64,
    /// Grows with each change of what the nodes share; a node with the lower one is behind.
    pub serial: u64,
    /// Of what the nodes share of it.
    pub digest: SharedDigest,
}

/// Whether the link stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerState {
    /// It stands.
    Up,
    /// The peer is not heard.
    Down,
    /// One of the two does not know the other's key.
    Refused,
}

/// Counters of the link to one peer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct PeerCounters {
    /// Times that the link came up.
    pub up: u64,
    /// Times that it went down.
    pub down: u64,
    /// Connections replaced by another without the link going down.
    pub replaced: u64,
    /// Connections tried from here.
    pub dials: u64,
    /// Of which failed.
    pub dials_failed: u64,
    /// Times that one side refused the other's key.
    pub keys_refused: u64,
    /// Connections closed because the peer had too many.
    pub too_many: u64,
    /// Connections closed because nothing was heard on them.
    pub silent: u64,
    /// Heartbeats sent.
    pub beats_sent: u64,
    /// Heartbeats received.
    pub beats_received: u64,
    /// Echoes of our heartbeats.
    pub echoes: u64,
    /// Heartbeats and echoes that came doubled, late or of nothing that was sent.
    pub stale: u64,
    /// Messages received.
    pub messages: u64,
    /// Messages and datagrams of a kind that this version does not know.
    pub unknown: u64,
    /// Messages and datagrams that made no sense or were too long.
    pub malformed: u64,
}
