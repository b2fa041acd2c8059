//! Whose an advert is, as far as the peers say over their links.
//!
//! VRRP authenticates nothing. Where every other node has a link to this one that stands, an advert counts for
//! something only if the node that it may be from claims it: says that it leads, and sends from that address. Adverts
//! are faster than links, so one that nobody claims yet waits: the peer is asked, and has an advert interval to answer.
//!
//! * It claims the advert: it counts, as in the RFC.
//! * It answers that it does not lead: it did not when it answered, so after the advert came, and this node is right to
//!   go on. What it said *before* it was asked proves nothing, for it may have taken over since.
//! * It does not answer, or its link ends: the advert counts, as in the RFC. So two leaders never last longer than an
//!   interval, whatever is frozen between the two.

use super::peers::is_peers_own;
use super::{Action, Router, State};
use crate::advert::Advert;
use fulcrum_config::{Link, NodeName};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Senders whose adverts wait at a time; those of more are dropped meanwhile.
const WAITING: usize = 16;
/// Senders that are remembered as denied.
const DENIED: usize = 16;
/// For so long nobody is asked again about a sender whose address is no peer's.
const DENIED_FOR: Duration = Duration::from_secs(1);
/// Questions in an advert interval, at most.
const QUESTIONS: u32 = 4;
/// Time between questions, at most.
const PAUSE: Duration = Duration::from_millis(20);
/// Answers to later questions than this answer it too; numbers of an earlier life of this process are further away.
const WINDOW: u64 = 1 << 32;

/// What a peer says of a group over the link to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claim {
    /// Where it sends its adverts from, if it leads.
    pub sources: Option<BTreeSet<IpAddr>>,
    /// The last question of ours that it had heard when it said so.
    pub answered: Option<u64>,
}

/// What is known of whose adverts are whose.
#[derive(Debug, Default)]
pub(super) struct Claims {
    said: BTreeMap<NodeName, Claim>,
    waiting: Vec<Waiting>,
    /// What the peers are asked, and whether the answer is still waited for.
    question: u64,
    asked: bool,
    ask_at: Option<Instant>,
    denied: VecDeque<(Link, IpAddr, Instant)>,
}

/// A sender whose adverts nobody claims yet.
#[derive(Debug)]
struct Waiting {
    link: Link,
    source: IpAddr,
    /// The last one, and when it came.
    advert: Advert,
    came: Instant,
    since: Instant,
    /// The question that is to settle those before `later`.
    question: Option<u64>,
    /// The first that came after the question.
    later: Option<Instant>,
}

/// What becomes of an advert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    Counts,
    Waits,
    Denied,
}

impl Claims {
    pub(super) fn stop_waiting(&mut self) {
        self.waiting.clear();
        self.asked = false;
    }

    fn is_denied(&self, link: &Link, source: IpAddr, now: Instant) -> bool {
        let lately = |at: &Instant| now.saturating_duration_since(*at) < DENIED_FOR;
        self.denied.iter().any(|(on, from, at)| on == link && *from == source && lately(at))
    }

    fn remember_denied(&mut self, link: &Link, source: IpAddr, now: Instant) {
        self.denied.retain(|(on, from, _)| !(on == link && *from == source));
        if self.denied.len() >= DENIED {
            self.denied.pop_front();
        }
        self.denied.push_back((link.clone(), source, now));
    }
}

impl Router {
    /// The number that questions to the peers begin with: another one in each life of the process.
    pub fn set_first_question(&mut self, number: u64) {
        self.claims.question = number;
    }

    /// What each peer says over the link to it; one that is absent has no link that can be relied on.
    pub fn handle_claims(&mut self, said: BTreeMap<NodeName, Claim>, now: Instant) {
        self.handle_wake(now);
        self.claims.said = said;
        self.settle_waiting(now);
    }

    /// What the peers are to be asked at present.
    #[must_use]
    pub fn question(&self) -> Option<u64> {
        self.claims.asked.then_some(self.claims.question)
    }

    /// What becomes of an advert that would end a lead, or that a standby would follow.
    pub(super) fn judge(&mut self, link: &Link, source: IpAddr, advert: &Advert, now: Instant) -> Judgement {
        let judgement = match self.judge_sender(source, None) {
            Judgement::Waits if self.claims.is_denied(link, source, now) => Judgement::Denied,
            judgement @ (Judgement::Counts | Judgement::Waits | Judgement::Denied) => judgement,
        };
        match judgement {
            Judgement::Counts => self.claims.waiting.retain(|it| !(it.link == *link && it.source == source)),
            Judgement::Waits => self.wait_for_claim(link, source, advert, now),
            Judgement::Denied => self.refuse(link, source, advert),
        }
        judgement
    }

