//! The virtual router of one VIP group: RFC 9568 section 6.4, for all its links at once.
//!
//! ```text
//!                  +--------+
//!      +---------->|  Init  |<-----------+     Init: no link is up, or the node stops
//!      |           +--------+            |
//!      |    a link is  |                 |     Standby: the RFC's Backup
//!      |    up         v                 |     Leader:  the RFC's Active
//! +---------+ silence, resignation  +--------+
//! | Standby |---------------------->| Leader |
//! |         |<----------------------|        |
//! +---------+    a better advert    +--------+
//! ```
//!
//! The group moves as one: it adverts on every link, an advert on any link keeps a standby waiting, and a
//! better one on any link ends this node's lead on all of them. Where it goes beyond the RFC:
//!
//! * **Ties** are decided once for the group, by the nodes' addresses on its first link, so that IPv4 and IPv6
//!   never decide differently. Foreign nodes decide by the addresses of each link, so towards them we do too.
//! * **Leaving is an offer.** A leader that should not lead (stopping, standing down, a failed track, a link
//!   down) sends priority 0, and goes on answering until it hears the new leader, for two advert intervals at
//!   most. If nobody comes, it stops (when the process ends) or leads on with priority 1 and offers again
//!   from time to time. So if all nodes are bad nobody moves, and a move has no gap.
//! * **Ready.** A node that has not got the leader's state yet does not preempt; its delay begins when it has. An
//!   owner does, as the RFC says, and a leader that falls silent or resigns is replaced whatever is here.
//! * **Relief.** A standby takes over from a node of ours that adverts less than its configured priority
//!   (its tracks failed) and less than this node's, even where it would not preempt.
//! * **Successor.** The standby of the highest configured priority takes over from a resigning node of ours
//!   at once; everybody else waits the skew.
//! * **Stalls.** A leader that did not run for three advert intervals may have been replaced: it steps down
//!   without a word and listens. A standby that did not run listens for as long again, at most for a whole
//!   down interval, before it believes a silence: adverts may have been lost meanwhile.
//! * **A last word.** A leader that gives way to a better one adverts once more, so that the better one, which
//!   may never have heard it, announces again: after a partition heals, neighbours may believe the loser.
//! * **One-way cuts.** A leader whose better claim is not heard (a rival of lower priority that lists the
//!   same addresses goes on for three down intervals) yields: of the two it is the only one that can. So a
//!   one-way cut between two nodes ends with one leader, the one that is heard; it holds until a leader falls
//!   silent or resigns. Where a rival is the owner (255), or hears nobody and lists other addresses, the RFC's
//!   answer stays: both lead.
//! * **Claims.** Where all other nodes have a link to this one, an advert that none of them claims over it ends no
//!   lead, and no standby follows it ([`Claim`]). Resignations are believed unclaimed: a guard sends them for the dead.

mod claims;
mod leader;
mod peers;
mod spec;
mod standby;

pub use claims::Claim;
pub use peers::Noted;
pub use spec::{LinkSpec, Peer, RouterSpec, down_interval, skew};

use crate::advert::{Advert, ChecksumForm, Refusal};
use crate::border::{PeerSeen, Reason, Role};
use claims::{Claims, Judgement};
use fulcrum_config::{Link, Priority};
use leader::Leader;
use peers::{Following, Resigned};
use standby::Standby;
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// The priority of a node that leads only if nobody else does.
const LAST_RESORT: u8 = 1;
/// The priority of a node that owns the addresses.
const OWNER: u8 = 255;
/// Advert intervals after which a rival that is not heard any more has yielded, or is gone.
const RIVAL_RECENT: u32 = 3;

/// What the driver has to do, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send this on this link.
    SendAdvert {
        /// Where.
        link: Link,
        /// What; to be encoded for the link's source and destination addresses.
        advert: Advert,
    },
    /// Answer for the VIPs and announce them (a burst).
    Lead {
        /// Why.
        reason: Reason,
    },
    /// Announce the VIPs again (a burst): a rival was seen, or a link came up.
    Announce,
    /// Stop answering for the VIPs at once, and drop every announcement not yet sent.
    Retire {
        /// Why.
        reason: Reason,
    },
    /// Count and name the sender of an advert that no node of ours sent.
    Refuse {
        /// Where it came from.
        link: Link,
        /// From which address.
        source: IpAddr,
        /// Its priority.
        priority: u8,
    },
}

/// How fit this node is to lead a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fitness {
    /// With this priority: the configured one, less what failed tracks take.
    Fit(Priority),
    /// Only if nobody else does, for this reason: a track that makes ineligible, or an operator's wish.
    LastResort(Reason),
}

