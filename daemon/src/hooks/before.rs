//! Hooks that are run before something that is planned, which waits for them.
#![allow(clippy::disallowed_methods, reason = "a driver: it waits for programs")]

use super::{Hooks, PACE};
use fulcrum_config::{GroupName, Hook, HookEvent, HookName};
use fulcrum_lifecycle::Handle;
use fulcrum_lifecycle::hooks::{Before, Drain, Ending, Next, Outcome, Planned, Upgrade, next};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long all of them together are waited for, however often they are run.
pub(crate) const BOUND: Duration = Duration::from_secs(60);
/// Time between two runs of one that holds the change up.
const AGAIN: Duration = Duration::from_secs(1);

impl Hooks {
    /// Runs those that are in force one after the other. Gives how many there were, or why it is not to be done, unless it
    /// is done whatever they say. A reload meanwhile counts from the next run.
    pub(crate) async fn before(
        &self,
        handle: &Handle,
        planned: &Planned,
        is_forced: bool,
    ) -> Result<usize, String> {
        let until = Instant::now().checked_add(BOUND).unwrap_or_else(Instant::now);
        let (mut count, mut last) = (0_usize, None);
        while let Some(asked) = self.ask_next(handle, planned, last.as_ref()) {
            let ending = asked.ending(until).await;
            if asked.is_outdated(handle, ending.as_ref()) {
                continue;
            }
            match next(&asked.hook, ending.as_ref()) {
                Next::Refuse(why) if !is_forced => return Err(why),
                Next::Again(why) if !is_forced => {
                    tracing::warn!(target: "hook", of = asked.of, "what is planned waits: {why}");
                    if until.saturating_duration_since(Instant::now()) <= AGAIN {
                        return Err(format!("{why}; it held that up for {} s", BOUND.as_secs()));
                    }
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
                Next::GoOn | Next::Refuse(_) | Next::Again(_) => {}
            }
            count = count.saturating_add(1);
            last = Some(asked.hook.name.clone());
        }
        Ok(count)
    }

    /// Has the first one after `last` run, if there is one.
    fn ask_next(&self, handle: &Handle, planned: &Planned, last: Option<&HookName>) -> Option<Asked<'_>> {
        let (mut machine, config) = self.in_force(handle);
        let before = Before { config: &config, planned: planned.clone() };
        let hook = before.hooks().find(|hook| last < Some(&hook.name))?;
        let question = machine.ask(&before, &hook.name);
        self.news.notify_one();
        Some(Asked { hooks: self, hook: Arc::clone(hook), of: before.subject(), question })
    }

    /// The group keeps its leader after all.
    pub(crate) fn stays(&self, before: HookEvent, group: &GroupName) {
        self.machine().stays(before, group);
        self.news.notify_one();
    }

    /// A drain is over.
    pub(crate) fn drained(&self, handle: &Handle, drain: &Drain) {
        let (mut machine, config) = self.in_force(handle);
        machine.drained(config.node.as_str(), drain);
        self.news.notify_one();
    }

    /// An upgrade is over.
    pub(crate) fn upgraded(&self, handle: &Handle, upgrade: &Upgrade) {
        let (mut machine, config) = self.in_force(handle);
        machine.upgraded(config.node.as_str(), upgrade);
        self.news.notify_one();
    }
}

/// Nobody waits for the answer any more once this is gone.
struct Asked<'a> {
    hooks: &'a Hooks,
    hook: Arc<Hook>,
    /// What is planned, in a word or two.
    of: String,
    question: u64,
}

impl Asked<'_> {
    /// Waits for its end; none if that does not come in time.
    async fn ending(&self, until: Instant) -> Option<Ending> {
        while Instant::now() < until {
            let ending = self.hooks.machine().poll_answer(self.question);
            if ending.is_some() {
                return ending;
            }
            tokio::time::sleep(PACE).await;
        }
        None
    }

    /// It was not run, and a reload meanwhile changed it or took it away.
    fn is_outdated(&self, handle: &Handle, ending: Option<&Ending>) -> bool {
        matches!(ending, Some(Ending { outcome: Outcome::NotStarted(_), .. }))
            && handle.config().hooks.get(&self.hook.name) != Some(&self.hook)
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.hooks.machine().take_back(self.question);
    }
}
