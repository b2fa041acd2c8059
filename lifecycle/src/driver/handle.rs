//! A hold on the running node: asks it for things, and says what it looks like.
#![allow(clippy::disallowed_methods, reason = "a driver reads the clock for the pure functions")]

use super::Engines;
use super::asked::{Asked, Succession, Trial};
use super::marks::{Marks, lock};
use crate::alarms::alarms;
use crate::join::{Facts, Snapshots, join};
use crate::status::{Alarm, Status};
use fulcrum_config::{Config, GroupName, NodeName};
use fulcrum_peer::{Prepared, Preparing};
use std::collections::BTreeSet;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How long a limit that was reached is an alarm.
const LIMIT_ALARM: Duration = Duration::from_secs(60);

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

impl Handle {
    pub(super) fn new(
        asked: watch::Sender<Asked>,
        engines: &Engines,
        ended: watch::Receiver<Option<&'static str>>,
        marks: Arc<Mutex<Marks>>,
    ) -> Self {
        Self {
            asked: Arc::new(asked),
            health: engines.health.observed.clone(),
            vip: engines.vip.observed.clone(),
            lb: engines.lb.observed.clone(),
            peer: engines.peer.observed.clone(),
            ended,
            marks,
        }
    }

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
        let marks = lock(&self.marks).clone();
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
        let marks = lock(&self.marks);
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
