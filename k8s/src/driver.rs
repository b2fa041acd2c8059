//! Keeps up with a cluster, and tells it what came of its Services.
//!
//! Every node watches, so that the next writer is warm; only the writer applies fragments and writes. While the API is
//! away nothing is done at all: what was applied last stays in force.
#![allow(clippy::disallowed_methods, reason = "a driver: it reads the clock and waits")]

pub(crate) mod client;
mod lock;
mod machines;
mod readiness;
mod teller;
mod telling;
mod watches;

use crate::own_node::own_node;
use crate::reflection::{Kind, Reflection, Seen};
use crate::report::Applied;
use crate::rivals::Rivals;
use crate::state::State;
use crate::translate::translate;
use crate::writes::Ours;
use client::{chain, client, fingerprint};
use fulcrum_config::{Cluster, ClusterName, Config, UnixTime};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use kube::Client;
pub use machines::{FleetInputs, run_fleet};
use readiness::readiness;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use teller::{Teller, now_in_words};
use telling::{Telling, Told, Words};
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
/// Events at once, and so many more each [`LOOK`].
const EVENTS: (u32, u32) = (200, 50);

/// Where fragments go.
pub trait Door: Send + Sync {
    /// Puts `text` in force as what comes from `source`, on all nodes; empty takes it out of force.
    fn apply<'a>(&'a self, source: &'a str, text: Arc<str>) -> BoxFuture<'a, Result<Applied, String>>;
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
        words: None,
        events: EVENTS.0,
        pause: AGAIN.0,
        again: Duration::ZERO,
        remarks: BTreeSet::new(),
        trouble: None,
        unsaid: None,
        stale: None,
        rivals: Rivals::default(),
    };
    while let Some(cluster) = driver.cluster() {
        // Before they are read: what takes their place meanwhile is noticed.
        let files = fingerprint(&cluster.access);
        match client(&cluster.access).await {
            Ok(client) => driver.session(&cluster, client, files).await,
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
    applied: Option<(Arc<str>, Arc<Applied>, Arc<Config>)>,
    /// What its Services are to be told, as long as this node is the writer.
    words: Option<Words>,
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
    /// Why no event can be written, as long as none was since.
    unsaid: Option<String>,
    /// Why what the API shows may be out of date, although it answers.
    stale: Option<String>,
    /// Who overwrites what we write.
    rivals: Rivals,
}

/// When there is something to do, and what the watches say.
struct Session {
    telling: Telling,
    /// Why what its Services ask for can't be applied.
    unapplied: Option<String>,
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
    async fn session(&mut self, cluster: &Cluster, client: Client, files: u64) {
        self.reflection.expect_metallb(cluster.metallb);
        self.reflection.begin();
        let mut said = watches(&client, cluster.metallb);
        let teller = Teller {
            client: client.clone(),
            controller: cluster.class.clone(),
            node: self.inputs.config.borrow().node.to_string(),
        };
        let now = Instant::now();
        let mut ready = readiness(&client);
        let mut session = Session {
            telling: Telling::new(teller),
            unapplied: None,
            due: Some(now),
            rests: now,
            broken: BTreeMap::new(),
            silent: None,
            began: now,
        };
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = session.due;
            tokio::select! {
                Some(said) = said.next() => self.see(&mut session, said),
                Some(told) = session.telling.next() => self.told(&mut session, told),
                Some(stale) = ready.next() => {
                    self.stale = stale;
                    self.show(&session);
                    session.soon();
                }
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
        let silent = match timeout(ANSWER, client.apiserver_version()).await {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(format!("its API can't be asked: {}", chain(&error))),
            Err(_) => Some(format!("its API has not answered for {} s", ANSWER.as_secs())),
        };
        if session.silent.is_some() && silent.is_none() {
            // What waited for that can be done.
            session.soon();
        }
        session.silent = silent;
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
            Ok(Seen::Gone(kind)) => {
                tracing::info!(
                    target: "kubernetes", cluster = %self.name,
                    "the API server does not know any more what happened to {} since it was asked last (410): it is asked for all", kind.words()
                );
            }
            Ok(seen) => {
                let is_mended = seen.proves().is_some() && session.broken.remove(&kind).is_some();
                let is_new = self.reflection.see(seen);
                if is_mended {
                    self.show(session);
                }
                if (is_new || is_mended) && self.reflection.objects().is_some() {
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
        let why = session.silent.as_ref().or(self.stale.as_ref()).or(session.broken.values().next()).cloned();
        let trouble = self.trouble.clone().or_else(|| self.rivals.said(Instant::now().into_std()));
        let before = self.state.borrow().clone();
        self.state.send_if_modified(|state| {
            match why {
                Some(why) => state.failed(why, now),
                // Until then it is as the session before left it.
                None if self.reflection.is_current() => {
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
        self.remarks = translation.remarks;
        let own = cluster.own_node.then(|| own_node(objects, &self.inputs.own_node));
        self.state.send_modify(|state| {
            state.own_node = own;
            state.services = translation.outcomes.len();
            state.domains.clone_from(&translation.domains);
            if state.metallb != metallb {
                let words = metallb.as_deref().unwrap_or("its objects are not read any more");
                tracing::info!(target: "kubernetes", cluster = %self.name, "MetalLB: {words}");
            }
            state.metallb = metallb;
            (state.nodes, state.slices, state.writes) = (nodes, slices, leads);
        });
        if !leads {
            (self.trouble, self.unsaid) = (None, None);
        }
        self.show(session);
        if !leads {
            (self.applied, self.words) = (None, None);
            self.rivals = Rivals::default();
            session.telling.say(Vec::new());
            return;
        }
        // The writer before it may have applied what came since its own view of the API ended: that stays.
        if self.applied.is_none() && !self.is_fresh(session) {
            return;
        }
        match self.apply(translation.fragment, Arc::clone(&config)).await {
            Ok(applied) => {
                session.unapplied = None;
                let (ours, now) = (Ours::of(&cluster), now_in_words());
                self.words = Some(Words { outcomes: translation.outcomes, applied, config, ours, now });
                self.tell(session);
            }
            Err(why) => {
                session.telling.say(Vec::new());
                session.unapplied = Some(format!("what its Services ask for can't be applied: {why}"));
                self.conclude(session);
            }
        }
    }

    /// Whether what is known of the API is what it shows now.
    fn is_fresh(&self, session: &Session) -> bool {
        let answers = session.silent.is_none() && self.stale.is_none() && session.broken.is_empty();
        answers && self.reflection.is_current()
    }

    async fn apply(&mut self, text: Arc<str>, config: Arc<Config>) -> Result<Arc<Applied>, String> {
        if let Some((known, applied, with)) = &self.applied
            && *known == text
            && Arc::ptr_eq(with, &config)
        {
            return Ok(Arc::clone(applied));
        }
        let applied = Arc::new(self.door.apply(self.name.as_str(), Arc::clone(&text)).await?);
        self.applied = Some((text, Arc::clone(&applied), config));
        Ok(applied)
    }

    /// Finds out who is to be told something, and begins with it.
    fn tell(&mut self, session: &mut Session) {
        let now = Instant::now();
        let (Some(objects), Some(words)) = (self.reflection.objects(), &self.words) else { return };
        self.rivals.retain(|name| objects.services.contains_key(name), now.into_std());
        let mut due = Vec::new();
        let mut not_served = 0_usize;
        for (name, service) in &objects.services {
            let report = words.report(name);
            if report.as_ref().is_some_and(|report| report.reason != "Served") {
                not_served = not_served.saturating_add(1);
            }
            if words.writes(service, report.as_ref()).is_empty() {
                continue;
            }
            let when: Instant = self.rivals.when(name, report.as_ref(), now.into_std()).into();
            if when > now {
                session.at(when);
            } else {
                due.push(name.clone());
            }
        }
        self.state
            .send_if_modified(|state| std::mem::replace(&mut state.not_served, not_served) != not_served);
        session.telling.say(due);
        self.go_on(session);
    }

    /// A Service was told something, or that failed.
    fn told(&mut self, session: &mut Session, told: Told) {
        let Told { name, report, written } = told;
        let unsaid = matches!(written.event, Some(Err(_)));
        let failed = u64::from(written.error.is_some() || unsaid);
        if let Some(service) = written.service {
            self.reflection.written(service);
            if written.error.is_none() {
                self.rivals.told(&name, report.as_ref(), Instant::now().into_std());
            }
        }
        self.state.send_modify(|state| {
            state.writes_total = state.writes_total.saturating_add(written.count);
            state.write_errors = state.write_errors.saturating_add(failed);
        });
        self.go_on(session);
    }

    /// Goes on with what is to be told, as far as not too much is under way.
    fn go_on(&mut self, session: &mut Session) {
        if let (Some(objects), Some(words)) = (self.reflection.objects(), &self.words) {
            let left_out = session.telling.begin(words, objects, &self.rivals, &mut self.events);
            if left_out > 0 {
                self.state.send_modify(|state| {
                    state.events_left_out = state.events_left_out.saturating_add(left_out);
                });
            }
        }
        if session.telling.is_done() {
            self.conclude(session);
        }
    }

    /// All that could be done is done.
    fn conclude(&mut self, session: &mut Session) {
        let said = session.telling.conclude();
        if said.held_up {
            session.soon();
        }
        if let Some(event) = said.event {
            self.unsaid = event.err();
        }
        match session.unapplied.clone().or(said.error) {
            None => {
                if session.broken.is_empty() {
                    self.pause = AGAIN.0;
                }
                self.again = Duration::ZERO;
                self.trouble = self.unsaid.clone();
                self.show(session);
            }
            Some(why) => {
                if !self.again.is_zero() {
                    self.trouble = Some(why);
                    self.show(session);
                }
                self.again = self.again.saturating_mul(2).clamp(SOON, AGAIN.1);
                session.at(Instant::now().checked_add(self.again).unwrap_or_else(Instant::now));
            }
        }
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
        self.at(soon.unwrap_or(self.rests));
    }

    /// There is something to do then, at the latest.
    fn at(&mut self, when: Instant) {
        self.due = Some(self.due.map_or(when, |due| due.min(when)));
    }
}
