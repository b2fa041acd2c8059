//! Which hooks are to run, with what, and what became of them: a pure machine.
//!
//! A hook is told the state of each of its groups, the latest wins; whatever else happened waits in a bounded queue.
//! For each hook and group one program runs at a time, so that they end in the order in which things happened.

mod before;
mod occurrence;
mod planned;
mod queue;
#[cfg(test)]
mod tests;

pub use before::{Before, Next, Planned, is_asked_to_lead, next};
pub use occurrence::{Details, Occurrence, Standing};
pub use planned::{Drain, DrainEnd, DrainKind, Upgrade, UpgradeEnd};
pub use queue::{Ending, Outcome, Start};

use crate::status::{Alarm, Hook as HookStatus, Severity};
use before::not_started;
use fulcrum_config::{BackendName, Config, GroupName, HookEvent, ServiceName};
use queue::{Queue, Subject};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// How alarms about hooks begin: no hook is run for them, or one that fails would be run for ever.
const OF_A_HOOK: &str = "hook ";

/// What a look at the node shows.
#[derive(Debug, Clone)]
pub struct Look<'a> {
    /// What runs.
    pub config: &'a Config,
    /// Of it: grows with each that is applied.
    pub generation: u64,
    /// Of it: what the nodes count alike.
    pub serial: u64,
    /// How this node stands in each group.
    pub groups: BTreeMap<GroupName, Standing>,
    /// Each backend that fails its check, with the reason.
    pub down: BTreeMap<(ServiceName, BackendName), String>,
    /// This node leaves all groups for good.
    pub stopping: bool,
}

/// All hooks of a node.
#[derive(Debug, Default)]
pub struct Hooks {
    queues: Vec<Queue>,
    down: BTreeSet<(ServiceName, BackendName)>,
    generation: u64,
    tickets: u64,
    /// What became of those that somebody waits for, by the number of the question.
    answers: BTreeMap<u64, Option<Ending>>,
}

impl Hooks {
    /// Nothing is configured, and nothing runs.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.queues.iter().all(Queue::is_idle)
    }

    /// Takes in how the node is now.
    pub fn look(&mut self, look: &Look<'_>) {
        self.configure(look.config);
        let node = look.config.node.to_string();
        for queue in &mut self.queues {
            queue.look(look, &node);
        }
        if self.generation != look.generation {
            self.generation = look.generation;
            let details = Details::Config { generation: look.generation, serial: look.serial };
            self.tell(&Subject::Config, &Occurrence::new(HookEvent::ConfigApplied, &node, details));
        }
        let new: Vec<_> = look.down.iter().filter(|(backend, _)| !self.down.contains(backend)).collect();
        for ((service, backend), reason) in new {
            let Some(configured) = look.config.services.get(service) else { continue };
            let details = Details::Backend {
                group: configured.group.clone(),
                service: service.to_string(),
                backend: backend.to_string(),
                address: address(configured, backend),
                reason: reason.clone(),
            };
            let subject = Subject::Backend(configured.group.clone(), service.clone(), backend.clone());
            self.tell(&subject, &Occurrence::new(HookEvent::BackendDown, &node, details));
        }
        self.down = look.down.keys().cloned().collect();
    }

    /// Takes in alarms that rose.
    pub fn raised<'a>(&mut self, node: &str, alarms: impl IntoIterator<Item = &'a Alarm>) {
        for alarm in alarms.into_iter().filter(|alarm| !alarm.what.starts_with(OF_A_HOOK)) {
            let subject = Subject::Fault(alarm.what.clone(), alarm.affected.clone());
            let occurrence = Occurrence::new(HookEvent::Fault, node, Details::Fault(alarm.clone()));
            self.tell(&subject, &occurrence);
        }
    }

    fn tell(&mut self, subject: &Subject, occurrence: &Occurrence) {
        for queue in &mut self.queues {
            queue.tell(subject, occurrence);
        }
    }

    /// Takes in what is in force: nothing that was before. What those that are configured have counted goes on; a hook that
    /// changed is told anew how things stand.
    pub fn configure(&mut self, config: &Config) {
        let mut lost = Vec::new();
        self.queues.retain(|queue| config.hooks.contains_key(&queue.hook.name) || !queue.is_idle());
        for (name, hook) in &config.hooks {
            match self.queues.iter_mut().find(|queue| queue.hook.name == *name) {
                Some(queue) if queue.hook == *hook => {}
                Some(queue) => lost.extend(queue.change(hook, config)),
                None => self.queues.push(Queue::new(hook)),
            }
        }
        for queue in self.queues.iter_mut().filter(|queue| !config.hooks.contains_key(&queue.hook.name)) {
            lost.extend(queue.take_away());
        }
        lost.into_iter().for_each(|question| self.answer(question, not_started()));
    }

    /// The next program to start, if one is to be.
    pub fn poll_start(&mut self, now: Instant) -> Option<Start> {
        let ticket = self.tickets.wrapping_add(1);
        let start = self.queues.iter_mut().find_map(|queue| queue.poll_start(ticket, now))?;
        self.tickets = ticket;
        Some(start)
    }

    /// One has ended.
    pub fn ended(&mut self, ticket: u64, ending: Ending, now: Instant) {
        let queue = self.queues.iter_mut().find(|queue| queue.runs(ticket));
        if let Some(question) = queue.and_then(|queue| queue.ended(ticket, ending.clone(), now)) {
            self.answer(question, ending);
        }
    }

    /// What they did, for people.
    #[must_use]
    pub fn status(&self, now: Instant) -> Vec<HookStatus> {
        let mut hooks: Vec<_> = self.queues.iter().map(|queue| queue.status(now)).collect();
        hooks.sort_by(|one, other| one.name.cmp(&other.name));
        hooks
    }

    /// Each hook whose last run failed.
    #[must_use]
    pub fn alarms(&self) -> Vec<Alarm> {
        let failed = self.queues.iter().filter_map(|queue| Some((queue, queue.failure()?)));
        let alarm = |(queue, failure): (&Queue, String)| Alarm {
            severity: Severity::Warning,
            what: format!("{OF_A_HOOK}{} failed: {failure}", queue.hook.name),
            affected: "what it is to do; VIPs and traffic do not wait for it".to_owned(),
            remedy: format!(
                "correct {}; what is missing is not made up for, so do it by hand where it matters",
                queue.hook.does.words().first().map_or("it", String::as_str)
            ),
        };
        failed.map(alarm).collect()
    }
}

fn address(service: &fulcrum_config::Service, name: &BackendName) -> String {
    let backend = service.backends.iter().find(|backend| backend.name == *name);
    backend.map(|backend| service.address_of(backend).to_string()).unwrap_or_default()
}
