//! What became of the hooks.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A program that is run when something has happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hook {
    /// Its name.
    pub name: String,
    /// What it is run after.
    pub on: Vec<String>,
    /// The program and its arguments, or the web server that is called.
    pub command: Vec<String>,
    /// What it is still to be told.
    pub waiting: u64,
    /// Each that runs.
    pub running: Vec<HookRun>,
    /// How often it ended in which way: `succeeded`, `failed`, `killed` (at its deadline), `not-started`.
    pub runs: BTreeMap<String, u64>,
    /// How long all runs took together.
    pub run_seconds: f64,
    /// What it was not told: `superseded` by something later about the same, or `queue-full`.
    pub left_out: BTreeMap<String, u64>,
    /// The last runs that ended, the latest first.
    pub last: Vec<HookRun>,
}

/// A run of a hook.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HookRun {
    /// What it was run after.
    pub event: String,
    /// What that was about, for people.
    pub of: String,
    /// The group that it was about, if it was about one.
    pub group: Option<String>,
    /// Since it ended; since it began, if it runs.
    pub seconds_ago: u64,
    /// `running`, `succeeded`, `failed`, `killed` or `not-started`.
    pub outcome: String,
    /// The same, for people.
    pub what: String,
    /// How long it took.
    pub took_ms: f64,
    /// The first line that it printed.
    pub said: Option<String>,
}
