//! Who answers for each address: VRRP (RFC 9568), the addresses themselves, ARP and ND, announcements, and
//! the guard that resigns for a dead daemon.
//!
//! The engine is told the configuration and what the rest of the node can do ([`Desired`]), and tells who
//! leads ([`Observed`]). Takeover from a silent or resigning peer is decided and done in this room alone.

pub mod advert;
pub mod announcer;
pub mod arp;
mod border;
mod disproof;
mod drain;
mod driver;
pub mod election;
mod error;
mod fence;
pub mod frame;
pub mod gateway;
mod guard;
pub mod ndp;
mod netlink;
mod poller;
pub mod preflight;
pub mod prober;
pub mod proof;
pub mod router;
pub mod segment;
mod settings;
mod sockets;
mod sys;
pub mod track;
mod witness;

pub use border::{
    AddressState, Advice, Answerer, Counters, Desired, Echo, FenceObserved, Finding, GroupObserved,
    KernelSetting, LinkObserved, Observed, Part, PeerSeen, ProofObserved, QuorumObserved, Reason, Role,
    TrackObserved, Unclaimed, Word,
};
pub use driver::{Fencing, HeartbeatLink, Links, Options, WitnessLink, start};
pub use error::StartError;
#[doc(hidden)]
pub use guard::reread_guard_message;
pub use guard::{GuardCommand, guard_main};
