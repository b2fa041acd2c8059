//! Which configuration a node starts with: the file, or the last good one if the file is bad.

use crate::error::Failure;
use crate::hooks::JUDGE;
use crate::last_good;
use crate::node::allocated::{self, Recalled};
use crate::node::overriding::wall_clock;
use crate::node::shared::Shared;
use crate::node::source::{Source, host_name, read_after};
use crate::runs::Runs;
use fulcrum_config::{Before, Config, Diagnostics, Parsed, parse_after};
use fulcrum_lifecycle::ConfigState;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[cfg(test)]
mod tests;

/// What follows from a damaged file of allocations.
pub(crate) const DAMAGED: &str = "What the peers have is taken as soon as there is a link to one; until then a service \
    may have another address here than there. Compare 'fulcrum status' of the nodes";

/// What follows from a damaged file of what the nodes share.
pub(crate) const LOST: &str = "What operators asked for over the file (drained, disabled, other weights) and what came \
    from outside it (Kubernetes) is forgotten here until a peer tells of it";

/// What a node starts with.
#[derive(Debug)]
pub(crate) struct Boot {
    pub(crate) config: Arc<Config>,
    pub(crate) state: ConfigState,
    pub(crate) warnings: Vec<String>,
    pub(crate) refused: Vec<String>,
    /// What to keep as the last good configuration once it has proved to work; none if that is what runs.
    pub(crate) source: Option<Source>,
    /// What runs, as far as peers are concerned.
    pub(crate) shared: Shared,
    /// Where the state is kept.
    state_dir: PathBuf,
    /// What is wrong with what was kept of the pools.
    pub(crate) damage: Option<String>,
    /// What is wrong with what was kept of what the nodes share.
    pub(crate) lost: Option<String>,
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
        if let Some(damage) = &self.damage {
            tracing::error!(target: "config", "{damage}. {DAMAGED}");
        }
        if let Some(lost) = &self.lost {
            tracing::error!(target: "config", "{lost}. {LOST}");
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

impl Boot {
    /// Keeps what services have from pools; or says why that can't be. Called when no other process runs here.
    pub(crate) fn keep_allocations(&self, file: &Path) -> Option<String> {
        if self.damage.is_some() {
            // Or the next start would take what is kept now for what the nodes agreed on.
            if let Err(error) = self.shared.keep(&self.state_dir, file) {
                tracing::warn!(target: "config", "{error}");
            }
        }
        allocated::store(&self.config.allocations, &self.state_dir, file).err()
    }

    /// Notes that a run begins. Called when no other process runs here.
    pub(crate) fn begin_run(&self, file: &Path) -> Runs {
        Runs::begin(&self.state_dir, file, self.config.admin.held_after_crashes, wall_clock())
    }
}

/// Reads `file`, or the last good copy of it.
pub(crate) fn boot(file: &Path) -> Result<Boot, Failure> {
    let from_systemd = std::env::var("STATE_DIRECTORY").ok();
    let directories = last_good::candidates(file, from_systemd.as_deref());
    let recalled = Recalled::of(&directories, file);
    let before = Before { now: wall_clock(), programs: JUDGE, ..recalled.before(false) };
    let mut boot = match read_after(file, &before) {
        Ok((text, parsed)) => of_file(file, text, parsed, &before),
        Err(diagnostics) => first_usable(file, &diagnostics, &directories, &recalled)?,
    };
    if recalled.damage.is_some() {
        // Whatever a peer has is newer.
        boot.shared.serial = Shared::default_serial();
    }
    boot.damage = recalled.damage;
    Ok(boot)
}

/// The file, or a peer's newer one if the file was not edited since that came; with what operators asked for over it.
fn of_file(file: &Path, text: String, parsed: Parsed, before: &Before) -> Boot {
    let (kept, lost) = Shared::recall(&parsed.config.admin.state_dir, file);
    let (overrides, fragments) = (Arc::clone(&kept.overrides), Arc::clone(&kept.fragments));
    let before = Before { overrides, fragments, ..before.clone() };
    let own = Source { runs: text.clone(), own: text, received: None };
    let received = kept.text(&own.own).and_then(|adopted| {
        let source = Source { runs: adopted.ok()?, received: kept.received.clone(), own: own.own.clone() };
        let parsed = source.parse(file, &before).ok()?;
        Some((source, parsed))
    });
    let (source, parsed) = received.unwrap_or_else(|| {
        // What was asked for can't make a good file bad, but where it does, the file goes first.
        let parsed = own.parse(file, &before).unwrap_or(parsed);
        (own, parsed)
    });
    Boot {
        state_dir: parsed.config.admin.state_dir.clone(),
        damage: None,
        lost,
        state: ConfigState::Current,
        warnings: lines(&parsed.warnings),
        refused: Vec::new(),
        shared: source.shared(kept.serial, &parsed.config),
        source: Some(source),
        config: Arc::new(parsed.config),
    }
}

fn first_usable(
    file: &Path,
    diagnostics: &Diagnostics,
    candidates: &[PathBuf],
    recalled: &Recalled,
) -> Result<Boot, Failure> {
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
        // It was in force with these; if not, an address that changes is better than no service.
        let (shared, lost) = Shared::recall(directory, file);
        let (overrides, fragments) = (Arc::clone(&shared.overrides), Arc::clone(&shared.fragments));
        let before = Before { overrides, fragments, now: wall_clock(), ..recalled.before(true) };
        let parsed = match parse_after(&text, &name, &host_name(), &before) {
            Ok(parsed) => parsed,
            Err(mistakes) => {
                why = format!("its last good copy can't be used by this version:\n{mistakes}");
                continue;
            }
        };
        return Ok(Boot {
            state_dir: parsed.config.admin.state_dir.clone(),
            damage: None,
            lost,
            config: Arc::new(parsed.config),
            state: ConfigState::LastGood,
            warnings: lines(&parsed.warnings),
            refused: lines(diagnostics),
            source: None,
            shared,
        });
    }
    Err(Failure::Refused(format!("\n{diagnostics}\n{} is refused, and {why}", file.display())))
}

fn lines(diagnostics: &Diagnostics) -> Vec<String> {
    diagnostics.iter().map(|diagnostic| diagnostic.to_string().trim_end().to_owned()).collect()
}
