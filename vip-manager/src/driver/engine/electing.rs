//! Groups whose leaders the nodes elect over the peer link: what is heard and said of them there, and what follows for
//! who comes first.

use super::Engine;
use crate::border::{Reason, Role};
use crate::driver::HeartbeatLink;
use crate::driver::group::GroupDriver;
use crate::driver::link::count;
use crate::election::heartbeat::{GROUPS_AT_MOST, Heartbeat, Said, State};
use crate::election::members::{Members, View};
use crate::election::placement::{Candidate, Order, Seat, place};
use fulcrum_config::{Class, Config, Election, GroupName, NodeName, Priority};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Heartbeats read in one turn, so that nobody keeps this loop busy.
const HEARTBEATS: usize = 1024;
/// How long nobody comes or goes before groups are moved for their even spread.
const SETTLED: Duration = Duration::from_secs(10);
/// How long the one that a group is to move to has to take it, before it stays.
const MOVING: Duration = Duration::from_secs(3);
/// The part of all groups that moves at a time.
const MOVES_AT_ONCE: usize = 20;
/// Between the priorities of one node and the next in a group: a takeover waits the less the higher it is.
const STEP: u8 = 8;
/// The highest; the owner's, 255, is for VRRP.
const FIRST: u8 = 254;
/// One more than that of a last resort.
const LEAST: u8 = 2;

/// What this node knows of the election.
pub(in crate::driver) struct Electing {
    link: Option<HeartbeatLink>,
    /// Which life of this node's this is.
    instance: u64,
    sequence: u64,
    members: Members,
    view: View,
    /// The groups that are elected, by what stands for them on the link.
    numbers: BTreeMap<u64, GroupName>,
    /// What the routers said last of the groups that they lead or offer.
    said: BTreeMap<GroupName, u8>,
    /// What is to be said at once.
    news: BTreeMap<GroupName, u8>,
    next_beat: Option<Instant>,
    /// What the present order of each group was made of.
    led: BTreeSet<GroupName>,
    unfit: BTreeSet<GroupName>,
    orders: BTreeMap<GroupName, Order>,
    is_due: bool,
    /// Since when the same nodes live.
    settled: Instant,
    gathered: bool,
}

impl Electing {
    pub(super) fn new(link: Option<HeartbeatLink>, now: Instant) -> Self {
        Self {
            link,
            instance: fastrand::u64(..),
            sequence: 0,
            members: Members::new(now),
            view: View::default(),
            numbers: BTreeMap::new(),
            said: BTreeMap::new(),
            news: BTreeMap::new(),
            next_beat: None,
            led: BTreeSet::new(),
            unfit: BTreeSet::new(),
            orders: BTreeMap::new(),
            is_due: true,
            settled: now,
            gathered: false,
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.next_beat
    }

    /// The order in which the nodes lead `group`, and where it is to move, if it is.
    pub(in crate::driver) fn order(&self, group: &GroupName) -> Option<&Order> {
        self.orders.get(group)
    }

    /// The router of a group says this to its peers.
    pub(super) fn handle_advert(&mut self, group: &GroupName, priority: u8) {
        // What is no news goes with the next heartbeat.
        if self.said.insert(group.clone(), priority) != Some(priority) || priority == 0 {
            self.news.insert(group.clone(), priority);
        }
    }

    /// The router of a group leads no more; what it said last is still to be said.
    pub(super) fn handle_retired(&mut self, group: &GroupName) {
        self.said.remove(group);
    }

    fn say(&mut self, groups: Vec<Said>) -> bool {
        let Some(link) = &self.link else { return true };
        let mut groups = groups.into_iter().peekable();
        loop {
            self.sequence = self.sequence.saturating_add(1);
            let some: Vec<Said> = groups.by_ref().take(GROUPS_AT_MOST).collect();
            let heartbeat = Heartbeat { instance: self.instance, sequence: self.sequence, groups: some };
            if link.to_peers.try_send(heartbeat.encode().into()).is_err() {
                return false;
            }
            if groups.peek().is_none() {
                return true;
            }
        }
    }
}

impl Engine {
    /// Reads what the other nodes said, before anything that is due for want of it.
    pub(super) fn read_heartbeats(&mut self, now: Instant) {
        for _ in 0..HEARTBEATS {
            let received = self.electing.link.as_mut().and_then(|link| link.from_peers.try_recv().ok());
            let Some((node, bytes)) = received else { return };
            match Heartbeat::decode(&bytes) {
                Ok(heartbeat) => self.handle_heartbeat(&node, &heartbeat, now),
                Err(_) => count(&mut self.counters, "heartbeats_malformed"),
            }
        }
    }

