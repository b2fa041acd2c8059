//! Deciding whose verdicts about backends count.

use super::Driver;
use super::marks::lock;
use crate::verdicts::{Essence, Seen, WAITS};
use fulcrum_config::Config;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often verdicts are looked at though nothing that decides has changed: this node's own checks are compared too.
const LOOK: Duration = Duration::from_secs(1);

impl Driver {
    /// Decides whose verdicts count, and tells whoever has to know.
    pub(super) fn judge(&mut self, now: Instant) {
        let Some(news) = self.look(now) else { return };
        if news {
            self.tell_lb();
        }
        self.tell_peer();
        self.tell_behind();
        while let Some(group) = self.verdicts.poll_given_up() {
            tracing::warn!(
                %group,
                "the leader's verdicts, tables and connections are not all here after {} s: if this node takes the group back, flows may break",
                WAITS.as_secs()
            );
        }
        let view = self.verdicts.view();
        lock(&self.marks).verdicts = view;
    }

    /// Looks at what decides about verdicts, if anything of it has changed or enough time has passed: says whether the
    /// data plane is to be told.
    fn look(&mut self, now: Instant) -> Option<bool> {
        let asked = self.asked.borrow();
        let nothing = fulcrum_peer::Observed::default();
        let peer = self.engines.peer.observed.borrow();
        let seen = Seen {
            config: &asked.config,
            health: &self.engines.health.observed.borrow(),
            vip: &self.engines.vip.observed.borrow(),
            lb: &self.engines.lb.observed.borrow(),
            peer: if self.peer_lives { &peer } else { &nothing },
        };
        let essence = seen.essence();
        let is_known = |(config, known, again): &(Arc<Config>, Essence, Instant)| {
            Arc::ptr_eq(config, &asked.config) && *known == essence && now < *again
        };
        if self.looked.as_ref().is_some_and(is_known) {
            return None;
        }
        let news = self.verdicts.handle(&seen, now);
        let again = now.checked_add(LOOK).unwrap_or(now);
        let again = self.verdicts.poll_timeout().map_or(again, |due| due.min(again));
        self.looked = Some((Arc::clone(&asked.config), essence, again));
        Some(news)
    }
}
