//! Carries snapshots between the engines: waits for any to change, asks [`crate::plan`], tells the others.
#![allow(clippy::disallowed_methods, reason = "a driver reads the clock for the pure functions")]

use crate::alarms::alarms;
use crate::control_plane::{self, Known};
use crate::join::{Facts, Snapshots, join};
use crate::plan;
use crate::ready::{self, Own};
use crate::status::{Alarm, Status};
use crate::verdicts::{Essence, Seen, Verdicts, View, WAITS};
use fulcrum_config::{BackendName, Config, GroupName, NodeName, ServiceName};
use fulcrum_lb::Stage;
use fulcrum_peer::{Prepared, Preparing};
use fulcrum_vip_manager::Part;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use thiserror::Error;
use tokio::sync::watch;

#[cfg(test)]
mod tests;

/// Time between two beats of the driver, by which others see that it lives.
const BEAT: Duration = Duration::from_millis(250);
/// How often verdicts are looked at though nothing that decides has changed: this node's own checks are compared too.
const LOOK: Duration = Duration::from_secs(1);
/// How often it is looked at what keeps this node from leading, at most.
const LOOK_AT_OWN: Duration = Duration::from_millis(100);
/// How long a limit that was reached is an alarm.
const LIMIT_ALARM: Duration = Duration::from_secs(60);

/// What was asked of this node: a snapshot, latest wins.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The configuration to run.
    pub config: Arc<Config>,
    /// Grows with each configuration and each trial.
    pub revision: u64,
    /// Grows with each configuration; 1 is that of the start.
    pub generation: u64,
    /// Of what the nodes share of the configuration: grows with each change of that, here or on a peer.
    pub serial: u64,
    /// What to say to the peers of changes of it.
    pub changes: fulcrum_peer::Changes,
    /// A configuration whose listeners are tried out.
    pub trial: Option<Trial>,
    /// Groups that an operator asked this node to leave, perhaps to a node that was named.
    pub standing_down: BTreeMap<GroupName, Option<NodeName>>,
    /// Groups that it is to leave because it is drained, or held back.
    pub drained: BTreeSet<GroupName>,
    /// Why it is held back.
    pub held_back: Option<String>,
    /// Groups of class control-plane that this node moves to another, or wants to, each with the number of that move.
    pub moves: BTreeMap<GroupName, u64>,
    /// Groups that it wants to hand over once another node is prepared for them.
    pub prepares: BTreeMap<GroupName, Preparing>,
    /// How it went to prepare for what others want to hand over to this one.
    pub prepared: BTreeMap<u64, Prepared>,
    /// Resign everything.
    pub stopping: bool,
    /// End the engines.
    pub ending: bool,
    /// Whether another process of this node takes over.
    pub succession: Succession,
    /// How many such processes were given up.
    pub given_up: u64,
}

/// How far another process of this node has come with taking over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Succession {
    /// There is no other.
    #[default]
    None,
    /// It gets listeners, and has the forwarding plane; this one takes clients.
    Lends,
    /// It was given up. Counts such.
    Retaken(u64),
    /// It takes all new clients. This one leads still, for it has the link to the peers.
    Served,
    /// It has everything but the connections that this process finishes.
    Left,
}

impl Succession {
    fn stage(self) -> Stage {
        match self {
            Self::None | Self::Retaken(_) => Stage::Whole,
            Self::Lends => Stage::Lends,
            Self::Served | Self::Left => Stage::Left,
        }
    }

    fn part(self) -> Part {
        match self {
            Self::None | Self::Lends | Self::Served => Part::Whole,
            Self::Retaken(times) => Part::Retaken(times),
            Self::Left => Part::Left,
        }
    }
}

impl Asked {
    /// Groups that this node takes only if nobody else does.
    fn left(&self) -> BTreeMap<GroupName, Option<NodeName>> {
        let drained = self.drained.iter().map(|group| (group.clone(), None));
        drained.chain(self.standing_down.clone()).collect()
    }
}

/// Listeners that are tried out while the configuration that runs stays in force for all else.
#[derive(Debug, Clone)]
pub struct Trial {
    /// What `lb` serves meanwhile; `None` once the trial has failed, until what it disturbed stands again.
    pub table: Option<Arc<Config>>,
    /// The services that it changes: their errors are the trial's, and no reason to give up a group.
    pub services: BTreeSet<ServiceName>,
}

