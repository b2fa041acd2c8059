//! Leader: RFC 9568 section 6.4.3.

use super::claims::Judgement;
use super::standby::{Standby, after};
use super::{Action, OWNER, Router, State};
use crate::advert::{Advert, Refusal};
use crate::border::Reason;
use fulcrum_config::Link;
use std::cmp::Ordering;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Advert intervals that an offer lasts: a standby's skew is always less than one.
const OFFER: u32 = 2;
/// Advert intervals between two offers of a last resort.
const OFFER_AGAIN: u32 = 100;
/// Down intervals for which a rival must go on despite our better claim until we yield.
const YIELD: u32 = 3;

/// What a leader keeps in mind.
#[derive(Debug)]
pub(super) struct Leader {
    /// Adver_Timer.
    next: Instant,
    /// When it last answered a rival out of turn.
    asserted: Option<Instant>,
    offer: Offer,
    rival: Option<Rival>,
}

#[derive(Debug)]
enum Offer {
    /// Not needed so far.
    None,
    /// Until then, somebody else may take the group.
    Open { ends: Instant },
    /// Nobody took it; offer again then.
    Declined { again: Instant },
}

/// Somebody with a lesser claim who leads as well.
#[derive(Debug)]
struct Rival {
    since: Instant,
    last: Instant,
    known: bool,
}

impl Leader {
    fn new(now: Instant, interval: Duration) -> Self {
        Self { next: after(now, interval), asserted: None, offer: Offer::None, rival: None }
    }

    pub(super) fn deadline(&self) -> Instant {
        match self.offer {
            Offer::None => self.next,
            Offer::Open { ends: due } | Offer::Declined { again: due } => self.next.min(due),
        }
    }

    pub(super) fn is_offering(&self) -> bool {
        matches!(self.offer, Offer::Open { .. })
    }

    /// Whether it offers, or nobody took its offer.
    pub(super) fn has_offered(&self) -> bool {
        !matches!(self.offer, Offer::None)
    }

    /// Whether a configured node is a rival at present.
    pub(super) fn has_known_rival(&self) -> bool {
        self.known_rival_heard().is_some()
    }

    /// When a configured node with a lesser claim was last heard to lead as well.
    pub(super) fn known_rival_heard(&self) -> Option<Instant> {
        self.rival.as_ref().filter(|rival| rival.known).map(|rival| rival.last)
    }
}

impl Router {
    /// Takes over: tells rivals first, then answers.
    pub(super) fn lead(&mut self, reason: Reason, now: Instant) {
        self.saw_new_leader();
        self.begin_to_lead(reason, now);
    }

    /// The process of this node that leads, in `epoch`, is about to be gone, and this one leads on: nobody else is to notice.
    /// Only a standby whose links are known can.
    pub fn handle_inherited(&mut self, epoch: u64, now: Instant) {
        if !matches!(self.state, State::Standby(_)) || self.stopping {
            return;
        }
        self.set_clear(now);
        self.handle_epoch(epoch);
        self.begin_to_lead(Reason::Inherited, now);
    }

    fn begin_to_lead(&mut self, reason: Reason, now: Instant) {
        let interval = self.spec.interval.duration();
        let leader = Leader::new(now, interval);
        self.following = None;
        self.enter(State::Leader(leader), reason.clone(), now);
        if self.is_last_resort() {
            self.decline(now);
        }
        self.advertise(self.effective_priority(), now);
        self.actions.push_back(Action::Lead { reason });
    }

    /// Steps down if it did not run for so long that its peers may have taken over.
    pub(super) fn handle_wake(&mut self, now: Instant) {
        if matches!(self.state, State::Leader(_)) && !self.may_send(now) {
            self.step_down_silently(now.saturating_duration_since(self.spoke), now);
        }
    }

