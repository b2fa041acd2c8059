//! The links between nodes: what they say of their adverts, late, doubled or not at all.

use crate::lab::Lab;
use crate::world::{Event, World};
use fulcrum_vip_manager::Role;
use fulcrum_vip_manager::router::Claim;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Heartbeats in an advert interval, and without how many a link counts as down: as by default.
const BEATS: u32 = 2;
const SILENCE: u32 = 10;

/// What one says to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    life: u32,
    sequence: u64,
    change: u64,
    sources: Option<BTreeSet<IpAddr>>,
    question: Option<u64>,
    answer: Option<u64>,
}

/// What a node knows of another.
#[derive(Debug, Clone, Default)]
struct Known {
    heard: Option<Instant>,
    life: u32,
    change: u64,
    said: Option<Said>,
}

#[derive(Debug)]
pub(crate) struct Talk {
    /// (from, to)
    pub(crate) cuts: BTreeSet<(usize, usize)>,
    /// By who knows, then by of whom.
    known: Vec<Vec<Known>>,
    /// What each said last to each.
    said: Vec<Vec<Option<Said>>>,
    change: Vec<(bool, u64)>,
    /// What each router was told last.
    claims: Vec<BTreeMap<fulcrum_config::NodeName, Claim>>,
}

impl Talk {
    pub(crate) fn new(count: usize) -> Self {
        Self {
            cuts: BTreeSet::new(),
            known: vec![vec![Known::default(); count]; count],
            said: vec![vec![None; count]; count],
            change: vec![(false, 0); count],
            claims: vec![BTreeMap::new(); count],
        }
    }

    /// A new process knows nothing.
    pub(crate) fn start(&mut self, node: usize) {
        self.known[node].fill(Known::default());
        self.said[node].fill(None);
        self.change[node] = (false, 0);
        self.claims[node].clear();
    }
}

impl World {
    fn beat_interval(&self) -> Duration {
        self.lab.interval.duration() / BEATS
    }

    fn is_up(&self, node: usize, other: usize) -> bool {
        let silence = self.beat_interval() * SILENCE;
        self.talk.known[node][other].heard.is_some_and(|heard| self.now - heard <= silence)
    }

    /// How long it takes until what was lost is said again.
    fn again(&self) -> Duration {
        self.lab.interval.duration() / 2
    }

    /// Whether what `from` says reaches `to`: one that is not heard closes the connection once it notices.
    fn talks(&self, from: usize, to: usize) -> bool {
        let passes = |from, to| self.reaches(from, to, 0) && !self.talk.cuts.contains(&(from, to));
        passes(from, to) && (passes(to, from) || self.is_up(from, to))
    }

    /// From one engine over to the other: threads that wake each other, and the network between.
    fn way(&mut self) -> Duration {
        let threads = self.lab.interval.duration() / 20;
        self.random(self.weather.delay) + self.random(threads)
    }

    pub(crate) fn beat(&mut self, node: usize, life: u32) {
        if self.nodes[node].life != life || self.nodes[node].router.is_none() {
            return;
        }
        let interval = self.beat_interval();
        self.plan(self.now + interval, Event::Beat { node, life });
        if self.nodes[node].frozen {
            return;
        }
        for to in (0..self.nodes.len()).filter(|to| *to != node) {
            if self.talks(node, to) && self.random(Duration::from_micros(1000)).as_nanos() >= self.loss() {
                let at = self.now + self.way();
                let change = self.talk.change[node].1;
                self.plan(at, Event::Beaten { from: node, to, life, change });
            }
        }
        self.tell_claims(node);
    }

    /// Of a million.
    fn loss(&self) -> u128 {
        u128::from(self.weather.loss) * 1000
    }

    pub(crate) fn beaten(&mut self, from: usize, to: usize, life: u32, change: u64) {
        if self.nodes[to].frozen || self.nodes[to].router.is_none() {
            return;
        }
        let now = self.now;
        let known = &mut self.talk.known[to][from];
        if known.life < life {
            *known = Known { life, ..Known::default() };
            // A new connection: everything is said again.
            self.talk.said[to][from] = None;
            self.publish(to);
        }
        let known = &mut self.talk.known[to][from];
        if known.life == life {
            known.heard = Some(now);
            known.change = known.change.max(change);
        }
        self.tell_claims(to);
    }

    /// Says what is news of this node's adverts.
    pub(crate) fn publish(&mut self, node: usize) {
        if !self.lab.keys || self.nodes[node].frozen {
            return;
        }
        let Some(router) = &self.nodes[node].router else { return };
        let (leads, question) = (router.role() == Role::Leader, router.question());
        if self.talk.change[node].0 != leads {
            self.talk.change[node] = (leads, self.talk.change[node].1 + 1);
        }
        let sources = leads.then(|| self.links.iter().map(|link| Lab::address(node, link)).collect());
        for to in (0..self.nodes.len()).filter(|to| *to != node) {
            let said = &self.talk.said[node][to];
            let asked = self.talk.known[node][to].said.as_ref().and_then(|said| said.question);
            let new = Said {
                life: self.nodes[node].life,
                sequence: said.as_ref().map_or(0, |said| said.sequence),
                change: self.talk.change[node].1,
                sources: sources.clone(),
                question,
                answer: asked,
            };
            if said.as_ref() != Some(&new) {
                let new = Said { sequence: new.sequence + 1, ..new };
                self.talk.said[node][to] = Some(new.clone());
                self.send_said(node, to, new);
            }
        }
    }

    /// Until it arrives or something newer is said.
    pub(crate) fn send_said(&mut self, from: usize, to: usize, said: Said) {
        if self.talk.said[from][to].as_ref() != Some(&said) || self.nodes[from].router.is_none() {
            return;
        }
        let lost = self.random(Duration::from_micros(1000)).as_nanos() < self.loss();
        if lost || self.nodes[from].frozen || !self.talks(from, to) {
            self.plan(self.now + self.again(), Event::Say { from, to, said });
        } else {
            let at = self.now + self.way();
            self.plan(at, Event::Said { from, to, said });
        }
    }

    pub(crate) fn hear_said(&mut self, from: usize, to: usize, said: Said) {
        if self.nodes[to].router.is_none() {
            return;
        }
        if self.nodes[to].frozen {
            self.plan(self.now + self.again(), Event::Said { from, to, said });
            return;
        }
        let known = &mut self.talk.known[to][from];
        if known.life == said.life && known.said.as_ref().is_none_or(|old| old.sequence < said.sequence) {
            self.say(to, || format!("is told by node{from}: {said:?}"));
            self.talk.known[to][from].said = Some(said);
            self.tell_claims(to);
        } else if known.life < said.life {
            self.plan(self.now + self.again(), Event::Said { from, to, said });
        }
    }

    fn tell_claims(&mut self, node: usize) {
        let mut claims = BTreeMap::new();
        for other in (0..self.nodes.len()).filter(|other| *other != node && self.is_up(node, *other)) {
            let known = &self.talk.known[node][other];
            if let Some(said) = known.said.as_ref().filter(|said| said.change >= known.change) {
                let claim = Claim { sources: said.sources.clone(), answered: said.answer };
                claims.insert(Lab::name(other), claim);
            }
        }
        if self.talk.claims[node] != claims {
            self.talk.claims[node].clone_from(&claims);
            self.turn(node, |router, now| router.handle_claims(claims, now));
        }
        self.publish(node);
    }
}
