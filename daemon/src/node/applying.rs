//! Applying a configuration on all nodes or on none, and here only if its listeners stand.

use super::source::Source;
use super::{How, Node, trial};
use crate::wire::Refusal;
use fulcrum_config::Config;
use fulcrum_lifecycle::Trial;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What came of applying a configuration on all nodes.
pub(super) struct Everywhere {
    /// What became of it at each peer.
    pub(super) peers: Vec<String>,
    /// From the peers' agreement until the data plane served all of it.
    pub(super) took: Duration,
}

impl Node {
    /// Applies `new`, which was read from `source`, here and on every peer that can be asked, or nowhere.
    #[allow(clippy::disallowed_methods, reason = "status says how long it took; nothing is decided by it")]
    pub(super) async fn apply_everywhere(
        &self,
        begun: Instant,
        source: Source,
        old: &Config,
        new: &Arc<Config>,
        how: &How,
    ) -> Result<Everywhere, Refusal> {
        let agreement = self.agree(source.text(), old, new, how).await?;
        let asked = begun.elapsed();
        let before = (self.shared(), self.handle.said().text);
        // If this process dies now, the next one runs it, and the peers that agreed catch up.
        self.keep_allocations(new).await.map_err(|why| self.unkept(&why))?;
        let (shared, text) = (source.shared(agreement.serial, new), source.text_of(agreement.serial, new));
        let kept = self.set_shared(shared, text).await;
        let kept = kept.or_else(|why| if new.overrides == old.overrides { Ok(()) } else { Err(why) });
        let result = match kept {
            Ok(()) => self.put_in_force(old, new, agreement.serial).await,
            Err(why) => Err(Refusal::new(format!(
                "what is asked for can't be kept, and would be forgotten by a restart: {why}; nothing was changed\n  make \
                 room in the state directory, and try again"
            ))),
        };
        let revision = match result {
            Ok(revision) => revision,
            Err(refusal) => {
                let _ = self.set_shared(before.0, before.1).await;
                self.keep_allocations_again(&self.handle.config()).await;
                return Err(refusal);
            }
        };
        trial::applied(self.handle.lb(), revision).await;
        let took = begun.elapsed().saturating_sub(asked);
        let mut peers = agreement.notes.clone();
        // What comes from outside the file proves nothing of that.
        if new.sources.fragments == old.sources.fragments {
            drop(self.take_unproven());
            self.keep_text(source.runs.clone()).await;
        }
        self.set_source(source);
        self.withdraw();
        peers.extend(self.applied_by(&agreement).await);
        Ok(Everywhere { peers, took })
    }

    /// Tries the listeners of `new` out, and applies it if they stand. Gives the revision by which all of its
    /// services are served.
    pub(super) async fn put_in_force(
        &self,
        old: &Config,
        new: &Arc<Config>,
        serial: u64,
    ) -> Result<u64, Refusal> {
        let tried = self.try_listeners(old, new, false).await?;
        let applied = self.handle.apply(Arc::clone(new), serial);
        // What was tried out is served already.
        Ok(tried.unwrap_or(applied))
    }

    /// Tries the listeners of `new` out; those of `old` stand again afterwards if one did not, or if it is a
    /// `rehearsal`: then only services are tried that are new, so that nothing that runs is touched. Gives the revision
    /// by which all services of `new` are served already, if they are.
    pub(super) async fn try_listeners(
        &self,
        old: &Config,
        new: &Arc<Config>,
        rehearsal: bool,
    ) -> Result<Option<u64>, Refusal> {
        let lb = self.handle.lb();
        let (table, mut changed) = if rehearsal {
            trial::additions(old, new)
        } else {
            (trial::table(old, new), trial::changed(old, new, &lb.borrow()))
        };
        // One of these that can't listen is an alarm of its own, and keeps nothing else back.
        changed.retain(|name| name.source().is_none());
        if changed.is_empty() {
            return Ok(None);
        }
        // The groups and checks hear of it only when its listeners stand.
        let is_whole = table.services.len() == new.services.len();
        let trial = Trial { table: Some(Arc::new(table)), services: changed.clone() };
        let revision = self.handle.try_out(Some(trial));
        let listens = trial::listens(lb.clone(), revision, &changed).await;
        if rehearsal || listens.is_err() {
            let revision = self.handle.try_out(Some(Trial { table: None, services: changed.clone() }));
            trial::settles(lb, revision, &changed).await;
            self.handle.try_out(None);
        }
        if let Err(errors) = listens {
            return Err(Refusal {
                error: format!(
                    "{} can't work here: listeners did not stand; the configuration that ran before runs on",
                    self.file.display()
                ),
                diagnostics: errors,
            });
        }
        Ok((is_whole && !rehearsal).then_some(revision))
    }

    fn unkept(&self, why: &str) -> Refusal {
        Refusal::new(format!(
            "{}: what services get from pools can't be kept, and so is not handed out: {why}; the running configuration \
             stays\n  make room in the state directory, and reload again",
            self.file.display()
        ))
    }
}
