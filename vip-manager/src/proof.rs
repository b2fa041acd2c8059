//! Proof of service: whether the leader of a group answers for its VIPs, asked from outside.
//!
//! A standby asks who has each VIP, as any host does, at a slow steady pace, and then one of its TCP ports, each in its
//! turn, by a SYN to the MAC that answered. One lost frame says nothing: the same must be found several times in a row, and
//! while a leader is changing nobody is asked. Whoever hears nothing from anybody finds nothing out about the leader. A node
//! that leads asks nobody, and hears who else claims its VIPs.

mod neighbourhood;

pub use neighbourhood::Neighbourhood;

use crate::border::{Answerer, Finding, ProofObserved};
use crate::frame::Mac;
use fulcrum_config::{Link, NodeName};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How long an answer may take at most; a question that is in doubt is asked again after this.
const PATIENCE: Duration = Duration::from_secs(1);
/// The same in a row before it is believed.
const TIMES: u32 = 3;
/// After a change of leader, or of what is asked for, nobody is asked for so long at most.
const SETTLE: Duration = Duration::from_secs(3);
/// Whoever took over from this node is asked so soon, and again after as long, until it answers or things have settled.
const EARLY: Duration = Duration::from_millis(100);
/// MACs that are remembered for each address: what is beyond tells no more.
const MACS: usize = 4;
/// A leader forgets who else claimed an address after this.
const FORGET: Duration = Duration::from_secs(15);
/// A claim that is made once may be late; one that is still made after this is not.
const INSISTS: Duration = Duration::from_secs(2);
/// A process that did not run for so long may have missed answers. What waits in its sockets is read before anything is
/// judged, so that less does no harm.
pub(crate) const PAUSE: Duration = Duration::from_millis(500);

/// What this node is to a group, as far as asking goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Part {
    /// It takes no part, or another standby asks.
    #[default]
    Idle,
    /// It leads.
    Leads,
    /// It stands by and asks who answers for this leader.
    Follows {
        /// The leader's name, if it is a node of the configuration.
        node: Option<NodeName>,
        /// Where it was heard.
        address: IpAddr,
        /// Grows at each change of leader.
        epoch: u64,
    },
    /// It stands by, and knows nobody who leads.
    Unled,
}

impl Part {
    /// Whether this node led, and another has taken over.
    fn has_given_way_to(&self, next: &Self) -> bool {
        matches!((self, next), (Self::Leads, Self::Follows { .. }))
    }

    /// Whether only the epoch is another: it was not known at once.
    fn is_same_leader(&self, next: &Self) -> bool {
        let leader = |part: &Self| match part {
            Self::Follows { node, address, .. } => Some((node.clone(), *address)),
            Self::Idle | Self::Leads | Self::Unled => None,
        };
        leader(self).is_some() && leader(self) == leader(next)
    }
}

/// Asks for the addresses of one group.
#[derive(Debug)]
pub struct Proof {
    part: Part,
    pace: Pace,
    subjects: BTreeMap<IpAddr, Subject>,
}

/// How fast it goes, as far as each address is concerned.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// Time between questions about which there is no doubt.
    interval: Duration,
    patience: Duration,
    settle: Duration,
}

impl Pace {
    fn new(interval: Duration) -> Self {
        Self {
            interval,
            patience: interval.div_f32(2.0).min(PATIENCE),
            settle: interval.mul_f32(1.5).clamp(PATIENCE, SETTLE),
        }
    }

    /// When so many addresses are asked for first: not all at once, and not while a change of leader goes on.
    fn spread(self, count: usize, now: Instant) -> impl Iterator<Item = Instant> {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let step = self.interval.checked_div(count).unwrap_or_default();
        (0..count).map(move |place| later(now, self.settle.saturating_add(step.saturating_mul(place))))
    }

    /// When an address is asked for that was last asked for then.
    fn next(self, asked: Instant, now: Instant) -> Instant {
        later(asked, self.interval).max(now)
    }
}

