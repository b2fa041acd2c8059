//! Keeps up with a cluster, and tells it what came of its Services.
//!
//! Every node watches, so that the next writer is warm; only the writer applies fragments and writes. While the API is
//! away nothing is done at all: what was applied last stays in force.
#![allow(clippy::disallowed_methods, reason = "a driver: it reads the clock and waits")]

mod client;
mod lock;
mod teller;
mod watches;

use crate::objects::ObjectName;
use crate::own_node::own_node;
use crate::reflection::{Kind, Reflection};
use crate::report::{Applied, Report, report};
use crate::rivals::Rivals;
use crate::state::State;
use crate::translate::{Translation, translate};
use crate::writes::{Ours, Writes, writes};
use client::{chain, client, fingerprint};
use fulcrum_config::{Cluster, ClusterName, Config, UnixTime};
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use k8s_openapi::api::core::v1::Service;
use kube::Client;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use teller::{Teller, Written, now_in_words};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};
use watches::{Said, watches};

pub use lock::{Held, Lock};

/// What comes within this time is one change.
const GATHER: Duration = Duration::from_millis(5);
/// After it was at work, it rests for so many times as long: events without end must not cost a core.
const REST: u32 = 2;
/// Time between two looks at the files and at whether the API answers.
const LOOK: Duration = Duration::from_secs(5);
/// How long the API may take to say which version it is.
const ANSWER: Duration = Duration::from_secs(4);
/// What failed is tried again after this time, then after twice that, and so on.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// The first attempt after this time is no trouble yet: the other node may just have been the one that applies.
const SOON: Duration = Duration::from_millis(250);
/// Writes under way at a time.
const AT_A_TIME: usize = 8;
/// So many failures without one success end an attempt.
const FAILURES_AT_MOST: u64 = 16;
/// Events at once, and so many more each [`LOOK`].
const EVENTS: (u32, u32) = (200, 50);

/// Where fragments go.
pub trait Door: Send + Sync {
    /// Puts `text` in force as what comes from `source`, on all nodes; empty takes it out of force.
    fn apply<'a>(&'a self, source: &'a str, text: String) -> BoxFuture<'a, Result<Applied, String>>;
}

/// What a cluster's driver is told.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// What runs.
    pub config: watch::Receiver<Arc<Config>>,
    /// Whether this node is the one that applies and writes.
    pub leads: watch::Receiver<bool>,
    /// The Kubernetes node that this node runs on, if it runs on one.
    pub own_node: String,
}

/// Serves a cluster for as long as the configuration has it.
pub async fn run(name: ClusterName, inputs: Inputs, door: Arc<dyn Door>, state: watch::Sender<State>) {
    let mut driver = Driver {
        name,
        inputs,
        door,
        state,
        reflection: Reflection::default(),
        applied: None,
        events: EVENTS.0,
        pause: AGAIN.0,
        again: Duration::ZERO,
        remarks: BTreeSet::new(),
        trouble: None,
        rivals: Rivals::default(),
    };
    while let Some(cluster) = driver.cluster() {
        match client(&cluster.access).await {
            Ok(client) => driver.session(&cluster, client).await,
            Err(why) => driver.failed(why),
        }
        sleep(driver.pause).await;
    }
}

struct Driver {
    name: ClusterName,
    inputs: Inputs,
    door: Arc<dyn Door>,
    state: watch::Sender<State>,
    reflection: Reflection,
    /// What is in force, as long as this node is the writer: text, what came of it, and with which configuration.
    applied: Option<(String, Applied, Arc<Config>)>,
    /// Events that may be written.
    events: u32,
    /// Until the next attempt.
    pause: Duration,
    /// Until what could not be applied or written is tried again; nothing, if all was.
    again: Duration,
    /// What was said of objects that are no Services.
    remarks: BTreeSet<String>,
    /// What does not work although the API answers: what its Services ask for can't be applied, or not be told.
    trouble: Option<String>,
    /// Who overwrites what we write.
    rivals: Rivals,
}