/// How one engine is told and heard.
#[derive(Debug)]
pub struct Engine<D, O> {
    /// Where it is told.
    pub desired: watch::Sender<D>,
    /// Where it tells.
    pub observed: watch::Receiver<O>,
}

/// How all engines are told and heard.
#[derive(Debug)]
pub struct Engines {
    /// `health`.
    pub health: Engine<fulcrum_health::Desired, fulcrum_health::Observed>,
    /// `vip-manager`.
    pub vip: Engine<fulcrum_vip_manager::Desired, fulcrum_vip_manager::Observed>,
    /// `lb`.
    pub lb: Engine<fulcrum_lb::Desired, fulcrum_lb::Observed>,
    /// `peer`.
    pub peer: Engine<fulcrum_peer::Desired, fulcrum_peer::Observed>,
}

/// The driver could not be started.
#[derive(Debug, Error)]
#[error("the thread that joins the engines could not be started: {0}; is the limit on processes reached?")]
pub struct StartError(#[from] std::io::Error);

/// A hold on the running node; clones are the same node.
#[derive(Debug, Clone)]
pub struct Handle {
    asked: Arc<watch::Sender<Asked>>,
    health: watch::Receiver<fulcrum_health::Observed>,
    vip: watch::Receiver<fulcrum_vip_manager::Observed>,
    lb: watch::Receiver<fulcrum_lb::Observed>,
    peer: watch::Receiver<fulcrum_peer::Observed>,
    ended: watch::Receiver<Option<&'static str>>,
    marks: Arc<Mutex<Marks>>,
}

/// What was seen once and is not in any snapshot.
#[derive(Debug, Clone)]
struct Marks {
    beat: Instant,
    /// When `vip-manager` told anything last; it does so twice a second at least.
    vip_told: Instant,
    health: Beat,
    lb: Beat,
    /// The groups that were served whole.
    served_once: BTreeSet<GroupName>,
    first_round_done: bool,
    refused_at_limit: u64,
    limit_reached: Option<Instant>,
    verdicts: Arc<View>,
    ready: BTreeSet<GroupName>,
    without_standby: BTreeMap<GroupName, Instant>,
}

/// The last beat of an engine that was seen, and when it was seen first.
#[derive(Debug, Clone, Copy)]
struct Beat {
    number: u64,
    seen: Instant,
}

impl Beat {
    fn new() -> Self {
        Self { number: 0, seen: Instant::now() }
    }

    fn look(&mut self, number: u64) {
        if self.number != number {
            *self = Self { number, seen: Instant::now() };
        }
    }
}

/// Starts the driver on a thread of its own. The engines have been started with what
/// `plan` says of `config`.
///
/// # Errors
/// The thread can't be started.
pub fn start(config: Arc<Config>, serial: u64, engines: Engines) -> Result<Handle, StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let (asked, asked_seen) = watch::channel(Asked {
        config,
        revision: 0,
        generation: 1,
        serial,
        changes: fulcrum_peer::Changes::default(),
        trial: None,
        standing_down: BTreeMap::new(),
        drained: BTreeSet::new(),
        held_back: None,
        moves: BTreeMap::new(),
        prepares: BTreeMap::new(),
        prepared: BTreeMap::new(),
        stopping: false,
        ending: false,
        succession: Succession::None,
        given_up: 0,
    });
    let (ended, ended_seen) = watch::channel(None);
    let marks = Arc::new(Mutex::new(Marks {
        beat: Instant::now(),
        vip_told: Instant::now(),
        health: Beat::new(),
        lb: Beat::new(),
        served_once: BTreeSet::new(),
        first_round_done: false,
        refused_at_limit: 0,
        limit_reached: None,
        verdicts: Arc::default(),
        ready: BTreeSet::new(),
        without_standby: BTreeMap::new(),
    }));
    let handle = Handle {
        asked: Arc::new(asked),
        health: engines.health.observed.clone(),
        vip: engines.vip.observed.clone(),
        lb: engines.lb.observed.clone(),
        peer: engines.peer.observed.clone(),
        ended: ended_seen,
        marks: Arc::clone(&marks),
    };
    let driver = Driver {
        asked: asked_seen,
        engines,
        marks,
        ended,
        verdicts: Verdicts::default(),
        looked: None,
        peer_lives: true,
        vip_lives: true,
        own: OwnReadiness::default(),
    };
    std::thread::Builder::new().name("lifecycle".to_owned()).spawn(move || runtime.block_on(driver.run()))?;
    Ok(handle)
}