/// An address to ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The address.
    pub address: IpAddr,
    /// The link it is behind.
    pub link: Link,
    /// The TCP ports of its services.
    pub ports: Vec<u16>,
}

/// One address.
#[derive(Debug)]
struct Subject {
    link: Link,
    ports: Vec<Port>,
    /// The port whose turn it is.
    turn: usize,
    /// The next question; while one is open, the end of waiting for answers.
    due: Instant,
    open: Option<Question>,
    /// Its leader has just taken over from this node: until then only a good answer counts.
    early: Option<Instant>,
    /// What was found last, if it is bad: how often in a row, and since when.
    doubt: Option<Doubt>,
    finding: Finding,
    since: Instant,
    answered: Option<Instant>,
    /// Of a leader: another machine that claims the address.
    rival: Option<Rival>,
}

#[derive(Debug)]
struct Question {
    asked: Instant,
    /// Who answered it, each once.
    by: Vec<Mac>,
    /// The SYN that went to the first of them.
    syn: Option<Syn>,
}

#[derive(Debug)]
struct Syn {
    /// To this port.
    port: u16,
    /// From this one.
    source: u16,
    sequence: u32,
    answered: bool,
}

/// A TCP port of a VIP.
#[derive(Debug)]
struct Port {
    number: u16,
    /// SYNs in a row that nobody answered.
    misses: u32,
    /// The first of them.
    since: Option<Instant>,
}

#[derive(Debug)]
struct Doubt {
    finding: Finding,
    times: u32,
    since: Instant,
}

#[derive(Debug)]
struct Rival {
    mac: Mac,
    first: Instant,
    last: Instant,
}

impl Subject {
    fn new(link: Link, due: Instant, now: Instant) -> Self {
        Self {
            link,
            ports: Vec::new(),
            turn: 0,
            due,
            open: None,
            early: None,
            doubt: None,
            finding: Finding::Unknown,
            since: now,
            answered: None,
            rival: None,
        }
    }

    /// Those that stay keep what is known of them.
    fn set_ports(&mut self, ports: Vec<u16>) {
        let mut before = std::mem::take(&mut self.ports);
        let known = |number: u16| {
            let place = before.iter().position(|port| port.number == number);
            place.map_or(Port { number, misses: 0, since: None }, |place| before.swap_remove(place))
        };
        self.ports = ports.into_iter().map(known).collect();
    }

    /// Takes a finding that began then. Gives whether it is another than before.
    fn find(&mut self, finding: Finding, since: Instant) -> bool {
        if self.finding == finding {
            return false;
        }
        if !self.finding.is_alike(&finding) {
            self.since = since;
        }
        self.finding = finding;
        true
    }
}

