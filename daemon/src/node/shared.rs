//! What is kept of the configuration that the nodes share: its serial number, and its text if a peer's file is newer
//! than this node's own.

use super::allocated::read;
use crate::last_good;
use fulcrum_config::{Fragments, Overrides, adopt, digest_of_text};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[cfg(test)]
mod tests;

/// What it is kept as.
pub(crate) const KIND: &str = "shared";
/// The serial number of a node that has never changed anything.
const FIRST: u64 = 1;

/// What runs, as far as peers are concerned.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shared {
    /// Grows with each change, here or there.
    pub(crate) serial: u64,
    /// What stands for this node's own file as it was then.
    pub(crate) own: String,
    /// The peer whose file it is, and that file.
    pub(crate) received: Option<Received>,
    /// What operators asked for over the file.
    #[serde(default)]
    pub(crate) overrides: Arc<Overrides>,
    /// What comes from outside it.
    #[serde(default)]
    pub(crate) fragments: Arc<Fragments>,
}

/// A peer's file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Received {
    pub(crate) from: String,
    pub(crate) text: String,
}

impl Shared {
    /// The serial number of a node that has never changed anything.
    pub(crate) const fn default_serial() -> u64 {
        FIRST
    }

    /// Of a node whose own file `text` is in force.
    pub(crate) fn of_own(serial: u64, text: &str) -> Self {
        Self { serial, own: digest_of_text(text), ..Self::default() }
    }

    /// What was kept for the node that reads `file`; a first one if nothing was, or if it can't be used: why, for people.
    pub(crate) fn recall(state_dir: &Path, file: &Path) -> (Self, Option<String>) {
        let path = path(state_dir, file);
        let (kept, wrong) = match read(&path) {
            Ok(kept) => (kept, None),
            Err(what) => {
                (None, Some(format!("what the nodes share of the configuration: {} {what}", path.display())))
            }
        };
        (kept.unwrap_or(Self { serial: FIRST, ..Self::default() }), wrong)
    }

    /// Keeps it.
    ///
    /// # Errors
    /// It can't be written, for people.
    pub(crate) fn keep(&self, state_dir: &Path, file: &Path) -> Result<(), String> {
        let text = serde_json::to_string(self).map_err(|error| error.to_string())?;
        fulcrum_config::last_good::keep(&path(state_dir, file), &text).map_err(|error| error.to_string())
    }

    /// Whether it could be kept now: for a peer that asks.
    ///
    /// # Errors
    /// Why not, for people.
    pub(crate) fn try_out(&self, state_dir: &Path, file: &Path) -> Result<(), String> {
        let text = serde_json::to_string(self).map_err(|error| error.to_string())?;
        last_good::try_out(&path(state_dir, file), &text).map_err(|error| error.to_string())
    }

    /// Whether something was kept.
    pub(crate) fn is_kept(state_dir: &Path, file: &Path) -> bool {
        path(state_dir, file).exists()
    }

    /// The text to run where this node's own file says `own`: that file, or a peer's that is newer, unless the own one
    /// was edited since.
    pub(crate) fn text(&self, own: &str) -> Option<Result<String, String>> {
        let received = self.received.as_ref().filter(|_| self.own == digest_of_text(own))?;
        Some(adopt(&received.text, own))
    }
}

fn path(state_dir: &Path, file: &Path) -> PathBuf {
    last_good::kept_as(state_dir, file, KIND)
}
