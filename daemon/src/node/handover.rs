//! A planned change of leader: the node that is to take the group is ready, or nothing moves; the group is resigned; and
//! it is said what clients could have seen.
#![allow(
    clippy::disallowed_methods,
    reason = "a driver: it waits for the engines and says how long things took"
)]

use super::{Node, milliseconds};
use crate::wire::{HandedOver, Refusal};
use fulcrum_config::{Class, Group, GroupName, HookEvent, NodeName, Preempt, Protocol};
use fulcrum_lifecycle::hooks::{Planned, Standing};
use fulcrum_lifecycle::{Target, may_be_named, target};
use fulcrum_vip_manager::{Observed, PeerSeen};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a handover waits for the peer, at least.
const HANDOVER: Duration = Duration::from_secs(10);
/// How long it waits for the peer to become ready: after a change of leader, or of backends, it needs some of it.
const READY: Duration = Duration::from_secs(3);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Transfer {
    pub(crate) group: String,
    /// The node that is to lead it.
    pub(crate) to: Option<String>,
    /// The same group again: it is moved whether the other node is ready or not.
    pub(crate) force: Option<String>,
}

/// How the change of leader went.
struct Moved {
    leader: PeerSeen,
    took: Duration,
    /// This node led no more, and had heard of no other.
    unled: Duration,
}

impl Node {
    /// Makes a peer lead a group.
    pub(crate) async fn handover(self: &Arc<Self>, transfer: &Transfer) -> Result<HandedOver, Refusal> {
        let name = transfer.group.as_str();
        let group = GroupName::new(name);
        let config = self.handle.config();
        let Some(configured) = config.groups.get(&group) else {
            let names: Vec<&str> = config.groups.keys().map(GroupName::as_str).collect();
            return Err(Refusal::new(format!("there is no group {name}; there are: {}", names.join(", "))));
        };
        if let Some(other) = transfer.force.as_deref().filter(|force| *force != name) {
            return Err(Refusal::new(format!("--force names {other}, not {name}: nothing was moved")));
        }
        let is_forced = transfer.force.is_some();
        self.must_lead(&group)?;
        let named = transfer.to.as_deref().map(NodeName::new);
        let mut goes = self.find_target(&group, named.as_ref(), is_forced, READY).await?;
        let prepared = self.prepare_other(&config, &group, goes.node.as_ref(), is_forced).await?;
        let hooks = self.run_hooks(&group, goes.node.as_ref(), is_forced).await?;
        let is_late = hooks > 0 || prepared.hooks > 0;
        let moved = self.move_group(configured, named.as_ref(), is_forced, is_late, &mut goes).await;
        if moved.is_err() && hooks > 0 {
            self.hooks.stays(HookEvent::BeforeStandby, &group);
        }
        moved.map(|moved| self.report(configured, goes.unknown, prepared.note.clone(), &moved))
    }

    /// Looks again if time has passed, waits for the turn of a group of the control plane, and moves it.
    async fn move_group(
        self: &Arc<Self>,
        configured: &Group,
        named: Option<&NodeName>,
        is_forced: bool,
        is_late: bool,
        goes: &mut Goes,
    ) -> Result<Moved, Refusal> {
        let group = &configured.name;
        let held = match configured.class {
            Class::ControlPlane => Some(self.may_move(group, is_forced).await?),
            Class::Workload => None,
        };
        if held.is_some() || is_late {
            self.must_lead(group)?;
            *goes = self.find_target(group, named, is_forced, Duration::ZERO).await?;
        }
        let moved = self.resign(configured, goes.node.as_ref()).await;
        if let Some(held) = held {
            held.settle();
        }
        moved
    }

    /// Runs the hooks that are told before this node leaves a group. Gives how many there are.
    async fn run_hooks(
        &self,
        group: &GroupName,
        to: Option<&NodeName>,
        is_forced: bool,
    ) -> Result<usize, Refusal> {
        let standing = self.handle.vip().borrow().groups.get(group).map(Standing::from);
        let Some(standing) = standing else { return Ok(0) };
        let planned = Planned::Standby { group: group.clone(), standing, to: to.cloned() };
        self.hooks.before(&self.handle, &planned, is_forced).await.map_err(|why| {
            self.hooks.stays(HookEvent::BeforeStandby, group);
            Refusal::new(format!(
                "group {group} stays here: {why}\n  correct what it names, or change `on_failure` of that hook; 'fulcrum status' \
                 shows its runs"
            ))
        })
    }

    /// Resigns a group, and waits until a peer leads it; if nobody does, this node leads on.
    async fn resign(&self, group: &Group, to: Option<&NodeName>) -> Result<Moved, Refusal> {
        let name = &group.name;
        let mut vip = self.handle.vip();
        let bound = HANDOVER.max(group.advert_interval.duration().saturating_mul(5));
        let begun = Instant::now();
        if !self.handle.stand_down(name, to) {
            return Err(Refusal::new(format!(
                "group {name} is being handed over already: nothing was changed"
            )));
        }
        let change = async {
            let next = other_leader(&*vip.wait_for(|vip| !vip.leads(name)).await.ok()?, name);
            if let Some(leader) = next {
                return Some((leader, Duration::ZERO));
            }
            let left = Instant::now();
            let leader = vip.wait_for(|vip| other_leader(vip, name).is_some()).await.ok()?;
            Some((other_leader(&leader, name)?, left.elapsed()))
        };
        let leader = tokio::time::timeout(bound, change).await.ok().flatten();
        let took = begun.elapsed();
        self.handle.stand_up(name);
        let Some((leader, unled)) = leader else {
            return Err(Refusal::new(format!(
                "nobody took group {name} within {} s; this node leads it again if it can\n  is the peer up? \
                 look at 'fulcrum status' there",
                bound.as_secs()
            )));
        };
        Ok(Moved { leader, took, unled })
    }