impl Handle {
    /// Runs `config` from now on; a trial ends by it. Gives the revision that `lb` tells once it serves it.
    pub fn apply(&self, config: Arc<Config>, serial: u64) -> u64 {
        self.revise(|asked| {
            asked.config = config;
            asked.serial = serial;
            asked.generation = asked.generation.saturating_add(1);
            asked.trial = None;
        })
    }

    /// Tries listeners out, or ends that (`None`). Only `lb` is told. Gives the revision that it tells once it has
    /// tried.
    pub fn try_out(&self, trial: Option<Trial>) -> u64 {
        self.revise(|asked| asked.trial = trial)
    }

    fn revise(&self, change: impl FnOnce(&mut Asked)) -> u64 {
        let mut revision = 0;
        self.asked.send_modify(|asked| {
            change(asked);
            asked.revision = asked.revision.saturating_add(1);
            revision = asked.revision;
        });
        revision
    }

    /// Leaves `group`: to this node, if the group is elected and one is named. Says whether it did not leave it already.
    pub fn stand_down(&self, group: &GroupName, to: Option<&NodeName>) -> bool {
        self.asked.send_if_modified(|asked| match asked.standing_down.entry(group.clone()) {
            Entry::Vacant(entry) => {
                entry.insert(to.cloned());
                true
            }
            Entry::Occupied(_) => false,
        })
    }

    /// Stops leaving it.
    pub fn stand_up(&self, group: &GroupName) {
        self.asked.send_modify(|asked| drop(asked.standing_down.remove(group)));
    }

    /// Leaves these groups, and no others, because this node is drained.
    pub fn drain(&self, groups: &BTreeSet<GroupName>, held_back: Option<String>) {
        self.asked.send_if_modified(|asked| {
            let is_news = asked.drained != *groups || asked.held_back != held_back;
            if is_news {
                asked.drained.clone_from(groups);
                asked.held_back = held_back;
            }
            is_news
        });
    }

    /// Tells the peers that this node moves `group` by this number, or moves it no more.
    pub fn set_move(&self, group: &GroupName, number: Option<u64>) {
        self.asked.send_modify(|asked| {
            match number {
                Some(number) => asked.moves.insert(group.clone(), number),
                None => asked.moves.remove(group),
            };
        });
    }

    /// Tells the peers that this node wants to hand `group` over once another is prepared, or not any more.
    pub fn set_preparing(&self, group: &GroupName, preparing: Option<Preparing>) {
        self.asked.send_modify(|asked| {
            match preparing {
                Some(preparing) => asked.prepares.insert(group.clone(), preparing),
                None => asked.prepares.remove(group),
            };
        });
    }

    /// Tells them how it went to prepare this node by their number, or forgets it.
    pub fn set_prepared(&self, number: u64, prepared: Option<Prepared>) {
        self.asked.send_modify(|asked| {
            match prepared {
                Some(prepared) => asked.prepared.insert(number, prepared),
                None => asked.prepared.remove(&number),
            };
        });
    }

    /// Says something else to the peers of changes of the configuration.
    pub fn say(&self, change: impl FnOnce(&mut fulcrum_peer::Changes)) {
        self.asked.send_modify(|asked| change(&mut asked.changes));
    }

    /// What is said to them at present.
    #[must_use]
    pub fn said(&self) -> fulcrum_peer::Changes {
        self.asked.borrow().changes.clone()
    }

    /// The serial number of what the nodes share of the configuration.
    #[must_use]
    pub fn serial(&self) -> u64 {
        self.asked.borrow().serial
    }

    /// What is known of the peers, as it changes.
    #[must_use]
    pub fn peer(&self) -> watch::Receiver<fulcrum_peer::Observed> {
        self.peer.clone()
    }

