//! What operators may do to groups of class control-plane: nothing that leaves one without a ready standby, and one move
//! at a time, unless they name the group as one that is meant.
#![allow(clippy::disallowed_methods, reason = "a driver: it waits for peers")]

use super::Node;
use crate::wire::Refusal;
use fulcrum_config::{Class, Config, Group, GroupName, NodeName, Service};
use fulcrum_lifecycle::{Turn, able, is_settled, successor, turn};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;

#[cfg(test)]
mod tests;

/// How long a move waits for another one to be settled.
const TURN: Duration = Duration::from_secs(15);
/// How long a move counts as not settled, at most: a node that does not come back must not be waited for for ever.
const SETTLES: Duration = Duration::from_secs(60);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// What `new` would do to each group of the control plane of `old`, of which `able` says which nodes could lead it now.
pub(crate) fn harms(
    old: &Config,
    new: &Config,
    able: impl Fn(&GroupName) -> BTreeSet<NodeName>,
) -> BTreeMap<GroupName, Vec<String>> {
    let guarded = old.groups.iter().filter(|(_, group)| group.class == Class::ControlPlane);
    let harm = |(name, group): (&GroupName, &Arc<Group>)| {
        let lines = match new.groups.get(name) {
            None => vec!["it is gone".to_owned()],
            Some(kept) => {
                let mut lines = of_group(group, kept);
                lines.extend(of_nodes(group, kept, &able(name)));
                let services = old.services.values().filter(|service| service.group == *name);
                lines.extend(services.flat_map(|service| of_service(service, new)));
                lines
            }
        };
        (!lines.is_empty()).then(|| (name.clone(), lines))
    };
    guarded.filter_map(harm).collect()
}

fn of_group(group: &Group, kept: &Group) -> Vec<String> {
    let mut lines = Vec::new();
    if kept.class != Class::ControlPlane {
        lines.push("it is not of class control-plane any more".to_owned());
    }
    if kept.election != group.election {
        lines.push(format!(
            "its leader is found otherwise ({} in place of {}), so that for a moment nobody leads it",
            kept.election, group.election
        ));
    }
    for vip in &group.vips {
        match kept.vips.iter().find(|kept| kept.address == vip.address) {
            None => lines.push(format!("address {} is gone", vip.address)),
            Some(kept) if kept.interface != vip.interface => {
                lines.push(format!("address {} moves to interface {}", vip.address, kept.interface));
            }
            Some(_) => {}
        }
    }
    lines
}

fn of_nodes(group: &Group, kept: &Group, able: &BTreeSet<NodeName>) -> Option<String> {
    let gone: Vec<&NodeName> =
        group.priorities.keys().filter(|node| !kept.priorities.contains_key(*node)).collect();
    let names: Vec<&str> = gone.iter().map(|node| node.as_str()).collect();
    let names = names.join(" and ");
    let left = able.iter().filter(|node| !gone.contains(node)).count();
    if gone.is_empty() {
        None
    } else if kept.priorities.len() < 2 {
        Some(format!("without {names} it has no standby any more"))
    } else if able.len() > 1 && left < 2 {
        Some(format!("without {names} it has no standby that is known to be ready"))
    } else {
        None
    }
}

fn of_service(service: &Service, new: &Config) -> Vec<String> {
    let name = &service.name;
    let Some(kept) = new.services.get(name) else { return vec![format!("service {name} is gone")] };
    let mut lines = Vec::new();
    let gone = service.vips.iter().filter(|vip| !kept.vips.contains(vip));
    lines.extend(gone.map(|vip| format!("service {name} is not at {vip} any more")));
    if kept.protocol != service.protocol
        || kept.ports.first > service.ports.first
        || kept.ports.last < service.ports.last
    {
        lines.push(format!("service {name} is not at its port any more"));
    }
    let takes = |service: &Service| service.backends.iter().any(|it| !it.drain && it.weight.get() > 0);
    let stays = service.backends.iter().any(|it| kept.backends.iter().any(|kept| kept.address == it.address));
    if takes(service) && !takes(kept) {
        lines.push(format!("service {name} has no backend that takes new connections any more"));
    } else if !service.backends.is_empty() && !stays {
        lines.push(format!("service {name} keeps none of its backends"));
    }
    lines
}

/// Held while a group of the control plane is moved.
#[derive(Debug)]
pub(super) struct Move {
    node: Arc<Node>,
    group: GroupName,
    /// This node moves no other meanwhile.
    _turn: Option<OwnedMutexGuard<()>>,
}

impl Move {
    /// Others may be moved once this one has a leader and a ready standby.
    pub(super) fn settle(self) {
        tokio::spawn(async move {
            let begun = Instant::now();
            while begun.elapsed() < SETTLES && !is_settled(&self.node.handle.snapshots(), &self.group) {
                tokio::time::sleep(LOOK).await;
            }
            drop(self);
        });
    }
}

impl Drop for Move {
    fn drop(&mut self) {
        self.node.handle.set_move(&self.group, None);
    }
}

