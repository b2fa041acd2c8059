//! Nodes, interfaces and VIP groups.

use super::{
    AdvertInterval, DomainName, GroupName, InterfaceName, NodeName, OnSplit, Priority, Vrid, Weight,
};
use ipnet::IpNet;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

/// A machine that takes part in answering for VIPs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its own addresses, from which it sends adverts; at most one for each family and interface network.
    pub addresses: Vec<IpAddr>,
    /// What runs there.
    pub kind: NodeKind,
    /// Its priority in each group that does not say otherwise.
    pub priority: Priority,
    /// Its share of the groups that the nodes elect leaders of.
    pub weight: Weight,
    /// What it shares with others that may fail at once, such as its hypervisor.
    pub domain: Option<DomainName>,
}

/// What runs on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeKind {
    /// Fulcrum: a named successor of its resignation need not wait the skew.
    Fulcrum,
    /// keepalived, FRR or another VRRPv3 router: gets the timing of the RFC.
    Foreign,
}

/// An interface of this node that VIPs live behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// The kernel's name.
    pub name: InterfaceName,
    /// The networks on it; each VIP behind it lies in one.
    pub networks: Vec<IpNet>,
    /// Answer with the virtual MAC (00:00:5e:00:01:VRID, RFC 9568 section 7.3) on a macvlan, not with the
    /// interface's own. Hypervisors rarely permit it.
    pub virtual_mac: bool,
}

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl Family {
    /// The family of `address`.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::Ipv4 } else { Self::Ipv6 }
    }
}

/// VIPs that always move together: one virtual router for each link, all with the same VRID and state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: GroupName,
    /// What it carries.
    pub class: Class,
    /// How its leader is found.
    pub election: Election,
    /// The addresses, in the order of the file. Never empty.
    pub vips: Vec<Vip>,
    /// The priority of every node in this group. Has this node and at least every node of `Config::nodes`.
    pub priorities: BTreeMap<NodeName, Priority>,
    /// How often the leader advertises.
    pub advert_interval: AdvertInterval,
    /// Where adverts of VRRP go.
    pub adverts: Adverts,
    /// Whether a node of higher priority takes the group from a living leader.
    pub preempt: Preempt,
    /// Whether it may have several leaders while nodes do not hear each other.
    pub on_split: OnSplit,
    /// How a standby asks from outside whether the leader answers for the addresses; `None` if it does not.
    pub proof: Option<Proof>,
    /// How long this node finishes its proxied TCP connections after it handed the group to another node.
    pub drain: Duration,
    /// Whether the addresses are local (RFC 9568 Accept_Mode); services need it. Without it, the node only
    /// answers ARP and ND for them and routes what arrives.
    pub accept: bool,
    /// What lowers this node's priority or makes it ineligible.
    pub tracks: Vec<Track>,
}

/// How a standby asks from outside whether the leader of a group answers for its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    /// Time between questions for each address.
    pub interval: Duration,
    /// Whether the TCP ports of services are asked for, too.
    pub ports: bool,
    /// What comes of a leader that does not answer.
    pub on_failure: OnFailure,
}

/// What comes of a leader that does not answer for an address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// An alarm.
    #[default]
    Alarm,
    /// It is asked to hand the group over, too.
    HandOver,
}

impl Default for Proof {
    fn default() -> Self {
        Self { interval: Duration::from_secs(2), ports: true, on_failure: OnFailure::Alarm }
    }
}

/// How the leader of a group is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Election {
    /// By adverts of RFC 9568 with this VRID, the same on every link.
    Vrrp(Vrid),
    /// By what the nodes tell each other over the peer link; all of them are Fulcrum's and have keys.
    Peers,
}

impl fmt::Display for Election {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vrrp(vrid) => write!(f, "VRRP with VRID {vrid}"),
            Self::Peers => f.write_str("over the peer link"),
        }
    }
}