/// The virtual router of one group on this node.
///
/// Every `handle_*` may leave actions: take them all with [`Router::poll_action`], then wait until
/// [`Router::poll_timeout`], and feed what came in before [`Router::handle_timer`].
#[derive(Debug)]
pub struct Router {
    spec: RouterSpec,
    /// Our address on each link that was reported; `None` is down. An absent link is not known yet.
    links: BTreeMap<Link, Option<IpAddr>>,
    checksums: BTreeMap<Link, ChecksumForm>,
    fitness: Fitness,
    clear: bool,
    cleared_at: Instant,
    /// Enough nodes let it lead.
    granted: bool,
    /// What the leader has is not here yet.
    behind: bool,
    stopping: bool,
    state: State,
    following: Option<Following>,
    resigned: Option<Resigned>,
    reason: Reason,
    since: Instant,
    /// When it last decided to send adverts.
    spoke: Instant,
    epoch: u64,
    transitions: u64,
    actions: VecDeque<Action>,
    claims: Claims,
}

#[derive(Debug)]
enum State {
    Init,
    Standby(Standby),
    Leader(Leader),
}

impl Router {
    /// A router in `Init`: it starts when the first link is up.
    ///
    /// It does not lead before [`Router::handle_clear`], unless it hears a leader first.
    #[must_use]
    pub fn new(spec: RouterSpec, now: Instant) -> Self {
        Self {
            fitness: Fitness::Fit(spec.priority),
            spec,
            links: BTreeMap::new(),
            checksums: BTreeMap::new(),
            clear: false,
            cleared_at: now,
            granted: true,
            behind: false,
            stopping: false,
            state: State::Init,
            following: None,
            resigned: None,
            reason: Reason::Started,
            since: now,
            spoke: now,
            epoch: 0,
            transitions: 0,
            actions: VecDeque::new(),
            claims: Claims::default(),
        }
    }

    /// A link came up with this primary address of ours, or went down.
    pub fn handle_link(&mut self, link: &Link, address: Option<IpAddr>, now: Instant) {
        if self.spec.link(link).is_none() {
            return;
        }
        self.handle_wake(now);
        let before = self.links.insert(link.clone(), address);
        let came_up = address.is_some() && before.flatten() != address;
        if came_up && matches!(self.state, State::Leader(_)) {
            self.actions.push_back(Action::Announce);
        }
        self.reconsider(now);
    }

    /// Tracks or an operator changed how fit this node is.
    pub fn handle_fitness(&mut self, fitness: Fitness, now: Instant) {
        self.handle_wake(now);
        let before = self.effective_priority();
        self.fitness = fitness;
        let told = self.reconsider(now);
        if !told && before != self.effective_priority() {
            self.advertise_change(now);
        }
    }

    /// The addresses were probed, or need no probing: this node may lead for the first time.
    pub fn handle_clear(&mut self, now: Instant) {
        self.set_clear(now);
        self.handle_timer(now);
    }

    /// The same from now on, but what was not heard until now proves nothing: it listens for a whole down interval first,
    /// from `grace` later on where somebody else comes first.
    pub fn handle_clear_anew(&mut self, grace: Duration, now: Instant) {
        let is_first = self.spec.peers.iter().all(|peer| peer.priority < self.spec.priority);
        if let State::Standby(standby) = &mut self.state
            && self.following.is_none()
        {
            let from = if is_first { Some(now) } else { now.checked_add(grace) };
            standby.heard = from.unwrap_or(now);
        }
        self.set_clear(now);
        self.handle_timer(now);
    }

    /// Enough nodes let this one lead, or not. Without them a leader steps down at once and says so, and a standby waits.
    pub fn handle_grant(&mut self, granted: bool, now: Instant) {
        if granted == self.granted {
            return;
        }
        self.granted = granted;
        if granted {
            self.cleared_at = now;
            self.handle_timer(now);
        } else if let State::Leader(_) = self.state {
            self.give_up(now);
        }
    }

    /// The process did not run for `paused`. The router notices by itself when its own clock shows it; this
    /// is for a driver that knows better.
    pub fn handle_stall(&mut self, paused: Duration, now: Instant) {
        let (priority, limit) = (self.effective_priority(), self.stall_limit());
        match &mut self.state {
            State::Init => {}
            State::Standby(standby) if paused > standby.interval.duration() => {
                standby.listen_again(priority, paused, now);
            }
            State::Leader(_) if paused >= limit => self.step_down_silently(paused, now),
            State::Standby(_) | State::Leader(_) => {}
        }
    }

