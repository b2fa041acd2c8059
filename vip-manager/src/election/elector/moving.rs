//! Groups that their leader offers to others, and what an offer is to those who hear of it.

use super::{Elector, LEAST, SETTLED, leads, priority};
use crate::election::heartbeat::State;
use fulcrum_config::{GroupName, NodeName};
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// How long the one that a group is to move to has to take it, before it stays.
const MOVING: Duration = Duration::from_secs(3);
/// The same of one that an operator named.
const NAMED: Duration = Duration::from_secs(10);
/// How long it stays then.
const STAYING: Duration = Duration::from_secs(30);
/// The part of all groups that moves at a time.
const MOVES_AT_ONCE: usize = 20;
/// Intervals within which one was heard that a group is offered to: fewer than others wait to take over from it.
const ALIVE: u32 = 2;

impl Elector {
    /// Whom this node is to offer a group to that it leads.
    #[must_use]
    pub fn moves_to(&self, group: &GroupName) -> Option<&NodeName> {
        self.moving.get(group).map(|(to, _)| to)
    }

    /// An operator has this node leave a group, and that one is to take it.
    pub fn handle_named(&mut self, group: &GroupName, to: &NodeName, now: Instant) {
        if let Some(until) = now.checked_add(NAMED) {
            self.moving.entry(group.clone()).or_insert_with(|| (to.clone(), until)).0.clone_from(to);
        }
    }

    /// This node leaves all groups: whoever is next is to take them.
    pub fn handle_stop(&mut self) {
        self.stopping = true;
        self.moving.clear();
    }

    /// Offers groups to those who are to lead them in the end, a few at a time.
    pub(super) fn move_groups(&mut self, now: Instant) {
        let (staying, groups) = (&mut self.staying, &self.plan.groups);
        staying.retain(|_, until| now < *until);
        self.moving.retain(|name, (_, until)| {
            let goes_on = now < *until;
            if !goes_on && let Some(until) = now.checked_add(STAYING) {
                staying.insert(name.clone(), until);
            }
            goes_on
        });
        if self.stopping || now.saturating_duration_since(self.settled) < SETTLED {
            return;
        }
        let alive = self.intervals().min().unwrap_or_default().saturating_mul(ALIVE);
        let mut free = groups.len().div_ceil(MOVES_AT_ONCE).saturating_sub(self.moving.len());
        for (name, order) in &self.orders {
            // One that has just died leads little, and must not be offered what others took over from it.
            let target = order.moves_to().filter(|target| self.members.is_heard(target, alive, now));
            let leads = leads(&self.standings, name);
            let waits = self.moving.contains_key(name) || self.staying.contains_key(name);
            if let Some(target) = target.filter(|_| leads && !waits && free > 0)
                && let Some(until) = now.checked_add(MOVING)
            {
                free = free.saturating_sub(1);
                self.moving.insert(name.clone(), (target.clone(), until));
            }
        }
    }

    /// What the others are told of a group whose router says this of itself.
    pub(super) fn state(&self, group: &GroupName, priority: u8) -> State {
        let place = |to: &NodeName| self.plan.nodes.iter().position(|it| it.node == *to)?.checked_add(1);
        let place = |to: &NodeName| u8::try_from(place(to)?).ok();
        // A router that offers says 0, and that it is the last resort while nobody takes it.
        match self.moves_to(group).and_then(place) {
            Some(place) if priority < LEAST => State::Offers(place),
            Some(_) | None if priority == 0 => State::Resigns,
            Some(_) | None => State::Leads(priority),
        }
    }

    /// What an offer is to the router here: the one that it is made to is to take it, and to all others its leader leads on.
    pub(super) fn heard(&self, group: &GroupName, from: &NodeName, state: State) -> State {
        let State::Offers(to) = state else { return state };
        if self.plan.own.is_some() && self.node_of(to) == self.plan.own.as_ref() {
            return State::Resigns;
        }
        let order = self.orders.get(group);
        State::Leads(order.map_or(LEAST, |order| priority(order, from).get()))
    }

    /// The node of this place among all, counted from 1.
    fn node_of(&self, place: u8) -> Option<&NodeName> {
        let index = usize::from(place).checked_sub(1)?;
        self.plan.nodes.get(index).map(|it| &it.node)
    }
}
