//! Hooks that are told before a planned change, which waits for them.

use super::{Details, Drain, Ending, Hooks, Occurrence, Outcome, Standing, Subject, Upgrade};
use fulcrum_config::{Config, GroupName, Hook, HookEvent, HookName, NodeName, Policy};
use std::sync::Arc;

/// How one ends that is not what it was when somebody asked.
pub(super) fn not_started() -> Ending {
    let why = "a reload changed it or took it away".to_owned();
    Ending { outcome: Outcome::NotStarted(why), said: None }
}

/// Something that is about to be done on an operator's word.
#[derive(Debug, Clone)]
pub struct Before<'a> {
    /// What runs.
    pub config: &'a Config,
    /// What is to be done.
    pub planned: Planned,
}

/// What is about to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Planned {
    /// This node is to leave a group that it leads.
    Standby {
        /// The group.
        group: GroupName,
        /// How this node stands in it.
        standing: Standing,
        /// The node that is to lead it, if it is known.
        to: Option<NodeName>,
    },
    /// It is to lead a group.
    Leading {
        /// The group.
        group: GroupName,
        /// How this node stands in it.
        standing: Standing,
        /// The node that hands it over.
        from: NodeName,
    },
    /// Something is to be drained.
    Drain(Drain),
    /// This node is to be upgraded.
    Upgrade(Upgrade),
}

impl Planned {
    fn event(&self) -> HookEvent {
        match self {
            Self::Standby { .. } => HookEvent::BeforeStandby,
            Self::Leading { .. } => HookEvent::BeforeLeading,
            Self::Drain(_) => HookEvent::BeforeDrain,
            Self::Upgrade(_) => HookEvent::BeforeUpgrade,
        }
    }

    fn group(&self) -> Option<&GroupName> {
        match self {
            Self::Standby { group, .. } | Self::Leading { group, .. } => Some(group),
            Self::Drain(_) | Self::Upgrade(_) => None,
        }
    }
}

/// What is to be done after a hook has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// The change goes on.
    GoOn,
    /// The hook is run again: why.
    Again(String),
    /// The change is not made: why.
    Refuse(String),
}

/// What comes of the end of a hook; without one it did not end in time.
#[must_use]
pub fn next(hook: &Hook, ending: Option<&Ending>) -> Next {
    let why = match ending {
        Some(Ending { outcome: Outcome::Succeeded, .. }) => return Next::GoOn,
        Some(Ending { outcome, said }) => {
            let said = said.as_ref().map_or_else(String::new, |said| format!(": {said}"));
            format!("hook {} {}{said}", hook.name, outcome.words())
        }
        None => format!("hook {} has not ended in time", hook.name),
    };
    match (hook.on_failure, ending) {
        (Policy::Ignore, _) => Next::GoOn,
        (Policy::Hold, Some(_)) => Next::Again(why),
        (Policy::Hold, None) | (Policy::Abort, _) => Next::Refuse(why),
    }
}

/// Whether `hook` is told before what is planned, of a group if it is of one.
fn is_told(hook: &Hook, event: HookEvent, group: Option<&GroupName>) -> bool {
    hook.events.contains(&event) && group.is_none_or(|group| hook.is_for(group))
}

/// Whether some hook is told on a node that is to lead `group`.
#[must_use]
pub fn is_asked_to_lead(config: &Config, group: &GroupName) -> bool {
    config.hooks.values().any(|hook| is_told(hook, HookEvent::BeforeLeading, Some(group)))
}

impl Before<'_> {
    /// The hooks that are told of it, in the order of their names.
    pub fn hooks(&self) -> impl Iterator<Item = &Arc<Hook>> {
        let (event, group) = (self.planned.event(), self.planned.group());
        self.config.hooks.values().filter(move |hook| is_told(hook, event, group))
    }

    /// What it is, in a word or two.
    #[must_use]
    pub fn subject(&self) -> String {
        self.occurrence().subject()
    }

    fn occurrence(&self) -> Occurrence {
        let node = self.config.node.to_string();
        let details = match &self.planned {
            Planned::Standby { group, standing, to } => {
                self.of_group(group, standing, "leader", to.as_ref(), None)
            }
            Planned::Leading { group, standing, from } => {
                self.of_group(group, standing, "standby", None, Some(from))
            }
            Planned::Drain(drain) => Details::Drain(drain.clone()),
            Planned::Upgrade(upgrade) => Details::Upgrade(upgrade.clone()),
        };
        Occurrence::new(self.planned.event(), &node, details)
    }

    fn of_group(
        &self,
        name: &GroupName,
        standing: &Standing,
        state: &'static str,
        to: Option<&NodeName>,
        from: Option<&NodeName>,
    ) -> Details {
        let group = self.config.groups.get(name);
        let own = group.and_then(|group| group.priorities.get(&self.config.node)).map_or(0, |own| own.get());
        let vips = group
            .map_or_else(Vec::new, |group| group.vips.iter().map(|vip| vip.address.to_string()).collect());
        Details::Group {
            group: name.clone(),
            state,
            epoch: standing.epoch,
            priority: standing.priority.unwrap_or(own),
            vips,
            leader: Some(from.unwrap_or(&self.config.node).to_string()),
            reason: "an operator hands it over".to_owned(),
            to: to.map(ToString::to_string),
            from: from.map(ToString::to_string),
            routers: group.map_or(1, |group| group.links().len()),
        }
    }
}

impl Hooks {
    /// Has a hook run before something is done. Gives the number of the question. One that is not configured so any more
    /// is not run, and its end is there at once.
    pub fn ask(&mut self, before: &Before<'_>, hook: &HookName) -> u64 {
        let question = self.tickets.wrapping_add(1);
        self.tickets = question;
        self.answers.insert(question, None);
        let meant = before.config.hooks.get(hook);
        match self.queues.iter_mut().find(|queue| Some(&queue.hook) == meant) {
            Some(queue) => {
                queue.ask(Subject::Before(before.planned.group().cloned(), question), before.occurrence());
            }
            None => self.answer(question, not_started()),
        }
        question
    }

    /// Nobody may wait for it any more.
    pub(super) fn answer(&mut self, question: u64, ending: Ending) {
        if let Some(answer) = self.answers.get_mut(&question) {
            *answer = Some(ending);
        }
    }

    /// How that hook ended, if it has.
    pub fn poll_answer(&mut self, question: u64) -> Option<Ending> {
        let ending = self.answers.get_mut(&question)?.take()?;
        self.answers.remove(&question);
        Some(ending)
    }

    /// Nobody waits for it any more.
    pub fn take_back(&mut self, question: u64) {
        self.answers.remove(&question);
        self.queues.iter_mut().for_each(|queue| queue.take_back(question));
    }

    /// A group whose leader was to change keeps it: hooks that were told `before` are told how it stands, if they want to know.
    pub fn stays(&mut self, before: HookEvent, group: &GroupName) {
        self.queues.iter_mut().for_each(|queue| queue.stays(before, group));
    }
}
