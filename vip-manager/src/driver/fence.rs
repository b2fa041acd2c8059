//! The kernel's fence at the interfaces with VIPs behind them, and what it knows of the groups.

use super::Fencing;
use super::group::GroupDriver;
use crate::border::{Counters, FenceObserved};
use crate::driver::link::count;
use crate::fence::{Heartbeat, Order, Permit};
use crate::netlink::View;
use crate::witness::{Echoes, Opinion, Witnesses};
use fulcrum_config::{GroupName, InterfaceName, NodeName};
use fulcrum_ebpf::Fence as Kernel;
use fulcrum_ebpf::layout::{Group, State};
use rustix::time::{ClockId, clock_gettime};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

pub(super) struct Fence {
    /// In the kernel, or why there is none.
    kernel: Result<Kernel, String>,
    clock: Clock,
    slots: BTreeMap<GroupName, Slot>,
    /// The VIPs that the kernel knows, with their groups' slots.
    vips: BTreeMap<IpAddr, u32>,
    interfaces: BTreeMap<InterfaceName, (u32, FenceObserved)>,
    /// Whether what an earlier life left elsewhere was looked for.
    swept: bool,
    told: BTreeSet<String>,
}

/// A group's place in the kernel's table.
#[derive(Default)]
struct Slot {
    index: u32,
    heartbeat: Heartbeat,
    witnesses: Witnesses,
    /// A peer says that it leads instead.
    denied: bool,
}

impl Fence {
    /// With `beside` another process of this node has told it who leads, and goes on doing so for a moment.
    pub(super) fn new(fencing: Fencing, beside: bool, now: impl Fn() -> Instant) -> Self {
        let kernel = match fencing.mode() {
            Some(mode) if beside => Kernel::load_beside(mode).map_err(|error| error.to_string()),
            Some(mode) => Kernel::load_shared(mode).map_err(|error| error.to_string()),
            None => Err("it is switched off".to_owned()),
        };
        match &kernel {
            Ok(kernel) => {
                if let Some(reason) = kernel.unpinned() {
                    tracing::warn!("the fence in the kernel ends with this process: {reason}");
                }
            }
            Err(reason) => tracing::warn!(
                "no fence in the kernel: {reason}; a frozen node's VIPs are silenced by the guard, and because they are \
                 on the loopback"
            ),
        }
        // Of an earlier life: silent, and forgotten if they are not wanted any more.
        let vips = kernel.as_ref().map(Kernel::vips).unwrap_or_default();
        Self {
            kernel,
            clock: Clock::new(now),
            slots: BTreeMap::new(),
            vips,
            interfaces: BTreeMap::new(),
            swept: false,
            told: BTreeSet::new(),
        }
    }

    /// Which fence stands at each interface.
    pub(super) fn observed(&self) -> BTreeMap<InterfaceName, FenceObserved> {
        self.interfaces.iter().map(|(name, (_, observed))| (name.clone(), observed.clone())).collect()
    }

    /// What it dropped.
    pub(super) fn count_into(&self, counters: &mut Counters) {
        let Ok(kernel) = &self.kernel else { return };
        counters.0.extend(kernel.dropped().into_iter().filter(|(_, dropped)| *dropped > 0));
    }

    /// The addresses that are fenced, each with its group; before it is attached anywhere, and before any of them
    /// is added.
    pub(super) fn set_vips(&mut self, wanted: &BTreeMap<IpAddr, GroupName>) {
        let Ok(kernel) = &mut self.kernel else { return };
        let mut failed = Vec::new();
        let named: BTreeSet<&GroupName> = wanted.values().collect();
        let before = wanted.iter().filter_map(|(vip, name)| Some((name, *self.vips.get(vip)?)));
        let before: BTreeMap<&GroupName, u32> = before.collect();
        for name in named.iter().copied() {
            if !self.slots.contains_key(name) {
                let taken: BTreeSet<u32> = self.slots.values().map(|slot| slot.index).collect();
                // That of before: another process of this node may use it still.
                let known = before.get(name).copied().filter(|index| !taken.contains(index));
                let index = known.or_else(|| (0..).find(|index| !taken.contains(index))).unwrap_or(u32::MAX);
                self.slots.insert(name.clone(), Slot { index, ..Slot::default() });
            }
        }
        for (vip, name) in wanted {
            let Some(index) = self.slots.get(name).map(|slot| slot.index) else { continue };
            if self.vips.get(vip) == Some(&index) {
                continue;
            }
            match kernel.set_vip(*vip, index) {
                Ok(()) => drop(self.vips.insert(*vip, index)),
                Err(error) => failed.push(error.to_string()),
            }
        }
        self.vips.retain(|vip, _| {
            let stays = wanted.contains_key(vip);
            if !stays && let Err(error) = kernel.remove_vip(*vip) {
                failed.push(error.to_string());
            }
            stays
        });
        self.slots.retain(|name, slot| {
            let stays = named.contains(name);
            if !stays && let Err(error) = kernel.set_group(slot.index, Group::SILENT) {
                failed.push(error.to_string());
            }
            stays
        });
        for error in failed {
            if self.told.insert(error.clone()) {
                tracing::error!("{error}; it is not fenced");
            }
        }
    }

