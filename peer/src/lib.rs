//! The authenticated, encrypted link between the nodes of a pair.
//!
//! The engine ([`start`]) is told which nodes there are, their keys and what this node runs ([`Desired`]); it keeps one
//! QUIC connection to each of them and tells what it hears ([`Observed`]). It decides nothing: without it the pair
//! still fails over by its adverts.
//!
//! ```text
//! Desired ─► driver ──who connected, what came, the time──► link (one for each peer) ──dial, send, close──► driver
//!              │                                              │
//!              └── tls: only pinned keys shake hands          └── state, round trip, what the peer runs ──► Observed
//! ```
//!
//! - `key` makes and reads private keys; a public key is known by its [pin](fulcrum_config::KeyPin).
//! - `tls` says what is spoken: TLS 1.3 with raw public keys (RFC 7250) on both sides. There is no authority and no
//!   date; the signature of each handshake is verified by rustls.
//! - `message` is what is said: messages on streams, heartbeats in datagrams.
//! - `link` is the machine: which of several connections is kept, when the peer counts as silent, when to dial.
//! - `serving` is what nodes say of forwarded services: verdicts, and what stands in the tables.
//! - `driver` owns the sockets and reads the clock.

// Tests may compute plainly: a wrong number there fails the test.
#![cfg_attr(test, allow(clippy::arithmetic_side_effects))]

pub mod alive;
mod border;
mod driver;
mod error;
pub mod key;
mod link;
mod message;
pub mod preflight;
mod serving;
mod sockets;
mod tls;

pub use border::{
    Answer, Changes, Counters, Desired, Echoed, FlowLink, HeartbeatLink, LinkState, Observed, Offer, Options,
    PeerConfig, PeerCounters, PeerObserved, PeerState, Prepared, Preparing, TellEchoes, Text, Word,
};
pub use driver::start;
pub use error::{KeyError, StartError};
pub use message::{ALLOCATIONS_LIMIT, TEXT_LIMIT};
pub use serving::{Judged, Services, Serving, Usage, Verdict};
pub use sockets::Sockets;

/// For the fuzz targets.
#[cfg(feature = "fuzzing")]
pub mod fuzzing {
    /// Reads `bytes` as a message and as a datagram; what is understood reads the same once it is written again.
    pub fn message(bytes: &[u8]) {
        crate::message::read_and_write(bytes);
    }
}
