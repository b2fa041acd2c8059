//! One process of this node takes over from another: the old one starts the new binary, gives it what is open, and finishes
//! its connections.
//!
//! ```text
//! old  ──starts──►            new   reads the configuration, looks at every backend
//!      ◄──prepared──
//!      ──what it leads, all sockets──►    opens everything else beside the old one, leads too, takes no client yet
//!      ◄──stands──
//!      ──go──►                      takes clients; from here on it is the node
//!      ──gone, the link's sockets──►      opens the link to the peers
//!      ◄──serves──
//!      ──connections left──► ...    shows them
//! ```
//!
//! Until "go" nothing is given up: the old one has all that it had, and kills a new one that ends, fails or is late. Both lead
//! at the same time for a moment, with the same addresses from the same machine: nobody sees a difference.

mod channel;
mod estate;
mod heir;
mod message;
mod old;
#[cfg(test)]
mod tests;

pub(crate) use estate::{Estate, LOCK, NAMESPACE};
pub(crate) use heir::Heir;
pub(crate) use old::{Given, hand_over};
