//! Hooks around drains and upgrades. A drain is watched until nothing is left, on the node that it was asked of.
#![allow(clippy::disallowed_methods, reason = "a driver: it reads the clock for deadlines")]

use super::{Node, Target, Wish};
use crate::wire::{Refusal, ToldHooks};
use fulcrum_config::{Config, HookEvent};
use fulcrum_lifecycle::hooks::{Before, Drain, DrainEnd, Planned, Upgrade, UpgradeEnd};
use fulcrum_lifecycle::overrides;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Drains that are watched; of more it is not told that they are over.
const WATCHED: usize = 1024;

/// An upgrade of this node, which something else than the daemon does: what it is told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Upgrading {
    /// What does it.
    pub(crate) cause: String,
    /// The version that is to run.
    pub(crate) to: Option<String>,
    /// It goes on whatever hooks say.
    pub(crate) forced: bool,
}

/// Drains of which hooks are still to be told that they are over.
#[derive(Debug, Default)]
pub(super) struct Drains(Mutex<Vec<Watched>>);

#[derive(Debug)]
struct Watched {
    drain: Drain,
    until: Option<Instant>,
}

impl Drains {
    fn get(&self) -> MutexGuard<'_, Vec<Watched>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One that is asked for anew takes the place of the one before.
    fn watch(&self, drain: Drain, until: Option<Instant>) {
        let mut all = self.get();
        all.retain(|known| known.drain.of != drain.of);
        if all.len() < WATCHED {
            all.push(Watched { drain, until });
        }
    }
}

/// What `wish` drains, if it does.
pub(super) fn drain(wish: &Wish, of: Vec<String>, by: &str) -> Option<(Drain, Option<Duration>)> {
    let Wish::Drain(target, deadline) = wish else { return None };
    let (kind, name) = match target {
        Target::Backend(name) => ("backend", name),
        Target::Node(name) => ("lb-node", name),
        Target::Pool(name) => ("pool", name),
    };
    let drain = Drain {
        kind,
        name: name.clone(),
        of,
        by: by.to_owned(),
        deadline_seconds: deadline.map(|deadline| deadline.as_secs()),
        outcome: None,
        connections: None,
    };
    Some((drain, *deadline))
}

/// Whether services have addresses of a pool that is drained.
fn is_in_use(drain: &Drain, config: &Config) -> bool {
    let mut pools = config.allocations.iter().flat_map(|(_, addresses)| addresses.values());
    drain.kind == "pool" && pools.any(|pool| pool.as_str() == drain.name)
}

impl Node {
    /// Runs the hooks before a drain.
    pub(super) async fn before_drain(&self, drain: &Drain, forced: bool) -> Result<(), Refusal> {
        let config = self.handle.config();
        let before = Before { config: &config, planned: Planned::Drain(drain.clone()) };
        let result = self.hooks.before(&before, forced).await;
        result.map(drop).map_err(|why| {
            self.drain_was_refused(drain);
            refusal(&format!("{} {} is not drained", drain.kind, drain.name), &why)
        })
    }

    pub(super) fn drain_was_refused(&self, drain: &Drain) {
        let drain = Drain { outcome: Some(DrainEnd::Refused), ..drain.clone() };
        self.hooks.drained(&self.handle.config(), &drain);
    }

    /// It has begun.
    pub(super) fn watch_drain(&self, drain: Drain, deadline: Option<Duration>) {
        let is_told =
            |hook: &std::sync::Arc<fulcrum_config::Hook>| hook.events.contains(&HookEvent::AfterDrain);
        if self.handle.config().hooks.values().any(is_told) {
            let until = deadline.and_then(|deadline| Instant::now().checked_add(deadline));
            self.drains.watch(drain, until);
        }
    }

    /// Has hooks told of drains that are over.
    pub(crate) fn tell_of_drains(&self) {
        if self.drains.get().is_empty() {
            return;
        }
        let (now, snapshots) = (Instant::now(), self.handle.snapshots());
        let (config, left) = (&snapshots.config, overrides(&snapshots));
        self.drains.get().retain(|Watched { drain, until }| {
            let is_late = until.is_some_and(|until| until <= now);
            let over = drain.end(&left, is_in_use(drain, config), is_late);
            if let Some(over) = &over {
                self.hooks.drained(config, over);
            }
            over.is_none()
        });
    }

    /// Runs the hooks before an upgrade.
    pub(crate) async fn before_upgrade(&self, asked: &Upgrading, by: &str) -> Result<ToldHooks, Refusal> {
        let config = self.handle.config();
        let upgrade = upgrade(asked, by, None);
        let before = Before { config: &config, planned: Planned::Upgrade(upgrade.clone()) };
        let hooks = self.hooks.before(&before, asked.forced).await.map_err(|why| {
            let over = Upgrade { outcome: Some(UpgradeEnd::Abandoned), ..upgrade };
            self.hooks.upgraded(&config, &over);
            refusal(&format!("{} is not upgraded", config.node), &why)
        })?;
        Ok(ToldHooks { hooks })
    }

    /// Has hooks told that an upgrade is over. Nothing waits for them.
    pub(crate) fn after_upgrade(&self, asked: &Upgrading, by: &str, outcome: UpgradeEnd) -> ToldHooks {
        let config = self.handle.config();
        self.hooks.upgraded(&config, &upgrade(asked, by, Some(outcome)));
        let is_told =
            |hook: &&std::sync::Arc<fulcrum_config::Hook>| hook.events.contains(&HookEvent::AfterUpgrade);
        ToldHooks { hooks: config.hooks.values().filter(is_told).count() }
    }
}

fn upgrade(asked: &Upgrading, by: &str, outcome: Option<UpgradeEnd>) -> Upgrade {
    Upgrade {
        cause: asked.cause.clone(),
        by: by.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        to: asked.to.clone(),
        outcome,
    }
}

fn refusal(what: &str, why: &str) -> Refusal {
    Refusal::new(format!(
        "{what}, and nothing was changed: {why}\n  correct what it names, or change `on_failure` of that hook; 'fulcrum status' \
         shows its runs"
    ))
}
