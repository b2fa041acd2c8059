//! Hooks that are told before a planned change, which waits for them.

use super::{Details, Ending, Hooks, Occurrence, Outcome, Standing, Subject};
use fulcrum_config::{Config, GroupName, Hook, HookEvent, HookName, NodeName, Policy};
use std::sync::Arc;

/// A group that is about to be handed over.
#[derive(Debug, Clone)]
pub struct Before<'a> {
    /// What runs.
    pub config: &'a Config,
    /// The group.
    pub group: &'a GroupName,
    /// How this node stands in it.
    pub standing: Standing,
    /// The node that is to lead it, if it is known.
    pub to: Option<NodeName>,
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

impl Before<'_> {
    /// The hooks that are told of it, in the order of their names.
    pub fn hooks(&self) -> impl Iterator<Item = &Arc<Hook>> {
        let is_told =
            |hook: &&Arc<Hook>| hook.events.contains(&HookEvent::BeforeStandby) && hook.is_for(self.group);
        self.config.hooks.values().filter(is_told)
    }

    fn occurrence(&self) -> Occurrence {
        let node = self.config.node.to_string();
        let group = self.config.groups.get(self.group);
        let own = group.and_then(|group| group.priorities.get(&self.config.node)).map_or(0, |own| own.get());
        let vips = group
            .map_or_else(Vec::new, |group| group.vips.iter().map(|vip| vip.address.to_string()).collect());
        let details = Details::Group {
            group: self.group.clone(),
            state: "leader",
            epoch: self.standing.epoch,
            priority: self.standing.priority.unwrap_or(own),
            vips,
            leader: Some(node.clone()),
            reason: "an operator hands it over".to_owned(),
            to: self.to.as_ref().map(ToString::to_string),
            routers: group.map_or(1, |group| group.links().len()),
        };
        Occurrence::new(HookEvent::BeforeStandby, &node, details)
    }
}

impl Hooks {
    /// Has a hook run before a group is left. Gives the number of the question.
    pub fn ask(&mut self, before: &Before<'_>, hook: &HookName) -> u64 {
        self.configure(before.config);
        let question = self.tickets.wrapping_add(1);
        self.tickets = question;
        self.answers.insert(question, None);
        if let Some(queue) = self.queues.iter_mut().find(|queue| queue.hook.name == *hook) {
            queue.ask(Subject::Before(before.group.clone(), question), before.occurrence());
        }
        question
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

    /// A group that was to be left stays: hooks that were told so are told that it is led here, if they want to know.
    pub fn stays(&mut self, group: &GroupName) {
        self.queues.iter_mut().for_each(|queue| queue.stays(group));
    }
}
