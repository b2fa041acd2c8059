//! What the peers' echoes say of a lead: whether its heartbeat in the kernel may be renewed.
//!
//! A guest's clock may stand still while its hypervisor pauses it. When it comes back it finds its heartbeat fresh,
//! although somebody else leads by now. So while a peer lives, a heartbeat is renewed on that peer's echo, and counts from
//! when what was echoed was sent: nothing from before the pause renews it for longer. The first echo after the pause
//! says that the peer leads, and silences this node at once.
//!
//! That is only ever for a while. A peer that does not echo may be dead, and one that says that it leads may be wrong:
//! then the local clock and the adverts decide, as without a link.

use crate::border::Echo;
use fulcrum_config::{GroupName, NodeName};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// The last echo of each peer whose link is up.
pub(crate) type Echoes = BTreeMap<NodeName, Echo>;

/// The part of its peers' patience for which a leader waits for an echo.
const WAITS: u32 = 2;

/// How a group is led, if it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lead {
    /// Between adverts. Heartbeats to peers are no rarer.
    pub(crate) interval: Duration,
    /// The least that peers wait before they take over.
    pub(crate) patience: Duration,
}

/// What the echoes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opinion {
    /// Nothing: the local clock decides.
    Free,
    /// The heartbeat may last until then at most.
    Until(Instant),
    /// Somebody else leads.
    Denied,
}

/// Of one group.
#[derive(Debug, Default)]
pub(crate) struct Witnesses {
    term: Option<Term>,
}

/// Since this node leads.
#[derive(Debug)]
struct Term {
    begun: Instant,
    /// When what the latest good echo is of was sent. This node's own decision is as good as one.
    confirmed: Instant,
    /// Peers that did not lead when they echoed: if one does later, it took over.
    standing_by: BTreeSet<NodeName>,
    /// Those that did, and since when there are any.
    deniers: BTreeSet<NodeName>,
    denied: Option<Instant>,
}

impl Witnesses {
    /// What the echoes of those that may lead the group say now.
    pub(crate) fn judge<'a>(
        &mut self,
        lead: Option<Lead>,
        group: &GroupName,
        echoes: impl Iterator<Item = (&'a NodeName, &'a Echo)>,
        now: Instant,
    ) -> Opinion {
        let Some(Lead { interval, patience }) = lead else {
            self.term = None;
            return Opinion::Free;
        };
        let term = self.term.get_or_insert_with(|| Term::new(now));
        let waits = patience.checked_div(WAITS).unwrap_or(patience);
        let is_recent = |sent: Instant| now.saturating_duration_since(sent) <= waits;
        let (begun, mut denied) = (term.begun, false);
        for (node, echo) in echoes.filter(|(_, echo)| echo.sent >= begun && is_recent(echo.sent)) {
            match &echo.leads {
                Some(leads) if leads.contains(group) => denied |= term.handle_denial(node, now),
                Some(_) => term.handle_good(node, echo.sent),
                // It leads something else than it did, and has not said what.
                None => {}
            }
        }
        if denied && term.denied.is_some_and(|since| now.saturating_duration_since(since) <= patience) {
            return Opinion::Denied;
        }
        if !is_recent(term.confirmed) {
            return Opinion::Free;
        }
        let most = interval.saturating_add(patience);
        term.confirmed.checked_add(most).map_or(Opinion::Free, Opinion::Until)
    }
}

impl Term {
    fn new(now: Instant) -> Self {
        Self {
            begun: now,
            confirmed: now,
            standing_by: BTreeSet::new(),
            deniers: BTreeSet::new(),
            denied: None,
        }
    }

    fn handle_good(&mut self, node: &NodeName, sent: Instant) {
        self.confirmed = self.confirmed.max(sent);
        if !self.standing_by.contains(node) {
            self.standing_by.insert(node.clone());
        }
        if self.deniers.remove(node) && self.deniers.is_empty() {
            self.denied = None;
        }
    }

    /// Whether the peer took over since this node leads. One that led before may not have heard yet that it does.
    fn handle_denial(&mut self, node: &NodeName, now: Instant) -> bool {
        if self.standing_by.remove(node) {
            self.deniers.insert(node.clone());
            self.denied.get_or_insert(now);
        }
        self.deniers.contains(node)
    }
}
