//! Who is there, and who leads what: what the heartbeats of the other nodes say.

use super::heartbeat::{Heartbeat, State};
use fulcrum_config::NodeName;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// How long a node that starts waits for the others before it leads, unless it has heard all of them.
const GATHER: Duration = Duration::from_secs(3);

/// What is known of the other nodes.
#[derive(Debug)]
pub struct Members {
    started: Instant,
    peers: BTreeMap<NodeName, Peer>,
}

/// The last that one of them said.
#[derive(Debug)]
struct Peer {
    instance: u64,
    sequence: u64,
    heard: Instant,
    groups: BTreeMap<u64, (State, u64, Instant)>,
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
}

/// A heartbeat that came late or twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stale;

impl Members {
    /// Nobody was heard yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { started: now, peers: BTreeMap::new() }
    }

    /// A node said this.
    ///
    /// # Errors
    /// It said something later already.
    pub fn handle_heartbeat(
        &mut self,
        node: &NodeName,
        heartbeat: &Heartbeat,
        now: Instant,
    ) -> Result<(), Stale> {
        let Heartbeat { instance, sequence, groups } = heartbeat;
        let known = self.peers.get(node).filter(|peer| peer.instance == *instance);
        if known.is_some_and(|peer| *sequence <= peer.sequence) {
            return Err(Stale);
        }
        if known.is_none() {
            let peer = Peer { instance: *instance, sequence: 0, heard: now, groups: BTreeMap::new() };
            self.peers.insert(node.clone(), peer);
        }
        if let Some(peer) = self.peers.get_mut(node) {
            peer.sequence = *sequence;
            peer.heard = now;
            peer.groups.extend(groups.iter().map(|said| (said.group, (said.state, said.epoch, now))));
        }
        Ok(())
    }

    /// What is so, of what was heard within `patience`. What is older is forgotten.
    pub fn view(&mut self, patience: Duration, now: Instant) -> View {
        let is_fresh = |heard: Instant| now.saturating_duration_since(heard) <= patience;
        self.peers.retain(|_, peer| is_fresh(peer.heard));
        let mut view = View::default();
        let mut epochs: BTreeMap<u64, u64> = BTreeMap::new();
        for (node, peer) in &mut self.peers {
            view.live.insert(node.clone());
            peer.groups.retain(|_, (_, _, heard)| is_fresh(*heard));
            for (group, (state, epoch, _)) in &peer.groups {
                match state {
                    State::Leads(_) if epochs.get(group).is_none_or(|known| known < epoch) => {
                        epochs.insert(*group, *epoch);
                        view.owners.insert(*group, node.clone());
                    }
                    State::Unfit => drop(view.unfit.insert((*group, node.clone()))),
                    State::Leads(_) | State::Resigns => {}
                }
            }
        }
        view
    }

    /// Whether it is time to lead what nobody leads: `all` of the others are heard, or were waited for.
    #[must_use]
    pub fn is_gathered<'a>(&self, mut all: impl Iterator<Item = &'a NodeName>, now: Instant) -> bool {
        now.saturating_duration_since(self.started) >= GATHER || all.all(|node| self.peers.contains_key(node))
    }
}
