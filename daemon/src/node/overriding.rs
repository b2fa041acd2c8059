//! What operators ask for over the file: granted on all nodes or on none as a reload is, and tended to on each.
#![allow(clippy::disallowed_methods, reason = "a driver: it reads the wall clock and waits")]

use super::memory::Memory;
use super::{How, Node, planned};
use crate::sys::give_memory_back;
use crate::wire::{Overridden, Refusal};
use fulcrum_config::{Class, Config, GroupName, NodeName, UnixTime, difference};
use fulcrum_lifecycle::hooks::{Drain, DrainKind};
use fulcrum_lifecycle::{Alarm, Severity, able};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use wish::{Asker, grant};
pub(crate) use wish::{Target, Wish};

#[cfg(test)]
mod tests;
mod wish;

/// A node that is drained for longer may have been forgotten.
const FORGOTTEN: Duration = Duration::from_secs(86_400);
/// Time between two looks at deadlines and at what this node is to leave.
const LOOK: Duration = Duration::from_millis(500);
/// How long a group of the control plane that is moved may take to be led elsewhere.
const MOVED: Duration = Duration::from_secs(10);

/// What the wall clock shows.
pub(super) fn wall_clock() -> UnixTime {
    UnixTime::of(SystemTime::now())
}

/// Drains of nodes that may have been forgotten: where one of two is drained, nobody takes over well.
pub(super) fn forgotten(config: &Config, now: UnixTime) -> Vec<Alarm> {
    let nodes = config.overrides.nodes.iter();
    let old = nodes.filter(|(_, noted)| noted.since.after(FORGOTTEN) <= now);
    let alarm = |(name, noted): (&NodeName, &fulcrum_config::Noted<fulcrum_config::NodeDrain>)| Alarm {
        severity: Severity::Warning,
        what: format!("{name} is drained for more than a day, by {}", noted.by),
        affected: format!("the groups that {name} could lead: it takes them only if no other node can"),
        remedy: format!("'fulcrum undrain lb-node {name}', if the work there is done"),
    };
    old.map(alarm).collect()
}

impl Node {
    /// Grants `wish` here and on every peer that can be asked, or nowhere. `forced` are groups of class control-plane that
    /// it may harm.
    pub(crate) async fn override_file(
        &self,
        wish: &Wish,
        by: &str,
        forced: BTreeSet<GroupName>,
    ) -> Result<Overridden, Refusal> {
        let drain = self.about_to_drain(wish, by, &forced).await?;
        // What is empty by now was not taken back.
        self.tell_of_drains();
        let result = async {
            let _changing = self.change().await?;
            let result = self.try_override(wish, by, How { forced, ..How::default() }).await;
            self.withdraw();
            result
        };
        let result = result.await;
        match (drain, &result) {
            (Some((drain, deadline)), Ok(_)) => self.watch_drain(drain, deadline),
            (Some((drain, _)), Err(_)) => self.drain_was_refused(&drain),
            (None, _) => {}
        }
        self.keep_drains().await;
        result
    }

    /// Runs the hooks before a drain, of what can be drained.
    async fn about_to_drain(
        &self,
        wish: &Wish,
        by: &str,
        forced: &BTreeSet<GroupName>,
    ) -> Result<Option<(Drain, Option<Duration>)>, Refusal> {
        let config = self.handle.config();
        let (_, of) = grant(wish, &config, Asker { by, now: wall_clock() })?;
        let Some((drain, deadline)) = planned::drain(wish, of, by) else { return Ok(None) };
        if drain.kind == DrainKind::LbNode {
            self.keeps_a_ready_node(&config, &NodeName::new(&drain.name), forced)?;
        }
        self.before_drain(&drain, !forced.is_empty()).await?;
        Ok(Some((drain, deadline)))
    }

    async fn try_override(&self, wish: &Wish, by: &str, how: How) -> Result<Overridden, Refusal> {
        let begun = Instant::now();
        let old = self.handle.config();
        self.knows_forced(&old, &how.forced)?;
        let (overrides, of) = grant(wish, &old, Asker { by, now: wall_clock() })?;
        if let Wish::Drain(Target::Node(name), _) = wish {
            self.keeps_a_ready_node(&old, &NodeName::new(name), &how.forced)?;
        }
        let Some(source) = self.source() else {
            return Err(Refusal::new(
                "the file was bad at the start, and its last good copy runs: nothing was changed\n  correct it and \
                 'fulcrum reload' first",
            ));
        };
        let mut before = self.before(&old, false);
        before.overrides = Arc::new(overrides);
        let parsed = self.parse_source(&source, before).await.map_err(|wrong| self.refusal(&wrong))?;
        let mut new = parsed.config;
        new.share(&old);
        self.protects(&old, &new, &how.forced)?;
        let new = Arc::new(new);
        let applied = self.apply_everywhere(begun, source, &old, &new, &how).await?;
        Ok(Overridden { of, changes: difference(&old, &new), peers: applied.peers })
    }

