//! Why an advert is dropped.

use thiserror::Error;

/// Why an advert was dropped (RFC 9568 section 7.1); each has a counter of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum Refusal {
    /// Shorter than its fixed fields and its count of addresses, or than its IP header says.
    #[error("the packet ends before its last address")]
    Truncated,
    /// Another IP protocol.
    #[error("not IP protocol 112")]
    NotVrrp,
    /// It was forwarded by a router, or forged from afar.
    #[error(
        "its TTL or hop limit is {0}, not 255, so it does not come from this link; or it does, and is keepalived's \
         unicast over IPv6: set `unicast_ttl 255` on the sender"
    )]
    HopLimit(u8),
    /// VRRPv2.
    #[error("it speaks VRRPv2; with keepalived, set `vrrp_version 3` on the sender")]
    Version2,
    /// An unknown version.
    #[error("it speaks VRRP version {0}, not 3")]
    Version(u8),
    /// Not an advertisement.
    #[error("its type is {0}, not 1 (advertisement)")]
    Type(u8),
    /// Its count of addresses is zero.
    #[error("it has no address")]
    NoAddresses,
    /// Damaged, or not from its stated source.
    #[error("its checksum is wrong, with and without pseudo-header")]
    Checksum,
    /// VRID 0 is reserved.
    #[error("its VRID is 0")]
    VridZero,
    /// A leader that waits no time at all between adverts.
    #[error("its advert interval is 0")]
    IntervalZero,
    /// No group here has this VRID on this link.
    #[error("no group has VRID {0} on this link; another VRRP router uses it")]
    UnknownVrid(u8),
    /// The group adverts in unicast, and the source is none of its nodes.
    #[error("its source is not a configured node (adverts: unicast)")]
    NotAPeer,
    /// Our own packet, come back, or somebody with our address.
    #[error("its source is this node's own address: a loop, or an address used twice")]
    OwnAddress,
    /// This node owns the addresses (priority 255), so nobody's claim counts.
    #[error("this node is the owner of the addresses (priority 255)")]
    WhileOwner,
    /// A resignation of a node that was not the leader.
    #[error("it resigns, but does not lead")]
    NotTheLeader,
    /// Sent before its sender's resignation, which overtook it.
    #[error("its sender has resigned since it sent it")]
    AfterResignation,
    /// The virtual router does not take part now.
    #[error("this node does not take part in the group now")]
    NotTakingPart,
}

impl Refusal {
    /// The counter's name.
    #[must_use]
    pub fn counter(self) -> &'static str {
        match self {
            Self::Truncated => "refused_truncated",
            Self::NotVrrp => "refused_not_vrrp",
            Self::HopLimit(_) => "refused_hop_limit",
            Self::Version2 => "refused_version_2",
            Self::Version(_) => "refused_version",
            Self::Type(_) => "refused_type",
            Self::NoAddresses => "refused_no_addresses",
            Self::Checksum => "refused_checksum",
            Self::VridZero => "refused_vrid_zero",
            Self::IntervalZero => "refused_interval_zero",
            Self::UnknownVrid(_) => "refused_unknown_vrid",
            Self::NotAPeer => "refused_not_a_peer",
            Self::OwnAddress => "refused_own_address",
            Self::WhileOwner => "refused_while_owner",
            Self::NotTheLeader => "refused_not_the_leader",
            Self::AfterResignation => "refused_after_resignation",
            Self::NotTakingPart => "refused_not_taking_part",
        }
    }
}
