//! Whether this node may lead groups that are to have no leader rather than two (`on_split: one`).
//!
//! Every node tells every other whom it hears: of each node the last datagram that it heard (that is a vote for it), or that
//! it is silent. A leader leads for as long as more than half of all have heard something that it sent a moment ago. A
//! standby leads once more than half hear it and say of each node that it does not hear itself that it is silent. A node
//! says that of another only after that one's time from its own vote is over, and votes for it again only when its word
//! of the silence is forgotten. So of two nodes that do not hear each other only one can have enough, and no clock is compared
//! with another node's: only how long a second is.
//!
//! ```text
//! the leader sends       s                                      s + LEASE: it leads no more
//!                         \                                     |
//! a voter hears it          u                                      u + SILENCE: "it is silent"
//! ```
//!
//! Where the nodes are even in number a lock of a witness has a vote of its own: whoever holds it. A gateway never grants
//! anything: it lets a leader go on that hears half of the nodes, itself included, because nobody else can have enough then.

use super::votes::{Receipt, Vote, Votes};
use crate::border::QuorumObserved;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// Eighths of an interval without a datagram that make a silence.
const SILENCE: u32 = 28;
/// Eighths that a vote lasts from when what was heard was sent; less than a silence.
const LEASE: u32 = 26;
/// Eighths that the word of a silence lasts with those who heard it.
const WORD: u32 = 16;
/// Eighths within which a node was heard whose silence needs no word of others.
const RECENT: u32 = 16;
/// Eighths after the last word of a silence before it is voted again: longer than that word lasts, and its way.
const HOLD: u32 = 56;
/// Eighths after which a vote that was not renewed is no good sign. Where nodes send at the same moment, each hears what
/// the other says of the last datagram but one: votes are two intervals old then, and all is well.
const FRESH: u32 = 18;
/// How long the votes of enough nodes last before the lock is given back.
const CALM: Duration = Duration::from_secs(2);
/// Datagrams that are known by when they were sent.
const SENT_AT_MOST: usize = 4096;

/// What decides where half of the nodes hear each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tie {
    /// Nothing: none of the halves leads.
    #[default]
    None,
    /// A leader that reaches a gateway goes on; nobody takes over.
    Gateway,
    /// Whoever holds a lock.
    Lock,
}

/// The machine.
#[derive(Debug)]
pub struct Quorum {
    instance: u64,
    own: u64,
    others: BTreeSet<u64>,
    interval: Duration,
    /// Others may go by these, the shortest and the longest that it was, until then.
    before: Option<(Duration, Duration, Instant)>,
    tie: Tie,
    started: Instant,
    /// Until when leaders lead on without votes: it was not asked for before.
    grace: Option<Instant>,
    /// Since when all that was sent came in.
    listens: Instant,
    sent: VecDeque<(u64, Instant)>,
    heard: BTreeMap<u64, (Receipt, Instant)>,
    /// When the last heartbeat of each came.
    beats: BTreeMap<u64, Instant>,
    /// When this node last said that another is silent.
    given_up: BTreeMap<u64, Instant>,
    said: BTreeMap<u64, Said>,
    /// Those that get no vote, although they are heard.
    doubted: BTreeSet<u64>,
    /// When what another node heard last of this one was sent.
    voted: BTreeMap<u64, Instant>,
    gateway: bool,
    lock: Option<Instant>,
    wants_lock: bool,
    /// Since when enough nodes vote for this one.
    calm: Option<Instant>,
}

/// What a node says of others.
#[derive(Debug)]
struct Said {
    instance: u64,
    /// Of each the latest word, and when it came: whether it is silent.
    of: BTreeMap<u64, (u64, Instant, bool)>,
}

impl Quorum {
    /// `instance` tells this life's datagrams from an earlier one's; not 0.
    #[must_use]
    pub fn new(instance: u64, now: Instant) -> Self {
        Self {
            instance,
            own: 0,
            others: BTreeSet::new(),
            interval: Duration::ZERO,
            before: None,
            tie: Tie::None,
            started: now,
            grace: None,
            listens: now,
            sent: VecDeque::new(),
            heard: BTreeMap::new(),
            beats: BTreeMap::new(),
            given_up: BTreeMap::new(),
            said: BTreeMap::new(),
            doubted: BTreeSet::new(),
            voted: BTreeMap::new(),
            gateway: false,
            lock: None,
            wants_lock: false,
            calm: None,
        }
    }

