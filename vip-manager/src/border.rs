//! What this room is told and what it tells.

use fulcrum_config::{Config, GroupName, InterfaceName, Link, NodeName};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What to lead: a whole snapshot, latest wins.
#[derive(Debug, Clone)]
pub struct Desired {
    /// The configuration; this room uses node, nodes, interfaces, groups and timing.
    pub config: Arc<Config>,
    /// Groups whose services the local data plane does not serve. An absent group is served.
    pub data_plane_missing: BTreeSet<GroupName>,
    /// Groups that an operator asked this node to leave; it resigns, and takes them again only if nobody
    /// else does. Cleared by the operator. Of a group that is elected perhaps with the node that is to take it.
    pub standing_down: BTreeMap<GroupName, Option<NodeName>>,
    /// The process is about to end: resign everything, withdraw addresses and report when done.
    pub stopping: bool,
    /// What each peer says of its adverts over the link to it. One whose link is not up, or whose word may be out of
    /// date, is absent: its adverts count unclaimed.
    pub words: BTreeMap<NodeName, Word>,
    /// Groups of which the data plane has proxied TCP connections: after a handover they are finished here.
    pub held: BTreeSet<GroupName>,
    /// Groups whose leader's state (verdicts, tables) is not here: as long as it isn't, this node does not take them from
    /// a living leader only because it has the higher priority.
    pub behind: BTreeSet<GroupName>,
    /// Whether another process of this node has a part in this.
    pub part: Part,
}

/// What this process is to another of the same node, while one takes over from the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Part {
    /// There is no other.
    #[default]
    Whole,
    /// The other still guards what this one leads already: should this one die, nothing is to be given up.
    Heir,
    /// The other has taken over what this one leads: this one ends, and gives nothing up.
    Left,
    /// The other was to take over, and was given up: what it may have attached in the kernel is attached anew. Counts such.
    Retaken(u64),
}

/// What a node says of its adverts over the link to another.
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
}

/// The last heartbeat of this node's that a peer has echoed, on a link that is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Echo {
    /// When this node sent it.
    pub sent: Instant,
    /// The groups that the peer led when it echoed; none if what it says of them is not here yet.
    pub leads: Option<BTreeSet<GroupName>>,
}

/// Who leads what: a whole snapshot, latest wins.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// Each group.
    pub groups: BTreeMap<GroupName, GroupObserved>,
    /// Whether the guard process lives and has the present state.
    pub guard: bool,
    /// All groups are resigned and all addresses withdrawn, as `stopping` asked.
    pub stopped: bool,
    /// The kernel settings this room relies on.
    pub settings: Vec<KernelSetting>,
    /// Which fence stands at each interface with VIPs behind it.
    pub fence: BTreeMap<InterfaceName, FenceObserved>,
    /// What the peers are to be told of this node's adverts: `answers` is to be each peer's own of `answers` below.
    pub word: Word,
    /// The questions of each peer that this node had heard when `word` was so.
    pub answers: BTreeMap<NodeName, BTreeMap<GroupName, u64>>,
    /// Errors of this room as a whole, for people (a socket that can't be opened, ...).
    pub errors: Vec<String>,
    /// How the votes stand, if any group is to have no leader rather than two.
    pub quorum: Option<QuorumObserved>,
    /// What happened in this room as a whole, each by name (netlink overflows, stalls, ...).
    pub counters: Counters,
}

impl Observed {
    /// Whether this node leads a group.
    #[must_use]
    pub fn leads(&self, group: &GroupName) -> bool {
        self.groups.get(group).is_some_and(|observed| observed.role == Role::Leader)
    }
}

/// How the votes stand for groups that are to have no leader rather than two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct QuorumObserved {
    /// Nodes that vote for this one, itself included.
    pub votes: usize,
    /// All nodes.
    pub nodes: usize,
    /// Whether it holds the witness's lock.
    pub lock: bool,
    /// Whether the witness is a gateway that does not answer.
    pub cut_off: bool,
    /// Whether it may lead on what it leads.
    pub leads_on: bool,
    /// Whether it may take over what none of those leads that it hears.
    pub takes_over: bool,
}

/// What silences this node at an interface for the VIPs that it does not lead, whatever becomes of this process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "fence")]
pub enum FenceObserved {
    /// A program in the kernel.
    Kernel {
        /// How it is attached: "tcx", "clsact".
        by: String,
    },
    /// Nothing; the guard does what it can.
    None {
        /// Why, for people.
        reason: String,
    },
}

impl FenceObserved {
    /// Whether the kernel does it.
    #[must_use]
    pub fn is_kernel(&self) -> bool {
        matches!(self, Self::Kernel { .. })
    }
}

impl fmt::Display for FenceObserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel { by } => write!(f, "kernel ({by})"),
            Self::None { reason } => write!(f, "none: {reason}"),
        }
    }
}

