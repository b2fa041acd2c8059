//! One target: from the outcomes of its probes to a verdict.
//!
//! ```text
//!            first outcome passed ┌────┐  `fall` failures in a row  ┌──────┐
//!  Unchecked ───────────────────► │ Up │ ─────────────────────────► │ Down │
//!      │                          └────┘ ◄───────────────────────── └──────┘
//!      │                                   `rise` passes in a row      ▲
//!      └────────────────── first outcome failed ───────────────────────┘
//! ```
//!
//! The first outcome decides at once, both ways: until then a backend counts as up, and a dead one should not
//! be sent clients for `fall` intervals after each start of the process. Where the check was changed, what it had
//! found stands: the first pass brings a backend back, but it takes `fall` failures to take one down.

use crate::border::{TargetHealth, Verdict};
use crate::probe::Outcome;
use fulcrum_config::Check;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// The verdict of the check that this one replaces: a dead backend must not count as up because somebody
/// changed an interval. Down stands until the first outcome, Up until `fall` failures.
#[derive(Debug, Clone)]
pub(crate) struct Inherited {
    pub(crate) verdict: Verdict,
    pub(crate) reason: Arc<str>,
    pub(crate) since: Instant,
}

/// What is known of one target, and when it is probed next.
#[derive(Debug)]
pub(crate) struct Checker {
    check: Arc<Check>,
    health: TargetHealth,
    /// Outcomes in a row that speak against the verdict.
    against: u32,
    phase: Phase,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    Waiting { due: Instant },
    Probing { started: Instant },
}

impl Checker {
    /// A target first probed at `first`. Without an `inherited` verdict it is unchecked.
    pub(crate) fn new(check: Arc<Check>, inherited: Option<Inherited>, first: Instant, now: Instant) -> Self {
        let inherited = inherited.unwrap_or_else(|| Inherited {
            verdict: Verdict::Unchecked,
            reason: "not checked yet".into(),
            since: now,
        });
        let health = TargetHealth {
            verdict: inherited.verdict,
            reason: inherited.reason,
            since: inherited.since,
            probes: 0,
            failures: 0,
            last_duration: Duration::ZERO,
            not_made: 0,
            not_made_reason: "".into(),
        };
        Self { check, health, against: 0, phase: Phase::Waiting { due: first } }
    }

    /// What is known now.
    pub(crate) fn health(&self) -> &TargetHealth {
        &self.health
    }

    /// When the next probe starts; `None` while one is in flight.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Waiting { due } => Some(due),
            Phase::Probing { .. } => None,
        }
    }

    /// A probe starts.
    pub(crate) fn handle_start(&mut self, now: Instant) {
        self.phase = Phase::Probing { started: now };
    }

    /// The probe ended. `random` is any number; it moves the next probe within the jitter.
    ///
    /// Returns whether the verdict or its reason changed.
    pub(crate) fn handle_outcome(&mut self, outcome: &Outcome, random: u32, now: Instant) -> bool {
        let Phase::Probing { started } = self.phase else { return false };
        let changed = match outcome {
            Outcome::Passed => self.count(true, "", started, now),
            Outcome::Failed(reason) | Outcome::TimedOut(reason) => self.count(false, reason, started, now),
            Outcome::NotMade(reason) => self.note(reason),
        };
        let interval = if self.against > 0 { self.check.fast_interval } else { self.check.interval };
        let next = started.checked_add(jittered(interval, self.check.jitter_percent, random));
        self.phase = Phase::Waiting { due: next.unwrap_or(now).max(now) };
        changed
    }

    /// The probe says nothing about the target (this process stood still): it is made again at once.
    pub(crate) fn handle_void(&mut self, now: Instant) {
        self.phase = Phase::Waiting { due: now };
    }

    fn count(&mut self, passed: bool, reason: &str, started: Instant, now: Instant) -> bool {
        self.health.not_made = 0;
        let decides = self.health.probes == 0 && (passed || self.health.verdict == Verdict::Unchecked);
        self.health.probes = self.health.probes.saturating_add(1);
        self.health.failures = self.health.failures.saturating_add(u64::from(!passed));
        self.health.last_duration = now.saturating_duration_since(started);
        let (needed, verdict) =
            if passed { (self.check.rise, Verdict::Up) } else { (self.check.fall, Verdict::Down) };
        if self.health.verdict == verdict {
            self.against = 0;
            return self.explain(if passed { "passes its check" } else { reason });
        }
        self.against = self.against.saturating_add(1);
        if decides || self.against >= needed {
            self.against = 0;
            self.health.verdict = verdict;
            self.health.since = now;
            self.explain(if passed { "passes its check" } else { reason });
            return true;
        }
        let against = self.against;
        if passed {
            self.explain(&format!("passes again, {against} of {needed} times needed"))
        } else {
            self.explain(&format!("{reason} ({against} of {needed} failures that take it down)"))
        }
    }

    /// Without a verdict, the reason says why there is none; a verdict stands with its own reason.
    fn note(&mut self, reason: &str) -> bool {
        self.health.not_made = self.health.not_made.saturating_add(1);
        if *self.health.not_made_reason != *reason {
            self.health.not_made_reason = reason.into();
        }
        self.health.verdict == Verdict::Unchecked && self.explain(&format!("not checked: {reason}"))
    }

    fn explain(&mut self, reason: &str) -> bool {
        let changed = *self.health.reason != *reason;
        if changed {
            self.health.reason = reason.into();
        }
        changed
    }
}

/// `interval`, longer or shorter by up to `percent` of it: `random` 0 is the shortest, `u32::MAX` the longest.
fn jittered(interval: Duration, percent: u8, random: u32) -> Duration {
    let spread = interval.mul_f64(f64::from(percent.min(100)) / 100.0);
    let random = f64::from(random) / f64::from(u32::MAX);
    let least = interval.saturating_sub(spread);
    least.saturating_add(spread.saturating_mul(2).mul_f64(random))
}