impl Group {
    /// What [`Group::drain`] is where nothing is written.
    pub const DRAIN: Duration = Duration::from_secs(300);

    /// Whether the nodes elect its leader over the peer link.
    #[must_use]
    pub fn is_elected(&self) -> bool {
        self.election == Election::Peers
    }

    /// Its VRID, if its leader is found by VRRP.
    #[must_use]
    pub fn vrid(&self) -> Option<Vrid> {
        match self.election {
            Election::Vrrp(vrid) => Some(vrid),
            Election::Peers => None,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
        })
    }
}

/// One (interface, family) on which a group is a virtual router.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Link {
    /// The interface.
    pub interface: InterfaceName,
    /// The family.
    pub family: Family,
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.interface, self.family)
    }
}

impl Group {
    /// The links this group advertises on, sorted, each once. IPv4 of an interface comes before its IPv6.
    #[must_use]
    pub fn links(&self) -> Vec<Link> {
        let links: std::collections::BTreeSet<Link> = self.vips.iter().map(Vip::link).collect();
        links.into_iter().collect()
    }

    /// This group's addresses on `link`, in the order of the file.
    pub fn vips_on<'a>(&'a self, link: &'a Link) -> impl Iterator<Item = IpAddr> + 'a {
        self.vips.iter().filter(move |vip| vip.link() == *link).map(|vip| vip.address)
    }
}

/// An address that moves between nodes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Vip {
    /// The address.
    pub address: IpAddr,
    /// The interface whose network it lies in.
    pub interface: InterfaceName,
}

impl Vip {
    /// Where it is advertised.
    #[must_use]
    pub fn link(&self) -> Link {
        Link { interface: self.interface.clone(), family: Family::of(self.address) }
    }
}

/// What a group carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// The Kubernetes API: protected.
    ControlPlane,
    /// Everything else.
    Workload,
}

/// Where adverts go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Adverts {
    /// 224.0.0.18 and ff02::12.
    Multicast,
    /// To each other node's address on the link; adverts from other sources are ignored and counted.
    Unicast,
}

/// Whether a node of higher priority takes the group from a living leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Preempt {
    /// Never, the default: a move without need breaks connections.
    Never,
    /// After it has seen the lower one lead for this long.
    After(Duration),
}

/// Something whose failure says that this node should not lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Track {
    /// The link state of an interface.
    Link {
        /// The interface.
        interface: InterfaceName,
        /// What its failure does.
        effect: TrackEffect,
    },
    /// A neighbour that must answer ARP or ND.
    Gateway {
        /// The neighbour.
        address: IpAddr,
        /// The interface it is behind.
        interface: InterfaceName,
        /// Time between probes.
        interval: Duration,
        /// Probes without answer in a row that make it failed.
        fall: u32,
        /// Answers in a row that make it good again.
        rise: u32,
        /// What its failure does.
        effect: TrackEffect,
    },
    /// The local data plane serves what the configuration asks for.
    DataPlane {
        /// What its failure does.
        effect: TrackEffect,
    },
}

/// What the failure of a track does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TrackEffect {
    /// Lowers the priority by this much.
    Lower(u8),
    /// Makes the node ineligible: it resigns, unless no peer that is better off is heard.
    Ineligible,
}

/// The timing profile, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// The advert interval of groups that do not say otherwise.
    pub advert_interval: AdvertInterval,
    /// Gratuitous ARP / unsolicited NA: how many in the burst at takeover.
    pub announce_burst: u32,
    /// Time between those of the burst.
    pub announce_spacing: Duration,
    /// Time between periodic ones afterwards.
    pub announce_refresh: Duration,
    /// How long a track must be good before its failure is forgiven.
    pub track_damping: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            advert_interval: AdvertInterval::DEFAULT,
            announce_burst: 5,
            announce_spacing: Duration::from_millis(200),
            announce_refresh: Duration::from_secs(60),
            track_damping: Duration::from_secs(3),
        }
    }
}
