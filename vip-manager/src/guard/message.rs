//! What the daemon tells its guard, and the guard the daemon: one datagram each.

use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::time::Duration;

/// The largest message.
pub(super) const MAX_BYTES: usize = 64 * 1024;
/// Addresses in one message: with the largest resignation beside them they fit.
const PART_ADDRESSES: usize = 400;

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
    /// More of what the last message of this group began.
    More {
        /// Its name.
        name: String,
        /// What to do as well.
        orders: Orders,
    },
    /// The daemon runs.
    Beat {
        /// When it said so: nanoseconds of the monotonic clock, which all processes share.
        at_nanoseconds: u64,
    },
}

impl ToGuard {
    /// The bytes of one datagram.
    pub(super) fn encode(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(self)
    }

    /// What a datagram says; `None` if it is no message.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// The messages that say what to do for a group.
    pub(super) fn group(name: &str, orders: Option<&Orders>) -> Vec<Self> {
        let name = name.to_owned();
        let Some(orders) = orders else { return vec![Self::Group { name, orders: None }] };
        let mut parts = orders.parts().into_iter();
        let first = Self::Group { name: name.clone(), orders: parts.next() };
        let more = parts.map(|orders| Self::More { name: name.clone(), orders });
        [first].into_iter().chain(more).collect()
    }
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

impl Orders {
    /// The same in parts, each small enough for one message. At least one.
    fn parts(&self) -> Vec<Self> {
        let mut addresses = self.addresses.chunks(PART_ADDRESSES);
        let mut resignations = self.resignations.iter();
        let mut devices = self.devices.clone();
        let mut parts = Vec::new();
        loop {
            let part = Self {
                resignations: resignations.next().cloned().into_iter().collect(),
                addresses: addresses.next().unwrap_or_default().to_vec(),
                devices: std::mem::take(&mut devices),
                down_interval: self.down_interval,
            };
            if !parts.is_empty() && part.resignations.is_empty() && part.addresses.is_empty() {
                return parts;
            }
            parts.push(part);
        }
    }

    /// Adds another part.
    pub(super) fn extend(&mut self, more: Self) {
        self.resignations.extend(more.resignations);
        self.addresses.extend(more.addresses);
        self.devices.extend(more.devices);
    }
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

#[cfg(test)]
mod tests;