    /// The process ends: a leader offers the group and retires, a standby leaves. See [`Router::is_stopped`].
    /// Said again, it changes nothing.
    pub fn handle_stop(&mut self, now: Instant) {
        self.handle_wake(now);
        if self.stopping {
            return;
        }
        self.stopping = true;
        match self.state {
            State::Init => {}
            State::Standby(_) => self.enter_init(Reason::Stopping, now),
            State::Leader(_) => self.offer(now),
        }
    }

    /// The configuration of the group changed. No role changes by that alone.
    pub fn handle_reconfigured(&mut self, spec: RouterSpec, now: Instant) {
        self.handle_wake(now);
        if let Fitness::Fit(_) = self.fitness {
            self.fitness = Fitness::Fit(spec.priority);
        }
        self.links.retain(|link, _| spec.link(link).is_some());
        self.spec = spec;
        if !self.reconsider(now) {
            self.advertise_change(now);
        }
    }

    /// What came due. Feed every advert that is already in a socket before calling it.
    pub fn handle_timer(&mut self, now: Instant) {
        self.handle_wake(now);
        self.settle_waiting(now);
        match self.state {
            State::Init => {}
            State::Standby(_) => self.handle_standby_timer(now),
            State::Leader(_) => self.handle_leader_timer(now),
        }
    }

    /// A valid advert that came from `source` on `link`.
    ///
    /// # Errors
    /// Why it was not regarded; for a counter and a log line.
    pub fn handle_advert(
        &mut self,
        link: &Link,
        source: IpAddr,
        advert: &Advert,
        now: Instant,
    ) -> Result<Noted, Refusal> {
        let noted = self.admit(link, source, advert, now)?;
        self.handle_wake(now);
        match self.state {
            State::Init => return Err(Refusal::NotTakingPart),
            State::Standby(_) => {
                if advert.priority == 0 || self.judge(link, source, advert, now) == Judgement::Counts {
                    self.handle_standby_advert(link, source, advert, now)?;
                }
            }
            State::Leader(_) => self.handle_leader_advert(link, source, advert, false, now)?,
        }
        Ok(noted)
    }

    /// An advert that waited for its sender's claim counts now.
    fn regard(&mut self, link: &Link, source: IpAddr, advert: &Advert, came: Instant, now: Instant) {
        // It was counted when it came.
        let _ = match self.state {
            State::Init => Ok(()),
            State::Standby(_) => self.handle_standby_advert(link, source, advert, now),
            State::Leader(_) => self.handle_leader_advert(link, source, advert, true, now),
        };
        // A silence began when it came, not when it was claimed.
        if let State::Standby(standby) = &mut self.state {
            standby.heard = standby.heard.min(came);
        }
    }

    /// Another node knows of a leader of this epoch: the next one's is higher.
    pub fn handle_epoch(&mut self, epoch: u64) {
        self.epoch = self.epoch.max(epoch);
    }