impl Proof {
    /// One that asks for nothing yet, and then for each address once in each `interval`.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Self { part: Part::default(), pace: Pace::new(interval), subjects: BTreeMap::new() }
    }

    /// The addresses to ask for, and how often.
    pub fn handle_wanted(
        &mut self,
        interval: Duration,
        wanted: impl IntoIterator<Item = Wanted>,
        now: Instant,
    ) {
        self.pace = Pace::new(interval);
        let mut before = std::mem::take(&mut self.subjects);
        let wanted: Vec<Wanted> = wanted.into_iter().collect();
        let dues = self.pace.spread(wanted.len(), now);
        for (Wanted { address, link, ports }, due) in wanted.into_iter().zip(dues) {
            let same = before.remove(&address).filter(|subject| subject.link == link);
            let mut subject = same.unwrap_or_else(|| Subject::new(link, due, now));
            subject.set_ports(ports);
            self.subjects.insert(address, subject);
        }
    }

    /// What this node is to the group. What was found out about another leader says nothing about this one.
    /// Gives whether that changed.
    pub fn handle_part(&mut self, part: Part, now: Instant) -> bool {
        if self.part == part {
            return false;
        }
        let is_early = self.part.has_given_way_to(&part);
        let is_same = self.part.is_same_leader(&part);
        self.part = part;
        let dues = self.pace.spread(self.subjects.len(), now);
        for (subject, due) in self.subjects.values_mut().zip(dues) {
            let ports = subject.ports.iter().map(|port| port.number).collect();
            let early = (is_early || is_same && subject.early.is_some()).then_some(due);
            let due = early.map_or(due, |_| later(now, EARLY));
            *subject = Subject { early, ..Subject::new(subject.link.clone(), due, now) };
            subject.set_ports(ports);
        }
        true
    }

    /// This process did not run: what was not heard says nothing.
    pub fn handle_pause(&mut self, now: Instant) {
        for subject in self.subjects.values_mut() {
            subject.open = None;
            subject.doubt = None;
            subject.due = subject.due.max(now);
        }
    }

    /// `mac` answered this node's question who has `address`. Gives the port to ask for there now, if it is the first that
    /// answered.
    pub fn handle_answer(&mut self, address: IpAddr, mac: Mac) -> Option<u16> {
        let subject = self.subjects.get_mut(&address)?;
        let open = subject.open.as_mut()?;
        if open.by.contains(&mac) || open.by.len() >= MACS {
            return None;
        }
        let is_first = open.by.is_empty();
        open.by.push(mac);
        let follows = matches!(self.part, Part::Follows { .. });
        subject.ports.get(subject.turn).filter(|_| is_first && follows).map(|port| port.number)
    }

    /// A SYN with this sequence number went to `port` of `address`, from the port `source`.
    pub fn handle_syn(&mut self, address: IpAddr, port: u16, source: u16, sequence: u32) {
        let open = self.subjects.get_mut(&address).and_then(|subject| subject.open.as_mut());
        if let Some(open) = open {
            open.syn = Some(Syn { port, source, sequence, answered: false });
        }
    }

    /// Somebody acknowledges this at the port `source`, about `address`. Gives whether that was asked: a refusal is as good an
    /// answer as any.
    pub fn handle_segment(&mut self, address: IpAddr, source: u16, acknowledged: u32) -> bool {
        let open = self.subjects.get_mut(&address).and_then(|subject| subject.open.as_mut());
        let Some(syn) = open.and_then(|open| open.syn.as_mut()) else { return false };
        let is_it = syn.source == source && syn.sequence.wrapping_add(1) == acknowledged;
        syn.answered |= is_it;
        is_it
    }

    /// `mac`, none of this machine's, says that it has `address`, whether it was asked or not.
    pub fn handle_claim(&mut self, address: IpAddr, mac: Mac, now: Instant) {
        if self.part != Part::Leads {
            return;
        }
        let Some(subject) = self.subjects.get_mut(&address) else { return };
        match &mut subject.rival {
            Some(rival) if rival.mac == mac => rival.last = now,
            Some(_) | None => {
                subject.rival = Some(Rival { mac, first: now, last: now });
                subject.due = now;
            }
        }
    }

    /// Judges what is to be judged by now. A link that is down has no neighbourhood, and no judgement is made there.
    /// Gives whether anything was found.
    pub fn handle_timer<'a>(
        &mut self,
        neighbourhood: impl Fn(&Link) -> Option<&'a Neighbourhood>,
        now: Instant,
    ) -> bool {
        let mut is_news = false;
        for subject in self.subjects.values_mut().filter(|subject| subject.due <= now) {
            let Some(around) = neighbourhood(&subject.link) else {
                subject.open = None;
                subject.doubt = None;
                subject.due = later(now, PATIENCE);
                continue;
            };
            is_news |= match &self.part {
                Part::Idle => false,
                Part::Leads => subject.judge_rival(around, now),
                Part::Follows { .. } | Part::Unled => subject.judge(&self.part, around, self.pace, now),
            };
        }
        is_news
    }

    /// The addresses whose turn it is, the most urgent first by this order: those in doubt, then by time.
    pub fn due(&self, now: Instant) -> impl Iterator<Item = (bool, Instant, IpAddr)> + '_ {
        let asks = matches!(self.part, Part::Follows { .. } | Part::Unled);
        let due = move |subject: &Subject| asks && subject.open.is_none() && subject.due <= now;
        let subjects = self.subjects.iter().filter(move |(_, subject)| due(subject));
        subjects.map(|(address, subject)| (subject.doubt.is_none(), subject.due, *address))
    }

    /// Who has `address` is asked now; gives the link to ask on.
    pub fn ask(&mut self, address: IpAddr, now: Instant) -> Option<&Link> {
        let subject = self.subjects.get_mut(&address)?;
        subject.open = Some(Question { asked: now, by: Vec::new(), syn: None });
        let patience = self.pace.patience;
        let patience = subject.early.map_or(patience, |_| patience.min(EARLY.saturating_mul(3)));
        subject.due = later(now, patience);
        Some(&subject.link)
    }

    /// Whether ports are asked for on `link`.
    #[must_use]
    pub fn asks_ports(&self, link: &Link) -> bool {
        let asked = |subject: &Subject| subject.link == *link && !subject.ports.is_empty();
        matches!(self.part, Part::Follows { .. }) && self.subjects.values().any(asked)
    }

    /// Whether something on `link` is in doubt, so that it matters who else is there.
    #[must_use]
    pub fn is_in_doubt(&self, link: &Link) -> bool {
        self.subjects.values().any(|subject| subject.link == *link && subject.doubt.is_some())
    }

    /// When there is something to ask or to judge.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let waits = |subject: &&Subject| match self.part {
            Part::Idle => false,
            Part::Leads => subject.rival.is_some(),
            Part::Follows { .. } | Part::Unled => true,
        };
        self.subjects.values().filter(waits).map(|subject| subject.due).min()
    }

    /// Whether a living leader does not answer for one of the addresses, as far as others on the link are heard.
    #[must_use]
    pub fn is_failed(&self) -> bool {
        let is_bad =
            |finding: &Finding| matches!(finding, Finding::NotAnswered | Finding::PortNotAnswered { .. });
        matches!(self.part, Part::Follows { .. }) && self.subjects.values().any(|it| is_bad(&it.finding))
    }

    /// What was found out about each address that this node asks for, or, if it leads, that another machine claims.
    #[must_use]
    pub fn observed(&self) -> BTreeMap<IpAddr, ProofObserved> {
        let is_told = |subject: &Subject| match self.part {
            Part::Idle => false,
            Part::Leads => subject.finding != Finding::Unknown,
            Part::Follows { .. } | Part::Unled => true,
        };
        let told = self.subjects.iter().filter(|(_, subject)| is_told(subject));
        told.map(|(address, subject)| {
            let (since, answered) = (subject.since, subject.answered);
            (*address, ProofObserved { finding: subject.finding.clone(), since, answered })
        })
        .collect()
    }
}

