//! What the driver saw once, and keeps.
#![allow(clippy::disallowed_methods, reason = "a driver reads the clock for the pure functions")]

use crate::verdicts::View;
use fulcrum_config::GroupName;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// What was seen once and is not in any snapshot.
#[derive(Debug, Clone)]
pub(super) struct Marks {
    pub(super) beat: Instant,
    /// When `vip-manager` told anything last; it does so twice a second at least.
    pub(super) vip_told: Instant,
    pub(super) health: Beat,
    pub(super) lb: Beat,
    /// The groups that were served whole.
    pub(super) served_once: BTreeSet<GroupName>,
    pub(super) first_round_done: bool,
    pub(super) refused_at_limit: u64,
    pub(super) limit_reached: Option<Instant>,
    pub(super) verdicts: Arc<View>,
    pub(super) ready: BTreeSet<GroupName>,
    pub(super) without_standby: BTreeMap<GroupName, Instant>,
}

impl Marks {
    /// Nothing was seen yet.
    pub(super) fn at_start() -> Self {
        Self {
            beat: Instant::now(),
            vip_told: Instant::now(),
            health: Beat::new(),
            lb: Beat::new(),
            served_once: BTreeSet::new(),
            first_round_done: false,
            refused_at_limit: 0,
            limit_reached: None,
            verdicts: Arc::default(),
            ready: BTreeSet::new(),
            without_standby: BTreeMap::new(),
        }
    }
}

/// Whoever panicked while it held them left them whole.
pub(super) fn lock(marks: &Mutex<Marks>) -> MutexGuard<'_, Marks> {
    marks.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The last beat of an engine that was seen, and when it was seen first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Beat {
    number: u64,
    pub(super) seen: Instant,
}

impl Beat {
    fn new() -> Self {
        Self { number: 0, seen: Instant::now() }
    }

    pub(super) fn look(&mut self, number: u64) {
        if self.number != number {
            *self = Self { number, seen: Instant::now() };
        }
    }
}