/// A kernel setting this room relies on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KernelSetting {
    /// Its path below `/proc/sys`.
    pub name: String,
    /// What it must be.
    pub wanted: String,
    /// What it was before this node first changed it.
    pub found: String,
    /// What it was when it was last looked at.
    pub value: String,
    /// Whether it was as it should be then.
    pub good: bool,
    /// Whether this node changed it; then it is put back at an orderly stop.
    pub set_by_us: bool,
    /// Of one that this node only looks at and never changes: what is wrong if it is not good, and what to do.
    pub advice: Option<Advice>,
}

/// What to do about a kernel setting that this node does not change itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Advice {
    /// What does not work with its present value.
    pub harm: String,
    /// What to do.
    pub remedy: String,
}

/// One group.
#[derive(Debug, Clone)]
pub struct GroupObserved {
    /// What this node is in it.
    pub role: Role,
    /// Since when.
    pub since: Instant,
    /// Why it changed last.
    pub reason: Reason,
    /// Grows at each change of leader that this node saw.
    pub epoch: u64,
    /// The priority in force here, after tracks; `None` when ineligible.
    pub priority: Option<u8>,
    /// Who leads, as far as this node knows: its node's name, or only an address.
    pub leader: Option<PeerSeen>,
    /// Each link.
    pub links: BTreeMap<Link, LinkObserved>,
    /// Each VIP.
    pub addresses: BTreeMap<IpAddr, AddressState>,
    /// Each track, in the order of the configuration.
    pub tracks: Vec<TrackObserved>,
    /// Changes of role since the process started.
    pub transitions: u64,
    /// How long the last takeover took here, from decision to the first announcement sent.
    pub takeover: Option<Duration>,
    /// The last advert that no node of ours sent, although it says so.
    pub unclaimed: Option<Unclaimed>,
    /// This node leads no more and finishes its connections, until then at the latest.
    pub draining: Option<Instant>,
    /// The node that finishes connections while this one leads.
    pub finisher: Option<NodeName>,
    /// Of a group that is elected: the nodes that live, first who leads it, then who takes over, one after the other.
    pub order: Vec<NodeName>,
    /// Of such a group: who is to lead it for an even spread, if not the one that does.
    pub moves_to: Option<NodeName>,
    /// What this node found out from outside about each VIP: on the standby that asks all of them, on the leader those
    /// that another machine claims.
    pub proof: BTreeMap<IpAddr, ProofObserved>,
}

/// Whether the leader answers for a VIP, as far as this node finds out by asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofObserved {
    /// What was found, several times in a row.
    pub finding: Finding,
    /// Since when.
    pub since: Instant,
    /// The last question that was answered as it should be.
    pub answered: Option<Instant>,
}

/// What was found out about a VIP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Nothing yet; or nobody leads, and nobody answers.
    Unknown,
    /// The leader answers, and nobody else.
    Answered,
    /// Nobody answers, although others on the link answer this node.
    NotAnswered,
    /// The leader answers ARP or ND, and these TCP ports are neither accepted nor refused.
    PortNotAnswered {
        /// The ports.
        ports: Vec<u16>,
    },
    /// Several machines answer.
    AnsweredTwice {
        /// Those besides this node.
        by: Vec<Answerer>,
    },
    /// Another machine answers, and the leader does not.
    AnsweredByAnother {
        /// That machine.
        by: Vec<Answerer>,
    },
    /// Nobody leads, and yet somebody answers.
    AnsweredUnled {
        /// Who does.
        by: Vec<Answerer>,
    },
    /// Nobody on the link answers this node, whatever it asks for: it is not heard, and the leader is not to blame.
    NobodyAnswers,
}

impl Finding {
    /// A word for it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Answered => "answered",
            Self::NotAnswered => "not-answered",
            Self::PortNotAnswered { .. } => "port-not-answered",
            Self::AnsweredTwice { .. } => "answered-twice",
            Self::AnsweredByAnother { .. } => "answered-by-another",
            Self::AnsweredUnled { .. } => "answered-unled",
            Self::NobodyAnswers => "nobody-answers",
        }
    }

    /// Whether it is the same but for who answers.
    #[must_use]
    pub fn is_alike(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// A machine that answers for a VIP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answerer {
    /// Its MAC.
    pub mac: String,
    /// The node that has this MAC, if it is one.
    pub node: Option<NodeName>,
}

/// Adverts for a group that every node denies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unclaimed {
    /// Where the last one came in.
    pub link: Link,
    /// Where it says that it comes from.
    pub source: IpAddr,
    /// The machine that sent it, or the last machine before a router or repeater; none if its frame was not seen.
    pub mac: Option<String>,
    /// Its priority.
    pub priority: u8,
    /// When.
    pub last: Instant,
    /// How many there were since the process started.
    pub count: u64,
}