    /// The configuration that was asked for last.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.asked.borrow().config)
    }

    /// Whether this node leaves all groups for good.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.asked.borrow().stopping
    }

    /// Which backends can take traffic, as it changes.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<fulcrum_health::Observed> {
        self.health.clone()
    }

    /// Who leads what, as it changes.
    #[must_use]
    pub fn vip(&self) -> watch::Receiver<fulcrum_vip_manager::Observed> {
        self.vip.clone()
    }

    /// What is served, as it changes.
    #[must_use]
    pub fn lb(&self) -> watch::Receiver<fulcrum_lb::Observed> {
        self.lb.clone()
    }

    /// What was asked and observed, as of now.
    #[must_use]
    pub fn snapshots(&self) -> Snapshots {
        let asked = self.asked.borrow().clone();
        let marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let lately = |reached: Instant| reached.elapsed() < LIMIT_ALARM;
        Snapshots {
            standing_down: asked.left(),
            config: asked.config,
            serial: asked.serial,
            health: self.health.borrow().clone(),
            vip: self.vip.borrow().clone(),
            lb: self.lb.borrow().clone(),
            peer: self.peer.borrow().clone(),
            peer_ended: self.peer.has_changed().is_err(),
            first_round_done: marks.first_round_done,
            limit_reached_lately: marks.limit_reached.is_some_and(lately),
            verdicts: marks.verdicts,
            ready: marks.ready,
            without_standby: marks.without_standby,
        }
    }

    /// What the whole node looks like.
    #[must_use]
    pub fn status(&self, facts: &Facts) -> Status {
        join(facts, &self.snapshots(), Instant::now())
    }

    /// What someone should look at, worst first, and the snapshots that say so.
    #[must_use]
    pub fn alarms(&self, facts: &Facts) -> (Vec<Alarm>, Snapshots) {
        let snapshots = self.snapshots();
        (alarms(facts, &snapshots), snapshots)
    }

    /// Of the loops of this node, the one that has not run for longest, and for how long.
    #[must_use]
    pub fn since_beat(&self) -> (&'static str, Duration) {
        let marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        let loops = [
            // The first, because it is the one that sees the others.
            ("lifecycle", marks.beat),
            ("vip-manager", marks.vip_told),
            ("lb", marks.lb.seen),
            ("health", marks.health.seen),
        ];
        let oldest = loops.into_iter().min_by_key(|(_, beat)| *beat);
        oldest.map_or(("lifecycle", Duration::ZERO), |(name, beat)| (name, beat.elapsed()))
    }

    /// Waits until an engine has ended without having been asked to, and says which.
    pub async fn failed(&self) -> &'static str {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(name) => (*name).unwrap_or("lifecycle"),
            Err(_) => "lifecycle",
        }
    }

    /// Has listeners ready for another process of this node, and leaves the forwarding plane to it. Clients are taken still.
    pub fn lend(&self) {
        self.asked.send_modify(|asked| asked.succession = Succession::Lends);
    }

    /// That process was given up.
    pub fn take_back(&self) {
        self.asked.send_modify(|asked| {
            asked.given_up = asked.given_up.saturating_add(1);
            asked.succession = Succession::Retaken(asked.given_up);
        });
    }

    /// That process leads and serves: this one takes no new client.
    pub fn leave_clients(&self) {
        self.asked.send_modify(|asked| asked.succession = Succession::Served);
    }

    /// The same, and it says nothing to peers any more: it finishes its connections.
    pub fn leave(&self) {
        self.asked.send_modify(|asked| asked.succession = Succession::Left);
    }

    /// Resigns every group and withdraws its addresses, then ends the engines; each of the two takes at most
    /// `bound`. Says whether the groups were resigned in time.
    pub async fn stop(&self, bound: Duration) -> bool {
        self.asked.send_modify(|asked| asked.stopping = true);
        let mut vip = self.vip.clone();
        let resigned =
            tokio::time::timeout(bound, vip.wait_for(|vip| vip.stopped)).await.is_ok_and(|seen| seen.is_ok());
        self.asked.send_modify(|asked| asked.ending = true);
        let (mut health, mut lb, mut peer) = (self.health.clone(), self.lb.clone(), self.peer.clone());
        let all_ended = async {
            while vip.changed().await.is_ok() {}
            while lb.changed().await.is_ok() {}
            while health.changed().await.is_ok() {}
            while peer.changed().await.is_ok() {}
        };
        // A thread that does not end in time ends with the process.
        let _ = tokio::time::timeout(bound, all_ended).await;
        resigned
    }
}

