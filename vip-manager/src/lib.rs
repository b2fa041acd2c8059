//! Who answers for each address: VRRP (RFC 9568), the addresses themselves, ARP and ND, announcements, and
//! the guard that resigns for a dead daemon.
//!
//! The engine is told the configuration and what the rest of the node can do ([`Desired`]), and tells who
//! leads ([`Observed`]). Takeover from a silent or resigning peer is decided and done in this room alone.

mod border;

pub use border::{
    AddressState, Counters, Desired, GroupObserved, LinkObserved, Observed, PeerSeen, Reason, Role,
    TrackObserved,
};
