//! Drains of which hooks are still to be told that they are over: by this process, or by the one after it.

use crate::last_good::kept_as;
use fulcrum_config::UnixTime;
use fulcrum_config::last_good::{keep, recall};
use fulcrum_lifecycle::hooks::Drain;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

#[cfg(test)]
mod tests;

/// What they are kept as.
const DRAINS: &str = "drains";
/// Drains that are watched; of more it is not told that they are over.
const WATCHED: usize = 1024;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Watched {
    pub(super) drain: Drain,
    /// Its deadline.
    pub(super) until: Option<UnixTime>,
    /// It was asked of the process before.
    #[serde(skip)]
    pub(super) recalled: bool,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Drains {
    path: PathBuf,
    watched: Mutex<Vec<Watched>>,
    /// They are others than those that are kept.
    changed: AtomicBool,
    /// One writes at a time, so that what was true last is what is kept. Whether the last one could not.
    writing: tokio::sync::Mutex<bool>,
}

impl Drains {
    /// With those that the process before left.
    pub(super) fn recall(state_dir: &Path, file: &Path) -> Self {
        let path = kept_as(state_dir, file, DRAINS);
        let left: Option<Vec<Watched>> =
            recall(&path).ok().flatten().and_then(|text| serde_json::from_str(&text).ok());
        let left = left.unwrap_or_default().into_iter().take(WATCHED);
        let watched = left.map(|it| Watched { recalled: true, ..it }).collect();
        Self {
            path,
            watched: Mutex::new(watched),
            changed: AtomicBool::default(),
            writing: tokio::sync::Mutex::default(),
        }
    }

    fn get(&self) -> MutexGuard<'_, Vec<Watched>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.get().is_empty()
    }

    /// One that is asked for anew takes the place of the one before.
    pub(super) fn watch(&self, drain: Drain, until: Option<UnixTime>) {
        let mut all = self.get();
        all.retain(|known| known.drain.of != drain.of);
        if all.len() < WATCHED {
            all.push(Watched { drain, until, recalled: false });
        }
        self.changed.store(true, Ordering::Release);
    }

    /// Watches those no longer that are over.
    pub(super) fn end_those(&self, is_over: impl Fn(&Watched) -> bool) {
        let mut all = self.get();
        let before = all.len();
        all.retain(|watched| !is_over(watched));
        if all.len() != before {
            self.changed.store(true, Ordering::Release);
        }
    }

    /// For the process after this one, if they are others. What can't be written is written the next time.
    pub(super) async fn keep(&self) {
        let mut has_failed = self.writing.lock().await;
        if !self.changed.swap(false, Ordering::AcqRel) {
            return;
        }
        let (path, text) = (self.path.clone(), serde_json::to_string(&*self.get()));
        let kept = tokio::task::spawn_blocking(move || {
            let text = text.map_err(|error| error.to_string())?;
            keep(&path, &text).map_err(|error| error.to_string())
        });
        let kept = kept.await.unwrap_or_else(|error| Err(error.to_string()));
        let had_failed = std::mem::replace(&mut *has_failed, kept.is_err());
        let Err(error) = kept else { return };
        self.changed.store(true, Ordering::Release);
        // Once: each names another temporary file.
        if !had_failed {
            tracing::warn!(
                "what is drained can't be kept, and after a restart no hook is told that it is over: {error}"
            );
        }
    }
}
