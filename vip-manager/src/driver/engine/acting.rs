//! Doing what the routers want done.

use super::Engine;
use crate::border::Role;
use crate::driver::clock;
use crate::router::Action;
use crate::witness::Echoes;
use std::time::Instant;

impl Engine {
    /// Does what the routers want done. The kernel's fence opens before anything of a group is sent, and closes
    /// before its addresses go.
    pub(super) fn act(&mut self, now: Instant) {
        self.act_for_routers(now);
        self.elect(now);
        if let Some(desired) = &self.desired {
            let (config, words) = (&desired.config, &desired.words);
            self.second.update(config, &self.groups, words, &mut self.counters, now);
        }
        self.renew_fence(now);
    }

    /// Lets the kernel pass what this node leads, as long as the peers answer.
    pub(super) fn renew_fence(&mut self, now: Instant) {
        let silenced = {
            let echoes = self.echoes.as_ref().map(|echoes| echoes.borrow());
            let none = Echoes::new();
            let echoes = echoes.as_deref().unwrap_or(&none);
            self.fence.update(&self.groups, echoes, &mut self.counters, now)
        };
        for group in silenced {
            if let Some(group) = self.groups.get_mut(&group) {
                group.announcer.handle_announce(now);
            }
        }
    }

    fn act_for_routers(&mut self, now: Instant) {
        // Whoever takes over passes packets of connections on to this node.
        let passed_on = self.second.is_ready()
            && self.desired.as_ref().is_some_and(|desired| !desired.stopping && !desired.words.is_empty());
        // The other process says it, for as long as it guards.
        let says = !self.is_heir();
        for (name, group) in &mut self.groups {
            while let Some(action) = group.router.poll_action() {
                match action {
                    Action::SendAdvert { advert, .. }
                        if advert.priority > 0 && !group.router.may_send(clock()) => {}
                    Action::SendAdvert { link, advert } if group.group.is_elected() => {
                        if group.first_link() == Some(&link) {
                            self.electing.elector.handle_advert(name, advert.priority, group.router.epoch());
                        }
                    }
                    Action::SendAdvert { .. } if !says => {}
                    Action::SendAdvert { link, advert } => {
                        let destinations =
                            group.destinations.get(&link).map(Vec::as_slice).unwrap_or_default();
                        // A resignation from the virtual MAC would draw the switch's attention back to us.
                        let virtual_mac = match (group.router.role(), advert.priority) {
                            (Role::Leader, 1..) => group.virtual_macs.get(&link).copied(),
                            (Role::Leader, 0) | (Role::Init | Role::Standby, _) => None,
                        };
                        if let Some(driver) = self.links.get_mut(&link) {
                            driver.send_advert(&advert, destinations, virtual_mac);
                        }
                    }
                    Action::Lead { reason } => {
                        let epoch = group.router.epoch();
                        tracing::info!(group = %name, epoch, "{reason}: this node leads now");
                        group.lead(&reason, now);
                        self.show.changed();
                    }
                    Action::Announce => group.announcer.handle_announce(now),
                    Action::Refuse { link, source, priority } => {
                        if let Some(driver) = self.links.get_mut(&link) {
                            let first = group.unclaimed.is_none();
                            group.refuse(driver, source, priority, now);
                            if first {
                                self.show.changed();
                            }
                        }
                    }
                    Action::Retire { reason } => {
                        match group.router.leader() {
                            Some(leader) => {
                                tracing::info!(group = %name, "{reason}: {leader} leads now, and this node answers no more");
                            }
                            None => {
                                tracing::info!(group = %name, "{reason}: this node leads no more, and answers no more");
                            }
                        }
                        group.retire(&reason, passed_on, now);
                        self.electing.elector.handle_retired(name);
                        self.show.changed();
                    }
                }
            }
        }
    }
}
