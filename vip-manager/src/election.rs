//! Groups whose leaders the nodes elect over the peer link, without a VRID.
//!
//! Each group has a virtual router ([`crate::router`]) like any other: silence, resignation, offers, ties and one-way cuts
//! are what they are there. Two things differ. What the routers say goes to every node over the authenticated link, all
//! groups of a node together ([`heartbeat`]). And priorities are not written by people: each node finds them from what
//! all know ([`placement`]): who is there ([`members`]), who leads what, weights and failure domains. [`elector`] is a node's part in that. So who takes over is
//! known before it must, and where two nodes know different things for a moment, the routers settle it. Groups that are to
//! have no leader rather than two wait for the votes of more than half of the nodes besides ([`quorum`], [`votes`]).

pub mod elector;
pub mod heartbeat;
pub mod members;
pub mod placement;
pub mod quorum;
pub mod votes;