    fn report(&self, group: &Group, unknown: Vec<String>, note: Option<String>, moved: &Moved) -> HandedOver {
        let (leader, snapshots) = (&moved.leader, self.handle.snapshots());
        let own = group.priorities.get(&snapshots.config.node);
        let returns = own.is_some_and(|own| own.get() > leader.priority);
        let (finishes, carried) = self.connections(&group.name);
        let mut notes = Vec::from_iter(note);
        notes.extend(finishing(group, finishes, &snapshots.vip));
        if let Preempt::After(delay) = group.preempt
            && returns
        {
            let delay = delay.as_secs_f64();
            notes.push(format!("the group preempts: this node takes it back after {delay} s"));
        }
        HandedOver {
            note: (!notes.is_empty()).then(|| notes.join("\n")),
            group: group.name.to_string(),
            leader: leader.node.as_ref().map_or_else(|| leader.address.to_string(), ToString::to_string),
            took_ms: milliseconds(moved.took),
            unled_ms: milliseconds(moved.unled),
            finishes,
            carried,
            unknown,
        }
    }

    /// Connections of a group: those that this process proxies, and those that the kernel forwards and that are known one by
    /// one.
    fn connections(&self, group: &GroupName) -> (u64, u64) {
        let (config, lb) = (self.handle.config(), self.handle.lb());
        let lb = lb.borrow();
        let mut counts = (0_u64, 0_u64);
        for service in config.services.values().filter(|service| service.group == *group) {
            let count = lb.services.get(&service.name).map_or(0, |observed| observed.stats.connections);
            if service.mode.forwarding().is_some() {
                counts.1 = counts.1.saturating_add(count);
            } else if service.protocol == Protocol::Tcp {
                counts.0 = counts.0.saturating_add(count);
            }
        }
        counts
    }

    /// Who takes the group: a node that is ready, unless it is moved whatever becomes of it.
    pub(super) async fn find_target(
        &self,
        group: &GroupName,
        named: Option<&NodeName>,
        is_forced: bool,
        patience: Duration,
    ) -> Result<Goes, Refusal> {
        if is_forced {
            let known = named.map_or(Ok(()), |named| may_be_named(&self.handle.snapshots(), group, named));
            return known
                .map(|()| Goes { node: named.cloned(), unknown: Vec::new() })
                .map_err(|why| Refusal::new(format!("group {group} stays here: {why}")));
        }
        let begun = Instant::now();
        let found = loop {
            self.must_lead(group)?;
            let snapshots = self.handle.snapshots();
            let found = target(&snapshots, group, named);
            if found.is_ok() || begun.elapsed() >= patience {
                break found;
            }
            tokio::time::sleep(LOOK).await;
        };
        let guarded =
            self.handle.config().groups.get(group).is_some_and(|it| it.class == Class::ControlPlane);
        let found = match found {
            Ok(Target { unknown, .. }) if guarded && !unknown.is_empty() => Err(unknown),
            found => found,
        };
        found.map(|Target { node, unknown }| Goes { node: Some(node), unknown }).map_err(|diagnostics| Refusal {
            error: format!(
                "group {group} stays here, and nothing was changed: the node that would take it is not known to be ready\n  \
                 if it is to go all the same: 'fulcrum handover {group} --force {group}'"
            ),
            diagnostics,
        })
    }

    fn must_lead(&self, group: &GroupName) -> Result<(), Refusal> {
        let vip = self.handle.vip();
        let vip = vip.borrow();
        if vip.leads(group) {
            return Ok(());
        }
        let leader = vip.groups.get(group).and_then(|observed| observed.leader.as_ref());
        let leader = leader.map_or_else(
            || "no leader is known".to_owned(),
            |leader| match &leader.node {
                Some(node) => format!("{node} leads it"),
                None => format!("{} leads it", leader.address),
            },
        );
        Err(Refusal::new(format!(
            "this node does not lead group {group}: {leader}\n  hand over where it is led"
        )))
    }
}

/// Where a group goes: to whoever takes it, if no node is named.
pub(super) struct Goes {
    node: Option<NodeName>,
    unknown: Vec<String>,
}

fn other_leader(vip: &Observed, group: &GroupName) -> Option<PeerSeen> {
    if vip.leads(group) { None } else { vip.groups.get(group)?.leader.clone() }
}

/// What becomes of the proxied connections of a group that was handed over.
fn finishing(group: &Group, connections: u64, vip: &Observed) -> Option<String> {
    let what = crate::show::counted(usize::try_from(connections).ok()?, "connection");
    let drains = vip.groups.get(&group.name).is_some_and(|observed| observed.draining.is_some());
    match connections {
        0 => None,
        _ if drains => {
            Some(format!("{what} finished by this node, for {} s at most", group.drain.as_secs_f64()))
        }
        _ if group.drain.is_zero() => Some(format!("{what} ended: the group has `drain: 0s`")),
        _ => Some(format!(
            "{what} ended: to finish them, this node needs the peer link and BPF; look at 'fulcrum status'"
        )),
    }
}
