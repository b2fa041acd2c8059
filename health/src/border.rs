//! What this room is told and what it tells.

use fulcrum_config::{BackendAddress, BackendName, Service, ServiceName, Target};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

/// What to probe: the services as configured. Services without a check cost nothing.
#[derive(Debug, Clone, Default)]
pub struct Desired {
    /// Each service by name.
    pub services: BTreeMap<ServiceName, Arc<Service>>,
}

/// What was found: a whole snapshot, latest wins.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// What each service can use now.
    pub services: BTreeMap<ServiceName, ServiceHealth>,
    /// Each distinct target, probed once however many services share it. Refreshed once a second, so it may
    /// be a moment behind `services`.
    pub targets: Arc<HashMap<Target, Arc<TargetHealth>>>,
    /// Counters of the engine since it started.
    pub counters: Counters,
    /// Grows while the engine runs, at least twice a second. Nobody is woken for it.
    pub beat: u64,
}

/// Counters of the engine since it started; `in_flight` is a gauge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Probes made.
    pub probes: u64,
    /// Of which failed.
    pub failures: u64,
    /// Probes that this node could not make (out of files, memory or ports; a certificate file that can't be
    /// read). They change no verdict.
    pub local_errors: u64,
    /// Probes started late because too many were in flight.
    pub probes_delayed: u64,
    /// Probes that timed out while this process stood still. They change no verdict and are made again.
    pub stalled: u64,
    /// Probes being made now.
    pub in_flight: u64,
}

/// How the engine works on this node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Open files that probes may use at a time. `None`: a quarter of the process's limit, at most 4,096.
    pub files: Option<u32>,
}

/// A service's backends, joined with quorum and slow start.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceHealth {
    /// Whether enough backends are up (quorum with hysteresis).
    pub up: bool,
    /// Each configured backend.
    pub backends: BTreeMap<BackendName, BackendHealth>,
}

/// One backend of one service.
#[derive(Debug, Clone, PartialEq)]
pub struct BackendHealth {
    /// Whose verdict it is: its name may become another address's.
    pub address: BackendAddress,
    /// What its target's probes say.
    pub verdict: Verdict,
    /// Its share of its weight while it starts slowly, in percent; 100 otherwise.
    pub share_percent: u8,
    /// Why it has this verdict, for people: "HTTP status 503, expected 200 to 399". At most 200 characters.
    pub reason: Arc<str>,
    /// Since when.
    pub since: Instant,
}

/// What is known of one target.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetHealth {
    /// The verdict.
    pub verdict: Verdict,
    /// Why, for people.
    pub reason: Arc<str>,
    /// Since when.
    pub since: Instant,
    /// Probes made.
    pub probes: u64,
    /// Of which failed.
    pub failures: u64,
    /// How long the last probe took.
    pub last_duration: std::time::Duration,
    /// Probes in a row that this node could not make, up to now; 0 once one is made.
    pub not_made: u32,
    /// Why the last of them could not be made, for people.
    pub not_made_reason: Arc<str>,
}

/// Whether a backend can take traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// No check is configured, or no verdict yet: counts as up.
    Unchecked,
    /// It answers as it should.
    Up,
    /// It does not.
    Down,
}

impl Verdict {
    /// Whether traffic may go there.
    #[must_use]
    pub fn usable(self) -> bool {
        match self {
            Self::Unchecked | Self::Up => true,
            Self::Down => false,
        }
    }
}
