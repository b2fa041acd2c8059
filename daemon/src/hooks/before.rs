//! Hooks that are run before a group is handed over, which waits for them.
#![allow(clippy::disallowed_methods, reason = "a driver: it waits for programs")]

use super::{Hooks, PACE};
use fulcrum_config::Hook;
use fulcrum_lifecycle::hooks::{Before, Ending, Next, next};
use std::time::{Duration, Instant};

/// How long all of them together are waited for, however often they are run.
const BOUND: Duration = Duration::from_secs(60);
/// Time between two runs of one that holds the change up.
const AGAIN: Duration = Duration::from_secs(1);

impl Hooks {
    /// Runs them one after the other. Gives how many there were, or why the group is to stay, unless it is moved whatever
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
                        tracing::warn!(target: "hook", group = %before.group, "the handover waits: {why}");
                        if until.saturating_duration_since(Instant::now()) <= AGAIN {
                            return Err(format!("{why}; it held the handover up for {} s", BOUND.as_secs()));
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
        let question = self.machine().ask(before, &hook.name);
        self.news.notify_one();
        while Instant::now() < until {
            let ending = self.machine().poll_answer(question);
            if ending.is_some() {
                return ending;
            }
            tokio::time::sleep(PACE).await;
        }
        self.machine().take_back(question);
        None
    }

    /// The group stays after all.
    pub(crate) fn stays(&self, group: &fulcrum_config::GroupName) {
        self.machine().stays(group);
        self.news.notify_one();
    }
}
