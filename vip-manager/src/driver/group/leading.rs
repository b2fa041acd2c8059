//! Answering for a group's addresses, and ceasing to.

use super::GroupDriver;
use super::configured::is_link_local;
use crate::border::Reason;
use fulcrum_config::Link;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

impl GroupDriver {
    /// This node answers from now on.
    pub(in crate::driver) fn lead(&mut self, reason: &Reason, now: Instant) {
        if matches!(reason, Reason::LeaderResigned | Reason::LeaderSilent | Reason::Preempted) {
            self.acquit_former();
        }
        self.leading = true;
        self.held = true;
        self.drain.handle_end();
        self.decided = Some(now);
        self.rivals.handle_lead(now);
        self.probe_suspects(now);
        self.announcer.handle_announce(now);
    }

    /// The process of this node that leads it is about to be gone: this one answers for the addresses, which nobody else has.
    pub(in crate::driver) fn inherit(&mut self, epoch: u64, now: Instant) {
        self.prober.handle_leader();
        self.router.handle_inherited(epoch, now);
    }

    /// Announces the addresses again if this node leads and `link` is one of the group's.
    pub(in crate::driver) fn announce_on(&mut self, link: &Link, now: Instant) {
        if self.leading && self.destinations.contains_key(link) {
            self.announcer.handle_announce(now);
        }
    }

    /// This node answers no more. Where it knows that somebody else answers its addresses stay a little longer, and
    /// as long as it finishes connections if the new leader passes their packets on.
    pub(in crate::driver) fn retire(&mut self, reason: &Reason, passed_on: bool, now: Instant) {
        self.leading = false;
        self.announcer.handle_retire();
        self.decided = None;
        if !is_handed_over(reason) {
            self.drain.handle_end();
            return;
        }
        let finish = if passed_on { self.group.drain } else { Duration::ZERO };
        self.drain.handle_handover(finish, now);
    }

    /// The addresses that are to be local now.
    ///
    /// A link-local address never is: the kernel looks those up on the interface that a packet came in by,
    /// never on the loopback. It is answered for all the same, as the gateway's address that it usually is.
    pub(in crate::driver) fn wanted(&self) -> BTreeSet<IpAddr> {
        if !self.group.accept || !(self.leading || self.drain.until().is_some()) {
            return BTreeSet::new();
        }
        let addresses = self.group.vips.iter().map(|vip| vip.address);
        addresses.filter(|address| self.conflict(*address).is_none() && !is_link_local(*address)).collect()
    }

    /// The addresses that this group has or had.
    pub(in crate::driver) fn ours(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.group.vips.iter().map(|vip| vip.address).chain(self.former.iter().copied())
    }

    /// Forgets what is not local any more. A former address that another group has is that one's.
    pub(in crate::driver) fn settle(
        &mut self,
        is_local: impl Fn(IpAddr) -> bool,
        configured: &BTreeSet<IpAddr>,
    ) {
        self.former.retain(|address| is_local(*address) && !configured.contains(address));
        self.held = self.leading || self.drain.until().is_some() || (self.held && self.ours().any(is_local));
    }

    /// Whether it waits for former addresses to be gone.
    pub(in crate::driver) fn has_former(&self) -> bool {
        !self.former.is_empty()
    }
}

/// Whether a leader that retires for `reason` knows who leads instead, or offered the group: neighbours are told
/// by the new one, and what they sent before still arrives here.
pub(super) fn is_handed_over(reason: &Reason) -> bool {
    match reason {
        Reason::Stopping
        | Reason::StandingDown
        | Reason::TrackFailed(_)
        | Reason::Balanced(_)
        | Reason::NotAnswering(_)
        | Reason::BetterLeader(_)
        | Reason::NotHeard(_) => true,
        Reason::Started
        | Reason::Inherited
        | Reason::LeaderSilent
        | Reason::NoLeader
        | Reason::LeaderResigned
        | Reason::Preempted
        | Reason::Owner
        | Reason::Stalled(_)
        | Reason::InterfaceDown(_)
        | Reason::InterfaceBack(_)
        | Reason::AddressConflict
        | Reason::NoQuorum
        | Reason::Reconfigured => false,
    }
}
