//! Who is there, and who leads what: what the heartbeats of the other nodes say.

use super::heartbeat::{Heartbeat, Said, State};
use fulcrum_config::NodeName;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// Heartbeats overtake each other: what comes so many after one that was sent later may still say something new.
const REORDERED: u64 = 64;
/// How long a node that starts waits for the others before it leads, unless it has heard all of them.
const GATHER: Duration = Duration::from_secs(3);

/// What is known of the other nodes.
#[derive(Debug)]
pub struct Members {
    started: Instant,
    peers: BTreeMap<NodeName, Peer>,
    /// Of each group the latest epoch that another node leads it in, who does, and when that was heard.
    latest: BTreeMap<u64, (u64, NodeName, Instant)>,
}

/// The last that one of them said.
#[derive(Debug)]
struct Peer {
    instance: u64,
    sequence: u64,
    heard: Instant,
    groups: BTreeMap<u64, Known>,
}

/// The last that it said of a group.
#[derive(Debug)]
struct Known {
    said: Said,
    sequence: u64,
    heard: Instant,
}

/// What is so now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// The other nodes that live.
    pub live: BTreeSet<NodeName>,
    /// Who leads each group that one of them leads; of several the one of the latest epoch.
    pub owners: BTreeMap<u64, NodeName>,
    /// Who is unfit to lead which group.
    pub unfit: BTreeSet<(u64, NodeName)>,
    /// Who leads a group that another one leads in a later epoch.
    pub doubled: BTreeSet<(u64, NodeName)>,
}

/// A heartbeat that came far too late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stale;

impl Members {
    /// Nobody was heard yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { started: now, peers: BTreeMap::new(), latest: BTreeMap::new() }
    }

    /// A node said this: gives what it says of groups of which neither it nor a later leader has said something since.
    ///
    /// # Errors
    /// It said something later already.
    pub fn handle_heartbeat(
        &mut self,
        node: &NodeName,
        heartbeat: &Heartbeat,
        now: Instant,
    ) -> Result<Vec<Said>, Stale> {
        let Heartbeat { instance, sequence, ref groups } = *heartbeat;
        let new = || Peer { instance, sequence: 0, heard: now, groups: BTreeMap::new() };
        let peer = self.peers.entry(node.clone()).or_insert_with(new);
        if peer.instance != instance {
            *peer = new();
        }
        if sequence.saturating_add(REORDERED) <= peer.sequence {
            return Err(Stale);
        }
        if sequence > peer.sequence {
            peer.sequence = sequence;
            peer.heard = now;
        }
        let is_news =
            |said: &&Said| peer.groups.get(&said.group).is_none_or(|known| known.sequence < sequence);
        let mut news: Vec<Said> = groups.iter().filter(is_news).copied().collect();
        let known = |said: &Said| (said.group, Known { said: *said, sequence, heard: now });
        peer.groups.extend(news.iter().map(known));
        news.retain(|said| self.is_of_now(node, said, now));
        Ok(news)
    }

    /// Whether nobody else has just said that it leads the group in a later epoch: what the one before says then is late.
    fn is_of_now(&mut self, node: &NodeName, said: &Said, now: Instant) -> bool {
        let latest = self.latest.get(&said.group).filter(|(epoch, other, heard)| {
            let is_fresh = now.saturating_duration_since(*heard) <= said.interval.duration();
            *epoch > said.epoch && other != node && is_fresh
        });
        if latest.is_some() {
            return false;
        }
        if let State::Leads(_) | State::Offers(_) = said.state {
            self.latest.insert(said.group, (said.epoch, node.clone(), now));
        }
        true
    }

    /// What is so, of what was heard within `patience`. What is older is forgotten.
    pub fn view(&mut self, patience: Duration, now: Instant) -> View {
        let is_fresh = |heard: Instant| now.saturating_duration_since(heard) <= patience;
        self.peers.retain(|_, peer| is_fresh(peer.heard));
        self.latest.retain(|_, (_, _, heard)| is_fresh(*heard));
        let mut view = View::default();
        let mut epochs: BTreeMap<u64, u64> = BTreeMap::new();
        // Whoever takes what is offered leads it, and the one that offered it is no second leader.
        let mut offered: Vec<(u64, NodeName)> = Vec::new();
        for (node, peer) in &mut self.peers {
            view.live.insert(node.clone());
            peer.groups.retain(|_, known| is_fresh(known.heard));
            for (group, Known { said, .. }) in &peer.groups {
                match said.state {
                    State::Leads(_) if epochs.get(group).is_none_or(|known| *known < said.epoch) => {
                        epochs.insert(*group, said.epoch);
                        let former = view.owners.insert(*group, node.clone());
                        view.doubled.extend(former.map(|former| (*group, former)));
                    }
                    State::Leads(_) => drop(view.doubled.insert((*group, node.clone()))),
                    State::Offers(_) => offered.push((*group, node.clone())),
                    State::Unfit => drop(view.unfit.insert((*group, node.clone()))),
                    State::Resigns => {}
                }
            }
        }
        for (group, node) in offered {
            view.owners.entry(group).or_insert(node);
        }
        view
    }

    /// Whether a node was heard within `time`.
    #[must_use]
    pub fn is_heard(&self, node: &NodeName, time: Duration, now: Instant) -> bool {
        self.peers.get(node).is_some_and(|peer| now.saturating_duration_since(peer.heard) <= time)
    }

    /// Whether it is time to lead what nobody leads: `all` of the others are heard, or were waited for.
    #[must_use]
    pub fn is_gathered<'a>(&self, mut all: impl Iterator<Item = &'a NodeName>, now: Instant) -> bool {
        now.saturating_duration_since(self.started) >= GATHER || all.all(|node| self.peers.contains_key(node))
    }
}
