//! How this node's runs ended. A node that crashes again and again is held back: it leads only what no other node can,
//! for longer each time, so that what makes it crash does not move the VIPs to and fro.

use crate::last_good::kept_as;
use fulcrum_config::UnixTime;
use fulcrum_config::last_good::{LastGoodError, keep, recall};
use fulcrum_lifecycle::{Alarm, Severity};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;

#[cfg(test)]
mod tests;

/// What it is kept as.
const RUNS: &str = "runs";
/// Crashes that are longer ago are forgotten.
const WINDOW: Duration = Duration::from_secs(1800);
/// How long a node is held back at first, and at most.
const HELD: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(960));
/// Crashes that are remembered.
const REMEMBERED: usize = 32;

/// What is kept of runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Kept {
    /// There is a run that has not ended as it was asked to.
    running: bool,
    /// When runs were found to have ended by themselves.
    crashes: Vec<UnixTime>,
}

/// What is known of this node's runs since this one began.
#[derive(Debug, Clone)]
pub(crate) struct Runs {
    path: PathBuf,
    kept: Kept,
    /// Crashes after which it is held back; with 0 it never is.
    limit: u32,
}

impl Runs {
    /// A run begins. Whoever could not write that down is not held back after the next crash: a full disk keeps no node
    /// from leading.
    pub(crate) fn begin(state_dir: &Path, file: &Path, limit: u32, now: UnixTime) -> Self {
        let path = kept_as(state_dir, file, RUNS);
        let before = recall(&path).ok().flatten().and_then(|text| serde_json::from_str(&text).ok());
        let runs = Self { path, kept: after(before.unwrap_or_default(), now), limit };
        runs.keep(&runs.kept);
        runs
    }

    /// It ends as it was asked to.
    pub(crate) fn end(&self) {
        self.keep(&Kept { running: false, ..self.kept.clone() });
    }

    fn keep(&self, kept: &Kept) {
        let kept = serde_json::to_string(kept).map_err(|error| error.to_string());
        let kept =
            kept.and_then(|text| keep(&self.path, &text).map_err(|error: LastGoodError| error.to_string()));
        if let Err(error) = kept {
            tracing::warn!(
                "how runs end can't be kept, and repeated crashes do not hold this node back: {error}"
            );
        }
    }

    fn recent(&self, now: UnixTime) -> impl Iterator<Item = &UnixTime> {
        self.kept.crashes.iter().filter(move |at| at.after(WINDOW) > now && **at <= now)
    }

    /// For how long after its start this node leads only what no other node can; none if it did not crash often.
    pub(crate) fn held(&self, now: UnixTime) -> Option<Duration> {
        let crashes = u32::try_from(self.recent(now).count()).unwrap_or(u32::MAX);
        let more = crashes.checked_sub(self.limit).filter(|_| self.limit > 0)?;
        Some(HELD.0.saturating_mul(2_u32.saturating_pow(more)).min(HELD.1))
    }

    /// Why it is held back, for people.
    pub(crate) fn why(&self, now: UnixTime) -> String {
        let minutes = WINDOW.as_secs().checked_div(60).unwrap_or_default();
        format!("it crashed {} times within {minutes} minutes", self.recent(now).count())
    }

    /// What to say as long as crashes are recent; `left` is the time for which it is still held back.
    pub(crate) fn alarm(&self, left: Duration, now: UnixTime) -> Option<Alarm> {
        self.held(now)?;
        let affected = match left.as_secs() {
            0 => "nothing at present: it leads again as any other node".to_owned(),
            seconds => format!(
                "what this node could lead: for {seconds} s more it takes only what no other node can"
            ),
        };
        Some(Alarm {
            severity: Severity::Warning,
            what: format!("this node is not stable: {}", self.why(now)),
            affected,
            remedy: "'journalctl -u fulcrum' says how it ended, 'fulcrum diagnose' gathers what its developers need".to_owned(),
        })
    }
}

/// What is known at the start of a run.
fn after(before: Kept, now: UnixTime) -> Kept {
    let crashed = before.running.then_some(now);
    // A clock that was set back makes crashes of the future: they are none.
    let recent = before.crashes.into_iter().filter(|at| *at <= now && at.after(WINDOW) > now);
    let mut crashes: Vec<UnixTime> = recent.chain(crashed).collect();
    crashes.drain(..crashes.len().saturating_sub(REMEMBERED));
    Kept { running: true, crashes }
}