impl Node {
    /// What carries the control plane is not harmed by a slip of an edit.
    pub(super) fn protects(
        &self,
        old: &Config,
        new: &Config,
        forced: &BTreeSet<GroupName>,
    ) -> Result<(), Refusal> {
        if !old.groups.values().any(|group| group.class == Class::ControlPlane) {
            return Ok(());
        }
        let snapshots = self.handle.snapshots();
        let mut harms = harms(old, new, |group| able(&snapshots, group));
        harms.retain(|group, _| !forced.contains(group));
        if harms.is_empty() {
            return Ok(());
        }
        let options: Vec<String> = harms.keys().map(|group| format!(" --force {group}")).collect();
        Err(Refusal {
            error: format!(
                "{} harms what carries the control plane; the running configuration stays\n  if that is meant: 'fulcrum \
                 reload{}'",
                self.file.display(),
                options.concat()
            ),
            diagnostics: harms
                .iter()
                .flat_map(|(group, lines)| lines.iter().map(move |line| format!("group {group}: {line}")))
                .collect(),
        })
    }

    /// Who names a group that is not there means another.
    pub(super) fn knows_forced(&self, old: &Config, forced: &BTreeSet<GroupName>) -> Result<(), Refusal> {
        let is_guarded =
            |name: &GroupName| old.groups.get(name).is_some_and(|group| group.class == Class::ControlPlane);
        let Some(unknown) = forced.iter().find(|name| !is_guarded(name)) else { return Ok(()) };
        let names: Vec<&str> =
            old.groups.keys().filter(|name| is_guarded(name)).map(GroupName::as_str).collect();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        Err(Refusal::new(format!(
            "--force: no group {unknown} of class control-plane runs here; there are: {names}; the running configuration \
             stays"
        )))
    }

    /// Whether a group of the control plane may be handed over now: while no other is moved.
    pub(super) async fn may_move(
        self: &Arc<Self>,
        group: &GroupName,
        is_forced: bool,
    ) -> Result<Move, Refusal> {
        let number = fastrand::u64(1..);
        if is_forced {
            self.handle.set_move(group, Some(number));
            return Ok(Move { node: Arc::clone(self), group: group.clone(), _turn: None });
        }
        let until = Instant::now().checked_add(TURN).unwrap_or_else(Instant::now);
        let own = tokio::time::timeout_at(until, Arc::clone(&self.moving).lock_owned()).await;
        let own = own.map_err(|_| not_now(group, "this node moves another, which is not settled yet"))?;
        let held = Move { node: Arc::clone(self), group: group.clone(), _turn: Some(own) };
        self.wait_turn(group, number, until).await?;
        Ok(held)
    }

    async fn wait_turn(&self, group: &GroupName, number: u64, until: Instant) -> Result<(), Refusal> {
        let own = self.handle.config().node.clone();
        self.handle.set_move(group, Some(number));
        loop {
            let turn = turn(&own, number, &self.handle.peer().borrow().peers);
            let why = match turn {
                Turn::Now => return Ok(()),
                Turn::Wait(why) => why,
                Turn::GiveWay(why) => {
                    self.handle.set_move(group, None);
                    self.wait_others(until).await;
                    self.handle.set_move(group, Some(number));
                    why
                }
            };
            if Instant::now() >= until {
                return Err(not_now(group, &why));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Before the process ends: hands groups of the control plane over one after the other, for `bound` at most, and says
    /// which of them are left alone.
    pub(crate) async fn leave_control_plane(&self, bound: Duration) {
        let (config, snapshots) = (self.handle.config(), self.handle.snapshots());
        let guarded = config.groups.values().filter(|group| group.class == Class::ControlPlane);
        let until = Instant::now().checked_add(bound).unwrap_or_else(Instant::now);
        let mut vip = self.handle.vip();
        for Group { name, .. } in
            guarded.map(|group| &**group).filter(|group| snapshots.vip.leads(&group.name))
        {
            match successor(&snapshots, name) {
                Err(why) => {
                    tracing::error!(group = %name, "left alone: no standby is known to be ready: {}", why.join("; "))
                }
                Ok(_) => {
                    self.handle.stand_down(name, None);
                    let _ = tokio::time::timeout_at(until, vip.wait_for(|vip| !vip.leads(name))).await;
                }
            }
        }
    }

    /// Waits until no peer moves a group.
    async fn wait_others(&self, until: Instant) {
        let mut peer = self.handle.peer();
        let none = |seen: &fulcrum_peer::Observed| {
            let mut words = seen.peers.values().filter_map(|peer| peer.word.as_ref());
            words.all(|word| word.moves.is_empty())
        };
        let _ = tokio::time::timeout_at(until, peer.wait_for(none)).await;
    }
}

fn not_now(group: &GroupName, why: &str) -> Refusal {
    Refusal::new(format!(
        "group {group} is of class control-plane, of which one is moved at a time: {why}\n  try again when 'fulcrum status' \
         shows that one with two ready nodes, or 'fulcrum handover {group} --force {group}'"
    ))
}