impl Subject {
    /// Judges the open question, if there is one. Gives whether the finding changed.
    fn judge(&mut self, part: &Part, around: &Neighbourhood, pace: Pace, now: Instant) -> bool {
        let Some(question) = self.open.take() else { return false };
        let first = self.doubt.as_ref().map_or(question.asked, |doubt| doubt.since);
        let finding = found(part, &question.by, first, around);
        if let Some(settled) = self.early {
            let is_good = finding == Finding::Answered && question.syn.as_ref().is_none_or(|it| it.answered);
            if !is_good && now < settled {
                self.due = later(now, EARLY).min(settled);
                return false;
            }
            self.early = None;
        }
        if let Finding::Unknown | Finding::Answered = finding {
            self.doubt = None;
            return self.judge_ports(&question, finding, pace, now);
        }
        let before = self.doubt.take().filter(|doubt| doubt.finding.is_alike(&finding));
        let (times, since) = before.map_or((0, question.asked), |doubt| (doubt.times, doubt.since));
        let times = times.saturating_add(1);
        self.doubt = Some(Doubt { finding: finding.clone(), times, since });
        let is_sure = times >= TIMES;
        self.due = if is_sure { pace.next(question.asked, now) } else { now };
        is_sure && self.find(finding, since)
    }

    /// Whoever is to answer did, or nobody was to: is the port answered, too? Gives whether the finding changed.
    fn judge_ports(&mut self, question: &Question, finding: Finding, pace: Pace, now: Instant) -> bool {
        let mut is_in_doubt = false;
        let asked = question.syn.as_ref().filter(|_| finding == Finding::Answered);
        if let Some(syn) = asked
            && let Some(port) = self.ports.iter_mut().find(|port| port.number == syn.port)
        {
            if syn.answered {
                (port.misses, port.since) = (0, None);
            } else {
                port.misses = port.misses.saturating_add(1);
                port.since.get_or_insert(question.asked);
            }
            is_in_doubt = (1..TIMES).contains(&port.misses);
        }
        if !is_in_doubt {
            self.turn = self.turn.saturating_add(1).checked_rem(self.ports.len()).unwrap_or(0);
        }
        self.due = if is_in_doubt { now } else { pace.next(question.asked, now) };
        let silent: Vec<&Port> = self.ports.iter().filter(|port| port.misses >= TIMES).collect();
        if finding == Finding::Answered && !silent.is_empty() {
            let since = silent.iter().filter_map(|port| port.since).min().unwrap_or(question.asked);
            let ports = silent.iter().map(|port| port.number).collect();
            return self.find(Finding::PortNotAnswered { ports }, since);
        }
        if finding == Finding::Answered && !is_in_doubt {
            self.answered = Some(question.asked);
        }
        self.find(finding, question.asked)
    }

