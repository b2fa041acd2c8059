//! One hook: what it was told, what waits, what runs, what became of it.

use super::Look;
use super::occurrence::{Details, Occurrence, Standing};
use crate::status::{Hook as HookStatus, HookRun};
use fulcrum_config::{BackendName, Config, GroupName, Hook, HookEvent, HookStyle, ServiceName};
use fulcrum_vip_manager::Role;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Programs of one hook that run at once.
const AT_ONCE: usize = 4;
/// Occurrences that wait and are not about groups as such: of those there is one for each group at most.
const WAITING: usize = 256;
/// Runs that status shows.
const SHOWN: usize = 8;

/// What an occurrence is about: a later one of the same takes the place of an earlier one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject {
    Group(GroupName),
    /// Something that is planned, perhaps of a group, and the number of the question whether it may be done.
    Before(Option<GroupName>, u64),
    Drain(Vec<String>),
    Upgrade,
    Backend(GroupName, ServiceName, BackendName),
    Config,
    Fault(String, String),
}

impl Subject {
    /// Those of one lane run one after the other.
    fn lane(&self) -> Option<&GroupName> {
        match self {
            Self::Group(group) | Self::Backend(group, ..) => Some(group),
            Self::Before(group, _) => group.as_ref(),
            Self::Config | Self::Drain(_) | Self::Upgrade | Self::Fault(..) => None,
        }
    }

    /// The number of the question, if it is one.
    fn question(&self) -> Option<u64> {
        match self {
            Self::Before(_, question) => Some(*question),
            Self::Group(_)
            | Self::Backend(..)
            | Self::Config
            | Self::Drain(_)
            | Self::Upgrade
            | Self::Fault(..) => None,
        }
    }
}

/// A program to start.
#[derive(Debug, Clone)]
pub struct Start {
    /// To say which one has ended.
    pub ticket: u64,
    /// The hook.
    pub hook: Arc<Hook>,
    /// What it is told.
    pub occurrence: Occurrence,
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// How.
    pub outcome: Outcome,
    /// The first line that it printed.
    pub said: Option<String>,
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// With 0.
    Succeeded,
    /// With something else: what.
    Failed(String),
    /// It was killed at its deadline.
    Killed(Duration),
    /// It could not be started: why.
    NotStarted(String),
}

impl Outcome {
    const NAMES: [&'static str; 4] = ["succeeded", "failed", "killed", "not-started"];

    /// In a word.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed(_) => "failed",
            Self::Killed(_) => "killed",
            Self::NotStarted(_) => "not-started",
        }
    }

    /// For people.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Succeeded => "succeeded".to_owned(),
            Self::Failed(how) => how.clone(),
            Self::Killed(after) => format!("killed at its deadline after {} s", after.as_secs_f64()),
            Self::NotStarted(why) => format!("not started: {why}"),
        }
    }
}

/// How a group stands, as a hook is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Leader,
    Standby,
    Unfit,
    Stopped,
}

impl State {
    fn of(standing: &Standing, stopping: bool) -> Self {
        match (standing.role, standing.priority) {
            (Role::Leader, _) => Self::Leader,
            (Role::Init, _) if stopping => Self::Stopped,
            (Role::Standby, Some(_)) => Self::Standby,
            (Role::Standby, None) | (Role::Init, _) => Self::Unfit,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Standby => "standby",
            Self::Unfit => "unfit",
            Self::Stopped => "stopped",
        }
    }
}

#[derive(Debug)]
struct Running {
    subject: Subject,
    occurrence: Occurrence,
    since: Instant,
}

#[derive(Debug)]
struct Ended {
    occurrence: Occurrence,
    at: Instant,
    took: Duration,
    ending: Ending,
}

#[derive(Debug)]
pub(super) struct Queue {
    pub(super) hook: Arc<Hook>,
    told: BTreeMap<GroupName, (State, Standing)>,
    waiting: VecDeque<(Subject, Occurrence)>,
    running: BTreeMap<u64, Running>,
    last: VecDeque<Ended>,
    runs: BTreeMap<&'static str, u64>,
    spent: Duration,
    superseded: u64,
    overflow: u64,
}

impl Queue {
    pub(super) fn new(hook: &Arc<Hook>) -> Self {
        Self {
            hook: Arc::clone(hook),
            told: BTreeMap::new(),
            waiting: VecDeque::new(),
            running: BTreeMap::new(),
            last: VecDeque::new(),
            runs: Outcome::NAMES.into_iter().map(|name| (name, 0)).collect(),
            spent: Duration::ZERO,
            superseded: 0,
            overflow: 0,
        }
    }

