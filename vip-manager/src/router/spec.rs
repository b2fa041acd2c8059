//! What a router must know of the configuration.

use crate::advert::{ChecksumForm, MAX_ADDRESSES_IPV4, MAX_ADDRESSES_IPV6};
use fulcrum_config::{
    AdvertInterval, Adverts, Config, Family, Group, Link, Node, NodeKind, NodeName, Preempt, Priority, Vrid,
};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// What stands for the VRID of a group that has none.
const NO_VRID: Vrid = Vrid::MIN;

/// One group as its router sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterSpec {
    /// Its VRID on every link. A group whose leader is elected over the peer link has the least there is, which is never sent.
    pub vrid: Vrid,
    /// This node's configured priority.
    pub priority: Priority,
    /// How often to advertise when leading.
    pub interval: AdvertInterval,
    /// Whether to take the group from a living leader of lower priority.
    pub preempt: Preempt,
    /// Whether only configured nodes are heard.
    pub adverts: Adverts,
    /// Where to advertise. Never empty; the first is the deciding link.
    pub links: Vec<LinkSpec>,
    /// The other nodes.
    pub peers: Vec<Peer>,
    /// This node's configured address on the deciding link.
    pub deciding_address: Option<IpAddr>,
    /// Every node has keys, so that each can claim its adverts over a link.
    pub claimed: bool,
}

/// One link of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkSpec {
    /// The link.
    pub link: Link,
    /// The addresses that its adverts list: link-local ones first (RFC 9568 section 5.2.9), then as many as
    /// fit; the others travel with the group unlisted.
    pub listed: Arc<[IpAddr]>,
}

/// Another node of the group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub node: NodeName,
    /// What runs there.
    pub kind: NodeKind,
    /// Its configured priority in this group.
    pub priority: Priority,
    /// From where it sends.
    pub addresses: Vec<IpAddr>,
    /// Its address on the deciding link, which decides ties.
    pub deciding_address: Option<IpAddr>,
}

impl RouterSpec {
    /// What `config` says of `group`.
    #[must_use]
    pub fn new(config: &Config, group: &Group) -> Self {
        let links: Vec<LinkSpec> = group.links().into_iter().map(|link| LinkSpec::new(group, link)).collect();
        let deciding = links.first().map(|spec| spec.link.clone());
        let deciding_address =
            |node: &Node| deciding.as_ref().and_then(|link| address_on(config, link, node));
        let priority = |name: &NodeName| group.priorities.get(name).copied().unwrap_or(Priority::DEFAULT);
        let peers = config.nodes.iter().filter(|(name, _)| **name != config.node);
        let claims = |(name, node): (&NodeName, &Node)| {
            node.kind == NodeKind::Fulcrum && config.peer.pins.contains_key(name)
        };
        Self {
            // What comes over the link is its sender's own.
            claimed: !group.is_elected() && config.nodes.iter().all(claims),
            vrid: group.vrid().unwrap_or(NO_VRID),
            priority: priority(&config.node),
            interval: group.advert_interval,
            preempt: group.preempt,
            adverts: group.adverts,
            peers: peers
                .map(|(name, node)| Peer {
                    node: name.clone(),
                    kind: node.kind,
                    priority: priority(name),
                    addresses: node.addresses.clone(),
                    deciding_address: deciding_address(node),
                })
                .collect(),
            deciding_address: config.nodes.get(&config.node).and_then(deciding_address),
            links,
        }
    }

    /// What the checksum of an advert covers until a foreign node was heard: keepalived and FRR want the
    /// pseudo-header by default.
    #[must_use]
    pub fn checksum(&self) -> ChecksumForm {
        if self.peers.iter().any(|peer| peer.kind == NodeKind::Foreign) {
            ChecksumForm::PseudoHeader
        } else {
            ChecksumForm::Message
        }
    }

    pub(super) fn link(&self, link: &Link) -> Option<&LinkSpec> {
        self.links.iter().find(|spec| spec.link == *link)
    }
}

impl LinkSpec {
    pub(super) fn new(group: &Group, link: Link) -> Self {
        let most = match link.family {
            Family::Ipv4 => MAX_ADDRESSES_IPV4,
            Family::Ipv6 => MAX_ADDRESSES_IPV6,
        };
        let mut addresses: Vec<IpAddr> = group.vips_on(&link).collect();
        addresses.sort_by_key(|address| !is_link_local(*address));
        addresses.truncate(most);
        Self { link, listed: addresses.into() }
    }
}

/// Whether an address is an IPv6 link-local one.
pub(super) fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

fn address_on(config: &Config, link: &Link, node: &Node) -> Option<IpAddr> {
    let networks = &config.interfaces.get(&link.interface)?.networks;
    node.addresses.iter().copied().find(|address| {
        Family::of(*address) == link.family && networks.iter().any(|network| network.contains(address))
    })
}

/// Skew_Time (RFC 9568 section 6.1), exact to the nanosecond.
#[must_use]
pub fn skew(priority: u8, interval: AdvertInterval) -> Duration {
    let share = 256_u32.saturating_sub(u32::from(priority));
    interval.duration().saturating_mul(share).checked_div(256).unwrap_or_default()
}

/// Active_Down_Interval (RFC 9568 section 6.1).
#[must_use]
pub fn down_interval(priority: u8, interval: AdvertInterval) -> Duration {
    interval.duration().saturating_mul(3).saturating_add(skew(priority, interval))
}
