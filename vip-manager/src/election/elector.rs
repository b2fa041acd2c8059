//! One node's part in the election of all groups: what it says of them to the others, and what it makes of what they say.
//!
//! The routers of the groups decide who leads. This machine brings them what is heard, says what they say, gives them their
//! priorities, and has them offer a group that is to move.

use super::heartbeat::{GROUPS_AT_MOST, Heartbeat, Said, State};
use super::members::{Members, Stale, View};
use super::placement::{Candidate, Order, Seat, place};
use super::quorum::{Quorum, Tie};
use super::votes::{NODES_AT_MOST, Votes};
use fulcrum_config::{AdvertInterval, GroupName, NodeName, Priority};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

mod moving;
#[cfg(test)]
mod tests;

/// How long nobody comes or goes before groups are moved for their even spread.
pub const SETTLED: Duration = Duration::from_secs(10);
/// At the start the first in a group, who may be a little later, has so much longer to lead it than the others.
pub const GRACE: Duration = Duration::from_millis(500);
/// Intervals after which a node that was not heard counts as gone.
const PATIENCE: u32 = 4;
/// Intervals for which two may both be heard to lead a group, before the earlier one gets no more votes.
const DOUBT: u32 = 3;
/// The priorities of the first in a group, and the step to each later one. The higher, the sooner one takes over, and that
/// the first did is to be heard before the second does: at an interval of 100 ms it waits 25 ms longer.
const FIRST: [u8; 3] = [254, 190, 166];
const STEP: u8 = 6;
/// One more than that of a last resort.
const LEAST: u8 = 2;

/// What the elector must know of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Every node, this one included.
    pub nodes: Vec<Candidate>,
    /// This node.
    pub own: Option<NodeName>,
    /// The groups that are elected.
    pub groups: BTreeMap<GroupName, Planned>,
    /// What decides where half of the nodes hear each other, for groups that ask.
    pub tie: Tie,
    /// Nodes that are to lead nothing as long as any other can.
    pub drained: BTreeSet<NodeName>,
}

/// One group of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// It does not move for an even spread.
    pub protected: bool,
    /// What the operator prefers.
    pub priorities: BTreeMap<NodeName, Priority>,
    /// How often its leader says that it leads.
    pub interval: AdvertInterval,
    /// It is to have no leader rather than two.
    pub one: bool,
}

/// Whether a node may lead its groups.
#[derive(Debug)]
pub struct Grants<'a> {
    groups: &'a BTreeMap<GroupName, Planned>,
    until: Option<Instant>,
    takes_over: bool,
}

impl Grants<'_> {
    /// Whether it may be what `leads` says in a group: lead on, or take over what nobody is heard to lead.
    #[must_use]
    pub fn of(&self, group: &GroupName, leads: bool) -> Grant {
        if !self.groups.get(group).is_some_and(|planned| planned.one) {
            return Grant::Always;
        }
        self.until.filter(|_| leads || self.takes_over).map_or(Grant::Never, Grant::Until)
    }
}

/// Whether a node may lead a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// As far as votes go: none are asked for.
    Always,
    /// With enough votes, which last until then.
    Until(Instant),
    /// Not now.
    Never,
}

/// What this node is in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// It leads.
    pub leads: bool,
    /// It leads only if nobody else does.
    pub unfit: bool,
    /// Its router said something a moment ago: others may have taken over from one that did not.
    pub speaks: bool,
    /// The last epoch that it knows of.
    pub epoch: u64,
}

