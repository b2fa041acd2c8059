//! The addresses that services have from pools, as they are kept on disk: a service gets the same ones after a restart.
//!
//! They are on disk before they are in use. The copy before is kept, too: if the last one is damaged, what that one knows
//! is given to nobody else.

use crate::last_good;
use fulcrum_config::last_good::{LastGoodError, keep, recall};
use fulcrum_config::{Allocations, Before};
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[cfg(test)]
mod tests;

/// What they are kept as.
pub(crate) const KIND: &str = "allocations";

/// What was kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Recalled {
    pub(crate) allocations: Arc<Allocations>,
    /// What is wrong with the file, if it can't be used: the allocations may be older ones, or none.
    pub(crate) damage: Option<String>,
}

impl Recalled {
    /// What was kept for the node that reads `file`, in the first of these directories that has anything.
    pub(crate) fn of(directories: &[PathBuf], file: &Path) -> Self {
        let kept = |directory: &PathBuf| {
            [path(directory, file), before(directory, file)].iter().any(|it| it.exists())
        };
        directories
            .iter()
            .find(|directory| kept(directory))
            .map_or_else(Self::default, |it| Self::in_one(it, file))
    }

    fn in_one(directory: &Path, file: &Path) -> Self {
        let path = path(directory, file);
        let what = match read(&path) {
            Ok(Some(allocations)) => return Self { allocations: Arc::new(allocations), damage: None },
            Ok(None) => "is gone".to_owned(),
            Err(what) => what,
        };
        let (older, and) = match read(&before(directory, file)) {
            Ok(Some(older)) => {
                (older, "what services had before the last change of the pools is known, and kept")
            }
            Ok(None) | Err(_) => (Allocations::default(), "no older copy can be used either"),
        };
        let damage = format!("what services have from pools: {} {what}; {and}", path.display());
        Self { allocations: Arc::new(older), damage: Some(damage) }
    }

    /// As what was in force before.
    pub(crate) fn before(&self, give_up: bool) -> Before {
        Before { allocations: Arc::clone(&self.allocations), give_up, ..Before::default() }
    }
}

/// Keeps `allocations`.
///
/// # Errors
/// They can't be written, for people; what was kept before is untouched then.
pub(crate) fn store(allocations: &Allocations, directory: &Path, file: &Path) -> Result<(), String> {
    let (path, before) = (path(directory, file), before(directory, file));
    if is_kept(allocations, &path) {
        return Ok(());
    }
    if allocations.is_empty() && !path.exists() && !before.exists() {
        return Ok(());
    }
    let text = serde_json::to_string(allocations).map_err(|error| error.to_string())?;
    if let Ok(Some(last)) = recall(&path) {
        keep(&before, &last).map_err(|error| unwritten(&path, &error))?;
    }
    keep(&path, &text).map_err(|error| unwritten(&path, &error))
}

/// Whether `allocations` could be kept now: for a peer that asks.
///
/// # Errors
/// Why not, for people.
pub(crate) fn try_out(allocations: &Allocations, directory: &Path, file: &Path) -> Result<(), String> {
    let path = path(directory, file);
    if is_kept(allocations, &path) || allocations.is_empty() {
        return Ok(());
    }
    let text = serde_json::to_string(allocations).map_err(|error| error.to_string())?;
    last_good::try_out(&path, &text).map_err(|error| unwritten(&path, &error))
}

fn is_kept(allocations: &Allocations, path: &Path) -> bool {
    matches!(read::<Allocations>(path), Ok(Some(kept)) if kept == *allocations)
}

fn unwritten(path: &Path, error: &LastGoodError) -> String {
    format!("{} can't be written: {}", path.display(), cause(error))
}

/// What was kept at `path`, or what is wrong with it, for people.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, String> {
    let text = recall(path).map_err(|error| cause(&error))?;
    let parsed = text.map(|text| serde_json::from_str(&text)).transpose();
    parsed.map_err(|error| format!("makes no sense to this version ({error})"))
}

fn cause(error: &LastGoodError) -> String {
    match error {
        LastGoodError::Read { source, .. } => format!("can't be read ({source})"),
        LastGoodError::Write { source, .. } => source.to_string(),
        LastGoodError::Damaged { what, .. } => format!("is damaged ({what})"),
    }
}

fn path(directory: &Path, file: &Path) -> PathBuf {
    last_good::kept_as(directory, file, KIND)
}

fn before(directory: &Path, file: &Path) -> PathBuf {
    last_good::with_suffix(&path(directory, file), ".before")
}
