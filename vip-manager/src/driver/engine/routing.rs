//! The kernel's routes to the VIPs on the loopback. It makes and removes them with the addresses; a VIP whose route
//! somebody else removed is there and receives nothing, so it is added anew.

use super::{Engine, RETRY};
use crate::driver::group::GroupDriver;
use crate::driver::link::count;
use crate::netlink::{Routes, delete_address};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// A VIP without a route is looked at a second time: the kernel makes the route of a new IPv6 address a moment
/// after the address.
const AGAIN: Duration = Duration::from_millis(50);

/// When to look, and what was seen.
pub(super) struct Routing {
    routes: Routes,
    look_at: Option<Instant>,
    /// VIPs that had no route at the last look.
    unrouted: BTreeSet<IpAddr>,
}

impl Routing {
    pub(super) fn new(routes: Routes) -> Self {
        Self { routes, look_at: None, unrouted: BTreeSet::new() }
    }

    /// The routes are to be looked at.
    pub(super) fn look(&mut self, now: Instant) {
        self.look_at.get_or_insert(now);
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.look_at
    }

    /// Takes the VIPs without a route; gives those that had none before either.
    fn confirm(&mut self, unrouted: BTreeSet<IpAddr>, now: Instant) -> Vec<IpAddr> {
        let before = std::mem::take(&mut self.unrouted);
        let (confirmed, fresh): (BTreeSet<_>, _) =
            unrouted.into_iter().partition(|address| before.contains(address));
        self.unrouted = fresh;
        self.look_at = if self.unrouted.is_empty() { None } else { now.checked_add(AGAIN) };
        confirmed.into_iter().collect()
    }
}

impl Engine {
    /// A local route went: mostly with its address.
    pub(super) fn read_routes(&mut self, now: Instant) -> u32 {
        if self.routing.routes.changed() {
            self.routing.look(now);
        }
        1
    }

    /// Removes VIPs whose routes are gone, so that they are added anew.
    pub(super) fn look_at_routes(&mut self, now: Instant) {
        if self.routing.look_at.is_none_or(|at| now < at) {
            return;
        }
        let wanted: BTreeSet<IpAddr> = self.groups.values().flat_map(GroupDriver::wanted).collect();
        let Some(loopback) = self.view.loopback().filter(|_| !wanted.is_empty()) else {
            drop(self.routing.confirm(BTreeSet::new(), now));
            return;
        };
        let index = loopback.index;
        let routed = match self.routing.routes.local(index) {
            Ok(routed) => routed,
            Err(error) => {
                tracing::debug!(%error, "the local routes could not be read; trying again");
                self.routing.look_at = now.checked_add(RETRY);
                return;
            }
        };
        let unrouted = |address: &IpAddr| loopback.has(*address) && !routed.contains(address);
        let unrouted = wanted.into_iter().filter(unrouted).collect();
        for address in self.routing.confirm(unrouted, now) {
            count(&mut self.counters, "routes_restored");
            tracing::warn!(%address, "somebody else removed the kernel's route to this VIP; the VIP is added anew");
            self.netlink.change(vec![delete_address(index, address)]);
            self.view.note(index, address, false);
        }
    }
}
