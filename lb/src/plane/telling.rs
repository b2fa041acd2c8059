//! What the nodes have told each other of their flows: who is to be told of all, and who has all.
//!
//! A flow that begins or ends is told of at once. When the link to a peer comes up, when something could not be told,
//! and now and then, all flows are told of again, so that whatever was lost is made good. Who has not heard all of a
//! peer's asks for it: a message that comes before this node knows of the link is lost, and so is one that finds no room.

use super::told::{FLOWS_IN_MESSAGE, Message, Told};
use crate::FlowCounters;
use fulcrum_config::NodeName;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// How often all flows are told of again: before one that lives would be forgotten by a node that stands by.
const ALL_AGAIN: Duration = Duration::from_secs(60);
/// With more news than this waiting, no more are told: all will be.
const WAITING: usize = 64 * FLOWS_IN_MESSAGE;
/// Pause before all are told of again after something was lost.
const AFTER_LOSS: Duration = Duration::from_secs(2);
/// Who was told of nothing for this long, and does not know all, asks.
const ASK_AFTER: Duration = Duration::from_secs(1);

/// The machine.
#[derive(Debug)]
pub(crate) struct Telling {
    /// Chosen at random when the node started.
    life: u64,
    /// Peers whose link is up: another number each time that something may have been missed.
    peers: BTreeMap<NodeName, u64>,
    /// What waits to be sent, each with how many news it has.
    queue: VecDeque<(Arc<[u8]>, usize)>,
    /// All of those: what tells of all flows does not count, or beside many of them no news could be told.
    waiting: usize,
    /// When all are to be told of, and whether those too that this node was told of itself.
    all_at: Option<Instant>,
    newcomer: bool,
    /// Peers of which this node knows all flows.
    known: BTreeSet<NodeName>,
    /// When to ask those whose flows this node does not know.
    ask_at: Option<Instant>,
    /// Peers that know all flows of this node.
    held_by: BTreeSet<NodeName>,
    counters: FlowCounters,
}

/// Which flows are all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum All {
    /// Those that packets were seen of here.
    Seen,
    /// Also those that another node told of.
    Known,
}

impl Telling {
    pub(crate) fn new(life: u64) -> Self {
        Self {
            life,
            peers: BTreeMap::new(),
            queue: VecDeque::new(),
            waiting: 0,
            all_at: None,
            newcomer: false,
            known: BTreeSet::new(),
            ask_at: None,
            held_by: BTreeSet::new(),
            counters: FlowCounters::default(),
        }
    }

    /// The links that are up.
    pub(crate) fn handle_peers(&mut self, peers: BTreeMap<NodeName, u64>, now: Instant) {
        let is_new = |name: &NodeName| self.peers.get(name) != peers.get(name);
        if peers.keys().any(is_new) {
            self.all_at = Some(now);
            self.newcomer = true;
            self.ask_at = now.checked_add(ASK_AFTER);
        }
        let stays = |name: &NodeName| peers.contains_key(name) && !is_new(name);
        let known: BTreeSet<_> = self.known.iter().filter(|name| stays(name)).cloned().collect();
        let held_by: BTreeSet<_> = self.held_by.iter().filter(|name| stays(name)).cloned().collect();
        (self.known, self.held_by, self.peers) = (known, held_by, peers);
        if self.peers.is_empty() {
            self.queue.clear();
            self.waiting = 0;
            self.all_at = None;
        }
    }

    /// What was heard so far is not known here: the tables are new.
    pub(crate) fn handle_loaded(&mut self, now: Instant) {
        self.known.clear();
        self.ask_at = Some(now);
    }