/// The machine.
#[derive(Debug)]
pub struct Elector {
    plan: Plan,
    numbers: BTreeMap<u64, GroupName>,
    instance: u64,
    sequence: u64,
    members: Members,
    view: View,
    standings: BTreeMap<GroupName, Standing>,
    orders: BTreeMap<GroupName, Order>,
    /// What the routers said last of the groups that they lead or offer.
    said: BTreeMap<GroupName, u8>,
    news: BTreeMap<GroupName, Said>,
    datagrams: VecDeque<Vec<u8>>,
    quorum: Quorum,
    ordered: VecDeque<(GroupName, BTreeMap<NodeName, Priority>)>,
    /// Groups that are offered to others, and until when; then until when they stay.
    moving: BTreeMap<GroupName, (NodeName, Instant)>,
    staying: BTreeMap<GroupName, Instant>,
    stopping: bool,
    /// Groups that this node has just taken over, and until when they keep the order by which it did: where others did
    /// too, the first of them is to stay, and not whoever was heard last.
    taken: BTreeMap<GroupName, Instant>,
    /// Groups that were offered to this node: nobody else takes them over.
    offered: BTreeSet<GroupName>,
    next_beat: Option<Instant>,
    is_due: bool,
    settled: Instant,
    gathered: bool,
    /// Who leads a group that somebody else took over, and since when both are heard.
    doubled: BTreeMap<NodeName, Instant>,
}

impl Elector {
    /// It knows of nobody and nothing yet. `instance` is to be another in each life of this node.
    #[must_use]
    pub fn new(instance: u64, now: Instant) -> Self {
        let instance = instance.max(1);
        Self {
            plan: Plan::default(),
            numbers: BTreeMap::new(),
            instance,
            sequence: 0,
            members: Members::new(now),
            view: View::default(),
            standings: BTreeMap::new(),
            orders: BTreeMap::new(),
            said: BTreeMap::new(),
            news: BTreeMap::new(),
            datagrams: VecDeque::new(),
            quorum: Quorum::new(instance, now),
            ordered: VecDeque::new(),
            moving: BTreeMap::new(),
            staying: BTreeMap::new(),
            stopping: false,
            taken: BTreeMap::new(),
            offered: BTreeSet::new(),
            next_beat: None,
            is_due: true,
            settled: now,
            gathered: false,
            doubled: BTreeMap::new(),
        }
    }

    /// Takes a changed configuration. Every group's priorities come anew.
    pub fn handle_plan(&mut self, plan: Plan, now: Instant) {
        self.numbers = plan.groups.keys().map(|name| (name.number(), name.clone())).collect();
        self.said.retain(|name, _| plan.groups.contains_key(name));
        self.news.retain(|name, _| plan.groups.contains_key(name));
        self.moving.retain(|name, _| plan.groups.contains_key(name));
        self.staying.retain(|name, _| plan.groups.contains_key(name));
        self.offered.retain(|name| plan.groups.contains_key(name));
        self.plan = plan;
        self.plan_quorum(now);
        self.is_due = true;
        self.next_beat = (!self.plan.groups.is_empty()).then_some(now);
    }

    /// Another node said this: gives what its routers are to hear, as from it.
    ///
    /// # Errors
    /// It comes far too late.
    pub fn handle_heartbeat(
        &mut self,
        node: &NodeName,
        heartbeat: &Heartbeat,
        now: Instant,
    ) -> Result<Vec<(GroupName, Said)>, Stale> {
        let news = self.members.handle_heartbeat(node, heartbeat, now)?;
        self.quorum.handle_heartbeat(node.number(), heartbeat.instance, heartbeat.sequence, now);
        let adverts = news.into_iter().filter(|said| said.state != State::Unfit);
        let heard = |said: Said| {
            let name = self.numbers.get(&said.group)?.clone();
            let state = self.heard(&name, node, said.state);
            if matches!(said.state, State::Offers(_)) && state == State::Resigns {
                self.offered.insert(name.clone());
            } else {
                self.offered.remove(&name);
            }
            Some((name, Said { state, ..said }))
        };
        Ok(adverts.filter_map(heard).collect())
    }

    /// Another node said whom it hears.
    pub fn handle_votes(&mut self, node: &NodeName, votes: &Votes, now: Instant) {
        self.quorum.handle_votes(node.number(), votes, now);
    }

    /// This process did not run for a while.
    pub fn handle_pause(&mut self, now: Instant) {
        self.quorum.handle_pause(now);
    }

    /// Whether the witness that is a gateway answers.
    pub fn handle_gateway(&mut self, answers: bool) {
        self.quorum.handle_gateway(answers);
    }

