//! Which groups this node could lead at once, as it tells its peers.

use super::Driver;
use super::marks::lock;
use crate::control_plane::{self, Known};
use crate::ready::{self, Own};
use fulcrum_config::{BackendName, GroupName, ServiceName};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How often it is looked at what keeps this node from leading, at most.
const LOOK_AT_OWN: Duration = Duration::from_millis(100);

/// What keeps this node from leading groups.
#[derive(Debug, Default)]
pub(super) struct OwnReadiness {
    looked: Option<Instant>,
    reasons: Option<BTreeMap<GroupName, String>>,
    /// The same, as peers are told.
    unready: Option<BTreeMap<String, BTreeSet<GroupName>>>,
    fails: BTreeMap<ServiceName, BTreeSet<BackendName>>,
}

impl OwnReadiness {
    fn is_ready(&self, group: &GroupName) -> bool {
        self.reasons.as_ref().is_some_and(|reasons| !reasons.contains_key(group))
    }
}

impl Driver {
    /// Finds out which groups this node could lead, and tells the peers.
    pub(super) fn look_at_readiness(&mut self, now: Instant) {
        self.look_at_own(now);
        let asked = self.asked.borrow();
        let nothing = fulcrum_peer::Observed::default();
        let heard = self.engines.peer.observed.borrow();
        let peer = if self.peer_lives { &*heard } else { &nothing };
        let vip = self.engines.vip.observed.borrow();
        let mut marks = lock(&self.marks);
        marks.ready =
            control_plane::protected(&asked.config).filter(|it| self.own.is_ready(it)).cloned().collect();
        let without = control_plane::without_standby(Known { config: &asked.config, vip: &vip, peer });
        marks.without_standby.retain(|group, _| without.contains(group));
        for group in without {
            marks.without_standby.entry(group).or_insert(now);
        }
        let (ready, knows) = (marks.ready.clone(), control_plane::known_moves(peer));
        self.engines.peer.desired.send_if_modified(|desired| {
            let word = &mut desired.word;
            let unready = self.own.unready.as_ref();
            let is_news = word.ready != ready
                || word.moves != asked.moves
                || word.knows != knows
                || word.prepares != asked.prepares
                || word.prepared.as_ref() != Some(&asked.prepared)
                || word.unready.as_ref() != unready
                || word.fails != self.own.fails;
            if is_news {
                (word.ready, word.knows) = (ready, knows);
                word.moves.clone_from(&asked.moves);
                word.prepares.clone_from(&asked.prepares);
                word.prepared = Some(asked.prepared.clone());
                word.unready = unready.cloned();
                word.fails.clone_from(&self.own.fails);
            }
            is_news
        });
    }

    /// Looks anew at what keeps this node from leading, if enough time has passed: there may be thousands of services.
    fn look_at_own(&mut self, now: Instant) {
        if self.own.looked.is_some_and(|looked| now.saturating_duration_since(looked) < LOOK_AT_OWN) {
            return;
        }
        let asked = self.asked.borrow();
        let health = self.engines.health.observed.borrow();
        let is_known = lock(&self.marks).first_round_done;
        let reasons = ready::reasons(Own {
            config: &asked.config,
            vip: &self.engines.vip.observed.borrow(),
            lb: &self.engines.lb.observed.borrow(),
            behind: self.verdicts.behind(),
            standing_down: &asked.left(),
            held_back: asked.held_back.as_deref(),
            stopping: asked.stopping,
            first_round_done: is_known,
        });
        let fails = ready::fails(&asked.config, &health);
        self.own = OwnReadiness {
            looked: Some(now),
            unready: Some(ready::in_words(&reasons)),
            reasons: Some(reasons),
            fails,
        };
    }
}