    /// Who takes part, and how often they say something: the longest interval of the groups that ask for it.
    pub fn handle_plan(
        &mut self,
        own: u64,
        others: BTreeSet<u64>,
        interval: Duration,
        tie: Tie,
        now: Instant,
    ) {
        if interval != self.interval && !self.interval.is_zero() {
            let (shortest, longest) = (self.shortest(now), self.longest(now));
            let until = now.checked_add(eighths_of(longest.max(interval), HOLD));
            self.before = until.map(|until| (shortest, longest, until));
        }
        self.beats.retain(|node, _| others.contains(node));
        self.heard.retain(|node, _| others.contains(node));
        self.given_up.retain(|node, _| others.contains(node));
        self.said.retain(|node, _| others.contains(node));
        self.voted.retain(|node, _| others.contains(node));
        let is_new = self.interval.is_zero();
        (self.own, self.others, self.interval, self.tie) = (own, others, interval, tie);
        if is_new {
            self.grace = now.checked_add(self.hold(now));
        }
    }

    /// This node sends a datagram of this number.
    pub fn handle_sent(&mut self, sequence: u64, now: Instant) {
        let lease = eighths_of(self.shortest(now), LEASE);
        self.sent.retain(|(_, sent)| now.saturating_duration_since(*sent) <= lease);
        if self.sent.len() < SENT_AT_MOST {
            self.sent.push_back((sequence, now));
        }
    }

    /// A heartbeat of another node came.
    pub fn handle_heartbeat(&mut self, node: u64, instance: u64, sequence: u64, now: Instant) {
        if self.others.contains(&node) {
            self.handle_heard(node, instance, sequence, now);
            self.beats.insert(node, now);
        }
    }

    fn handle_heard(&mut self, node: u64, instance: u64, sequence: u64, now: Instant) {
        if instance != 0 {
            let receipt = Receipt { instance, sequence: low_half(sequence) };
            self.heard.insert(node, (receipt, now));
        }
    }

    /// Another node says whom it hears.
    pub fn handle_votes(&mut self, node: u64, votes: &Votes, now: Instant) {
        if !self.others.contains(&node) {
            return;
        }
        self.handle_heard(node, votes.instance, votes.sequence, now);
        let new = || Said { instance: votes.instance, of: BTreeMap::new() };
        let said = self.said.entry(node).or_insert_with(new);
        if said.instance != votes.instance {
            *said = new();
        }
        for vote in &votes.of {
            if said.of.get(&vote.node).is_some_and(|(sequence, ..)| *sequence >= votes.sequence) {
                continue;
            }
            if vote.node == self.own {
                let receipt = vote.heard.filter(|heard| heard.instance == self.instance);
                let is_it =
                    |sent: &&(u64, Instant)| receipt.is_some_and(|heard| heard.sequence == low_half(sent.0));
                if let Some((_, sent)) = self.sent.iter().rev().find(is_it) {
                    let voted = self.voted.entry(node).or_insert(*sent);
                    *voted = (*voted).max(*sent);
                }
            } else if self.others.contains(&vote.node) {
                said.of.insert(vote.node, (votes.sequence, now, vote.heard.is_none()));
            }
        }
    }

    /// This process did not run for a while: what was not heard meanwhile proves nothing, and what it said last of a silence
    /// may have left only now.
    pub fn handle_pause(&mut self, now: Instant) {
        self.listens = now;
        self.said.clear();
        self.given_up.values_mut().for_each(|at| *at = now);
    }

    /// These get no vote for now, although they are heard: they lead what somebody else took over.
    pub fn handle_doubt(&mut self, doubted: BTreeSet<u64>) {
        self.doubted = doubted;
    }

    /// Whether the gateway answers.
    pub fn handle_gateway(&mut self, answers: bool) {
        self.gateway = answers;
    }

    /// Until when this node holds the lock.
    pub fn handle_lock(&mut self, until: Option<Instant>) {
        self.lock = until;
    }

