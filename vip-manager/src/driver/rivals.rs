//! Who claims a VIP of a group besides this node: what is a rival, and what is only late.

use crate::frame::Mac;
use fulcrum_config::Link;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// For so long after a takeover, frames of the former leader are on their way, or it has not heard of it yet.
const LATE: Duration = Duration::from_secs(1);
/// Time between defences against another machine's claims: two machines that do the same would never stop.
const DEFEND_INTERVAL: Duration = Duration::from_secs(1);

/// What a claim is to a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// This node stands by: the leader's own, or no matter of this node's.
    Led,
    /// The former leader's; neighbours are told again, and nobody is alarmed.
    Late,
    /// Another machine's.
    Rival,
}

/// What a group remembers of claims.
#[derive(Debug, Default)]
pub(super) struct Rivals {
    /// Who claimed its VIPs on each link while this node followed a leader: the leader, as its adverts don't
    /// tell its MAC.
    leaders: BTreeMap<Link, Mac>,
    led_since: Option<Instant>,
    defended: Option<Instant>,
}

impl Rivals {
    /// `mac` is that of the leader that this node takes over from.
    pub(super) fn handle_former(&mut self, link: &Link, mac: Mac) {
        self.leaders.insert(link.clone(), mac);
    }

    /// This node leads from now on.
    pub(super) fn handle_lead(&mut self, now: Instant) {
        self.led_since = Some(now);
    }

    /// `mac`, which is none of this machine's, claims a VIP. `follows` says whether this node follows a leader,
    /// and `leads` whether it leads itself.
    pub(super) fn handle_claim(
        &mut self,
        link: &Link,
        mac: Mac,
        follows: bool,
        leads: bool,
        now: Instant,
    ) -> Claim {
        if follows {
            self.leaders.insert(link.clone(), mac);
            return Claim::Led;
        }
        let fresh = self.led_since.is_some_and(|since| now.saturating_duration_since(since) < LATE);
        if leads && fresh && self.leaders.get(link) == Some(&mac) { Claim::Late } else { Claim::Rival }
    }

    /// Whether to announce the VIPs again because of a claim: not each time.
    pub(super) fn defend(&mut self, now: Instant) -> bool {
        if self.defended.is_some_and(|last| now.saturating_duration_since(last) < DEFEND_INTERVAL) {
            return false;
        }
        self.defended = Some(now);
        true
    }
}

#[cfg(test)]
mod tests;
