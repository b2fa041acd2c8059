//! Hooks that are run before something that is planned, which waits for them.
#![allow(clippy::disallowed_methods, reason = "a driver: it waits for programs")]

use super::{Hooks, PACE};
use fulcrum_config::{Config, GroupName, Hook, HookEvent};
use fulcrum_lifecycle::hooks::{Before, Drain, Ending, Next, Upgrade, next};
use std::time::{Duration, Instant};

/// How long all of them together are waited for, however often they are run.
pub(crate) const BOUND: Duration = Duration::from_secs(60);
/// Time between two runs of one that holds the change up.
const AGAIN: Duration = Duration::from_secs(1);

impl Hooks {
    /// Runs them one after the other. Gives how many there were, or why it is not to be done, unless it is done whatever
    /// they say.
    pub(crate) async fn before(&self, before: &Before<'_>, is_forced: bool) -> Result<usize, String> {
        let until = Instant::now().checked_add(BOUND).unwrap_or_else(Instant::now);
        let mut count = 0_usize;
        for hook in before.hooks() {
            count = count.saturating_add(1);
            loop {
                let ending = self.run(before, hook, until).await;
                match next(hook, ending.as_ref()) {
                    Next::GoOn => break,
                    Next::Refuse(_) | Next::Again(_) if is_forced => break,
                    Next::Refuse(why) => return Err(why),
                    Next::Again(why) => {
                        tracing::warn!(target: "hook", of = before.subject(), "what is planned waits: {why}");
                        if until.saturating_duration_since(Instant::now()) <= AGAIN {
                            return Err(format!("{why}; it held that up for {} s", BOUND.as_secs()));
                        }
                        tokio::time::sleep(AGAIN).await;
                    }
                }
            }
        }
        Ok(count)
    }

    /// Has one run, and waits for its end; none if that does not come in time.
    async fn run(&self, before: &Before<'_>, hook: &Hook, until: Instant) -> Option<Ending> {
        let asked = Asked { hooks: self, question: self.machine().ask(before, &hook.name) };
        self.news.notify_one();
        while Instant::now() < until {
            let ending = self.machine().poll_answer(asked.question);
            if ending.is_some() {
                return ending;
            }
            tokio::time::sleep(PACE).await;
        }
        None
    }

    /// The group keeps its leader after all.
    pub(crate) fn stays(&self, before: HookEvent, group: &GroupName) {
        self.machine().stays(before, group);
        self.news.notify_one();
    }

    /// A drain is over.
    pub(crate) fn drained(&self, config: &Config, drain: &Drain) {
        self.machine().drained(config, drain);
        self.news.notify_one();
    }

    /// An upgrade is over.
    pub(crate) fn upgraded(&self, config: &Config, upgrade: &Upgrade) {
        self.machine().upgraded(config, upgrade);
        self.news.notify_one();
    }
}

/// Nobody waits for the answer any more once this is gone.
struct Asked<'a> {
    hooks: &'a Hooks,
    question: u64,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.hooks.machine().take_back(self.question);
    }
}
