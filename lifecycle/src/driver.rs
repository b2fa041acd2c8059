//! Carries snapshots between the engines: waits for any to change, asks [`crate::plan`], tells the others.
#![allow(clippy::disallowed_methods, reason = "a driver reads the clock for the pure functions")]

mod asked;
mod handle;
mod judging;
mod marks;
mod readiness;
mod telling;
#[cfg(test)]
mod tests;

pub use asked::{Asked, Succession, Trial};
pub use handle::Handle;

use crate::verdicts::{Essence, Verdicts};
use fulcrum_config::Config;
use marks::{Marks, lock};
use readiness::OwnReadiness;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use thiserror::Error;
use tokio::sync::watch;

/// Time between two beats of the driver, by which others see that it lives.
const BEAT: Duration = Duration::from_millis(250);

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

/// Starts the driver on a thread of its own. The engines have been started with what
/// `plan` says of `config`.
///
/// # Errors
/// The thread can't be started.
pub fn start(config: Arc<Config>, serial: u64, engines: Engines) -> Result<Handle, StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let (asked, asked_seen) = watch::channel(Asked::at_start(config, serial));
    let (ended, ended_seen) = watch::channel(None);
    let marks = Arc::new(Mutex::new(Marks::at_start()));
    let handle = Handle::new(asked, &engines, ended_seen, Arc::clone(&marks));
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
                    lock(&self.marks).vip_told = Instant::now();
                    self.vip_lives = alive.is_ok();
                    let left = self.asked.borrow().succession == Succession::Left;
                    alive.err().filter(|_| !left).map(|_| "vip-manager")
                }
                _ = beat.tick() => None,
            };
            self.look_at_beats();
            self.judge(Instant::now());
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
        let mut marks = lock(&self.marks);
        marks.beat = Instant::now();
        marks.health.look(health);
        marks.lb.look(lb);
    }
}