    /// Asks for what was not heard.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.is_in_sync() {
            self.ask_at = None;
        } else if self.ask_at.is_some_and(|at| at <= now) {
            self.ask(now);
        }
    }

    fn ask(&mut self, now: Instant) {
        self.ask_at = now.checked_add(AFTER_LOSS.saturating_add(ASK_AFTER));
        self.say(&Message::Again);
    }

    /// Whether anybody is to be told.
    pub(crate) fn is_heard(&self) -> bool {
        !self.peers.is_empty()
    }

    /// Whether all flows are to be told of now, to be answered with [`Telling::tell_all`]: those that were seen here, or
    /// all that are known.
    pub(crate) fn poll_all(&self, now: Instant) -> Option<All> {
        let is_due = self.queue.is_empty() && self.all_at.is_some_and(|at| at <= now);
        is_due.then_some(if self.newcomer { All::Known } else { All::Seen })
    }

    /// These are all flows. There may be a million: they are never held all at once but as they are said.
    pub(crate) fn tell_all(&mut self, flows: impl Iterator<Item = Told>, now: Instant) {
        self.all_at = now.checked_add(ALL_AGAIN);
        self.newcomer = false;
        let mut portion = Vec::with_capacity(FLOWS_IN_MESSAGE);
        for flow in flows {
            portion.push(flow);
            if portion.len() == FLOWS_IN_MESSAGE {
                self.push(&portion, 0);
                portion.clear();
            }
        }
        if !portion.is_empty() {
            self.push(&portion, 0);
        }
        self.say(&Message::Whole(self.life));
    }

    /// These are news.
    pub(crate) fn tell(&mut self, flows: &[Told], now: Instant) {
        if !self.is_heard() || flows.is_empty() {
            return;
        }
        if self.waiting > WAITING {
            self.handle_loss(now);
            return;
        }
        for flows in flows.chunks(FLOWS_IN_MESSAGE) {
            self.push(flows, flows.len());
        }
    }

    fn push(&mut self, flows: &[Told], news: usize) {
        self.counters.told = self.counters.told.saturating_add(flows.len().try_into().unwrap_or(u64::MAX));
        self.queue.push_back((Message::Flows(flows.to_vec()).encode(), news));
        self.waiting = self.waiting.saturating_add(news);
    }

    fn say(&mut self, message: &Message) {
        self.queue.push_back((message.encode(), 0));
    }

    /// What is to be sent next; it stays until [`Telling::handle_sent`].
    pub(crate) fn poll_message(&self) -> Option<Arc<[u8]>> {
        self.queue.front().map(|(message, _)| Arc::clone(message))
    }

    pub(crate) fn handle_sent(&mut self) {
        if let Some((_, news)) = self.queue.pop_front() {
            self.waiting = self.waiting.saturating_sub(news);
        }
    }

    /// News that were to be told got lost.
    pub(crate) fn handle_loss(&mut self, now: Instant) {
        self.counters.losses = self.counters.losses.saturating_add(1);
        self.held_by.clear();
        self.all_soon(now);
    }

    fn all_soon(&mut self, now: Instant) {
        let soon = now.checked_add(AFTER_LOSS).unwrap_or(now);
        self.all_at = self.is_heard().then(|| self.all_at.map_or(soon, |at| at.min(soon)));
    }

    /// A peer said something, or, if that is nothing, something more than could be taken. Gives the flows that it told of.
    pub(crate) fn handle_message(&mut self, from: &NodeName, bytes: &[u8], now: Instant) -> Vec<Told> {
        if !self.peers.contains_key(from) {
            return Vec::new();
        }
        if bytes.is_empty() {
            // Something of what it said got lost on this node.
            self.known.remove(from);
            self.ask(now);
            return Vec::new();
        }
        match Message::decode(bytes) {
            Some(Message::Flows(flows)) => {
                self.ask_at = self.ask_at.and(now.checked_add(ASK_AFTER));
                self.counters.heard =
                    self.counters.heard.saturating_add(flows.len().try_into().unwrap_or(u64::MAX));
                return flows;
            }
            Some(Message::Whole(life)) => {
                self.known.insert(from.clone());
                self.say(&Message::Held(life));
            }
            Some(Message::Held(life)) if life == self.life => {
                self.held_by.insert(from.clone());
            }
            Some(Message::Held(_)) => {}
            Some(Message::Again) => {
                self.newcomer = true;
                self.held_by.remove(from);
                self.all_soon(now);
            }
            None => self.handle_misfit(),
        }
        Vec::new()
    }

    /// Something that was heard does not fit here.
    pub(crate) fn handle_misfit(&mut self) {
        self.counters.misfits = self.counters.misfits.saturating_add(1);
    }

    /// Whether this node knows all flows of every peer that it has a link to.
    pub(crate) fn is_in_sync(&self) -> bool {
        self.peers.keys().all(|name| self.known.contains(name))
    }

    /// Peers that know all flows of this node.
    pub(crate) fn held_by(&self) -> &BTreeSet<NodeName> {
        &self.held_by
    }

    pub(crate) fn counters(&self) -> FlowCounters {
        self.counters
    }
}