    /// Sees whether the lock is needed. `leads`: this node leads a group that asks for it.
    pub fn handle_timeout(&mut self, leads: bool, now: Instant) {
        if !self.has_lock() {
            self.wants_lock = false;
            return;
        }
        let is_fresh = |until: Option<Instant>| until.is_some_and(|until| now < until);
        let without = self.needed().saturating_sub(1);
        if is_fresh(self.fresh_until(without, now)) {
            let calm = *self.calm.get_or_insert(now);
            self.wants_lock &= now.saturating_duration_since(calm) < CALM;
            return;
        }
        self.calm = None;
        // With the lock it is to be enough.
        let is_enough = is_fresh(self.fresh_until(without.saturating_sub(1), now));
        let asks = leads || self.others.iter().any(|node| self.is_silent(*node, now));
        self.wants_lock = is_enough && (self.wants_lock || asks);
    }

    /// Whether the lock is to be had, and kept.
    #[must_use]
    pub fn wants_lock(&self) -> bool {
        self.wants_lock
    }

    /// Whether somebody fell silent of whom that was not said yet.
    #[must_use]
    pub fn has_news(&self, now: Instant) -> bool {
        let is_news = |node: &u64| self.is_silent(*node, now) && !self.given_up.contains_key(node);
        self.others.iter().any(is_news)
    }

