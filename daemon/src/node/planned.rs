//! Hooks around drains and upgrades. A drain is watched until nothing is left, on the node that it was asked of.
#![allow(clippy::disallowed_methods, reason = "a driver: it reads the clock for deadlines")]

use super::drains::Watched;
use super::overriding::wall_clock;
use super::{Node, Target, Wish};
use crate::wire::{Refusal, ToldHooks};
use fulcrum_config::{Config, HookEvent};
use fulcrum_lifecycle::hooks::{Drain, DrainEnd, DrainKind, Planned, Upgrade, UpgradeEnd};
use fulcrum_lifecycle::overrides;
use std::time::Duration;

/// By then a process that has just begun knows who leads: of a drain that the one before watched it tells nothing earlier.
const KNOWN: Duration = Duration::from_secs(5);

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

/// What `wish` drains, if it does.
pub(super) fn drain(wish: &Wish, of: Vec<String>, by: &str) -> Option<(Drain, Option<Duration>)> {
    let Wish::Drain(target, deadline) = wish else { return None };
    let (kind, name) = match target {
        Target::Backend(name) => (DrainKind::Backend, name),
        Target::Node(name) => (DrainKind::LbNode, name),
        Target::Pool(name) => (DrainKind::Pool, name),
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
    drain.kind == DrainKind::Pool && pools.any(|pool| pool.as_str() == drain.name)
}

impl Node {
    /// Runs the hooks before a drain.
    pub(super) async fn before_drain(&self, drain: &Drain, forced: bool) -> Result<(), Refusal> {
        let planned = Planned::Drain(drain.clone());
        let result = self.hooks.before(&self.handle, &planned, forced).await;
        result.map(drop).map_err(|why| {
            self.drain_was_refused(drain);
            refusal(&format!("{} {} is not drained", drain.kind, drain.name), &why)
        })
    }

    pub(super) fn drain_was_refused(&self, drain: &Drain) {
        let drain = Drain { outcome: Some(DrainEnd::Refused), ..drain.clone() };
        self.hooks.drained(&self.handle, &drain);
    }

    /// It has begun.
    pub(super) fn watch_drain(&self, drain: Drain, deadline: Option<Duration>) {
        let is_told =
            |hook: &std::sync::Arc<fulcrum_config::Hook>| hook.events.contains(&HookEvent::AfterDrain);
        if self.handle.config().hooks.values().any(is_told) {
            self.drains.watch(drain, deadline.map(|deadline| wall_clock().after(deadline)));
        }
    }

    /// Has hooks told of drains that are over.
    pub(crate) fn tell_of_drains(&self) {
        if self.drains.is_empty() {
            return;
        }
        let (now, snapshots) = (wall_clock(), self.handle.snapshots());
        let (config, left) = (&snapshots.config, overrides(&snapshots));
        let is_known = self.started.elapsed() >= KNOWN;
        let is_over = |Watched { drain, until, recalled }: &Watched| {
            let is_late = until.is_some_and(|until| until <= now);
            let over = drain.end(&left, is_in_use(drain, config), is_late).filter(|_| is_known || !recalled);
            if let Some(over) = &over {
                self.hooks.drained(&self.handle, over);
            }
            over.is_some()
        };
        self.drains.end_those(is_over);
    }

    /// So that the process after this one tells of those that are not over.
    pub(crate) async fn keep_drains(&self) {
        self.drains.keep().await;
    }

    /// Runs the hooks before an upgrade.
    pub(crate) async fn before_upgrade(&self, asked: &Upgrading, by: &str) -> Result<ToldHooks, Refusal> {
        let upgrade = upgrade(asked, by, None);
        let planned = Planned::Upgrade(upgrade.clone());
        let hooks = self.hooks.before(&self.handle, &planned, asked.forced).await.map_err(|why| {
            let over = Upgrade { outcome: Some(UpgradeEnd::Abandoned), ..upgrade };
            self.hooks.upgraded(&self.handle, &over);
            refusal(&format!("{} is not upgraded", self.handle.config().node), &why)
        })?;
        Ok(ToldHooks { hooks })
    }

    /// Has hooks told that an upgrade is over. Nothing waits for them.
    pub(crate) fn after_upgrade(&self, asked: &Upgrading, by: &str, outcome: UpgradeEnd) -> ToldHooks {
        self.hooks.upgraded(&self.handle, &upgrade(asked, by, Some(outcome)));
        let is_told =
            |hook: &&std::sync::Arc<fulcrum_config::Hook>| hook.events.contains(&HookEvent::AfterUpgrade);
        ToldHooks { hooks: self.handle.config().hooks.values().filter(is_told).count() }
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
