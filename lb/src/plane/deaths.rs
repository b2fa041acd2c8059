//! Which backends are dead for the flows that they have: not only judged down, but seen to be so by a node that can see.
//!
//! A node that is cut off judges one backend down after the other, and one after the other up again when the cut heals.
//! For that moment it may still take itself for the leader: a RST would end what lives elsewhere. So a backend is dead
//! once another one of its service was up beside it, without a break, for as long as a round of checks takes.

use fulcrum_config::BackendAddress;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// Of one service.
#[derive(Debug, Default)]
pub(super) struct Deaths {
    down_since: BTreeMap<BackendAddress, Instant>,
    /// Any other was up.
    any_up_since: Option<Instant>,
    dead: BTreeSet<BackendAddress>,
}

impl Deaths {
    /// What each is judged now: whether it is down.
    pub(super) fn handle(
        &mut self,
        judged: impl Iterator<Item = (BackendAddress, bool)>,
        round: Duration,
        now: Instant,
    ) {
        let before = std::mem::take(&mut self.down_since);
        let mut any_up = false;
        for (address, is_down) in judged {
            if is_down {
                self.down_since.insert(address, before.get(&address).copied().unwrap_or(now));
            } else {
                any_up = true;
            }
        }
        self.any_up_since = any_up.then(|| self.any_up_since.unwrap_or(now));
        self.dead.retain(|address| self.down_since.contains_key(address));
        self.handle_timeout(round, now);
    }

    /// Says whether another one is dead now.
    pub(super) fn handle_timeout(&mut self, round: Duration, now: Instant) -> bool {
        let Some(up_since) = self.any_up_since else {
            // Whoever was dead may live where this node can't see it.
            return !std::mem::take(&mut self.dead).is_empty();
        };
        let before = self.dead.len();
        let is_dead = |since: Instant| now.saturating_duration_since(since.max(up_since)) >= round;
        let dead = self.down_since.iter().filter(|(_, since)| is_dead(**since)).map(|(address, _)| *address);
        self.dead.extend(dead);
        self.dead.len() != before
    }

    pub(super) fn has(&self, address: BackendAddress) -> bool {
        self.dead.contains(&address)
    }
}