/// What keeps this node from leading groups.
#[derive(Debug, Default)]
struct OwnReadiness {
    looked: Option<Instant>,
    reasons: Option<BTreeMap<GroupName, String>>,
    /// The same, as peers are told.
    unready: Option<BTreeMap<String, BTreeSet<GroupName>>>,
    fails: BTreeMap<ServiceName, BTreeSet<BackendName>>,
}

impl OwnReadiness {
    fn is_ready(&self, group: &GroupName) -> bool {
        self.reasons.as_ref().is_some_and(|reasons| !reasons.contains_key(group))
    }
}

struct Driver {
    asked: watch::Receiver<Asked>,
    engines: Engines,
    marks: Arc<Mutex<Marks>>,
    ended: watch::Sender<Option<&'static str>>,
    verdicts: Verdicts,
    /// What they were last looked at with, and when to look again.
    looked: Option<(Arc<Config>, Essence, Instant)>,
    peer_lives: bool,
    vip_lives: bool,
    own: OwnReadiness,
}

impl Driver {
    async fn run(mut self) {
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.tell_lb();
        self.tell_vip();
        loop {
            let engines = &mut self.engines;
            let failed = tokio::select! {
                asked = self.asked.changed() => {
                    if asked.is_err() || self.asked.borrow_and_update().ending {
                        return;
                    }
                    self.tell_all();
                    None
                }
                alive = engines.health.observed.changed() => {
                    self.tell_lb();
                    alive.err().map(|_| "health")
                }
                alive = engines.lb.observed.changed() => {
                    self.tell_vip();
                    alive.err().map(|_| "lb")
                }
                alive = engines.peer.observed.changed(), if self.peer_lives => {
                    // The node works without it.
                    self.peer_lives = alive.is_ok();
                    self.tell_words();
                    None
                }
                alive = engines.vip.observed.changed(), if self.vip_lives => {
                    self.tell_peer();
                    self.marks.lock().unwrap_or_else(PoisonError::into_inner).vip_told = Instant::now();
                    self.vip_lives = alive.is_ok();
                    let left = self.asked.borrow().succession == Succession::Left;
                    alive.err().filter(|_| !left).map(|_| "vip-manager")
                }
                _ = beat.tick() => None,
            };
            self.look_at_beats();
            self.judge();
            self.look_at_readiness(Instant::now());
            if let Some(name) = failed {
                if !self.asked.borrow().ending {
                    self.ended.send_replace(Some(name));
                }
                return;
            }
        }
    }

    fn look_at_beats(&self) {
        let (health, lb) =
            (self.engines.health.observed.borrow().beat, self.engines.lb.observed.borrow().beat);
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        marks.beat = Instant::now();
        marks.health.look(health);
        marks.lb.look(lb);
    }

    /// New listeners stand before a new VIP does.
    fn tell_all(&mut self) {
        let config = Arc::clone(&self.asked.borrow().config);
        self.tell_lb();
        self.engines.health.desired.send_if_modified(|desired| {
            let changed = desired.services != config.services;
            if changed {
                *desired = plan::health_desired(&config);
            }
            changed
        });
        self.tell_vip();
        self.tell_peer();
        if self.asked.borrow().succession == Succession::Left && self.peer_lives {
            // It ends; what is said from now on is said to nobody.
            let nothing = self.engines.peer.desired.borrow().clone();
            self.engines.peer.desired = watch::channel(nothing).0;
        }
    }

    /// Finds out which groups this node could lead, and tells the peers.
    fn look_at_readiness(&mut self, now: Instant) {
        self.look_at_own(now);
        let asked = self.asked.borrow();
        let nothing = fulcrum_peer::Observed::default();
        let heard = self.engines.peer.observed.borrow();
        let peer = if self.peer_lives { &*heard } else { &nothing };
        let vip = self.engines.vip.observed.borrow();
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        marks.ready =
            control_plane::protected(&asked.config).filter(|it| self.own.is_ready(it)).cloned().collect();
        let without = control_plane::without_standby(Known { config: &asked.config, vip: &vip, peer });
        marks.without_standby.retain(|group, _| without.contains(group));
        for group in without {
            marks.without_standby.entry(group).or_insert(now);
        }
        let (ready, knows) = (marks.ready.clone(), control_plane::known_moves(peer));
        self.engines.peer.desired.send_if_modified(|desired| {
            let word = &mut desired.word;
            let unready = self.own.unready.as_ref();
            let is_news = word.ready != ready
                || word.moves != asked.moves
                || word.knows != knows
                || word.prepares != asked.prepares
                || word.prepared.as_ref() != Some(&asked.prepared)
                || word.unready.as_ref() != unready
                || word.fails != self.own.fails;
            if is_news {
                (word.ready, word.knows) = (ready, knows);
                word.moves.clone_from(&asked.moves);
                word.prepares.clone_from(&asked.prepares);
                word.prepared = Some(asked.prepared.clone());
                word.unready = unready.cloned();
                word.fails.clone_from(&self.own.fails);
            }
            is_news
        });
    }