    fn handle_heartbeat(&mut self, node: &NodeName, heartbeat: &Heartbeat, now: Instant) {
        let Some(desired) = &self.desired else { return };
        let Some(source) = desired.config.nodes.get(node).and_then(|node| node.addresses.first()) else {
            return count(&mut self.counters, "heartbeats_of_strangers");
        };
        if self.electing.members.handle_heartbeat(node, heartbeat, now).is_err() {
            return count(&mut self.counters, "heartbeats_stale");
        }
        count(&mut self.counters, "heartbeats_received");
        for said in &heartbeat.groups {
            let group = self.electing.numbers.get(&said.group).and_then(|name| self.groups.get_mut(name));
            let Some(group) = group else {
                count(&mut self.counters, "heartbeats_of_other_groups");
                continue;
            };
            let priority = match said.state {
                State::Resigns => 0,
                State::Leads(priority) => priority,
                State::Unfit => continue,
            };
            if let Some((link, mut advert)) = group.first_advert(priority) {
                advert.interval = said.interval;
                if group.router.handle_advert(&link, *source, &advert, now).is_err() {
                    count(&mut self.counters, "heartbeats_refused");
                }
            }
            // Whoever follows a new leader has counted it by itself.
            group.router.handle_epoch(said.epoch);
        }
    }

    /// Takes a changed configuration.
    pub(super) fn update_elected(&mut self) {
        let elected = self.groups.values().map(|group| &group.group).filter(|group| is_elected(group));
        self.electing.numbers = elected.map(|group| (group.name.number(), group.name.clone())).collect();
        let (numbers, groups) = (&self.electing.numbers, &self.groups);
        let stays = |name: &GroupName| numbers.contains_key(&name.number()) && groups.contains_key(name);
        self.electing.said.retain(|name, _| stays(name));
        self.electing.news.retain(|name, _| stays(name));
        self.electing.is_due = true;
    }

    /// Sees who is there, finds the order of each group anew if something has changed, and says what this node leads.
    pub(super) fn elect(&mut self, now: Instant) {
        let intervals = self.elected().map(|group| group.group.advert_interval.duration());
        let Some((fastest, slowest)) =
            intervals.fold(None, |found: Option<(Duration, Duration)>, interval| {
                let (least, most) = found.unwrap_or((interval, interval));
                Some((least.min(interval), most.max(interval)))
            })
        else {
            self.electing.next_beat = None;
            return;
        };
        if self.electing.next_beat.is_none_or(|at| at <= now) {
            self.look(slowest.saturating_mul(4), now);
            self.electing.next_beat = now.checked_add(fastest);
            self.electing.news.clear();
            let groups = self.all_said();
            self.send_heartbeat(groups);
        }
    }

    /// Says at once what is news, if something is.
    pub(super) fn say_news(&mut self) {
        if self.electing.news.is_empty() {
            return;
        }
        let news = std::mem::take(&mut self.electing.news);
        let said = news.iter().filter_map(|(name, priority)| {
            let state = if *priority == 0 { State::Resigns } else { State::Leads(*priority) };
            Some(self.groups.get(name)?.said(state))
        });
        let said = said.collect();
        self.send_heartbeat(said);
    }

    fn send_heartbeat(&mut self, groups: Vec<Said>) {
        let sent = self.electing.say(groups);
        count(&mut self.counters, if sent { "heartbeats_sent" } else { "heartbeats_not_sent" });
    }

    fn elected(&self) -> impl Iterator<Item = &GroupDriver> {
        self.groups.values().filter(|group| is_elected(&group.group))
    }

    /// What a heartbeat says: what this node leads or offers, and what it is unfit for.
    fn all_said(&self) -> Vec<Said> {
        let said = |group: &GroupDriver| {
            let state = match self.electing.said.get(&group.group.name) {
                Some(0) => State::Resigns,
                Some(priority) if group.router.role() == Role::Leader => State::Leads(*priority),
                Some(_) | None if group.is_unfit() => State::Unfit,
                Some(_) | None => return None,
            };
            Some(group.said(state))
        };
        self.elected().filter_map(said).collect()
    }