    /// When somebody is silent, if nothing is heard; when the lock is needed and when this node leads no more, if nothing is.
    #[must_use]
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let without = self.needed().saturating_sub(1);
        let fresh = self.fresh_until(without, now).filter(|_| self.has_lock() && !self.wants_lock);
        let heard = |node: &u64| self.heard.get(node).map_or(self.listens, |(_, at)| (*at).max(self.listens));
        let silences = self.others.iter().filter_map(|node| heard(node).checked_add(self.silence(now)));
        silences.chain(fresh).filter(|at| *at > now).chain(self.leads_until(now)).min()
    }

    /// What to tell the others.
    pub fn votes(&mut self, now: Instant) -> Vec<Vote> {
        let (hold, silence) = (self.hold(now), self.silence(now));
        let mut votes = Vec::new();
        for node in self.others.clone() {
            if self.is_silent(node, now) {
                self.given_up.insert(node, now);
                votes.push(Vote { node, heard: None });
                continue;
            }
            // Before it was started it may have said that somebody is silent.
            let since = self.given_up.get(&node).copied().unwrap_or(self.started);
            if now.saturating_duration_since(since) < hold {
                continue;
            }
            self.given_up.remove(&node);
            if let Some((receipt, at)) = self.heard.get(&node).filter(|_| !self.doubted.contains(&node))
                && now.saturating_duration_since(*at) < silence
            {
                votes.push(Vote { node, heard: Some(*receipt) });
            }
        }
        votes
    }

    /// Until when this node may lead on, as far as it knows now; none if it may not.
    #[must_use]
    pub fn leads_until(&self, now: Instant) -> Option<Instant> {
        let tied = match self.tie {
            Tie::Gateway if self.is_even() && self.gateway => {
                self.lease(self.needed().saturating_sub(2), now)
            }
            Tie::None | Tie::Gateway | Tie::Lock => None,
        };
        self.granted_until(now).max(tied).max(self.grace).filter(|until| *until > now)
    }

    /// Whether this node may lead a group that none of those leads that it hears.
    #[must_use]
    pub fn may_take_over(&self, now: Instant) -> bool {
        let is_granted = self.granted_until(now).is_some_and(|until| until > now);
        // A silence of a leader is older than this when its standby takes over. What it leads is said in heartbeats.
        let recent = eighths_of(self.shortest(now), RECENT);
        let beats =
            |node: &&u64| self.beats.get(*node).is_some_and(|at| now.saturating_duration_since(*at) < recent);
        let mut silent = self.others.iter().filter(|node| !beats(node));
        is_granted && silent.all(|node| self.gives_up(*node, now) >= self.needed())
    }

    /// How it stands, for people.
    #[must_use]
    pub fn observed(&self, now: Instant) -> QuorumObserved {
        let lease = eighths_of(self.shortest(now), LEASE);
        let lasts = |voted: &&Instant| now.saturating_duration_since(**voted) < lease;
        QuorumObserved {
            votes: self.voted.values().filter(lasts).count().saturating_add(1),
            nodes: self.nodes(),
            lock: self.is_locked(now),
            cut_off: self.tie == Tie::Gateway && !self.gateway,
            leads_on: self.leads_until(now).is_some(),
            takes_over: self.may_take_over(now),
        }
    }

    fn nodes(&self) -> usize {
        self.others.len().saturating_add(1)
    }

    fn is_even(&self) -> bool {
        self.nodes().is_multiple_of(2)
    }

    /// Whether the lock has a vote.
    fn has_lock(&self) -> bool {
        self.tie == Tie::Lock && self.is_even()
    }

    fn is_locked(&self, now: Instant) -> bool {
        self.has_lock() && self.wants_lock && self.lock.is_some_and(|until| until > now)
    }

    /// More than half of all votes.
    fn needed(&self) -> usize {
        let all = self.nodes().saturating_add(usize::from(self.has_lock()));
        (all / 2).saturating_add(1)
    }

    fn former(&self, now: Instant) -> Option<(Duration, Duration)> {
        self.before.filter(|(.., until)| now < *until).map(|(shortest, longest, _)| (shortest, longest))
    }

    /// How often this node is to say something. For as long again as it goes by the former interval itself: others may have
    /// taken the plan later.
    #[must_use]
    pub fn pace(&self, now: Instant) -> Duration {
        self.shortest(now.checked_sub(self.hold(now)).unwrap_or(now))
    }

    /// The shortest interval that another node may go by: what others let this one do lasts no longer.
    fn shortest(&self, now: Instant) -> Duration {
        self.former(now).map_or(self.interval, |(shortest, _)| self.interval.min(shortest))
    }

    /// The longest: so long this node waits before it does something without another one.
    fn longest(&self, now: Instant) -> Duration {
        self.former(now).map_or(self.interval, |(_, longest)| self.interval.max(longest))
    }

    fn silence(&self, now: Instant) -> Duration {
        eighths_of(self.longest(now), SILENCE)
    }

    fn hold(&self, now: Instant) -> Duration {
        eighths_of(self.longest(now), HOLD)
    }

    fn is_heard(&self, node: u64, now: Instant) -> bool {
        let silence = self.silence(now);
        self.heard.get(&node).is_some_and(|(_, at)| now.saturating_duration_since(*at) < silence)
    }

    /// Whether this node listened for long enough and heard nothing.
    fn is_silent(&self, node: u64, now: Instant) -> bool {
        !self.is_heard(node, now) && now.saturating_duration_since(self.listens) >= self.silence(now)
    }

    /// How many say that a node is silent.
    fn gives_up(&self, node: u64, now: Instant) -> usize {
        let word = eighths_of(self.shortest(now), WORD);
        let says = |said: &&Said| {
            said.of
                .get(&node)
                .is_some_and(|(_, at, silent)| *silent && now.saturating_duration_since(*at) < word)
        };
        let others = self.said.values().filter(says).count();
        let own = usize::from(self.is_silent(node, now));
        others.saturating_add(own).saturating_add(usize::from(self.is_locked(now)))
    }

    /// When what so many others heard at least was sent; `now` of none.
    fn vote(&self, others: usize, now: Instant) -> Option<Instant> {
        let Some(last) = others.checked_sub(1) else { return Some(now) };
        let mut voted: Vec<Instant> = self.voted.values().copied().collect();
        voted.sort_unstable_by(|one, other| other.cmp(one));
        voted.get(last).copied()
    }

    /// Until when so many votes of others are a good sign.
    fn fresh_until(&self, others: usize, now: Instant) -> Option<Instant> {
        self.vote(others, now)?.checked_add(eighths_of(self.shortest(now), FRESH))
    }

    fn lease(&self, others: usize, now: Instant) -> Option<Instant> {
        self.vote(others, now)?.checked_add(eighths_of(self.shortest(now), LEASE))
    }

    /// Until when enough votes last.
    fn granted_until(&self, now: Instant) -> Option<Instant> {
        let others = self.needed().saturating_sub(1);
        // One that is given back counts no more.
        let locked = self.lock.filter(|_| self.has_lock() && self.wants_lock).and_then(|until| {
            let lease = self.lease(others.saturating_sub(1), now)?;
            Some(lease.min(until))
        });
        self.lease(others, now).max(locked)
    }
}

fn eighths_of(interval: Duration, count: u32) -> Duration {
    interval.saturating_mul(count).checked_div(8).unwrap_or_default()
}

fn low_half(sequence: u64) -> u32 {
    u32::try_from(sequence & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}