/// What a Service is to be told, and what is to be written for that.
struct Due {
    name: ObjectName,
    service: Arc<Service>,
    report: Option<Report>,
    writes: Writes,
}

/// When there is something to do, and what the watches say.
struct Session {
    teller: Teller,
    due: Option<Instant>,
    /// Not before then: it has just been at work.
    rests: Instant,
    /// Watches that do not work, and why.
    broken: BTreeMap<Kind, String>,
    /// The API does not answer at all.
    silent: Option<String>,
    began: Instant,
}

impl Driver {
    fn cluster(&self) -> Option<Arc<Cluster>> {
        self.inputs.config.borrow().kubernetes.get(&self.name).cloned()
    }

    /// Until the way to the API is another, or is to be taken anew.
    async fn session(&mut self, cluster: &Cluster, client: Client) {
        let files = fingerprint(&cluster.access);
        self.reflection.expect_metallb(cluster.metallb);
        let mut said = watches(&client, cluster.metallb);
        let teller = Teller {
            client: client.clone(),
            controller: cluster.class.clone(),
            node: self.inputs.config.borrow().node.to_string(),
        };
        let now = Instant::now();
        let mut session =
            Session { teller, due: Some(now), rests: now, broken: BTreeMap::new(), silent: None, began: now };
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = session.due;
            tokio::select! {
                Some(said) = said.next() => self.see(&mut session, said),
                changed = self.inputs.config.changed() => {
                    let is_another = |it: Arc<Cluster>| it.access != cluster.access || it.metallb != cluster.metallb;
                    if changed.is_err() || self.cluster().is_none_or(is_another) {
                        return;
                    }
                    session.soon();
                }
                Ok(()) = self.inputs.leads.changed() => session.soon(),
                () = sleep_until(due.unwrap_or(now)), if due.is_some() => {
                    let begun = Instant::now();
                    self.act(&mut session).await;
                    session.rest(begun.elapsed());
                }
                _ = look.tick() => {
                    self.events = self.events.saturating_add(EVENTS.1).min(EVENTS.0);
                    if fingerprint(&cluster.access) != files {
                        tracing::info!(target: "kubernetes", cluster = %self.name, "its kubeconfig has changed: it is read again");
                        self.pause = Duration::ZERO;
                        return;
                    }
                    if self.ask(&mut session, &client).await {
                        return;
                    }
                }
                else => return,
            }
        }
    }

    /// Asks whether the API answers. Says whether its watches are to be begun anew: it does again, and they do not.
    async fn ask(&mut self, session: &mut Session, client: &Client) -> bool {
        session.silent = match timeout(ANSWER, client.apiserver_version()).await {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(format!("its API can't be asked: {}", chain(&error))),
            Err(_) => Some(format!("its API has not answered for {} s", ANSWER.as_secs())),
        };
        self.show(session);
        if session.silent.is_some() || session.broken.is_empty() {
            return false;
        }
        // Those that wait after a failure would wait on.
        let is_due = session.began.elapsed() > self.pause;
        if is_due {
            self.pause = (self.pause.saturating_mul(2)).clamp(AGAIN.0, AGAIN.1);
        }
        is_due
    }

    fn see(&mut self, session: &mut Session, (kind, said): Said) {
        match said {
            Ok(seen) => {
                if session.broken.remove(&kind).is_some() {
                    self.show(session);
                }
                if self.reflection.see(seen) && self.reflection.objects().is_some() {
                    session.soon();
                }
            }
            Err(why) => {
                session.broken.insert(kind, why);
                self.show(session);
            }
        }
    }

    fn failed(&mut self, why: String) {
        self.pause = self.pause.saturating_mul(2).clamp(AGAIN.0, AGAIN.1);
        if self.state.borrow().error.as_ref() != Some(&why) {
            tracing::warn!(target: "kubernetes", cluster = %self.name, "{why}; what was applied last stays in force");
        }
        let now = UnixTime::of(SystemTime::now());
        self.state.send_modify(|state| state.failed(why, now));
    }

    /// Shows how it stands.
    fn show(&mut self, session: &Session) {
        let now = UnixTime::of(SystemTime::now());
        let why = session.silent.as_ref().or(session.broken.values().next()).cloned();
        let trouble = self.trouble.clone().or_else(|| self.rivals.said(Instant::now().into_std()));
        let before = self.state.borrow().clone();
        self.state.send_if_modified(|state| {
            match why {
                Some(why) => state.failed(why, now),
                None if self.reflection.objects().is_some() => {
                    state.reached(now);
                    state.error = trouble;
                }
                None => {}
            }
            *state != before
        });
        let after = self.state.borrow();
        if let Some(why) = after.error.as_ref().filter(|_| after.error != before.error) {
            tracing::warn!(target: "kubernetes", cluster = %self.name, "{why}; what was applied last stays in force");
        }
        if before.reached_since.is_none() && after.reached_since.is_some() {
            tracing::info!(target: "kubernetes", cluster = %self.name, "its API answers");
        }
    }

    /// Applies what is new, and writes what is to be said.
    async fn act(&mut self, session: &mut Session) {
        session.due = None;
        let Some(cluster) = self.cluster() else { return };
        let config = Arc::clone(&self.inputs.config.borrow_and_update());
        let leads = *self.inputs.leads.borrow_and_update();
        // A session that watches what the cluster's section asks for is about to begin.
        if cluster.metallb != self.reflection.reads_metallb() {
            return;
        }
        let Some(objects) = self.reflection.objects() else { return };
        let translation = translate(&cluster, &config, objects);
        let (nodes, slices) = (objects.nodes.len(), objects.slices());
        let metallb = cluster.metallb.then(|| objects.metallb.summary());
        for remark in translation.remarks.difference(&self.remarks) {
            tracing::warn!(target: "kubernetes", cluster = %self.name, "{remark}");
        }
        self.remarks.clone_from(&translation.remarks);
        let own = cluster.own_node.then(|| own_node(objects, &self.inputs.own_node));
        self.state.send_modify(|state| {
            state.own_node = own;
            state.services = translation.outcomes.len();
            if state.metallb != metallb {
                let words = metallb.as_deref().unwrap_or("its objects are not read any more");
                tracing::info!(target: "kubernetes", cluster = %self.name, "MetalLB: {words}");
            }
            state.metallb = metallb;
            (state.nodes, state.slices, state.writes) = (nodes, slices, leads);
        });
        self.show(session);
        if !leads {
            self.applied = None;
            self.rivals = Rivals::default();
            return;
        }
        let result = match self.apply(&translation, Arc::clone(&config)).await {
            Ok(applied) => self.write(session, (&cluster, &config), &translation, &applied).await,
            Err(why) => Err(format!("what its Services ask for can't be applied: {why}")),
        };
        match result {
            Ok(()) => {
                if session.broken.is_empty() {
                    self.pause = AGAIN.0;
                }
                self.again = Duration::ZERO;
                self.trouble = None;
                self.show(session);
            }
            Err(why) => {
                if !self.again.is_zero() {
                    self.trouble = Some(why);
                    self.show(session);
                }
                self.again = self.again.saturating_mul(2).clamp(SOON, AGAIN.1);
                session.due = Some(Instant::now().checked_add(self.again).unwrap_or_else(Instant::now));
            }
        }
    }

    async fn apply(&mut self, translation: &Translation, config: Arc<Config>) -> Result<Applied, String> {
        if let Some((text, applied, with)) = &self.applied
            && *text == translation.fragment
            && Arc::ptr_eq(with, &config)
        {
            return Ok(applied.clone());
        }
        let applied = self.door.apply(self.name.as_str(), translation.fragment.clone()).await?;
        self.applied = Some((translation.fragment.clone(), applied.clone(), config));
        Ok(applied)
    }

    async fn write(
        &mut self,
        session: &mut Session,
        (cluster, config): (&Cluster, &Config),
        translation: &Translation,
        applied: &Applied,
    ) -> Result<(), String> {
        let ours = Ours::of(cluster);
        let (words, now) = (now_in_words(), Instant::now());
        let Some(objects) = self.reflection.objects() else { return Ok(()) };
        self.rivals.retain(|name| objects.services.contains_key(name));
        let mut due: Vec<Due> = Vec::new();
        let mut later: Option<Instant> = None;
        let mut not_served = 0_usize;
        for (name, service) in &objects.services {
            let mut report: Option<Report> =
                translation.outcomes.get(name).map(|outcome| report(outcome, applied));
            if !ours.reports.is_empty() {
                report = report.map(|report| report.annotated(config));
            }
            if report.as_ref().is_some_and(|report| report.reason != "Served") {
                not_served = not_served.saturating_add(1);
            }
            let writes = writes(service, report.as_ref(), &ours, &words);
            if writes.is_empty() {
                continue;
            }
            let when: Instant = self.rivals.when(name, report.as_ref(), now.into_std()).into();
            if when > now {
                later = Some(later.map_or(when, |later| later.min(when)));
                continue;
            }
            due.push(Due { name: name.clone(), service: Arc::clone(service), report, writes });
        }
        session.due = later;
        let left_out = self.limit_events(&mut due);
        self.state.send_if_modified(|state| {
            let before = state.clone();
            state.not_served = not_served;
            state.events_left_out = state.events_left_out.saturating_add(left_out);
            *state != before
        });
        self.send(session, due).await
    }

    async fn send(&mut self, session: &Session, due: Vec<Due>) -> Result<(), String> {
        let teller = session.teller.clone();
        let under_way = stream::iter(due).map(|Due { name, service, report, writes }| {
            let teller = teller.clone();
            async move {
                let written = teller.write(&name, &service, writes).await;
                (name, report, written)
            }
        });
        let mut under_way = under_way.buffer_unordered(AT_A_TIME);
        let (mut failures, mut successes, mut first) = (0_u64, 0_u64, None);
        while let Some((name, report, Written { service, count, error })) = under_way.next().await {
            if let Some(service) = service {
                self.reflection.written(service);
                if error.is_none() {
                    self.rivals.told(&name, report.as_ref(), Instant::now().into_std());
                }
            }
            successes = successes.saturating_add(count);
            if let Some(error) = error {
                failures = failures.saturating_add(1);
                first.get_or_insert(error);
            }
            if failures >= FAILURES_AT_MOST && successes == 0 {
                break;
            }
        }
        drop(under_way);
        if failures > 0 || successes > 0 {
            self.state.send_modify(|state| {
                state.writes_total = state.writes_total.saturating_add(successes);
                state.write_errors = state.write_errors.saturating_add(failures);
            });
        }
        first.map_or(Ok(()), Err)
    }

    /// Leaves events out that would be too many; the condition says the same. Says how many.
    fn limit_events(&mut self, due: &mut [Due]) -> u64 {
        let mut left_out = 0_u64;
        for writes in due.iter_mut().map(|it| &mut it.writes).filter(|writes| writes.event.is_some()) {
            match self.events.checked_sub(1) {
                Some(rest) => self.events = rest,
                None => {
                    writes.event = None;
                    left_out = left_out.saturating_add(1);
                }
            }
        }
        left_out
    }
}

impl Session {
    /// It was at work for `time`.
    fn rest(&mut self, time: Duration) {
        let until = Instant::now().checked_add(time.saturating_mul(REST).min(AGAIN.0));
        self.rests = until.unwrap_or(self.rests);
        self.due = self.due.map(|due| due.max(self.rests));
    }

    /// There is something to do, with what else comes in a moment.
    fn soon(&mut self) {
        let soon = Instant::now().checked_add(GATHER).map(|soon| soon.max(self.rests));
        self.due = match (self.due, soon) {
            (Some(due), Some(soon)) => Some(due.min(soon)),
            (due, soon) => due.or(soon),
        };
    }
}