    /// Whether another machine still insists that it has the address of this node, which leads.
    fn judge_rival(&mut self, around: &Neighbourhood, now: Instant) -> bool {
        let Some(rival) = &self.rival else { return false };
        let first = rival.first;
        let insists = rival.last.saturating_duration_since(rival.first) >= INSISTS;
        let is_gone = now.saturating_duration_since(rival.last) >= FORGET;
        let finding = match (is_gone, insists) {
            (false, true) => Finding::AnsweredTwice { by: around.named(&[rival.mac]) },
            (true, _) | (false, false) => Finding::Unknown,
        };
        if is_gone {
            self.rival = None;
        }
        self.due = later(now, PATIENCE);
        self.find(finding, first)
    }
}

/// What the answers to one question say.
fn found(part: &Part, by: &[Mac], first: Instant, around: &Neighbourhood) -> Finding {
    let leader = match part {
        Part::Idle | Part::Leads => return Finding::Unknown,
        Part::Unled if by.is_empty() => return Finding::Unknown,
        Part::Unled => return Finding::AnsweredUnled { by: around.named(by) },
        Part::Follows { node, .. } => node.as_ref(),
    };
    match by {
        [] if around.is_heard_since(first) => Finding::NotAnswered,
        [] => Finding::NobodyAnswers,
        [mac] if leader.is_none_or(|leader| around.may_be(leader, *mac)) => Finding::Answered,
        [_] => Finding::AnsweredByAnother { by: around.named(by) },
        [_, ..] => Finding::AnsweredTwice { by: around.named(by) },
    }
}

fn later(moment: Instant, wait: Duration) -> Instant {
    moment.checked_add(wait).unwrap_or(moment)
}

impl Neighbourhood {
    /// These machines, with the nodes that they are.
    fn named(&self, macs: &[Mac]) -> Vec<Answerer> {
        let named = |mac: &Mac| Answerer { mac: mac.to_string(), node: self.node_of(*mac).cloned() };
        macs.iter().map(named).collect()
    }
}

#[cfg(test)]
mod tests;