    /// Whether what it decided to say as a leader may still leave, also if this process did not run in between: an old advert
    /// would have a peer give way that took over meanwhile. A resignation may always.
    #[must_use]
    pub fn may_send(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.spoke) < self.stall_limit()
    }

    pub(super) fn step_down_silently(&mut self, paused: Duration, now: Instant) {
        // Nor is said late what it decided to say before.
        self.actions
            .retain(|action| !matches!(action, Action::SendAdvert { advert, .. } if advert.priority > 0));
        self.step_down(Standby::new(self.spec.interval, now), Reason::Stalled(paused), now);
    }

    /// Too few nodes let it lead on. Those who hear it need not wait for its silence.
    pub(super) fn give_up(&mut self, now: Instant) {
        self.advertise(0, now);
        self.step_down(Standby::new(self.spec.interval, now), Reason::NoQuorum, now);
    }

    fn step_down(&mut self, standby: Standby, reason: Reason, now: Instant) {
        self.actions.retain(|action| matches!(action, Action::SendAdvert { .. }));
        self.actions.push_back(Action::Retire { reason: reason.clone() });
        if self.stopping {
            self.enter(State::Init, Reason::Stopping, now);
        } else {
            self.enter(State::Standby(standby), reason, now);
        }
    }

    pub(super) fn handle_leader_timer(&mut self, now: Instant) {
        let interval = self.spec.interval.duration();
        let State::Leader(leader) = &mut self.state else { return };
        match leader.offer {
            Offer::Open { ends } if now >= ends && self.stopping => return self.retire_stopped(now),
            Offer::Open { ends } if now >= ends => {
                leader.next = now;
                self.decline(now);
            }
            Offer::Declined { again } if now >= again => return self.offer(now),
            Offer::None | Offer::Open { .. } | Offer::Declined { .. } => {}
        }
        let State::Leader(leader) = &mut self.state else { return };
        if now < leader.next {
            return;
        }
        // In step with the last one, so that lateness does not add up, but never in the past.
        let next = after(leader.next, interval);
        leader.next = if next > now { next } else { after(now, interval) };
        self.advertise_in_force(now);
    }

    pub(super) fn handle_leader_advert(
        &mut self,
        link: &Link,
        source: IpAddr,
        advert: &Advert,
        claimed: bool,
        now: Instant,
    ) -> Result<(), Refusal> {
        let priority = self.effective_priority();
        let State::Leader(leader) = &self.state else { return Ok(()) };
        if leader.is_offering() {
            if advert.priority > 0 && !claimed && self.judge(link, source, advert, now) != Judgement::Counts {
                return Ok(());
            }
            // Whoever leads now, it is somebody else. One that offers as well took our offer unheard: then the
            // one that stops goes at once, and any other says that it stays.
            if advert.priority > 0 || self.stopping {
                self.hand_over(link, source, advert, now);
            } else {
                self.decline(now);
                self.advertise_change(now);
            }
            return Ok(());
        }
        if priority == OWNER {
            self.assert_lead(now);
            return Err(Refusal::WhileOwner);
        }
        let loses = match advert.priority.cmp(&priority) {
            _ if advert.priority == 0 => false,
            Ordering::Greater => true,
            Ordering::Equal => self.loses_tie(link, source),
            Ordering::Less => false,
        };
        let unheard = !loses && advert.priority > 0 && self.is_unheard(link, source, advert, now);
        let judgement = if claimed || !(loses || unheard) {
            Judgement::Counts
        } else {
            self.judge(link, source, advert, now)
        };
        if judgement == Judgement::Waits {
            return Ok(());
        }
        if judgement == Judgement::Denied {
            self.assert_lead(now);
        } else if loses {
            // The last word of a rival: the better leader announces again for the neighbours that believed us.
            self.advertise(priority, now);
            self.yield_to(link, source, advert, false, now);
        } else if unheard {
            self.yield_to(link, source, advert, true, now);
        } else {
            self.assert_lead(now);
        }
        Ok(())
    }

    /// Somebody took what was offered: the reason is that of the offer.
    fn hand_over(&mut self, link: &Link, source: IpAddr, advert: &Advert, now: Instant) {
        let reason = if self.stopping { Some(Reason::Stopping) } else { self.last_resort_reason() };
        let reason = reason.unwrap_or_else(|| Reason::BetterLeader(self.seen(source, advert)));
        self.follow(link, source, advert);
        self.step_down(Standby::new(advert.interval, now), reason, now);
    }

    fn yield_to(&mut self, link: &Link, source: IpAddr, advert: &Advert, unheard: bool, now: Instant) {
        let seen = self.seen(source, advert);
        self.follow(link, source, advert);
        let reason = if unheard { Reason::NotHeard(seen) } else { Reason::BetterLeader(seen) };
        let mut standby = Standby::new(advert.interval, now);
        standby.yielded = unheard;
        self.step_down(standby, reason, now);
    }

    /// Whether this rival has gone on for so long, despite our better claim, that it can't hear us.
    fn is_unheard(&mut self, link: &Link, source: IpAddr, advert: &Advert, now: Instant) -> bool {
        let known = self.peer(source).is_some();
        let same = self.spec.link(link).is_some_and(|spec| same_addresses(&spec.listed, &advert.addresses));
        let down = super::down_interval(0, self.spec.interval);
        let State::Leader(leader) = &mut self.state else { return false };
        let gap = advert.interval.duration().saturating_mul(3);
        let since = match &leader.rival {
            Some(rival) if now.saturating_duration_since(rival.last) <= gap => rival.since,
            Some(_) | None => now,
        };
        leader.rival = Some(Rival { since, last: now, known });
        same && now.saturating_duration_since(since) >= down.saturating_mul(YIELD)
    }

    /// Tells a rival, switches and neighbours who leads; at most once per advert interval, so that two
    /// nodes that both believe to be better don't answer each other for ever.
    pub(super) fn assert_lead(&mut self, now: Instant) {
        let interval = self.spec.interval.duration();
        let State::Leader(leader) = &mut self.state else { return };
        if leader.is_offering() {
            return;
        }
        if leader.asserted.is_some_and(|asserted| now < after(asserted, interval)) {
            return;
        }
        leader.asserted = Some(now);
        leader.next = after(now, interval);
        self.advertise_in_force(now);
        self.actions.push_back(Action::Announce);
    }

    /// Asks somebody better to take over; goes on answering meanwhile.
    pub(super) fn offer(&mut self, now: Instant) {
        let interval = self.spec.interval.duration();
        let State::Leader(leader) = &mut self.state else { return };
        leader.offer = Offer::Open { ends: after(now, interval.saturating_mul(OFFER)) };
        leader.next = after(now, interval);
        self.advertise_in_force(now);
        if self.stopping && self.spec.peers.is_empty() {
            self.retire_stopped(now);
        }
    }

    /// Nobody took the offer, or nobody is asked for now.
    fn decline(&mut self, now: Instant) {
        let again = after(now, self.spec.interval.duration().saturating_mul(OFFER_AGAIN));
        if let State::Leader(leader) = &mut self.state {
            leader.offer = Offer::Declined { again };
        }
    }

    pub(super) fn end_offer(&mut self, now: Instant) {
        if let State::Leader(leader) = &mut self.state {
            leader.offer = Offer::None;
        }
        self.advertise_change(now);
    }

    fn retire_stopped(&mut self, now: Instant) {
        self.advertise(0, now);
        self.enter_init(Reason::Stopping, now);
    }

    /// Lets standbys know at once what changed.
    pub(super) fn advertise_change(&mut self, now: Instant) {
        let interval = self.spec.interval.duration();
        if let State::Leader(leader) = &mut self.state {
            leader.next = after(now, interval);
            self.advertise_in_force(now);
        }
    }

    fn advertise_in_force(&mut self, now: Instant) {
        let priority = self.effective_priority();
        let State::Leader(leader) = &self.state else { return };
        let priority = if leader.is_offering() { 0 } else { priority };
        self.advertise(priority, now);
    }

    fn advertise(&mut self, priority: u8, now: Instant) {
        self.spoke = now;
        let up = self.links.iter().filter(|(_, address)| address.is_some());
        let adverts: Vec<Action> = up
            .filter_map(|(link, _)| {
                let advert = self.advert(link, priority)?;
                Some(Action::SendAdvert { link: link.clone(), advert })
            })
            .collect();
        self.actions.extend(adverts);
    }
}

fn same_addresses(ours: &[IpAddr], theirs: &[IpAddr]) -> bool {
    let sorted = |addresses: &[IpAddr]| {
        let mut addresses = addresses.to_vec();
        addresses.sort_unstable();
        addresses
    };
    sorted(ours) == sorted(theirs)
}