    /// Until when this node holds the witness's lock.
    pub fn handle_lock(&mut self, until: Option<Instant>) {
        self.quorum.handle_lock(until);
    }

    /// The router of a group says this to its peers: 0 offers it or gives it up.
    pub fn handle_advert(&mut self, group: &GroupName, priority: u8, epoch: u64) {
        // What is no news goes with the next heartbeat.
        if self.said.insert(group.clone(), priority) == Some(priority) && priority != 0 {
            return;
        }
        let state = self.state(group, priority);
        if let Some(planned) = self.plan.groups.get(group) {
            let said = Said { group: group.number(), state, epoch, interval: planned.interval };
            self.news.insert(group.clone(), said);
        }
    }

    /// The router of a group leads no more. What it said last is still to be said.
    pub fn handle_retired(&mut self, group: &GroupName) {
        self.said.remove(group);
        self.moving.remove(group);
    }

    /// The time has come, or something was said: `standing` is asked what this node is in each group.
    pub fn handle_timeout(&mut self, standing: impl Fn(&GroupName) -> Option<Standing>, now: Instant) {
        if self.next_beat.is_some_and(|at| at <= now) {
            self.look(standing, now);
            let pace = if self.asks() { self.fastest().min(self.quorum.pace(now)) } else { self.fastest() };
            self.next_beat = now.checked_add(pace);
            self.news.clear();
            let said = self.all_said();
            self.say(said, now);
            self.vote(now);
        } else if !self.news.is_empty() {
            // As of all groups, not late.
            let speaks = |name: &GroupName| standing(name).is_some_and(|it| it.speaks);
            self.news.retain(|name, said| said.state == State::Resigns || speaks(name));
            let news = std::mem::take(&mut self.news).into_values().collect();
            self.say(news, now);
        }
        if self.asks() {
            let leads = |(name, standing): (&GroupName, &Standing)| standing.leads && self.is_one(name);
            self.quorum.handle_timeout(self.standings.iter().any(leads), now);
            if self.quorum.has_news(now) {
                self.vote(now);
            }
        }
    }

