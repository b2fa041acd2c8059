//! What each client address has and did lately, in bounded memory.

use super::bucket::Pace;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Parts of the table, each with a lock of its own that is held for well under a microsecond.
const SHARDS: usize = 256;
/// Clients in one part. The whole table holds 65,536 clients (about 3 MB when full).
const SHARD_CLIENTS: usize = 256;

/// A client for the purpose of limits: an IPv4 address, or the /64 of an IPv6 address (a host owns all of it).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum ClientKey {
    V4(u32),
    V6(u64),
}

impl ClientKey {
    pub(crate) fn new(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self::V6(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
            }
        }
    }

    /// Spreads clients over the parts. An attacker who fills one part on purpose only gets this part's
    /// clients the full table's treatment.
    fn shard(self) -> usize {
        let bits = match self {
            Self::V4(bits) => u64::from(bits),
            Self::V6(bits) => bits,
        };
        let mixed = bits.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
        usize::try_from(mixed).unwrap_or(0)
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Client {
    connections: u32,
    /// Theoretical arrival time of its bucket; see [`Pace`].
    arrival: u64,
}

impl Client {
    /// Whether forgetting it changes nothing.
    fn is_blank(self, now: u64) -> bool {
        self.connections == 0 && self.arrival <= now
    }
}

/// Limits for each client; both at once, as one decision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ClientLimits {
    pub(crate) connections: Option<u32>,
    pub(crate) pace: Option<Pace>,
}

/// What became of a client's new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientVerdict {
    /// Counted; to be given back with [`Clients::release`].
    Counted,
    /// Let through uncounted because the table is full of clients that have connections.
    Untracked,
    /// It has too many connections.
    TooMany,
    /// It comes too often.
    TooOften,
}

/// The table of clients of one service, shared by its workers.
#[derive(Debug)]
pub(crate) struct Clients {
    shards: Box<[Mutex<HashMap<ClientKey, Client>>]>,
    shard_clients: usize,
    /// Connections let through uncounted, because each client in the table had connections.
    pub(crate) untracked: AtomicU64,
    /// Clients whose recent rate was forgotten to make room.
    pub(crate) evicted: AtomicU64,
}

impl Default for Clients {
    fn default() -> Self {
        Self::with_capacity(SHARD_CLIENTS)
    }
}

impl Clients {
    pub(crate) fn with_capacity(shard_clients: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            shard_clients,
            untracked: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
        }
    }

    /// A poisoned part is used on: each of its values is whole at any time.
    fn shard(&self, key: ClientKey) -> Option<MutexGuard<'_, HashMap<ClientKey, Client>>> {
        Some(self.shards.get(key.shard())?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Decides on a new connection at `now` and counts it if it may be.
    pub(crate) fn admit(&self, key: ClientKey, limits: ClientLimits, now: u64) -> ClientVerdict {
        let Some(mut shard) = self.shard(key) else { return ClientVerdict::Untracked };
        if !shard.contains_key(&key) && shard.len() >= self.shard_clients && !self.make_room(&mut shard, now)
        {
            self.untracked.fetch_add(1, Ordering::Relaxed);
            return ClientVerdict::Untracked;
        }
        let client = shard.entry(key).or_default();
        if limits.connections.is_some_and(|limit| client.connections >= limit) {
            return ClientVerdict::TooMany;
        }
        if let Some(pace) = limits.pace {
            let Some(arrival) = pace.advance(client.arrival, now) else { return ClientVerdict::TooOften };
            client.arrival = arrival;
        }
        client.connections = client.connections.saturating_add(1);
        ClientVerdict::Counted
    }

    /// Gives back a connection that was counted; with `pace`, its token too, as if it had never come.
    pub(crate) fn release(&self, key: ClientKey, pace: Option<Pace>) {
        let Some(mut shard) = self.shard(key) else { return };
        let Some(client) = shard.get_mut(&key) else { return };
        client.connections = client.connections.saturating_sub(1);
        if let Some(pace) = pace {
            client.arrival = pace.refund(client.arrival);
        }
        if client.connections == 0 && client.arrival == 0 {
            shard.remove(&key);
        }
    }

    /// Forgets who is blank, else the one without connections that comes nearest to it.
    fn make_room(&self, shard: &mut HashMap<ClientKey, Client>, now: u64) -> bool {
        shard.retain(|_, client| !client.is_blank(now));
        if shard.len() < self.shard_clients {
            return true;
        }
        let idle = shard.iter().filter(|(_, client)| client.connections == 0);
        let Some(key) = idle.min_by_key(|(_, client)| client.arrival).map(|(key, _)| *key) else {
            return false;
        };
        shard.remove(&key);
        self.evicted.fetch_add(1, Ordering::Relaxed);
        true
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap().len()).sum()
    }
}
