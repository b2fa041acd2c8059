//! The engine's dealings with its guard, and the orderly stop.

use super::{Engine, GUARD, token};
use crate::border::Role;
use crate::driver::group::GroupDriver;
use crate::driver::link::count;
use crate::guard::{FromGuard, Guard};
use fulcrum_config::{GroupName, Priority};
use rustix::time::{ClockId, clock_gettime};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How long an orderly stop tries to remove addresses that the kernel refuses to remove.
const GIVE_UP: Duration = Duration::from_secs(2);
/// Beats in an advert interval at most.
const BEATS: u32 = 8;

impl Engine {
    /// How often the guard must hear that this process runs; `None` when it has nothing to guard.
    pub(super) fn beat_interval(&self) -> Option<Duration> {
        let held = self.groups.values().filter(|group| group.held);
        held.map(|group| group.group.advert_interval.duration()).min()
    }

    pub(super) fn handle_guard_timer(&mut self, now: Instant) {
        if self.is_heir() {
            return;
        }
        let Some(guard) = &mut self.guard else { return };
        if !guard.handle_timeout(now) {
            return;
        }
        if let Some(channel) = guard.channel()
            && let Err(error) = self.poller.add(channel, token(0, GUARD))
        {
            tracing::error!(%error, "the guard's channel can't be watched");
        }
        self.show.changed();
    }

    pub(super) fn read_guard(&mut self, now: Instant) -> u32 {
        let Some(guard) = &mut self.guard else { return 0 };
        match guard.receive(now) {
            FromGuard::Fired(fired) => {
                count(&mut self.counters, "guard_fired");
                tracing::warn!(
                    group = fired.group,
                    "the guard resigned for this process, which did not run for longer than its peers wait"
                );
                let mut groups = self.groups.iter_mut();
                if let Some((_, group)) = groups.find(|(name, _)| name.as_str() == fired.group) {
                    // Longer than any limit: the guard has said so already.
                    group.router.handle_stall(group.group.advert_interval.duration().saturating_mul(4), now);
                    guard.forget_group(&fired.group);
                }
                1
            }
            FromGuard::Gone => {
                count(&mut self.counters, "guard_deaths");
                self.show.changed();
                1
            }
            FromGuard::Nothing => 0,
        }
    }

    /// Tells the guard what to do in place of this process: before addresses are added, after they are gone.
    pub(super) fn instruct_guard(&mut self, now: Instant) {
        let Some(loopback) = self.view.loopback() else { return };
        let former = !self.dropped.is_empty() || self.groups.values().any(GroupDriver::has_former);
        let configured: BTreeSet<IpAddr> = if former {
            self.groups.values().flat_map(|group| &group.group.vips).map(|vip| vip.address).collect()
        } else {
            BTreeSet::new()
        };
        for group in self.groups.values_mut() {
            group.settle(|address| loopback.has(address), &configured);
        }
        let gone = |addresses: &BTreeSet<IpAddr>| {
            addresses.iter().all(|address| configured.contains(address) || !loopback.has(*address))
        };
        let released: Vec<GroupName> = self
            .dropped
            .iter()
            .filter(|(name, addresses)| self.groups.contains_key(*name) || gone(addresses))
            .map(|(name, _)| name.clone())
            .collect();
        for name in &released {
            self.dropped.remove(name);
        }
        let Some(guard) = &mut self.guard else { return };
        for name in released.iter().filter(|name| !self.groups.contains_key(*name)) {
            guard.set_group(now, name.as_str(), None);
        }
        for (name, group) in &self.groups {
            let orders = group.orders(&self.links, loopback.index, self.devices.of_group(name));
            guard.set_group(now, name.as_str(), orders);
        }
    }

    /// Tells the fence which addresses it guards: those of every group but this node's own, and those that are not
    /// gone yet.
    pub(super) fn update_fenced(&mut self) {
        if !self.fence_due || self.stopped {
            return;
        }
        let Some(config) = self.desired.as_ref().map(|desired| &desired.config) else { return };
        let mut fenced = BTreeMap::new();
        for (name, addresses) in &self.dropped {
            fenced.extend(addresses.iter().map(|address| (*address, name.clone())));
        }
        let is_owner =
            |group: &&GroupDriver| group.group.priorities.get(&config.node) == Some(&Priority::OWNER);
        let groups = || self.groups.values().filter(|group| !is_owner(group));
        for group in groups() {
            fenced.extend(group.ours().map(|address| (address, group.group.name.clone())));
        }
        // An address that moved is its new group's.
        for group in groups() {
            fenced.extend(group.group.vips.iter().map(|vip| (vip.address, group.group.name.clone())));
        }
        self.fence.set_vips(&fenced);
        self.fence_due = !self.dropped.is_empty() || self.groups.values().any(GroupDriver::has_former);
    }

    /// Tells the guard with each advert that this process runs, and once per advert interval at least.
    pub(super) fn beat(&mut self, now: Instant) {
        let Some(interval) = self.beat_interval() else {
            self.last_beat = None;
            return;
        };
        if !is_beat_due(self.last_beat, interval, now) {
            return;
        }
        self.last_beat = Some(now);
        let monotonic = Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default();
        let nanoseconds = u64::try_from(monotonic.as_nanos()).unwrap_or(u64::MAX);
        if let Some(guard) = &mut self.guard {
            guard.beat(now, nanoseconds);
        }
    }

    /// Ends the stop once every group is given up and its addresses are gone.
    pub(super) fn finish_stop(&mut self, now: Instant) {
        let stopping = self.desired.as_ref().is_some_and(|desired| desired.stopping);
        let leads = |group: &GroupDriver| {
            group.router.role() != Role::Init || group.leading || group.drain.until().is_some()
        };
        if !stopping || self.stopped || self.groups.values().any(leads) {
            return;
        }
        if self.groups.values().any(|group| group.held) {
            let give_up = *self.give_up_at.get_or_insert(now.checked_add(GIVE_UP).unwrap_or(now));
            if now < give_up {
                return;
            }
            tracing::error!(
                "the kernel refuses to remove VIPs from the loopback; this node ends all the same"
            );
        }
        self.stopped = true;
        self.reconcile_devices(now);
        self.settings.restore();
        // A VIP that stays local stays fenced.
        if !self.groups.values().any(|group| group.held) {
            self.fence.stop();
            self.second.stop();
        }
        if let Some(guard) = &mut self.guard {
            Guard::stop(guard);
        }
        self.show.changed();
        tracing::info!("every group is given up, and its addresses are withdrawn");
    }
}

/// Whether the guard is to hear again that this process runs. Where a beat is much older than the last advert it resigns
/// before any peer would take over.
fn is_beat_due(last: Option<Instant>, interval: Duration, now: Instant) -> bool {
    last.is_none_or(|last| now.saturating_duration_since(last).saturating_mul(BEATS) >= interval)
}

#[cfg(test)]
mod tests;