    /// Tells the kernel what changed of the groups, and renews the heartbeats that are due. Gives the groups that may
    /// speak again after a peer's echo had silenced them: meanwhile their announcements did not get out.
    pub(super) fn update(
        &mut self,
        groups: &BTreeMap<GroupName, GroupDriver>,
        echoes: &Echoes,
        counters: &mut Counters,
        now: Instant,
    ) -> Vec<GroupName> {
        let mut again = Vec::new();
        let Ok(kernel) = &mut self.kernel else { return again };
        for (name, slot) in &mut self.slots {
            let group = groups.get(name);
            let permit = group.map_or(Permit::Silent, |group| group.permit(now));
            let may_lead =
                |node: &NodeName| group.is_some_and(|group| group.group.priorities.contains_key(node));
            let of_group = echoes.iter().filter(|(node, _)| may_lead(node));
            let opinion = slot.witnesses.judge(permit.lead(), name, of_group, now);
            let denied = opinion == Opinion::Denied;
            if std::mem::replace(&mut slot.denied, denied) != denied {
                if denied && group.is_some_and(|group| group.router.offers()) {
                    tracing::debug!(group = %name, "a peer has taken it over, as it was offered");
                } else if denied {
                    count(counters, "fence_denied");
                    tracing::warn!(
                        group = %name,
                        "a peer took over and says so in answer to this node's heartbeat: this node was paused, or is not heard; it is silent"
                    );
                } else if permit.lead().is_some() {
                    again.push(name.clone());
                }
            }
            let permit = permit.witnessed(opinion, now);
            let Some(order) = slot.heartbeat.poll_order(permit, now) else { continue };
            let epoch = group.map_or(0, |group| group.router.epoch());
            let (state, until) = match order {
                Order::Silent => (State::Silent, 0),
                Order::Leading(until) => (State::Leading, self.clock.nanoseconds(until)),
                Order::Draining(until) => (State::Draining, self.clock.nanoseconds(until)),
            };
            match kernel.set_group(slot.index, Group::new(state, epoch, until)) {
                Ok(()) => slot.heartbeat.handle_told(order),
                Err(error) => {
                    count(counters, "fence_not_told");
                    if self.told.insert(error.to_string()) {
                        tracing::error!(group = %name, "{error}; trying again");
                    }
                }
            }
        }
        again
    }

    /// Attaches it to these interfaces, if they exist, and takes it off all others. Returns whether anything changed.
    pub(super) fn attach(&mut self, wanted: &BTreeSet<InterfaceName>, view: &View) -> bool {
        let present: BTreeMap<InterfaceName, u32> =
            wanted.iter().filter_map(|name| Some((name.clone(), view.named(name.as_str())?.index))).collect();
        let is_known = |(name, index): (&InterfaceName, &u32)| {
            self.interfaces.get(name).is_some_and(|(known, observed)| {
                known == index && (self.kernel.is_err() || observed.is_kernel())
            })
        };
        if self.interfaces.len() == present.len() && present.iter().all(is_known) {
            return false;
        }
        let mut interfaces = BTreeMap::new();
        for (name, index) in &present {
            let observed = match &mut self.kernel {
                Ok(kernel) => match kernel.attach(name.as_str(), *index) {
                    Ok(attachment) => FenceObserved::Kernel { by: attachment.to_string() },
                    Err(error) => FenceObserved::None { reason: error.to_string() },
                },
                Err(reason) => FenceObserved::None { reason: reason.clone() },
            };
            let before = self.interfaces.get(name);
            if before != Some(&(*index, observed.clone())) && self.kernel.is_ok() {
                match &observed {
                    FenceObserved::Kernel { by } => {
                        tracing::info!("the fence stands in the kernel at {name} ({by})")
                    }
                    FenceObserved::None { reason } => {
                        tracing::error!("no fence at {name}: {reason}; trying again")
                    }
                }
            }
            interfaces.insert(name.clone(), (*index, observed));
        }
        if let Ok(kernel) = &mut self.kernel {
            let indexes: BTreeSet<u32> = present.values().copied().collect();
            let others = if self.swept { Vec::new() } else { view.names_but(&indexes) };
            self.swept = true;
            kernel.retain(|index| indexes.contains(&index), &others);
        }
        let changed = self.interfaces != interfaces;
        self.interfaces = interfaces;
        changed
    }

    /// Another process may have put its own in its place: it is attached anew with the next [`Fence::attach`].
    pub(super) fn forget_attached(&mut self) {
        self.interfaces.clear();
        if let Ok(kernel) = &mut self.kernel {
            kernel.forget_attached();
        }
    }

    /// Nothing is held back any more: only once no VIP is local.
    pub(super) fn stop(&mut self) {
        self.interfaces.clear();
        if let Ok(kernel) = std::mem::replace(&mut self.kernel, Err("this process ends".to_owned())) {
            kernel.stop();
        }
    }
}

/// From this program's moments to the nanoseconds that the kernel's programs read.
struct Clock {
    moment: Instant,
    nanoseconds: Duration,
}

impl Clock {
    fn new(now: impl Fn() -> Instant) -> Self {
        // In this order: if time passes in between, heartbeats run out early, not late.
        let nanoseconds = Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default();
        Self { moment: now(), nanoseconds }
    }

    fn nanoseconds(&self, moment: Instant) -> u64 {
        let since = moment.saturating_duration_since(self.moment);
        u64::try_from(self.nanoseconds.saturating_add(since).as_nanos()).unwrap_or(u64::MAX)
    }
}
