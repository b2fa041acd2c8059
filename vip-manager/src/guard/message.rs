//! What the daemon tells its guard, and the guard the daemon: one datagram each.

use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::time::Duration;

/// The largest message; a group with 4,000 addresses fits.
pub(super) const MAX_BYTES: usize = 128 * 1024;

/// From the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ToGuard {
    /// The memory in the datagram's control message holds the lock that the daemon's thread has while it lives.
    Life,
    /// The socket in the datagram's control message is one that adverts leave by; without one it is gone.
    Sender {
        /// The daemon's number for it.
        number: u64,
    },
    /// What to do for a group when the daemon does not live; replaces what was said before.
    Group {
        /// Its name.
        name: String,
        /// The orders; `None` when this node does not lead it.
        orders: Option<Orders>,
    },
    /// The daemon runs.
    Beat {
        /// When it said so: nanoseconds of the monotonic clock, which all processes share.
        at_nanoseconds: u64,
    },
}

/// From the guard: it resigned for this group, because beats were missing for too long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fired {
    /// The group's name.
    pub(crate) group: String,
}

/// What resigning takes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Orders {
    /// Adverts with priority 0.
    pub(crate) resignations: Vec<Resignation>,
    /// Addresses to remove, each with the index of its interface.
    pub(crate) addresses: Vec<(u32, IpAddr)>,
    /// Devices to remove.
    pub(crate) devices: Vec<u32>,
    /// Without a beat for this long, peers have taken over.
    pub(crate) down_interval: Duration,
}

/// One advert, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Resignation {
    /// The daemon's number for the socket that it leaves by.
    pub(crate) sender: u64,
    /// Where it goes.
    pub(crate) destination: IpAddr,
    /// The interface's index, the scope of IPv6 destinations.
    pub(crate) interface: u32,
    /// From the VRRP header on.
    pub(crate) bytes: Vec<u8>,
}