    /// Whether the node that an advert may be from claims it, or denies it in answer to `question`.
    fn judge_sender(&self, source: IpAddr, question: Option<u64>) -> Judgement {
        if !self.spec.claimed {
            return Judgement::Counts;
        }
        let suspects = match self.peer(source) {
            Some(peer) => std::slice::from_ref(peer),
            None => self.spec.peers.as_slice(),
        };
        let mut judgement = Judgement::Denied;
        for peer in suspects {
            let Some(claim) = self.claims.said.get(&peer.node) else { return Judgement::Counts };
            if claim.sources.as_ref().is_some_and(|sources| sources.contains(&source)) {
                return Judgement::Counts;
            }
            let answers = question.zip(claim.answered);
            if answers.is_none_or(|(question, answered)| answered.wrapping_sub(question) >= WINDOW) {
                judgement = Judgement::Waits;
            }
        }
        judgement
    }

    fn wait_for_claim(&mut self, link: &Link, source: IpAddr, advert: &Advert, now: Instant) {
        let claims = &mut self.claims;
        let known = claims.waiting.iter().position(|it| it.link == *link && it.source == source);
        match known {
            Some(index) => {
                if let Some(waiting) = claims.waiting.get_mut(index) {
                    waiting.advert = advert.clone();
                    waiting.came = now;
                    if waiting.question.is_some() && waiting.later.is_none() {
                        waiting.later = Some(now);
                    }
                }
            }
            // A peer's claim comes without being asked for.
            None if claims.waiting.len() >= WAITING => return self.refuse(link, source, advert),
            None => claims.waiting.push(Waiting {
                link: link.clone(),
                source,
                advert: advert.clone(),
                came: now,
                since: now,
                question: None,
                later: None,
            }),
        }
        self.ask(now);
    }

    /// Asks about those that nobody was asked about yet, one question at a time.
    fn ask(&mut self, now: Instant) {
        let interval = self.spec.interval.duration();
        let claims = &mut self.claims;
        claims.asked = claims.waiting.iter().any(|it| it.question == Some(claims.question));
        let is_due = claims.ask_at.is_none_or(|at| at <= now);
        if claims.asked || !is_due || !claims.waiting.iter().any(|it| it.question.is_none()) {
            return;
        }
        claims.question = claims.question.wrapping_add(1);
        claims.asked = true;
        let pause = interval.checked_div(QUESTIONS).unwrap_or(interval).min(PAUSE);
        claims.ask_at = now.checked_add(pause);
        for waiting in claims.waiting.iter_mut().filter(|it| it.question.is_none()) {
            waiting.question = Some(claims.question);
        }
    }

    /// Does with those that wait what can be done by now, and asks about the others.
    pub(super) fn settle_waiting(&mut self, now: Instant) {
        if self.claims.waiting.is_empty() {
            return;
        }
        let interval = self.spec.interval.duration();
        for waiting in std::mem::take(&mut self.claims.waiting) {
            let judgement = match self.judge_sender(waiting.source, waiting.question) {
                Judgement::Waits if now.saturating_duration_since(waiting.since) >= interval => {
                    Judgement::Counts
                }
                judgement @ (Judgement::Counts | Judgement::Waits | Judgement::Denied) => judgement,
            };
            let Waiting { link, source, advert, came, later, .. } = &waiting;
            match judgement {
                Judgement::Waits => self.claims.waiting.push(waiting),
                Judgement::Counts => self.regard(link, *source, advert, *came, now),
                Judgement::Denied => {
                    self.refuse(link, *source, advert);
                    if matches!(self.state, State::Leader(_)) {
                        self.assert_lead(now);
                    }
                    if !is_peers_own(&self.spec, *source) {
                        self.claims.remember_denied(link, *source, now);
                    } else if let Some(later) = *later {
                        let again = Waiting { since: later, question: None, later: None, ..waiting };
                        self.claims.waiting.push(again);
                    }
                }
            }
        }
        self.ask(now);
    }

    fn refuse(&mut self, link: &Link, source: IpAddr, advert: &Advert) {
        let refused = Action::Refuse { link: link.clone(), source, priority: advert.priority };
        self.actions.push_back(refused);
    }

    /// When the first of those that wait has waited enough, or somebody is to be asked again.
    pub(super) fn waiting_until(&self) -> Option<Instant> {
        let interval = self.spec.interval.duration();
        let ends = self.claims.waiting.iter().filter_map(|it| it.since.checked_add(interval)).min()?;
        let asks = self.claims.waiting.iter().any(|it| it.question.is_none());
        Some(self.claims.ask_at.filter(|_| asks && !self.claims.asked).map_or(ends, |at| at.min(ends)))
    }

    /// A silence is not believed while an advert waits, for an interval at most.
    pub(super) fn silent_at(&self, deadline: Instant) -> Instant {
        let interval = self.spec.interval.duration();
        let ends = self.claims.waiting.iter().filter_map(|it| it.since.checked_add(interval)).min();
        let most = deadline.checked_add(interval).unwrap_or(deadline);
        ends.map_or(deadline, |ends| ends.clamp(deadline, most))
    }
}