    /// Whether there is something to do.
    #[must_use]
    pub fn has_action(&self) -> bool {
        !self.actions.is_empty()
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to call [`Router::handle_timer`] at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Init => None,
            State::Standby(standby) => {
                let deadline = (self.clear && self.granted).then(|| self.standby_deadline(standby));
                deadline.into_iter().chain(self.waiting_until()).min()
            }
            State::Leader(leader) => Some(leader.deadline()).into_iter().chain(self.waiting_until()).min(),
        }
    }

    /// What this node is in the group.
    #[must_use]
    pub fn role(&self) -> Role {
        match self.state {
            State::Init => Role::Init,
            State::Standby(_) => Role::Standby,
            State::Leader(_) => Role::Leader,
        }
    }

    /// Since when it has its role.
    #[must_use]
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Why it has its role.
    #[must_use]
    pub fn reason(&self) -> &Reason {
        &self.reason
    }

    /// Grows at each change of leader that this node saw.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Changes of role so far.
    #[must_use]
    pub fn transitions(&self) -> u64 {
        self.transitions
    }

    /// The priority in force, after tracks; `None` when this node is only a last resort.
    #[must_use]
    pub fn priority(&self) -> Option<u8> {
        (!self.is_last_resort()).then(|| self.effective_priority())
    }

    /// Whether adverts need a claim while all links to the peers are up.
    #[must_use]
    pub fn is_claimed(&self) -> bool {
        self.spec.claimed
    }

    /// The leader that this node follows; `None` when it leads itself or knows none.
    #[must_use]
    pub fn leader(&self) -> Option<&PeerSeen> {
        self.following.as_ref().map(|following| &following.peer)
    }

    /// Whether this node leads, and would rather have another do so.
    #[must_use]
    pub fn offers(&self) -> bool {
        matches!(&self.state, State::Leader(leader) if leader.has_offered())
    }

    /// Whether this node leads and a configured one with a lesser claim did, too, a moment ago.
    #[must_use]
    pub fn has_rival(&self, now: Instant) -> bool {
        let recent = self.spec.interval.duration().saturating_mul(RIVAL_RECENT);
        let last = match &self.state {
            State::Leader(leader) => leader.known_rival_heard(),
            State::Init | State::Standby(_) => None,
        };
        last.is_some_and(|last| now.saturating_duration_since(last) <= recent)
    }

    /// Whether it leads until somebody else takes the group, for a moment.
    #[must_use]
    pub fn is_offering(&self) -> bool {
        matches!(&self.state, State::Leader(leader) if leader.is_offering())
    }

    /// Whether it stopped, as [`Router::handle_stop`] asked.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopping && matches!(self.state, State::Init)
    }

    /// The advert of this node on `link` with `priority`: with 0, what a guard sends for a dead daemon.
    #[must_use]
    pub fn advert(&self, link: &Link, priority: u8) -> Option<Advert> {
        let spec = self.spec.link(link)?;
        Some(Advert {
            vrid: self.spec.vrid,
            priority,
            interval: self.spec.interval,
            addresses: spec.listed.clone(),
            checksum: self.checksums.get(link).copied().unwrap_or_else(|| self.spec.checksum()),
        })
    }

    /// What the tracks, the operator and the links leave of this node.
    fn is_last_resort(&self) -> bool {
        matches!(self.fitness, Fitness::LastResort(_)) || self.links.values().any(Option::is_none)
    }

    /// What it adverts when it leads.
    fn effective_priority(&self) -> u8 {
        match self.fitness {
            Fitness::Fit(priority) if !self.is_last_resort() => priority.get(),
            Fitness::Fit(_) | Fitness::LastResort(_) => LAST_RESORT,
        }
    }

    fn last_resort_reason(&self) -> Option<Reason> {
        let down = self.links.iter().find(|(_, address)| address.is_none());
        match (&self.fitness, down) {
            (Fitness::LastResort(reason), _) => Some(reason.clone()),
            (Fitness::Fit(_), Some((link, _))) => Some(Reason::InterfaceDown(link.interface.clone())),
            (Fitness::Fit(_), None) => None,
        }
    }

    /// Applies what links and fitness now say to the state. Gives whether that told the peers.
    fn reconsider(&mut self, now: Instant) -> bool {
        let up = self.links.values().any(Option::is_some);
        let last_resort = self.is_last_resort();
        match &self.state {
            State::Init => {
                if up && !self.stopping {
                    self.start(now);
                }
                false
            }
            State::Standby(_) | State::Leader(_) if !up => {
                let reason = self.last_resort_reason().unwrap_or(Reason::Reconfigured);
                self.enter_init(reason, now);
                false
            }
            State::Standby(_) => false,
            State::Leader(_) if self.stopping => false,
            State::Leader(leader) => match (last_resort, leader.has_offered()) {
                (true, false) => {
                    self.offer(now);
                    true
                }
                (false, true) => {
                    self.end_offer(now);
                    true
                }
                (true, true) | (false, false) => false,
            },
        }
    }

    /// RFC 9568 section 6.4.1, the Startup event.
    fn start(&mut self, now: Instant) {
        let reason = if let Reason::InterfaceDown(interface) = &self.reason {
            Reason::InterfaceBack(interface.clone())
        } else {
            Reason::Started
        };
        self.enter(State::Standby(Standby::new(self.spec.interval, now)), reason, now);
        self.handle_timer(now);
    }

    fn enter_init(&mut self, reason: Reason, now: Instant) {
        if matches!(self.state, State::Leader(_)) {
            self.actions.push_back(Action::Retire { reason: reason.clone() });
        }
        self.following = None;
        self.claims.stop_waiting();
        self.enter(State::Init, reason, now);
    }

    fn enter(&mut self, state: State, reason: Reason, now: Instant) {
        self.state = state;
        self.reason = reason;
        self.since = now;
        self.transitions = self.transitions.saturating_add(1);
    }

    fn set_clear(&mut self, now: Instant) {
        if !self.clear {
            self.clear = true;
            self.cleared_at = now;
        }
    }

    fn saw_new_leader(&mut self) {
        self.epoch = self.epoch.saturating_add(1);
    }

    /// A peer with priority 254 has waited at least this long when it takes over.
    fn stall_limit(&self) -> Duration {
        self.spec.interval.duration().saturating_mul(3)
    }
}

#[cfg(test)]
mod tests;
