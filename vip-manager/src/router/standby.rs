//! Standby: RFC 9568 section 6.4.2.

use super::{OWNER, Router, State, down_interval, skew};
use crate::advert::{Advert, Refusal};
use crate::border::Reason;
use fulcrum_config::{AdvertInterval, Link, NodeKind, Preempt};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// What a standby waits for.
#[derive(Debug)]
pub(super) struct Standby {
    /// Active_Adver_Interval.
    pub(super) interval: AdvertInterval,
    /// When the Active_Down_Timer was started.
    pub(super) heard: Instant,
    /// The leader resigned then.
    resigned: Option<Resignation>,
    /// After a stall, until when to listen before believing a silence.
    listening: Option<Instant>,
    /// Since when it sees a leader that it may preempt, and when it will.
    preempt: Option<Preemption>,
    /// It yielded to this leader, which can't hear it: preempting would make two leaders.
    pub(super) yielded: bool,
}

#[derive(Debug)]
struct Resignation {
    at: Instant,
    successor: bool,
}

#[derive(Debug)]
struct Preemption {
    since: Instant,
    at: Instant,
}

impl Standby {
    pub(super) fn new(interval: AdvertInterval, now: Instant) -> Self {
        Self { interval, heard: now, resigned: None, listening: None, preempt: None, yielded: false }
    }

    /// When it takes over if nothing is heard.
    pub(super) fn deadline(&self, priority: u8, last_resort: bool) -> Instant {
        let preempt = self.preempt.as_ref().map(|preempt| preempt.at);
        let down = self.listening.unwrap_or_else(|| self.down(priority, last_resort));
        preempt.map_or(down, |preempt| preempt.min(down))
    }

    /// When the Active_Down_Timer fires. A last resort does not take a resigning leader at its word: that one
    /// may be offering the group to a better node, and come back.
    fn down(&self, priority: u8, last_resort: bool) -> Instant {
        let silent = after(self.heard, down_interval(priority, self.interval));
        match &self.resigned {
            Some(resigned) if !last_resort => {
                let wait = if resigned.successor { Duration::ZERO } else { skew(priority, self.interval) };
                after(resigned.at, wait).min(silent)
            }
            Some(_) | None => silent,
        }
    }

    fn handle_leader(&mut self, interval: AdvertInterval, preempt: Option<Duration>, now: Instant) {
        self.interval = interval;
        self.heard = now;
        self.resigned = None;
        self.listening = None;
        let since = self.preempt.as_ref().map_or(now, |preempt| preempt.since);
        self.preempt = preempt.map(|delay| Preemption { since, at: after(since, delay) });
    }

    fn handle_resignation(&mut self, successor: bool, now: Instant) {
        if self.resigned.is_none() {
            self.resigned = Some(Resignation { at: now, successor });
        }
        self.listening = None;
        self.preempt = None;
        self.yielded = false;
    }

    /// After a stall: what was sent meanwhile may be lost. So it listens for as long as it was deaf, at most for
    /// a whole down interval, and at least for one advert. An owner takes the group back anyway.
    pub(super) fn listen_again(&mut self, priority: u8, deaf: Duration, now: Instant) {
        let interval = self.interval.duration();
        let most = if priority == OWNER { interval } else { interval.saturating_mul(3) };
        let wait = deaf.clamp(interval, most).saturating_add(skew(priority, self.interval));
        let silent = after(self.heard, down_interval(priority, self.interval));
        self.listening = Some(after(now, wait).max(silent));
        self.preempt = None;
    }
}

/// `instant + wait`; never overflows with the bounds that [`AdvertInterval`] has.
pub(super) fn after(instant: Instant, wait: Duration) -> Instant {
    instant.checked_add(wait).unwrap_or(instant)
}

impl Router {
    pub(super) fn handle_standby_timer(&mut self, now: Instant) {
        let priority = self.effective_priority();
        let unled = self.following.is_none();
        let State::Standby(standby) = &self.state else { return };
        let deadline = self.standby_deadline(standby);
        let State::Standby(standby) = &mut self.state else { return };
        if !self.clear || !self.granted {
            return;
        }
        if priority == OWNER && unled {
            return self.lead(Reason::Owner, now);
        }
        if now < deadline {
            return;
        }
        let preempts = standby.preempt.as_ref().is_some_and(|preempt| preempt.at <= now);
        let late = now.saturating_duration_since(deadline) > standby.interval.duration();
        let held = deadline < self.cleared_at;
        if late && !held && !preempts && standby.resigned.is_none() {
            let deaf = now.saturating_duration_since(standby.heard);
            return standby.listen_again(priority, deaf, now);
        }
        let reason = match (preempts, &standby.resigned) {
            (true, _) if priority == OWNER => Reason::Owner,
            (true, _) => Reason::Preempted,
            (false, Some(_)) => Reason::LeaderResigned,
            (false, None) if unled => Reason::NoLeader,
            (false, None) => Reason::LeaderSilent,
        };
        self.lead(reason, now);
    }

    pub(super) fn handle_standby_advert(
        &mut self,
        link: &Link,
        source: IpAddr,
        advert: &Advert,
        now: Instant,
    ) -> Result<(), Refusal> {
        if advert.priority == 0 {
            self.unfollow(link, source, advert, now)?;
            let successor = self.is_successor_of(source);
            if let State::Standby(standby) = &mut self.state {
                standby.handle_resignation(successor, now);
            }
        } else {
            self.follow(link, source, advert);
            self.set_clear(now);
            let delay = self.preempt_delay(source, advert);
            if let State::Standby(standby) = &mut self.state {
                standby.handle_leader(advert.interval, delay, now);
            }
        }
        self.handle_standby_timer(now);
        Ok(())
    }

    /// The leader's state is not here, or is. Whether it preempts is for the next advert to say.
    pub fn handle_behind(&mut self, behind: bool, now: Instant) {
        if behind == self.behind {
            return;
        }
        self.handle_wake(now);
        self.behind = behind;
        if let State::Standby(standby) = &mut self.state
            && behind
            && self.spec.priority.get() != OWNER
        {
            standby.preempt = None;
        }
    }

    /// When it takes over if nothing is heard, and nothing that was heard comes to count.
    pub(super) fn standby_deadline(&self, standby: &Standby) -> Instant {
        let deadline = standby.deadline(self.effective_priority(), self.is_last_resort());
        if standby.resigned.is_some() { deadline } else { self.silent_at(deadline) }
    }

    /// How long to watch a leader of lower priority before taking over from it; `None` is for ever.
    fn preempt_delay(&self, source: IpAddr, advert: &Advert) -> Option<Duration> {
        let priority = self.effective_priority();
        let State::Standby(standby) = &self.state else { return None };
        if advert.priority >= priority || standby.yielded {
            return None;
        }
        if priority == OWNER {
            return Some(Duration::ZERO);
        }
        let relief = self
            .peer(source)
            .filter(|peer| peer.kind == NodeKind::Fulcrum && advert.priority < peer.priority.get())
            .map(|_| skew(priority, advert.interval));
        // At least for one interval: a better leader that is heard meanwhile ends it.
        let floor = advert.interval.duration();
        let preempt = if self.behind { Preempt::Never } else { self.spec.preempt };
        match (preempt, relief) {
            (Preempt::Never, relief) => relief.map(|relief| floor.saturating_add(relief)),
            (Preempt::After(delay), None) => Some(delay.max(floor)),
            (Preempt::After(delay), Some(relief)) => Some(delay.max(floor).min(floor.saturating_add(relief))),
        }
    }
}