    fn look(&mut self, patience: Duration, now: Instant) {
        let Some(desired) = &self.desired else { return };
        let config = Arc::clone(&desired.config);
        let others = config.nodes.keys().filter(|name| **name != config.node);
        if !self.electing.gathered && self.electing.members.is_gathered(others, now) {
            self.electing.gathered = true;
        }
        let view = self.electing.members.view(patience, now);
        let names = |which: fn(&GroupDriver) -> bool| -> BTreeSet<GroupName> {
            self.elected().filter(|group| which(group)).map(|group| group.group.name.clone()).collect()
        };
        let led = names(|group| group.router.role() == Role::Leader);
        let unfit = names(GroupDriver::is_unfit);
        if view.live != self.electing.view.live {
            self.electing.settled = now;
        }
        let electing = &mut self.electing;
        if electing.is_due || view != electing.view || led != electing.led || unfit != electing.unfit {
            (electing.view, electing.led, electing.unfit) = (view, led, unfit);
            electing.is_due = false;
            self.order(&config, now);
        }
        self.move_groups(&config, now);
    }

    /// Finds the order of each group, and gives the routers priorities by it.
    fn order(&mut self, config: &Config, now: Instant) {
        let view = &self.electing.view;
        let lives = |name: &NodeName| *name == config.node || view.live.contains(name);
        let candidates: Vec<Candidate> = config
            .nodes
            .iter()
            .filter(|(name, _)| lives(name))
            .map(|(name, node)| Candidate {
                node: name.clone(),
                weight: node.weight,
                domain: node.domain.clone(),
            })
            .collect();
        let seat = |group: &Arc<fulcrum_config::Group>| {
            let number = group.name.number();
            let own = |set: &BTreeSet<GroupName>| set.contains(&group.name).then(|| config.node.clone());
            let others = candidates.iter().map(|it| &it.node);
            let unfit = others.filter(|node| view.unfit.contains(&(number, (*node).clone()))).cloned();
            Seat {
                group: group.name.clone(),
                protected: group.class == Class::ControlPlane,
                owner: own(&self.electing.led).or_else(|| view.owners.get(&number).cloned()),
                unfit: unfit.chain(own(&self.electing.unfit)).collect(),
                priorities: group.priorities.clone(),
            }
        };
        let elected = config.groups.values().filter(|group| is_elected(group));
        let seats: Vec<Seat> = elected.map(seat).collect();
        self.electing.orders = place(&candidates, &seats);
        for (name, order) in &self.electing.orders {
            let Some(group) = self.groups.get_mut(name) else { continue };
            group.set_priorities(config, priorities(config, order), now);
        }
        self.show.changed();
    }

    /// Offers groups to those who are to lead them in the end, a few at a time.
    fn move_groups(&mut self, config: &Config, now: Instant) {
        let settled = now.saturating_duration_since(self.electing.settled) >= SETTLED;
        let groups = self.electing.numbers.len();
        let mut free = groups.div_ceil(MOVES_AT_ONCE);
        for group in self.groups.values_mut() {
            if group.moving.as_ref().is_some_and(|(_, until)| now < *until) {
                free = free.saturating_sub(1);
            } else {
                group.moving = None;
            }
        }
        if !settled {
            return;
        }
        for (name, order) in &self.electing.orders {
            let Some(to) = order.target.as_ref().filter(|target| **target != config.node) else { continue };
            let Some(group) = self.groups.get_mut(name) else { continue };
            let leads = group.router.role() == Role::Leader;
            if free > 0 && leads && group.moving.is_none() {
                free = free.saturating_sub(1);
                tracing::info!(group = %name, "{to} is to lead it, for an even spread over the nodes: it is offered");
                group.moving = now.checked_add(MOVING).map(|until| (to.clone(), until));
            }
        }
    }

    /// Whether a group may be led that nobody leads.
    pub(super) fn is_gathered(&self) -> bool {
        self.electing.gathered
    }
}

fn is_elected(group: &fulcrum_config::Group) -> bool {
    group.election == Election::Peers
}

/// The first in the order has the highest; who is not in it, the least.
fn priorities(config: &Config, order: &Order) -> BTreeMap<NodeName, Priority> {
    let of = |name: &NodeName| {
        let place = order.nodes.iter().position(|node| node == name);
        let place = place.and_then(|place| u8::try_from(place).ok()).unwrap_or(u8::MAX);
        let priority = FIRST.saturating_sub(place.saturating_mul(STEP)).max(LEAST);
        Priority::new(priority).unwrap_or(Priority::DEFAULT)
    };
    config.nodes.keys().map(|name| (name.clone(), of(name))).collect()
}

impl GroupDriver {
    /// Why this node gives the group away, if it does.
    pub(in crate::driver) fn moves(&self) -> Option<Reason> {
        self.moving.as_ref().map(|(to, _)| Reason::Balanced(to.clone()))
    }
}
