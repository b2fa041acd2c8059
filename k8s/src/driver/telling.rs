//! What Services are told, some at a time and beside everything else: a thousand writes must not hold up a change of endpoints.
#![allow(clippy::disallowed_methods, reason = "a driver: it reads the clock")]

use super::teller::{Teller, Written};
use crate::objects::{ObjectName, Objects};
use crate::report::{Applied, Report, report};
use crate::rivals::Rivals;
use crate::translate::Outcome;
use crate::writes::{Ours, Writes, writes};
use fulcrum_config::Config;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use k8s_openapi::api::core::v1::Service;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

/// Writes under way at a time.
const AT_A_TIME: usize = 16;
/// So many failures without one success end an attempt.
const FAILURES_AT_MOST: u64 = 16;

/// What came of all Services.
pub(super) struct Words {
    pub(super) outcomes: BTreeMap<ObjectName, Outcome>,
    pub(super) applied: Arc<Applied>,
    pub(super) config: Arc<Config>,
    pub(super) ours: Ours,
    /// The time, as conditions have it.
    pub(super) now: String,
}

impl Words {
    /// What a Service is to be told; none, if it is not ours.
    pub(super) fn report(&self, name: &ObjectName) -> Option<Report> {
        let report = report(self.outcomes.get(name)?, &self.applied);
        Some(if self.ours.reports.is_empty() { report } else { report.annotated(&self.config) })
    }

    /// What is to be written for that.
    pub(super) fn writes(&self, service: &Service, report: Option<&Report>) -> Writes {
        writes(service, report, &self.ours, &self.now)
    }
}

/// What a Service was told, and what came of it.
pub(super) struct Told {
    pub(super) name: ObjectName,
    pub(super) report: Option<Report>,
    pub(super) written: Written,
}

/// What came of all that was to be said.
pub(super) struct Concluded {
    /// Somebody was held up.
    pub(super) held_up: bool,
    /// The first error, if there was one.
    pub(super) error: Option<String>,
    /// What came of events, if there were any. They are not tried again: conditions say the same.
    pub(super) event: Option<Result<(), String>>,
}

/// Those that wait, and the writes under way.
pub(super) struct Telling {
    teller: Teller,
    /// By their names alone: what is to be written to thousands is a lot of memory, and may be another by then.
    waiting: VecDeque<ObjectName>,
    under_way: FuturesUnordered<BoxFuture<'static, Told>>,
    names: BTreeSet<ObjectName>,
    /// One that was to be told something was just being told something else.
    held_up: bool,
    failures: u64,
    successes: u64,
    error: Option<String>,
    /// What came of events: of those that failed the first.
    event: Option<Result<(), String>>,
}

impl Telling {
    pub(super) fn new(teller: Teller) -> Self {
        Self {
            teller,
            waiting: VecDeque::new(),
            under_way: FuturesUnordered::new(),
            names: BTreeSet::new(),
            held_up: false,
            failures: 0,
            successes: 0,
            error: None,
            event: None,
        }
    }

    /// These wait from now on, in place of all that waited.
    pub(super) fn say(&mut self, due: Vec<ObjectName>) {
        let all = due.len();
        self.waiting = due.into_iter().filter(|name| !self.names.contains(name)).collect();
        self.held_up |= self.waiting.len() < all;
    }

    /// Begins with as many as may be under way, with one of `events` less for each that is written. Says how many were left
    /// out, because there were too many; the condition says the same.
    pub(super) fn begin(
        &mut self,
        words: &Words,
        objects: &Objects,
        rivals: &Rivals,
        events: &mut u32,
    ) -> u64 {
        let now = Instant::now();
        let mut left_out = 0_u64;
        while self.names.len() < AT_A_TIME
            && let Some(name) = self.waiting.pop_front()
        {
            let Some(service) = objects.services.get(&name) else { continue };
            let report = words.report(&name);
            let mut writes = words.writes(service, report.as_ref());
            if writes.is_empty() {
                continue;
            }
            // What is told again because somebody wrote over it is no news.
            if rivals.corrects(&name, report.as_ref(), now) {
                writes.event = None;
            }
            if writes.event.is_some() {
                match events.checked_sub(1) {
                    Some(rest) => *events = rest,
                    None => {
                        writes.event = None;
                        left_out = left_out.saturating_add(1);
                    }
                }
            }
            self.names.insert(name.clone());
            let (teller, service) = (self.teller.clone(), Arc::clone(service));
            self.under_way.push(Box::pin(async move {
                let written = teller.write(&name, &service, writes).await;
                Told { name, report, written }
            }));
        }
        left_out
    }

    /// Nothing is under way, and nothing waits.
    pub(super) fn is_done(&self) -> bool {
        self.names.is_empty() && self.waiting.is_empty()
    }

    /// The next that was told; none, if nothing is under way.
    pub(super) async fn next(&mut self) -> Option<Told> {
        let told = self.under_way.next().await?;
        self.names.remove(&told.name);
        self.successes = self.successes.saturating_add(told.written.count);
        if let Some(error) = &told.written.error {
            self.failures = self.failures.saturating_add(1);
            self.error.get_or_insert_with(|| error.clone());
        }
        if let Some(event) = &told.written.event
            && !matches!(self.event, Some(Err(_)))
        {
            self.event = Some(event.clone());
        }
        if self.failures >= FAILURES_AT_MOST && self.successes == 0 {
            self.waiting.clear();
        }
        Some(told)
    }

    /// All that was to be said is said.
    pub(super) fn conclude(&mut self) -> Concluded {
        (self.failures, self.successes) = (0, 0);
        Concluded {
            held_up: std::mem::take(&mut self.held_up),
            error: self.error.take(),
            event: self.event.take(),
        }
    }
}