/// What a node is in a group (RFC 9568 section 6.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Not taking part: starting, no interface, ineligible or stopping (the RFC's Initialize).
    Init,
    /// Ready to take over (Backup).
    Standby,
    /// Answers for the VIPs (Active).
    Leader,
}

/// Why a role changed; each has a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The process started.
    Started,
    /// The process started, and took over from the one that led on this node.
    Inherited,
    /// The leader was not heard for the down interval.
    LeaderSilent,
    /// No leader was known, and none was heard for the down interval.
    NoLeader,
    /// The leader resigned with priority 0.
    LeaderResigned,
    /// This node has the higher priority, and preempts.
    Preempted,
    /// This node owns the addresses (priority 255).
    Owner,
    /// A leader with a better claim was heard.
    BetterLeader(PeerSeen),
    /// A leader of lower priority does not hear this node (a one-way cut), so this node yields to it.
    NotHeard(PeerSeen),
    /// This process did not run for longer than its peers wait.
    Stalled(Duration),
    /// An interface it needs is gone or down.
    InterfaceDown(InterfaceName),
    /// That interface is back.
    InterfaceBack(InterfaceName),
    /// A track failed.
    TrackFailed(String),
    /// Too few nodes hear this one, and nothing decides for it (`on_split: one`).
    NoQuorum,
    /// An operator asked for it.
    StandingDown,
    /// This node asked from outside, and the leader did not answer (`proof: {on_failure: hand-over}`).
    NotAnswering(NodeName),
    /// Another node is to lead it, so that groups are spread evenly.
    Balanced(NodeName),
    /// Another machine uses the addresses.
    AddressConflict,
    /// The process ends.
    Stopping,
    /// The configuration changed.
    Reconfigured,
}

/// A node heard on a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PeerSeen {
    /// Its name, if its address is a configured node's.
    pub node: Option<NodeName>,
    /// The address its adverts come from.
    pub address: IpAddr,
    /// The priority it advertises.
    pub priority: u8,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started => write!(f, "the process started"),
            Self::Inherited => write!(f, "it goes on for the process of before"),
            Self::LeaderSilent => write!(f, "the leader fell silent: no advert for the down interval"),
            Self::NoLeader => write!(f, "no leader was heard for the down interval"),
            Self::LeaderResigned => write!(f, "the leader resigned"),
            Self::Preempted => write!(f, "this node has the higher priority and preempts"),
            Self::Owner => write!(f, "this node owns the addresses (priority 255)"),
            Self::BetterLeader(better) => write!(f, "{better} has the better claim"),
            Self::NotHeard(leader) => {
                write!(f, "{leader} leads and does not hear this node (a one-way cut), so it yields")
            }
            Self::Stalled(time) => {
                let seconds = time.as_secs_f64();
                write!(f, "this process did not run for {seconds:.3} s, longer than its peers wait")
            }
            Self::InterfaceDown(interface) => {
                write!(f, "interface {interface} is gone, down or has no address")
            }
            Self::InterfaceBack(interface) => write!(f, "interface {interface} is back"),
            Self::TrackFailed(track) => write!(f, "track failed: {track}"),
            Self::Balanced(to) => write!(f, "groups are spread evenly over the nodes: {to} is to lead it"),
            Self::NotAnswering(node) => {
                write!(f, "{node} asked for its addresses and was not answered (proof of service)")
            }
            Self::NoQuorum => {
                write!(f, "too few nodes hear this one to know that nobody else leads (on_split: one)")
            }
            Self::StandingDown => write!(f, "an operator asked this node to stand down"),
            Self::AddressConflict => write!(f, "another machine uses the addresses"),
            Self::Stopping => write!(f, "the process ends"),
            Self::Reconfigured => write!(f, "the configuration changed"),
        }
    }
}

impl fmt::Display for PeerSeen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, address, priority } = self;
        match node {
            Some(node) => write!(f, "{node} ({address}, priority {priority})"),
            None => write!(f, "{address} (priority {priority})"),
        }
    }
}

/// One link of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LinkObserved {
    /// Whether adverts can be sent and received there.
    pub up: bool,
    /// Our address there.
    pub address: Option<IpAddr>,
    /// What was sent, received and refused.
    pub counters: Counters,
}

/// What was sent, received and refused on a link, each by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Counters(pub BTreeMap<&'static str, u64>);

/// What is known of a VIP here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum AddressState {
    /// Not here, as it should be.
    Absent,
    /// Being probed for other users (RFC 5227, IPv6 DAD).
    Probing,
    /// Local and answered for.
    Answering,
    /// Another machine has it; it stays down here while the group's others work.
    Conflict {
        /// That machine's MAC.
        mac: String,
    },
    /// It could not be installed.
    Failed {
        /// Why, for people.
        error: String,
    },
}

/// One track.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TrackObserved {
    /// What is tracked, for people: "link eth0", "gateway 10.0.0.1", "data plane".
    pub what: String,
    /// Whether it is good.
    pub good: bool,
}
