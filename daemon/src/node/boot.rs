//! Which configuration a node starts with: the file, or the last good one if the file is bad.

use crate::error::Failure;
use crate::last_good;
use crate::node::shared::Shared;
use crate::node::{host_name, read};
use fulcrum_config::{Config, Diagnostics, Parsed};
use fulcrum_lifecycle::ConfigState;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[cfg(test)]
mod tests;

/// What a node starts with.
#[derive(Debug)]
pub(crate) struct Boot {
    pub(crate) config: Arc<Config>,
    pub(crate) state: ConfigState,
    pub(crate) warnings: Vec<String>,
    pub(crate) refused: Vec<String>,
    /// What to keep as the last good configuration once it has proved to work.
    pub(crate) text: Option<String>,
    /// What runs, as far as peers are concerned.
    pub(crate) shared: Shared,
}

impl Boot {
    /// Says loudly what was found. Called when there is a log.
    pub(crate) fn announce(&self, file: &Path) {
        for warning in &self.warnings {
            tracing::warn!(target: "config", "{warning}");
        }
        for mistake in &self.refused {
            tracing::error!(target: "config", "{mistake}");
        }
        if self.state == ConfigState::LastGood {
            tracing::error!(
                target: "config",
                file = %file.display(),
                "THE FILE IS BAD: the last good configuration runs. Correct it, then 'fulcrum reload'"
            );
        }
    }
}

/// Reads `file`, or the last good copy of it.
pub(crate) fn boot(file: &Path) -> Result<Boot, Failure> {
    match read(file) {
        Ok((text, parsed)) => Ok(of_file(file, text, parsed)),
        Err(diagnostics) => last_good(file, &diagnostics),
    }
}

/// The file, or a peer's newer one if the file was not edited since that came.
fn of_file(file: &Path, text: String, parsed: Parsed) -> Boot {
    let mut kept = Shared::recall(&parsed.config.admin.state_dir, file);
    let received = kept.text(&text).and_then(|adopted| {
        let adopted = adopted.ok()?;
        let parsed = fulcrum_config::parse(&adopted, &file.display().to_string(), &host_name()).ok()?;
        Some((adopted, parsed))
    });
    if received.is_none() {
        kept = Shared::of_own(kept.serial, &text);
    }
    let (text, parsed) = received.unwrap_or((text, parsed));
    Boot {
        config: Arc::new(parsed.config),
        state: ConfigState::Current,
        warnings: lines(&parsed.warnings),
        refused: Vec::new(),
        text: Some(text),
        shared: kept,
    }
}

fn last_good(file: &Path, diagnostics: &Diagnostics) -> Result<Boot, Failure> {
    let from_systemd = std::env::var("STATE_DIRECTORY").ok();
    first_usable(file, diagnostics, &last_good::candidates(file, from_systemd.as_deref()))
}

fn first_usable(file: &Path, diagnostics: &Diagnostics, candidates: &[PathBuf]) -> Result<Boot, Failure> {
    let mut why = "there is no last good copy of it to run".to_owned();
    // One that can't be used does not keep us from the next.
    for directory in candidates {
        let path = last_good::path(directory, file);
        let text = match fulcrum_config::last_good::recall(&path) {
            Ok(Some(text)) => text,
            Ok(None) => continue,
            Err(error) => {
                why = error.to_string();
                continue;
            }
        };
        let name = path.display().to_string();
        let parsed = match fulcrum_config::parse(&text, &name, &host_name()) {
            Ok(parsed) => parsed,
            Err(mistakes) => {
                why = format!("its last good copy can't be used by this version:\n{mistakes}");
                continue;
            }
        };
        return Ok(Boot {
            config: Arc::new(parsed.config),
            state: ConfigState::LastGood,
            warnings: lines(&parsed.warnings),
            refused: lines(diagnostics),
            text: None,
            shared: Shared::recall(directory, file),
        });
    }
    Err(Failure::Refused(format!("\n{diagnostics}\n{} is refused, and {why}", file.display())))
}

fn lines(diagnostics: &Diagnostics) -> Vec<String> {
    diagnostics.iter().map(|diagnostic| diagnostic.to_string().trim_end().to_owned()).collect()
}