    /// Looks anew at what keeps this node from leading, if enough time has passed: there may be thousands of services.
    fn look_at_own(&mut self, now: Instant) {
        if self.own.looked.is_some_and(|looked| now.saturating_duration_since(looked) < LOOK_AT_OWN) {
            return;
        }
        let asked = self.asked.borrow();
        let health = self.engines.health.observed.borrow();
        let is_known = self.marks.lock().unwrap_or_else(PoisonError::into_inner).first_round_done;
        let reasons = ready::reasons(Own {
            config: &asked.config,
            vip: &self.engines.vip.observed.borrow(),
            lb: &self.engines.lb.observed.borrow(),
            behind: self.verdicts.behind(),
            standing_down: &asked.left(),
            held_back: asked.held_back.as_deref(),
            stopping: asked.stopping,
            first_round_done: is_known,
        });
        let fails = ready::fails(&asked.config, &health);
        self.own = OwnReadiness {
            looked: Some(now),
            unready: Some(ready::in_words(&reasons)),
            reasons: Some(reasons),
            fails,
        };
    }

    /// Decides whose verdicts count, and tells whoever has to know.
    fn judge(&mut self) {
        let Some(news) = self.look(Instant::now()) else { return };
        if news {
            self.tell_lb();
        }
        self.tell_peer();
        self.tell_behind();
        while let Some(group) = self.verdicts.poll_given_up() {
            tracing::warn!(
                %group,
                "the leader's verdicts, tables and connections are not all here after {} s: if this node takes the group back, flows may break",
                WAITS.as_secs()
            );
        }
        let view = self.verdicts.view();
        self.marks.lock().unwrap_or_else(PoisonError::into_inner).verdicts = view;
    }

    /// Looks at what decides about verdicts, if anything of it has changed or enough time has passed: says whether the
    /// data plane is to be told.
    fn look(&mut self, now: Instant) -> Option<bool> {
        let asked = self.asked.borrow();
        let nothing = fulcrum_peer::Observed::default();
        let peer = self.engines.peer.observed.borrow();
        let seen = Seen {
            config: &asked.config,
            health: &self.engines.health.observed.borrow(),
            vip: &self.engines.vip.observed.borrow(),
            lb: &self.engines.lb.observed.borrow(),
            peer: if self.peer_lives { &peer } else { &nothing },
        };
        let essence = seen.essence();
        let is_known = |(config, known, again): &(Arc<Config>, Essence, Instant)| {
            Arc::ptr_eq(config, &asked.config) && *known == essence && now < *again
        };
        if self.looked.as_ref().is_some_and(is_known) {
            return None;
        }
        let news = self.verdicts.handle(&seen, now);
        let again = now.checked_add(LOOK).unwrap_or(now);
        let again = self.verdicts.poll_timeout().map_or(again, |due| due.min(again));
        self.looked = Some((Arc::clone(&asked.config), essence, again));
        Some(news)
    }

    /// Groups that this node is not to take from a leader yet: whose state is not here, and all of them as long as this node
    /// does not know which backends it could use.
    fn tell_behind(&self) {
        let knows = self.marks.lock().unwrap_or_else(PoisonError::into_inner).first_round_done;
        let behind = if knows {
            self.verdicts.behind().clone()
        } else {
            self.asked.borrow().config.groups.keys().cloned().collect()
        };
        self.engines.vip.desired.send_if_modified(|desired| {
            let is_news = desired.behind != behind;
            if is_news {
                desired.behind = behind;
            }
            is_news
        });
    }