    /// It is told anew how the groups of `config` stand; of those that are gone it is still to hear that they are. Gives the
    /// questions that are not asked any more.
    pub(super) fn change(&mut self, hook: &Arc<Hook>, config: &Config) -> Vec<u64> {
        self.hook = Arc::clone(hook);
        self.told.retain(|group, _| !config.groups.contains_key(group));
        self.forget()
    }

    /// What runs goes on, and it is told of nothing any more. Gives the questions that are not asked any more.
    pub(super) fn take_away(&mut self) -> Vec<u64> {
        Arc::make_mut(&mut self.hook).events.clear();
        self.forget()
    }

    /// What waits was meant for what the hook was before. Gives the questions among it.
    fn forget(&mut self) -> Vec<u64> {
        self.waiting.drain(..).filter_map(|(subject, _)| subject.question()).collect()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    pub(super) fn look(&mut self, look: &Look<'_>, node: &str) {
        for (name, standing) in &look.groups {
            let state = State::of(standing, look.stopping);
            if !look.config.groups.contains_key(name)
                || !self.hook.is_for(name)
                || !self.is_news(name, state, standing)
            {
                continue;
            }
            self.told.insert(name.clone(), (state, standing.clone()));
            self.tell_of_group(look, node, name, state.word(), standing);
        }
        let gone: Vec<_> =
            self.told.keys().filter(|name| !look.config.groups.contains_key(*name)).cloned().collect();
        for name in gone {
            if let Some((state, standing)) = self.told.remove(&name)
                && (state == State::Leader || self.hook.style == HookStyle::Keepalived)
            {
                self.tell_of_group(look, node, &name, "removed", &standing);
            }
        }
    }

    /// A lead that was lost and had again is news: another node's hooks may have run meanwhile.
    fn is_news(&self, group: &GroupName, now: State, standing: &Standing) -> bool {
        match self.told.get(group) {
            // It has not yet begun to take part.
            None => standing.role != Role::Init,
            Some((State::Leader, before)) if now == State::Leader => {
                before.transitions != standing.transitions
            }
            Some((before, _)) if self.hook.style == HookStyle::Keepalived => *before != now,
            Some((before, _)) => (*before == State::Leader) != (now == State::Leader),
        }
    }

    fn tell_of_group(
        &mut self,
        look: &Look<'_>,
        node: &str,
        name: &GroupName,
        state: &'static str,
        standing: &Standing,
    ) {
        let event = if state == "leader" { HookEvent::AfterLeading } else { HookEvent::AfterStandby };
        let configured = look.config.groups.get(name);
        let own =
            configured.and_then(|group| group.priorities.get(&look.config.node)).map_or(0, |own| own.get());
        let leader = if state == "leader" { Some(node.to_owned()) } else { standing.leader.clone() };
        let details = Details::Group {
            group: name.clone(),
            state,
            epoch: standing.epoch,
            priority: standing.priority.unwrap_or(own),
            vips: configured.map_or_else(Vec::new, |group| {
                group.vips.iter().map(|vip| vip.address.to_string()).collect()
            }),
            leader,
            reason: standing.reason.clone(),
            to: None,
            from: None,
            routers: configured.map_or(1, |group| group.links().len()),
        };
        self.tell(&Subject::Group(name.clone()), &Occurrence::new(event, node, details));
    }

    pub(super) fn tell(&mut self, subject: &Subject, occurrence: &Occurrence) {
        // What it is not told of still ends what it was to be told of the same.
        if matches!(subject, Subject::Group(_)) && !self.hook.events.contains(&occurrence.event) {
            let before = self.waiting.len();
            self.waiting.retain(|(waits, _)| waits != subject);
            self.superseded =
                self.superseded.saturating_add(count(before.saturating_sub(self.waiting.len())));
            return;
        }
        // One that had to name the group no more still hears that it is gone.
        let is_for = |group| matches!(subject, Subject::Group(_)) || self.hook.is_for(group);
        if !self.hook.events.contains(&occurrence.event) || !occurrence.group().is_none_or(is_for) {
            return;
        }
        if let Some((_, waiting)) = self.waiting.iter_mut().find(|(waits, _)| waits == subject) {
            *waiting = occurrence.clone();
            self.superseded = self.superseded.saturating_add(1);
            return;
        }
        let is_of_group = |subject: &Subject| matches!(subject, Subject::Group(_));
        if !is_of_group(subject)
            && self.waiting.iter().filter(|(waits, _)| !is_of_group(waits)).count() >= WAITING
        {
            self.overflow = self.overflow.saturating_add(1);
            return;
        }
        self.waiting.push_back((subject.clone(), occurrence.clone()));
    }

    /// It is to be told before something is done, ahead of all that waits.
    pub(super) fn ask(&mut self, subject: Subject, occurrence: Occurrence) {
        self.waiting.push_front((subject, occurrence));
    }

    /// Nobody waits for the answer any more; what runs goes on to its deadline.
    pub(super) fn take_back(&mut self, question: u64) {
        self.waiting.retain(|(subject, _)| subject.question() != Some(question));
    }

    /// The group stays: whoever prepared for its change of leader is to hear how it stands.
    pub(super) fn stays(&mut self, before: HookEvent, group: &GroupName) {
        if self.hook.events.contains(&before) {
            self.told.remove(group);
        }
    }

    pub(super) fn poll_start(&mut self, ticket: u64, now: Instant) -> Option<Start> {
        if self.running.len() >= AT_ONCE {
            return None;
        }
        let is_free =
            |subject: &Subject| self.running.values().all(|running| running.subject.lane() != subject.lane());
        let next = self.waiting.iter().position(|(subject, _)| is_free(subject))?;
        let (subject, occurrence) = self.waiting.remove(next)?;
        self.running.insert(ticket, Running { subject, occurrence: occurrence.clone(), since: now });
        Some(Start { ticket, hook: Arc::clone(&self.hook), occurrence })
    }

    pub(super) fn runs(&self, ticket: u64) -> bool {
        self.running.contains_key(&ticket)
    }

    /// Gives the number of the question that this is the answer to, if it is one.
    pub(super) fn ended(&mut self, ticket: u64, ending: Ending, now: Instant) -> Option<u64> {
        let running = self.running.remove(&ticket)?;
        let question = running.subject.question();
        let took = now.saturating_duration_since(running.since);
        self.spent = self.spent.saturating_add(took);
        let runs = self.runs.entry(ending.outcome.name()).or_insert(0);
        *runs = runs.saturating_add(1);
        self.last.push_front(Ended { occurrence: running.occurrence, at: now, took, ending });
        self.last.truncate(SHOWN);
        question
    }

    /// How the last run failed, if it did.
    pub(super) fn failure(&self) -> Option<String> {
        let last = self.last.front()?;
        if last.ending.outcome == Outcome::Succeeded {
            return None;
        }
        let said = last.ending.said.as_ref().map_or_else(String::new, |said| format!(": {said}"));
        let group = last.occurrence.group().map_or_else(String::new, |group| format!(" of group {group}"));
        Some(format!("{}{said} ({}{group})", last.ending.outcome.words(), last.occurrence.event))
    }

    pub(super) fn status(&self, now: Instant) -> HookStatus {
        HookStatus {
            name: self.hook.name.to_string(),
            on: self.hook.events.iter().map(ToString::to_string).collect(),
            command: self.hook.does.words(),
            waiting: count(self.waiting.len()),
            running: self.running.values().map(|run| shown(&run.occurrence, run.since, now, None)).collect(),
            runs: self.runs.iter().map(|(name, runs)| ((*name).to_owned(), *runs)).collect(),
            run_seconds: self.spent.as_secs_f64(),
            left_out: BTreeMap::from([
                ("superseded".to_owned(), self.superseded),
                ("queue-full".to_owned(), self.overflow),
            ]),
            last: self
                .last
                .iter()
                .map(|ended| shown(&ended.occurrence, ended.at, now, Some(ended)))
                .collect(),
        }
    }
}

fn shown(occurrence: &Occurrence, since: Instant, now: Instant, ended: Option<&Ended>) -> HookRun {
    let elapsed = now.saturating_duration_since(since);
    let took = ended.map_or(elapsed, |ended| ended.took);
    HookRun {
        event: occurrence.event.to_string(),
        of: occurrence.subject(),
        group: occurrence.group().map(ToString::to_string),
        seconds_ago: elapsed.as_secs(),
        outcome: ended.map_or("running", |ended| ended.ending.outcome.name()).to_owned(),
        what: ended.map_or_else(|| "runs".to_owned(), |ended| ended.ending.outcome.words()),
        took_ms: (took.as_secs_f64() * 1e6).round() / 1e3,
        said: ended.and_then(|ended| ended.ending.said.clone()),
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
