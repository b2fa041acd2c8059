//! Whether somebody else uses an address before this node first answers for it (RFC 5227, RFC 4862).
//!
//! Three probes for each address, then it is clear. Whoever claims it meanwhile has it: that address stays
//! down here, the others work, and it is probed again from time to time. Only claims count: two nodes that
//! start together probe the same addresses at the same time, and neither has them. A living leader of the
//! group claims all of them rightfully, so when one is heard the probing ends. Its answers often come before
//! its first advert: a conflict means something only on a node that leads.

use crate::frame::Mac;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Probes for each address.
const PROBES: u32 = 3;
/// Time between them, and from the last one to the verdict. Shorter than RFC 5227's seconds: neighbours on a
/// link answer within milliseconds, and a node that starts alone must not leave the VIPs unanswered.
const SPACING: Duration = Duration::from_millis(100);
/// Until a conflict is looked at again.
const RECHECK: Duration = Duration::from_secs(30);

/// What is known of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Not yet.
    Probing,
    /// Nobody else has it.
    Clear,
    /// This MAC has it.
    Conflict(Mac),
}

/// Probes the addresses of one group.
#[derive(Debug, Default)]
pub struct Prober {
    addresses: BTreeMap<IpAddr, Probe>,
}

#[derive(Debug)]
struct Probe {
    verdict: Verdict,
    /// Probes sent in this go.
    sent: u32,
    /// The next probe, or the end of waiting for answers to the last one.
    due: Option<Instant>,
}

impl Prober {
    /// The addresses to probe: new ones begin now, others go on, missing ones are forgotten.
    pub fn handle_addresses(&mut self, addresses: impl IntoIterator<Item = IpAddr>, now: Instant) {
        let mut before = std::mem::take(&mut self.addresses);
        let fresh = || Probe { verdict: Verdict::Probing, sent: 0, due: Some(now) };
        self.addresses = addresses
            .into_iter()
            .map(|address| (address, before.remove(&address).unwrap_or_else(fresh)))
            .collect();
    }

    /// A leader of the group is heard: the addresses are its, and its answers were no conflict.
    pub fn handle_leader(&mut self) {
        for probe in self.addresses.values_mut() {
            if probe.due.is_some() {
                *probe = Probe { verdict: Verdict::Clear, sent: PROBES, due: None };
            }
        }
    }

    /// Somebody says that `mac` has `address`; an answer to a probe or anything else but a probe. Gives
    /// whether this is news of a conflict.
    pub fn handle_claim(&mut self, address: IpAddr, mac: Mac, now: Instant) -> bool {
        let Some(probe) = self.addresses.get_mut(&address) else { return false };
        if probe.due.is_none() {
            return false;
        }
        let news = probe.verdict != Verdict::Conflict(mac);
        *probe = Probe { verdict: Verdict::Conflict(mac), sent: 0, due: now.checked_add(RECHECK) };
        news
    }

    /// The next address to probe now, if any. Ask until there is none.
    pub fn poll_probe(&mut self, now: Instant) -> Option<IpAddr> {
        for (address, probe) in &mut self.addresses {
            if probe.due.is_none_or(|due| now < due) {
                continue;
            }
            if probe.sent < PROBES {
                probe.sent = probe.sent.saturating_add(1);
                probe.due = now.checked_add(SPACING);
                return Some(*address);
            }
            *probe = Probe { verdict: Verdict::Clear, sent: PROBES, due: None };
        }
        None
    }

    /// When to ask [`Prober::poll_probe`] again.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.addresses.values().filter_map(|probe| probe.due).min()
    }

    /// What is known of `address`; `None` if it is not probed.
    #[must_use]
    pub fn verdict(&self, address: IpAddr) -> Option<Verdict> {
        self.addresses.get(&address).map(|probe| probe.verdict)
    }

    /// Whether every address has a verdict.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.addresses.values().all(|probe| probe.verdict != Verdict::Probing)
    }
}

#[cfg(test)]
mod tests;
