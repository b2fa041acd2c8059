//! Whether somebody else has a group's addresses: what was probed, who claims them, and what is announced for it.

use super::GroupDriver;
use crate::border::Role;
use crate::driver::rivals::Claim;
use crate::election::elector::GRACE;
use crate::frame::Mac;
use crate::prober::Verdict;
use fulcrum_config::{Election, Link, Vip};
use std::net::IpAddr;
use std::time::Instant;

impl GroupDriver {
    /// Once every address was probed, this node may lead.
    pub(in crate::driver) fn finish_probing(&mut self, gathered: bool, now: Instant) {
        // A rival's claims were those of a leader, too: it yields, and then nobody would answer.
        if self.router.leader().is_some() || self.router.has_rival(now) {
            self.prober.handle_leader();
        }
        let up = self.router.role() != Role::Init;
        let waits = self.group.is_elected() && !gathered;
        if up && !self.prober_done && self.prober.is_done() && !waits {
            self.prober_done = true;
            match self.group.election {
                Election::Vrrp(_) => self.router.handle_clear(now),
                Election::Peers => self.router.handle_clear_anew(GRACE, now),
            }
        }
        let probing = self.prober.poll_timeout().is_some();
        if probing || self.probing {
            self.update_announced(now);
            self.log_conflicts();
        }
        self.probing = probing;
    }

    /// Conflicts that no living leader explains, each once: those that are left when this node leads.
    fn log_conflicts(&mut self) {
        for address in self.group.vips.iter().map(|vip| vip.address) {
            let mac = match self.prober.verdict(address) {
                Some(Verdict::Conflict(mac)) if self.leading => mac,
                Some(Verdict::Probing) => continue,
                Some(Verdict::Conflict(_) | Verdict::Clear) | None => {
                    self.told.remove(&address);
                    continue;
                }
            };
            if self.told.insert(address, mac) != Some(mac) {
                tracing::error!(
                    group = %self.group.name, %address, %mac,
                    "another machine uses this VIP; it stays down here; remove it there or choose another"
                );
            }
        }
    }

    pub(super) fn update_announced(&mut self, now: Instant) {
        let vips: Vec<Vip> =
            self.group.vips.iter().filter(|vip| self.is_probed(vip.address)).cloned().collect();
        if vips != self.announced {
            self.announced.clone_from(&vips);
            self.announcer.handle_vips(vips, now);
        }
    }

    /// Somebody else says that it has `address`, one of this group's. The virtual MAC is whoever's that leads.
    /// Gives whether there is news of a conflict, and what the claim is if the VIPs are announced again for it.
    pub(in crate::driver) fn handle_claim(
        &mut self,
        link: &Link,
        address: IpAddr,
        mac: Mac,
        now: Instant,
    ) -> (bool, Option<Claim>) {
        if self.virtual_macs.values().any(|own| *own == mac) {
            return (false, None);
        }
        let follows = self.router.leader().is_some();
        let claim = self.rivals.handle_claim(link, mac, follows, self.leading, now);
        if claim == Claim::Rival {
            self.proof.handle_claim(address, mac, now);
        }
        let news = claim != Claim::Late && self.prober.handle_claim(address, mac, now);
        // Whoever takes an offer may be heard to announce itself before it is heard to lead.
        if self.router.is_offering() || !self.answers(address) || !self.rivals.defend(now) {
            return (news, None);
        }
        self.announcer.handle_announce(now);
        (news, Some(claim))
    }

    /// Whether ARP and ND for `address` are answered: not any more from the moment that the router steps down,
    /// though that is acted upon only later in the turn.
    pub(in crate::driver) fn answers(&self, address: IpAddr) -> bool {
        self.leading && self.router.role() == Role::Leader && self.has(address) && self.is_probed(address)
    }

    /// Whether nobody else has `address`. One that is new in a group that this node leads is probed first.
    fn is_probed(&self, address: IpAddr) -> bool {
        match self.prober.verdict(address) {
            Some(Verdict::Clear) | None => true,
            Some(Verdict::Probing | Verdict::Conflict(_)) => false,
        }
    }

    /// The machine that has `address` already, if any.
    pub(in crate::driver) fn conflict(&self, address: IpAddr) -> Option<Mac> {
        match self.prober.verdict(address) {
            Some(Verdict::Conflict(mac)) => Some(mac),
            Some(Verdict::Probing) => self.suspects.get(&address).copied(),
            Some(Verdict::Clear) | None => None,
        }
    }

    /// A leader that was heard claimed the addresses rightfully, though the advert that made this node lead, its resignation
    /// or one of lower priority, may be the first that was heard of it.
    pub(super) fn acquit_former(&mut self) {
        let addresses = self.group.vips.iter().map(|vip| vip.address);
        let claims = addresses.filter_map(|address| Some((self.link_of(address)?, self.conflict(address)?)));
        let claims: Vec<(Link, Mac)> = claims.collect();
        for (link, mac) in claims {
            self.rivals.handle_former(&link, mac);
        }
        self.prober.handle_leader();
    }

    /// Who had an address when it was last probed may have been the leader that is gone now.
    pub(super) fn probe_suspects(&mut self, now: Instant) {
        let addresses: Vec<IpAddr> = self.group.vips.iter().map(|vip| vip.address).collect();
        let conflicts = addresses.iter().filter_map(|address| Some((*address, self.conflict(*address)?)));
        self.suspects = conflicts.collect();
        let known = |address: &IpAddr| self.prober.verdict(*address).is_some();
        let probed: Vec<IpAddr> = addresses.into_iter().filter(known).collect();
        let others: Vec<IpAddr> =
            probed.iter().copied().filter(|address| !self.suspects.contains_key(address)).collect();
        // Forgotten and told again, they are probed anew.
        self.prober.handle_addresses(others, now);
        self.prober.handle_addresses(probed, now);
    }
}
