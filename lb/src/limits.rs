//! Who may connect to a service, how many at a time and how often.
//!
//! One [`Limiter`] stands for one service and is shared by all workers, because a limit holds for the service
//! and not for each worker. Connections and rate of the service are atomic numbers and exact; clients are in
//! a table of parts with a lock each, asked only if a limit for each client is set. Nothing here reads a clock.

mod bucket;
mod clients;
mod sources;
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)] // Times and counts of tests are small.
mod tests;

pub(crate) use bucket::{Pace, SharedBucket, nanoseconds};
pub(crate) use sources::Sources;

use clients::{ClientKey, ClientLimits, ClientVerdict, Clients};
use fulcrum_config::Service;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// Why a connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Its source is not allowed.
    Source,
    /// Too many connections at a time, of the service or of this client.
    Limit,
    /// Too many new connections lately, of the service or of this client.
    Rate,
}

/// What is counted, whatever the limits are now: it outlives a change of the configuration.
#[derive(Debug)]
struct Counts {
    epoch: Instant,
    connections: AtomicU32,
    bucket: SharedBucket,
    /// Made when a limit for each client is first used: most services have none.
    clients: OnceLock<Clients>,
}

/// The limits of one service and what counts towards them.
#[derive(Debug)]
pub(crate) struct Limiter {
    sources: Sources,
    connections: Option<u32>,
    pace: Option<Pace>,
    per_client: ClientLimits,
    counts: Arc<Counts>,
}

impl Limiter {
    /// Counts from nothing. `epoch` is any time not after the first `now`.
    pub(crate) fn new(service: &Service, epoch: Instant) -> Self {
        let counts = Counts {
            epoch,
            connections: AtomicU32::new(0),
            bucket: SharedBucket::default(),
            clients: OnceLock::new(),
        };
        Self::with_counts(service, Arc::new(counts))
    }

    /// The limits of a changed service, with the connections and rates counted so far. A connection admitted
    /// while its service had no limit for each client does not count towards one that is set later.
    pub(crate) fn changed(&self, service: &Service) -> Self {
        Self::with_counts(service, Arc::clone(&self.counts))
    }

    fn with_counts(service: &Service, counts: Arc<Counts>) -> Self {
        let limits = service.limits;
        Self {
            sources: Sources::new(&service.sources),
            connections: limits.connections,
            pace: limits.rate.map(Pace::new),
            per_client: ClientLimits {
                connections: limits.connections_per_client,
                pace: limits.rate_per_client.map(Pace::new),
            },
            counts,
        }
    }

    /// Whether `client` may connect at `now`. The permit counts as a connection until it is dropped.
    ///
    /// A refused connection takes nothing from anybody: neither a place nor a token.
    ///
    /// # Errors
    /// The reason for refusing it.
    pub(crate) fn admit(&self, client: IpAddr, now: Instant) -> Result<Permit, Refusal> {
        if !self.sources.is_empty() && !self.sources.contains(client) {
            return Err(Refusal::Source);
        }
        let now = nanoseconds(self.counts.epoch, now);
        let limit = self.connections.unwrap_or(u32::MAX);
        self.counts
            .connections
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                (count < limit).then(|| count.saturating_add(1))
            })
            .map_err(|_| Refusal::Limit)?;
        // From here on, the permit gives back what was counted if a later limit refuses.
        let mut permit = Permit { counts: Arc::clone(&self.counts), client: None };
        if self.per_client != ClientLimits::default() {
            let key = ClientKey::new(client);
            match self.counts.clients.get_or_init(Clients::default).admit(key, self.per_client, now) {
                ClientVerdict::Counted => permit.client = Some(key),
                ClientVerdict::Untracked => {}
                ClientVerdict::TooMany => return Err(Refusal::Limit),
                ClientVerdict::TooOften => return Err(Refusal::Rate),
            }
        }
        if self.pace.is_some_and(|pace| !self.counts.bucket.take(pace, now)) {
            permit.undo(self.per_client.pace);
            return Err(Refusal::Rate);
        }
        Ok(permit)
    }

    /// Connections now.
    #[cfg(test)]
    pub(crate) fn connections(&self) -> u32 {
        self.counts.connections.load(Ordering::Relaxed)
    }

    /// Times that the table of clients was full: connections not counted towards their client, and clients
    /// whose recent rate was forgotten.
    pub(crate) fn table_full(&self) -> u64 {
        let Some(clients) = self.counts.clients.get() else { return 0 };
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        count(&clients.untracked).saturating_add(count(&clients.evicted))
    }
}

/// A place among a service's connections, given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    counts: Arc<Counts>,
    client: Option<ClientKey>,
}

impl Permit {
    /// Gives back the client's token as well: the connection is refused after all.
    fn undo(mut self, pace: Option<Pace>) {
        if let (Some(key), Some(clients)) = (self.client.take(), self.counts.clients.get()) {
            clients.release(key, pace);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        // Each permit counted once and is dropped once, so this can't pass zero.
        self.counts.connections.fetch_sub(1, Ordering::Relaxed);
        if let (Some(key), Some(clients)) = (self.client, self.counts.clients.get()) {
            clients.release(key, None);
        }
    }
}
