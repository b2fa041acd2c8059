//! What is kept on disk of what runs.

use super::{Allocated, Node, allocated};
use crate::last_good;
use fulcrum_config::Config;
use std::path::Path;
use std::sync::{Arc, PoisonError};

impl Node {
    /// Keeps what was read at start as the last good configuration once its listeners stand: a file that parses
    /// but can't work must not replace one that did.
    pub(crate) async fn keep_proven(&self) {
        let mut lb = self.handle.lb();
        if lb.wait_for(|lb| lb.ready).await.is_ok()
            && let Some(text) = self.take_unproven()
        {
            keep(&self.state_dir, &self.file, &text);
        }
        self.backups.changed();
    }

    pub(super) fn take_unproven(&self) -> Option<String> {
        self.unproven.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// As [`keep`], off the loop that serves signals: it waits for the disk.
    pub(super) async fn keep_text(&self, text: String) {
        let (state_dir, file) = (self.state_dir.clone(), self.file.clone());
        let _ = tokio::task::spawn_blocking(move || keep(&state_dir, &file, &text)).await;
        self.backups.changed();
    }

    /// Keeps what services have from pools by `config`: before it is in use.
    pub(super) async fn keep_allocations(&self, config: &Arc<Config>) -> Result<(), String> {
        let (state_dir, file, config) = (self.state_dir.clone(), self.file.clone(), Arc::clone(config));
        let work = move || allocated::store(&config.allocations, &state_dir, &file);
        let kept = tokio::task::spawn_blocking(work).await;
        let kept = kept.unwrap_or_else(|error| Err(error.to_string()));
        if kept.is_ok() {
            *self.allocations.lock().unwrap_or_else(PoisonError::into_inner) = Allocated::default();
        }
        kept
    }

    /// What was to come after `config` did not.
    pub(super) async fn keep_allocations_again(&self, config: &Arc<Config>) {
        if let Err(why) = self.keep_allocations(config).await {
            tracing::error!(target: "config", "what services have from pools is not on disk: {why}");
            self.allocations.lock().unwrap_or_else(PoisonError::into_inner).unkept = Some(why);
        }
    }
}

/// Keeps `text` as the last good configuration; if that fails, everything else goes on.
fn keep(state_dir: &Path, file: &Path, text: &str) {
    if let Err(error) = fulcrum_config::last_good::keep(&last_good::path(state_dir, file), text) {
        tracing::warn!(target: "config", "{error}");
    }
}