    /// When to call [`Elector::handle_timeout`] at the latest.
    #[must_use]
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let quorum = self.asks().then(|| self.quorum.poll_timeout(now)).flatten();
        self.next_beat.into_iter().chain(quorum).min()
    }

    /// When all that this node leads is said again.
    #[must_use]
    pub fn next_beat(&self) -> Option<Instant> {
        self.next_beat
    }

    /// What to send to every other node: a [`Heartbeat`] or [`Votes`].
    pub fn poll_datagram(&mut self) -> Option<Vec<u8>> {
        self.datagrams.pop_front()
    }

    /// The priorities that the nodes have in a group from now on.
    pub fn poll_priorities(&mut self) -> Option<(GroupName, BTreeMap<NodeName, Priority>)> {
        self.ordered.pop_front()
    }

    /// Who leads a group and who takes over.
    #[must_use]
    pub fn order(&self, group: &GroupName) -> Option<&Order> {
        self.orders.get(group)
    }

    /// Whether a group may be led that nobody is heard to lead: all other nodes were heard, or waited for.
    #[must_use]
    pub fn is_gathered(&self) -> bool {
        self.gathered
    }

    /// Whether this node may lead, as far as votes go.
    #[must_use]
    pub fn grants(&self, now: Instant) -> Grants<'_> {
        let until = if self.asks() { self.quorum.leads_until(now) } else { None };
        let takes_over = until.is_some() && self.quorum.may_take_over(now);
        Grants { groups: &self.plan.groups, until, takes_over }
    }

    /// How the votes stand; none if no group asks for them.
    #[must_use]
    pub fn quorum(&self) -> Option<&Quorum> {
        self.asks().then_some(&self.quorum)
    }

    fn is_one(&self, group: &GroupName) -> bool {
        self.plan.groups.get(group).is_some_and(|planned| planned.one)
    }

    /// Whether any group is to have no leader rather than two.
    fn asks(&self) -> bool {
        self.plan.groups.values().any(|planned| planned.one)
    }

    fn plan_quorum(&mut self, now: Instant) {
        let asking = self.plan.groups.values().filter(|planned| planned.one);
        let interval = asking.map(|planned| planned.interval.duration()).max().unwrap_or_default();
        let own = self.plan.own.as_ref().map(NodeName::number).unwrap_or_default();
        let others = self.plan.nodes.iter().map(|it| it.node.number()).filter(|node| *node != own).collect();
        self.quorum.handle_plan(own, others, interval, self.plan.tie, now);
    }

    fn intervals(&self) -> impl Iterator<Item = Duration> + '_ {
        self.plan.groups.values().map(|planned| planned.interval.duration())
    }

    fn fastest(&self) -> Duration {
        self.intervals().min().unwrap_or(AdvertInterval::DEFAULT.duration())
    }

    fn say(&mut self, groups: Vec<Said>, now: Instant) {
        let mut groups = groups.into_iter().peekable();
        loop {
            let (instance, sequence) = (self.instance, self.next_sequence(now));
            let some = groups.by_ref().take(GROUPS_AT_MOST).collect();
            self.datagrams.push_back(Heartbeat { instance, sequence, groups: some }.encode());
            if groups.peek().is_none() {
                return;
            }
        }
    }

    fn vote(&mut self, now: Instant) {
        if !self.asks() {
            return;
        }
        let votes = self.quorum.votes(now);
        for some in votes.chunks(NODES_AT_MOST) {
            let (instance, sequence) = (self.instance, self.next_sequence(now));
            self.datagrams.push_back(Votes { instance, sequence, of: some.to_vec() }.encode());
        }
    }

    fn next_sequence(&mut self, now: Instant) -> u64 {
        self.sequence = self.sequence.saturating_add(1);
        self.quorum.handle_sent(self.sequence, now);
        self.sequence
    }

    /// What this node leads or offers, and what it is unfit for. That it leads is not said late: whoever took over would yield.
    fn all_said(&self) -> Vec<Said> {
        let said = |(name, standing): (&GroupName, &Standing)| {
            let led = self.said.get(name).filter(|priority| **priority == 0 || standing.leads);
            let state = led.map(|priority| self.state(name, *priority));
            let state = state.filter(|state| standing.speaks || *state == State::Resigns);
            let state = state.or(standing.unfit.then_some(State::Unfit))?;
            let interval = self.plan.groups.get(name)?.interval;
            Some(Said { group: name.number(), state, epoch: standing.epoch, interval })
        };
        self.standings.iter().filter_map(said).collect()
    }

    /// Sees who is there, and finds the order of each group anew if something has changed.
    fn look(&mut self, standing: impl Fn(&GroupName) -> Option<Standing>, now: Instant) {
        let own = self.plan.own.as_ref();
        let mut others = self.plan.nodes.iter().map(|it| &it.node).filter(|name| Some(*name) != own);
        self.gathered = self.gathered || self.members.is_gathered(&mut others, now);
        let patience = self.intervals().max().unwrap_or_default().saturating_mul(PATIENCE);
        let view = self.members.view(patience, now);
        if view.live != self.view.live {
            self.settled = now;
        }
        let standings: BTreeMap<GroupName, Standing> =
            self.plan.groups.keys().filter_map(|name| Some((name.clone(), standing(name)?))).collect();
        let same =
            |(one, other): (&Standing, &Standing)| one.leads == other.leads && one.unfit == other.unfit;
        let unchanged = standings.len() == self.standings.len()
            && standings.values().zip(self.standings.values()).all(same);
        self.doubt(&view, now);
        let changed = self.note_taken(&standings, now) || self.is_due || view != self.view || !unchanged;
        (self.view, self.standings, self.is_due) = (view, standings, false);
        if changed {
            self.find_orders();
        }
        self.move_groups(now);
    }

    /// Notes which groups this node leads since the last look. Whether others have been led long enough since.
    fn note_taken(&mut self, standings: &BTreeMap<GroupName, Standing>, now: Instant) -> bool {
        let before = self.taken.len();
        self.taken.retain(|name, until| now < *until && leads(standings, name));
        let ended = self.taken.len() != before;
        let new = |name: &&GroupName| leads(standings, name) && !leads(&self.standings, name);
        for name in standings.keys().filter(new) {
            if self.offered.remove(name) {
                continue;
            }
            let interval = self.plan.groups.get(name).map(|planned| planned.interval.duration());
            let until = now.checked_add(interval.unwrap_or_default().saturating_mul(DOUBT));
            self.taken.extend(until.map(|until| (name.clone(), until)));
        }
        ended
    }

    /// Two that do not hear each other may both lead what this node hears both of: the earlier one gets no more votes.
    fn doubt(&mut self, view: &View, now: Instant) {
        let is_one = |number: &u64| self.numbers.get(number).is_some_and(|group| self.is_one(group));
        let doubled: BTreeSet<NodeName> =
            view.doubled.iter().filter(|(group, _)| is_one(group)).map(|(_, node)| node.clone()).collect();
        self.doubled.retain(|node, _| doubled.contains(node));
        for node in doubled {
            self.doubled.entry(node).or_insert(now);
        }
        let patience = self.fastest().saturating_mul(DOUBT);
        let long = |since: &Instant| now.saturating_duration_since(*since) > patience;
        let doubted = self.doubled.iter().filter(|(_, since)| long(since)).map(|(node, _)| node.number());
        self.quorum.handle_doubt(doubted.collect());
    }

    fn find_orders(&mut self) {
        let own = self.plan.own.as_ref();
        let lives = |it: &&Candidate| Some(&it.node) == own || self.view.live.contains(&it.node);
        let candidates: Vec<Candidate> = self.plan.nodes.iter().filter(lives).cloned().collect();
        let seat = |(name, planned): (&GroupName, &Planned)| {
            let number = name.number();
            let standing = self.standings.get(name);
            let own_if = |is_so: fn(&Standing) -> bool| own.filter(|_| standing.is_some_and(is_so)).cloned();
            let is_unfit = |node: &&NodeName| {
                self.plan.drained.contains(*node) || self.view.unfit.contains(&(number, (*node).clone()))
            };
            let unfit: BTreeSet<NodeName> =
                candidates.iter().map(|it| &it.node).filter(is_unfit).cloned().collect();
            Seat {
                group: name.clone(),
                protected: planned.protected,
                owner: own_if(|it| it.leads).or_else(|| self.view.owners.get(&number).cloned()),
                unfit: unfit.into_iter().chain(own_if(|it| it.unfit)).collect(),
                priorities: planned.priorities.clone(),
            }
        };
        let seats: Vec<Seat> = self.plan.groups.iter().map(seat).collect();
        let mut orders = place(&candidates, &seats);
        for name in self.taken.keys() {
            if let Some((order, former)) = orders.get_mut(name).zip(self.orders.get(name)) {
                *order = Order { nodes: former.nodes.clone(), target: None };
            }
        }
        self.orders = orders;
        let nodes = &self.plan.nodes;
        let priorities = |order: &Order| -> BTreeMap<NodeName, Priority> {
            nodes.iter().map(|it| (it.node.clone(), priority(order, &it.node))).collect()
        };
        self.ordered = self.orders.iter().map(|(name, order)| (name.clone(), priorities(order))).collect();
    }
}

fn leads(standings: &BTreeMap<GroupName, Standing>, group: &GroupName) -> bool {
    standings.get(group).is_some_and(|it| it.leads)
}

/// The first in the order has the highest; who is not in it, the least.
#[must_use]
pub fn priority(order: &Order, node: &NodeName) -> Priority {
    let [.., last] = FIRST;
    let place = order.nodes.iter().position(|it| it == node).unwrap_or(usize::MAX);
    let later = u8::try_from(place.saturating_sub(FIRST.len().saturating_sub(1))).unwrap_or(u8::MAX);
    let priority = FIRST.get(place).copied().unwrap_or(last.saturating_sub(later.saturating_mul(STEP)));
    Priority::new(priority.max(LEAST)).unwrap_or(Priority::DEFAULT)
}
