//! What the kernel's fence is told of a group: a state, and until when it holds.
//!
//! The heartbeat of a group that this node leads lasts for as long as its peers wait at least, and is renewed by
//! the loop that sends the adverts: if that stands still, the kernel silences the group before a peer leads it.

use crate::witness::{Lead, Opinion};
use std::time::{Duration, Instant};

/// What a group's VIPs may do here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Permit {
    /// Nothing.
    Silent,
    /// Everything, for `patience` from the last time that this was said, which is at least every `interval`.
    Leading {
        /// Between adverts.
        interval: Duration,
        /// The least that peers wait before they take over.
        patience: Duration,
        /// It may not last longer, as far as the peers' votes and echoes say.
        most: Option<Instant>,
        /// This node offers the group: a peer that says that it leads has taken what it was offered.
        offered: bool,
    },
    /// Packets of what goes on, but neither ARP nor ND; said again as often as for a leader.
    Draining {
        /// Its end.
        until: Instant,
        /// Between adverts.
        interval: Duration,
        /// As for a leader.
        patience: Duration,
    },
}

impl Permit {
    /// The same as far as the peers' echoes allow it.
    pub(crate) fn witnessed(self, opinion: Opinion, now: Instant) -> Self {
        match (self, opinion) {
            // What was sent to this node before goes on, until the advert says the same and the group is handed over.
            (Self::Leading { interval, patience, offered: true, .. }, Opinion::Denied) => {
                Self::Draining { until: now.checked_add(patience).unwrap_or(now), interval, patience }
            }
            (Self::Leading { .. }, Opinion::Denied) => Self::Silent,
            (Self::Leading { interval, patience, most, offered }, Opinion::Until(confirmed)) => {
                let most = Some(most.map_or(confirmed, |most| most.min(confirmed)));
                Self::Leading { interval, patience, most, offered }
            }
            (permit, Opinion::Free | Opinion::Until(_) | Opinion::Denied) => permit,
        }
    }

    /// How the group is led, if it is.
    pub(crate) fn lead(self) -> Option<Lead> {
        match self {
            Self::Leading { interval, patience, .. } => Some(Lead { interval, patience }),
            Self::Silent | Self::Draining { .. } => None,
        }
    }
}

/// What to tell the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Silent.
    Silent,
    /// Leading until then.
    Leading(Instant),
    /// Draining until then.
    Draining(Instant),
}

/// What the kernel knows of one group; a new one is silent.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    told: Order,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self { told: Order::Silent }
    }
}

impl Heartbeat {
    /// What the kernel must be told now, if anything. Only once it was told: [`Heartbeat::handle_told`].
    pub(crate) fn poll_order(&self, permit: Permit, now: Instant) -> Option<Order> {
        let order = match permit {
            Permit::Silent => Order::Silent,
            Permit::Draining { until, interval, patience } => {
                let until = now.checked_add(patience)?.min(until);
                if let Order::Draining(told) = self.told
                    && is_fresh(told, until, interval)
                {
                    return None;
                }
                Order::Draining(until)
            }
            Permit::Leading { interval, patience, most, .. } => {
                let until = now.checked_add(patience)?;
                let until = most.map_or(until, |most| most.min(until));
                if let Order::Leading(told) = self.told
                    && is_fresh(told, until, interval)
                {
                    return None;
                }
                Order::Leading(until)
            }
        };
        (order != self.told).then_some(order)
    }

    /// The kernel knows it.
    pub(crate) fn handle_told(&mut self, order: Order) {
        self.told = order;
    }
}

/// Adverts are due every interval; the turn of the loop may come a little early.
fn is_fresh(told: Instant, until: Instant, interval: Duration) -> bool {
    told <= until && until.saturating_duration_since(told).saturating_mul(2) < interval
}

#[cfg(test)]
mod tests;
