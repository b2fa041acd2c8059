//! What the admin API answers, besides the status: shared by its two ends.

use fulcrum_config::Change;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The answer to a reload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reloaded {
    /// What was applied.
    pub(crate) changes: Vec<Change>,
    /// Something of `admin`, `xdp` or `flows` changed: it takes effect when the daemon is started again.
    pub(crate) needs_restart: bool,
    /// Each peer that runs another configuration now, or can't be asked, and what to do.
    #[serde(default)]
    pub(crate) peers: Vec<String>,
    /// What the parser found worth saying.
    pub(crate) warnings: Vec<String>,
    /// To read and check the file.
    pub(crate) read_ms: f64,
    /// From then until the data plane serves all of it.
    pub(crate) applied_ms: f64,
}

impl fmt::Display for Reloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.changes.is_empty() {
            writeln!(f, "nothing changed")?;
        }
        for change in &self.changes {
            writeln!(f, "{change}")?;
        }
        if self.needs_restart {
            writeln!(f, "changes of admin, xdp and flows take effect when the daemon is started again")?;
        }
        for peer in &self.peers {
            writeln!(f, "{peer}")?;
        }
        writeln!(f, "read and checked in {:.1} ms, applied in {:.1} ms", self.read_ms, self.applied_ms)
    }
}

/// The answer to an upgrade in place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Replaced {
    /// The new process.
    pub(crate) pid: u32,
    /// Its version.
    pub(crate) version: String,
    /// What the old one finishes.
    pub(crate) connections: u64,
}

/// The answer to what an operator asks for over the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Overridden {
    /// Of what it is.
    pub(crate) of: Vec<String>,
    /// What changed by it.
    pub(crate) changes: Vec<Change>,
    /// What became of it at each peer.
    pub(crate) peers: Vec<String>,
}

impl fmt::Display for Overridden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.changes.is_empty() {
            writeln!(f, "nothing changed: {} was so already", self.of.join(", "))?;
        }
        for line in self.changes.iter().map(ToString::to_string).chain(self.peers.iter().cloned()) {
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}

/// The answer to a rehearsal of a reload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Rehearsed {
    /// What would be applied.
    pub(crate) changes: Vec<Change>,
    /// What clients would notice.
    pub(crate) touches: Vec<String>,
    /// Something of `admin`, `xdp` or `flows` changed.
    pub(crate) needs_restart: bool,
    /// What would become of it at each peer.
    pub(crate) peers: Vec<String>,
    /// What the parser found worth saying.
    pub(crate) warnings: Vec<String>,
    /// To read and check the file.
    pub(crate) read_ms: f64,
}

impl fmt::Display for Rehearsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.changes.is_empty() {
            writeln!(f, "nothing would change")?;
        }
        for change in &self.changes {
            writeln!(f, "{change}")?;
        }
        for touch in &self.touches {
            writeln!(f, "touches: {touch}")?;
        }
        if self.needs_restart {
            writeln!(
                f,
                "changes of admin, xdp and flows would take effect when the daemon is started again"
            )?;
        }
        for peer in &self.peers {
            writeln!(f, "{peer}")?;
        }
        writeln!(
            f,
            "nothing was applied; not tried were listeners, and what the peers say ({:.1} ms)",
            self.read_ms
        )
    }
}

/// The answer to a handover.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct HandedOver {
    /// The group.
    pub(crate) group: String,
    /// Who leads it now.
    pub(crate) leader: String,
    /// From the request until that was heard.
    pub(crate) took_ms: f64,
    /// Of it: this node led no more, and had heard of no other that did.
    #[serde(default)]
    pub(crate) unled_ms: f64,
    /// Proxied connections that this node has and finishes, if it can.
    #[serde(default)]
    pub(crate) finishes: u64,
    /// Forwarded connections that the other node was told of one by one.
    #[serde(default)]
    pub(crate) carried: u64,
    /// What is not known of whether the other node was ready.
    #[serde(default)]
    pub(crate) unknown: Vec<String>,
    /// What will happen next, if anything.
    pub(crate) note: Option<String>,
}

/// The answer to a drill that kills the daemon or cuts the node off: it is about to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Struck {
    /// What this node leads, and others are to take.
    pub(crate) groups: Vec<String>,
    /// It begins after so long, so that this answer is heard.
    pub(crate) after_ms: u64,
}

/// The answer to whatever was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refusal {
    /// What happened, what it affects, what to do.
    pub(crate) error: String,
    /// Each mistake in a file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) diagnostics: Vec<String>,
}

impl Refusal {
    pub(crate) fn new(error: impl Into<String>) -> Self {
        Self { error: error.into(), diagnostics: Vec::new() }
    }
}

/// The answer to what hooks are to be told of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ToldHooks {
    /// How many were.
    pub(crate) hooks: usize,
}
