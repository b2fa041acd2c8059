//! A reload: the file is read again, refused whole if this node can't become that or should not, and applied as a difference.

use super::applying::Everywhere;
use super::source::Source;
use super::{How, Loaded, Node, milliseconds, overriding};
use crate::hooks::JUDGE;
use crate::wire::{Refusal, Reloaded};
use fulcrum_config::{Before, Config, Diagnostics, Parsed, difference};
use fulcrum_lifecycle::ConfigState;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

impl Node {
    /// Reads the file again and applies the difference, here and on every peer that can be asked, or nowhere.
    pub(crate) async fn reload(&self, how: How) -> Result<Reloaded, Refusal> {
        let _changing = self.change().await?;
        let result = self.try_reload(&how).await;
        self.withdraw();
        match &result {
            Ok(_) => self.set_found(),
            Err(refusal) => {
                let mut lines = refusal.diagnostics.clone();
                if lines.is_empty() {
                    lines.push(refusal.error.clone());
                }
                self.set_loaded(|loaded| loaded.refused = lines);
            }
        }
        result
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "status says since when and how long; nothing is decided by it"
    )]
    async fn try_reload(&self, how: &How) -> Result<Reloaded, Refusal> {
        let begun = Instant::now();
        let old = self.handle.config();
        let (source, parsed) = self.read_again(&old, how).await?;
        let new = Arc::new(parsed.config);
        let read = begun.elapsed();
        let received = source.received.as_ref().map(|received| {
            format!(
                "{} was not edited since {} sent a newer configuration, which stays in force",
                self.file.display(),
                received.from
            )
        });
        let Everywhere { mut peers, took } = self.apply_everywhere(begun, source, &old, &new, how).await?;
        peers.extend(received);
        let warnings: Vec<String> = parsed.warnings.iter().map(ToString::to_string).collect();
        self.set_applied(warnings.clone());
        Ok(Reloaded {
            changes: difference(&old, &new),
            needs_restart: self.needs_restart(&new),
            peers,
            warnings,
            read_ms: milliseconds(read),
            applied_ms: milliseconds(took),
        })
    }

    /// Whether `new` says of what only a start takes anything else than what this process began with.
    pub(super) fn needs_restart(&self, new: &Config) -> bool {
        self.admin != new.admin || (self.xdp, self.flows) != (new.xdp, new.flows)
    }

    /// Reads the file, and refuses it if this node can't become that, or should not; what did not change of it is shared
    /// with `old`.
    pub(super) async fn read_again(&self, old: &Arc<Config>, how: &How) -> Result<(Source, Parsed), Refusal> {
        let shared = self.shared();
        let (file, running) = (self.file.clone(), Arc::clone(old));
        let before = Before { programs: JUDGE, ..self.before(old, how.give_up) };
        let work = move || {
            Source::read(&file, &shared, &before).map(|(source, mut parsed)| {
                parsed.config.share(&running);
                (source, parsed)
            })
        };
        let (source, parsed) = tokio::task::spawn_blocking(work)
            .await
            .map_err(|error| Refusal::new(format!("the file could not be read: {error}")))?
            .map_err(|diagnostics| self.refusal(&diagnostics))?;
        self.possible(old, &parsed.config)?;
        self.knows_forced(old, &how.forced)?;
        self.protects(old, &parsed.config, &how.forced)?;
        self.keeps_addresses_of_sources(old, &parsed.config, how)?;
        Ok((source, parsed))
    }

    /// Reads what runs once more, off the loop that serves signals.
    pub(super) async fn parse_source(&self, source: &Source, before: Before) -> Result<Parsed, Diagnostics> {
        let (file, source) = (self.file.clone(), source.clone());
        let work = move || source.parse(&file, &before);
        let parsed = tokio::task::spawn_blocking(work).await;
        parsed.unwrap_or_else(|error| {
            let message = format!("the configuration that runs could not be read again: {error}");
            Err(Diagnostics::of_file(&self.file.display().to_string(), &message, "try again"))
        })
    }

    /// What a configuration that comes after `old` goes by.
    pub(super) fn before(&self, old: &Config, give_up: bool) -> Before {
        let (allocations, overrides) = (Arc::clone(&old.allocations), Arc::clone(&old.overrides));
        let (fragments, now) = (Arc::clone(&old.sources.fragments), overriding::wall_clock());
        Before { allocations, give_up, overrides, fragments, now, ..Before::default() }
    }

    /// What a running node can't become.
    pub(super) fn possible(&self, old: &Config, new: &Config) -> Result<(), Refusal> {
        if old.node != new.node {
            return Err(Refusal::new(format!(
                "{}: node is {}, but this daemon runs as {}; the running configuration stays\n  correct the \
                 file, or stop the daemon and start it again",
                self.file.display(),
                new.node,
                old.node
            )));
        }
        let added = new.interfaces.keys().filter(|name| !old.interfaces.contains_key(*name));
        for name in added {
            if !Path::new("/sys/class/net").join(name.as_str()).exists() {
                return Err(Refusal::new(format!(
                    "{}: interface {name} does not exist on this node; the running configuration stays\n  \
                     create it first, or correct its name ('ip link' lists them)",
                    self.file.display()
                )));
            }
        }
        Ok(())
    }

    pub(super) fn refusal(&self, diagnostics: &Diagnostics) -> Refusal {
        Refusal {
            error: format!("{} is refused; the running configuration stays", self.file.display()),
            diagnostics: diagnostics.iter().map(ToString::to_string).collect(),
        }
    }

    #[allow(clippy::disallowed_methods, reason = "status says since when; nothing is decided by it")]
    pub(super) fn set_applied(&self, warnings: Vec<String>) {
        self.set_loaded(|loaded| {
            *loaded = Loaded {
                state: ConfigState::Current,
                at: Instant::now(),
                generation: loaded.generation.saturating_add(1),
                warnings,
                refused: Vec::new(),
            };
        });
    }
}