    /// Each configuration that is applied, even an equal one: the private key is read again then. And whatever is
    /// news of this node's adverts, and of what it serves by.
    fn tell_peer(&self) {
        let asked = self.asked.borrow();
        let vip = self.engines.vip.observed.borrow();
        let mut planned = plan::peer_desired(&asked.config, asked.generation, asked.serial, &vip);
        planned.changes.clone_from(&asked.changes);
        {
            // Of these, what was said last.
            let said = self.engines.peer.desired.borrow();
            planned.word.ready.clone_from(&said.word.ready);
            planned.word.unready.clone_from(&said.word.unready);
            planned.word.fails.clone_from(&said.word.fails);
            planned.word.moves.clone_from(&said.word.moves);
            planned.word.knows.clone_from(&said.word.knows);
            planned.word.prepares.clone_from(&said.word.prepares);
            planned.word.prepared.clone_from(&said.word.prepared);
        }
        planned.serving = plan::serving(
            &asked.config,
            &vip,
            &self.engines.lb.desired.borrow(),
            &self.engines.lb.observed.borrow(),
            &self.engines.peer.desired.borrow().serving,
        );
        self.engines.peer.desired.send_if_modified(|desired| {
            let is_news = desired.generation != planned.generation
                || desired.word != planned.word
                || desired.answers != planned.answers
                || desired.changes != planned.changes
                || desired.serving != planned.serving;
            if is_news {
                *desired = planned;
            }
            is_news
        });
    }

    /// What the peers say of their adverts; nothing from a link that has ended by itself.
    fn tell_words(&mut self) {
        let peer = self.engines.peer.observed.borrow_and_update();
        let words = if self.peer_lives { plan::words(&peer) } else { BTreeMap::new() };
        self.engines.vip.desired.send_if_modified(|desired| {
            let is_news = desired.words != words;
            if is_news {
                desired.words = words;
            }
            is_news
        });
    }

    fn tell_lb(&mut self) {
        let asked = self.asked.borrow().clone();
        let config = asked.config;
        let table = asked.trial.and_then(|trial| trial.table).unwrap_or_else(|| Arc::clone(&config));
        let health = self.engines.health.observed.borrow_and_update();
        let lb = &self.engines.lb.desired;
        let planned = plan::lb_desired(&table, &health, self.verdicts.following(), &lb.borrow());
        let is_news = lb.send_if_modified(|desired| {
            let is_news = planned.is_some() || desired.revision != asked.revision;
            if let Some(planned) = planned {
                *desired = planned;
            }
            let stage = asked.succession.stage();
            let is_news = is_news || desired.stage != stage;
            (desired.revision, desired.stage) = (asked.revision, stage);
            is_news
        });
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        let knew = marks.first_round_done;
        marks.first_round_done = knew || plan::first_round_done(&config, &health);
        let begins_to_know = marks.first_round_done && !knew;
        drop((health, marks));
        if begins_to_know {
            self.tell_behind();
        }
        if is_news {
            // A standby is to go by the same.
            self.tell_peer();
        }
    }

    fn tell_vip(&mut self) {
        let asked = self.asked.borrow().clone();
        let lb = self.engines.lb.observed.borrow_and_update();
        let served_once = {
            let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
            marks.served_once.retain(|group| asked.config.groups.contains_key(group));
            marks.served_once.extend(plan::served(&asked.config, &lb));
            if lb.refused_at_limit > marks.refused_at_limit {
                marks.refused_at_limit = lb.refused_at_limit;
                marks.limit_reached = Some(Instant::now());
            }
            marks.served_once.clone()
        };
        let nothing = BTreeSet::new();
        let on_trial = asked.trial.as_ref().map_or(&nothing, |trial| &trial.services);
        let missing = plan::data_plane_missing(&asked.config, &lb, &served_once, on_trial);
        let held = plan::held(&asked.config, &lb);
        let planned = plan::vip_desired(&asked.config, &asked.left(), asked.stopping, missing, held);
        let planned = fulcrum_vip_manager::Desired { part: asked.succession.part(), ..planned };
        self.engines.vip.desired.send_if_modified(|desired| {
            let changed = !Arc::ptr_eq(&desired.config, &planned.config)
                || desired.data_plane_missing != planned.data_plane_missing
                || desired.standing_down != planned.standing_down
                || desired.stopping != planned.stopping
                || desired.held != planned.held
                || desired.part != planned.part;
            if changed {
                let words = std::mem::take(&mut desired.words);
                let behind = std::mem::take(&mut desired.behind);
                *desired = fulcrum_vip_manager::Desired { words, behind, ..planned };
            }
            changed
        });
    }
}