    /// A group of the control plane keeps a node that could lead it at once and is not drained.
    fn keeps_a_ready_node(
        &self,
        config: &Config,
        drained: &NodeName,
        forced: &BTreeSet<GroupName>,
    ) -> Result<(), Refusal> {
        let snapshots = self.handle.snapshots();
        let guarded = config.groups.values().filter(|group| group.class == Class::ControlPlane);
        let stays = |node: &NodeName| node != drained && !config.overrides.is_drained(node);
        let is_left = |group: &&Arc<fulcrum_config::Group>| {
            group.priorities.contains_key(drained)
                && !forced.contains(&group.name)
                && !able(&snapshots, &group.name).iter().any(stays)
        };
        let left: Vec<&str> = guarded.filter(is_left).map(|group| group.name.as_str()).collect();
        let Some(first) = left.first() else { return Ok(()) };
        Err(Refusal::new(format!(
            "no other node is known to be ready for {}, of class control-plane; {drained} is not drained\n  look at \
             'fulcrum status' of the others; if that is meant: --force {first}",
            left.join(", ")
        )))
    }

    /// A deadline may be over since the configuration was read.
    async fn keep_deadlines(&self) {
        let is_over = |config: &Config| {
            let now = wall_clock();
            config.overrides.backends.iter().any(|(id, noted)| {
                let service = config.services.get(&id.service);
                let mut backends = service.into_iter().flat_map(|service| &service.backends);
                noted.what.is_over(now) && backends.any(|it| it.name == id.backend && !it.disabled)
            })
        };
        if !is_over(&self.handle.config()) {
            return;
        }
        let Ok(_changing) = self.change().await else { return };
        let old = self.handle.config();
        let Some(source) = self.source() else { return };
        let before = self.before(&old, false);
        let Ok(parsed) = self.parse_source(&source, before).await else { return };
        let mut new = parsed.config;
        new.share(&old);
        for change in difference(&old, &new) {
            tracing::info!(target: "config", "a drain's deadline is over: {change}");
        }
        // It differs in backends that are out of use alone: no listener is new.
        self.handle.apply(Arc::new(new), self.handle.serial());
    }

    /// Leaves what this node leads if it is drained or held back: groups of the control plane one after the other, each when
    /// another node is ready for it.
    async fn leave_if_drained(self: &Arc<Self>, left: &mut BTreeSet<GroupName>) {
        let config = self.handle.config();
        let held_back = self.held_back();
        if !config.overrides.is_drained(&config.node) && held_back.is_none() {
            if !left.is_empty() {
                left.clear();
                self.handle.drain(left, None);
            }
            return;
        }
        let mut vip = self.handle.vip();
        left.retain(|name| config.groups.contains_key(name));
        let (later, now): (Vec<_>, Vec<_>) = config
            .groups
            .values()
            .filter(|group| !left.contains(&group.name))
            .partition(|group| group.class == Class::ControlPlane && vip.borrow().leads(&group.name));
        left.extend(now.into_iter().map(|group| group.name.clone()));
        self.handle.drain(left, held_back.clone());
        for group in later {
            match self.may_move(&group.name, false).await {
                Ok(held) => {
                    left.insert(group.name.clone());
                    self.handle.drain(left, held_back.clone());
                    let is_left = vip.wait_for(|vip| !vip.leads(&group.name));
                    let _ = tokio::time::timeout(MOVED, is_left).await;
                    held.settle();
                }
                Err(refusal) => tracing::debug!(group = %group.name, "not left yet: {}", refusal.error),
            }
        }
    }
}

/// Closes what deadlines say, and leaves what this node leads while it is drained, for as long as the node lives.
pub(crate) async fn tend(node: Arc<Node>) {
    let (mut left, mut memory) = (BTreeSet::new(), Memory::default());
    loop {
        if memory.is_left(node.shared().serial, node.handle.config().services.len()) {
            tokio::task::spawn_blocking(give_memory_back);
        }
        if !node.handle.is_stopping() {
            node.keep_deadlines().await;
            node.leave_if_drained(&mut left).await;
            node.tell_of_drains();
            node.keep_drains().await;
        }
        tokio::time::sleep(LOOK).await;
    }
}
