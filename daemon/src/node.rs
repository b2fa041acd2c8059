//! The running node: what it was started with, and what operators may do to it.

use crate::backup::Backups;
use crate::hooks::Hooks;
use crate::inplace::Estate;
use crate::kubernetes::Clusters;
use crate::runs::Runs;
use crate::wire::Refusal;
use crate::witness::Seen;
use fulcrum_config::{Admin, GroupName, Xdp};
use fulcrum_lifecycle::{ConfigState, Handle};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

mod agree;
mod agreed;
mod allocated;
mod applying;
mod boot;
mod control_plane;
mod drains;
mod drill;
mod facts;
mod handover;
mod inplace;
mod keeping;
mod limits;
mod memory;
mod outside;
mod overriding;
mod planned;
mod prepare;
mod rehearse;
mod reload;
mod share;
mod shared;
mod source;
mod trial;

use agreed::Agreed;
pub(crate) use allocated::KIND as ALLOCATIONS;
pub(crate) use boot::{Boot, boot};
use drains::Drains;
pub(crate) use drill::Strike;
pub(crate) use handover::Transfer;
pub(crate) use inplace::InPlace;
pub(crate) use outside::Applied;
pub(crate) use overriding::{Target, Wish, tend};
pub(crate) use planned::Upgrading;
pub(crate) use prepare::prepare;
use share::Behind;
pub(crate) use share::share;
pub(crate) use shared::KIND as SHARED;
use shared::Shared;
use source::Source;
pub(crate) use source::{host_name, read, read_to_run};

/// The serial number of a node that has never changed anything.
pub(crate) const FIRST_SERIAL: u64 = Shared::default_serial();

/// The running node.
#[derive(Debug)]
pub(crate) struct Node {
    handle: Handle,
    started: Instant,
    file: PathBuf,
    state_dir: PathBuf,
    /// As it was at start: it stays in force until the next one.
    admin: Admin,
    /// As at the start.
    xdp: Xdp,
    flows: u32,
    loaded: Mutex<Loaded>,
    /// Listeners of `admin` that do not stand, and why.
    closed: Mutex<BTreeMap<&'static str, String>>,
    /// The text that was read at start, until it has proved to work.
    unproven: Mutex<Option<String>>,
    /// The text that runs; none if the file was bad at the start.
    source: Mutex<Option<Source>>,
    /// What runs, as far as peers are concerned.
    shared: Mutex<Shared>,
    /// What a peer runs and could not be applied here.
    behind: Mutex<Option<Behind>>,
    /// What was kept of what the nodes share was damaged, and nobody has told of it since.
    lost: Mutex<Option<String>>,
    /// What was read of an offer that would be applied here.
    agreed: Mutex<Option<Agreed>>,
    /// What services have from pools is not on disk, or was damaged there: why.
    allocations: Mutex<Allocated>,
    /// Held through a change of the configuration: they come one after the other.
    changing: tokio::sync::Mutex<()>,
    /// Held while another process takes over.
    handing: tokio::sync::Mutex<()>,
    /// Held while a group of class control-plane is moved.
    moving: Arc<tokio::sync::Mutex<()>>,
    witness: Arc<Seen>,
    hooks: Arc<Hooks>,
    clusters: Arc<Clusters>,
    drains: Drains,
    backups: Arc<Backups>,
    /// How this node's runs ended.
    runs: Runs,
    /// What another process may go on with.
    estate: Arc<Estate>,
}

/// How what services have from pools is kept.
#[derive(Debug, Default)]
struct Allocated {
    damage: Option<String>,
    unkept: Option<String>,
}

/// How a reload is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct How {
    /// Groups of class control-plane that may be harmed.
    pub(crate) forced: BTreeSet<GroupName>,
    /// The peers are not asked.
    pub(crate) local: bool,
    /// Services may lose addresses that they have from pools.
    pub(crate) give_up: bool,
}

/// Which configuration runs.
#[derive(Debug, Clone)]
struct Loaded {
    state: ConfigState,
    at: Instant,
    generation: u64,
    warnings: Vec<String>,
    refused: Vec<String>,
}

impl Node {
    #[allow(clippy::disallowed_methods, reason = "status says since when; nothing is decided by it")]
    pub(crate) fn new(
        handle: Handle,
        file: PathBuf,
        boot: &Boot,
        started: Instant,
        unkept: Option<String>,
        runs: Runs,
        estate: Arc<Estate>,
    ) -> Self {
        let loaded = Loaded {
            state: boot.state,
            at: Instant::now(),
            generation: 1,
            warnings: boot.warnings.clone(),
            refused: boot.refused.clone(),
        };
        if let Some(source) = &boot.source {
            let text = source.text_of(boot.shared.serial, &boot.config);
            handle.say(|changes| changes.text = text);
        }
        let drains = Drains::recall(&boot.config.admin.state_dir, &file);
        Self {
            handle,
            started,
            source: Mutex::new(boot.source.clone()),
            shared: Mutex::new(boot.shared.clone()),
            behind: Mutex::new(None),
            lost: Mutex::new(boot.lost.clone()),
            agreed: Mutex::new(None),
            allocations: Mutex::new(Allocated { damage: boot.damage.clone(), unkept }),
            file,
            admin: boot.config.admin.clone(),
            xdp: boot.config.xdp,
            flows: boot.config.flows,
            state_dir: boot.config.admin.state_dir.clone(),
            loaded: Mutex::new(loaded),
            unproven: Mutex::new(boot.source.as_ref().map(|source| source.runs.clone())),
            closed: Mutex::new(BTreeMap::new()),
            changing: tokio::sync::Mutex::new(()),
            handing: tokio::sync::Mutex::new(()),
            moving: Arc::default(),
            witness: Arc::default(),
            hooks: Arc::default(),
            clusters: Arc::default(),
            drains,
            backups: Arc::default(),
            runs,
            estate,
        }
    }

    /// What another process of this node may go on with.
    pub(crate) fn estate(&self) -> &Estate {
        &self.estate
    }

    /// The same, to hold.
    pub(crate) fn shared_estate(&self) -> Arc<Estate> {
        Arc::clone(&self.estate)
    }

    /// What is known of the witness.
    pub(crate) fn witness(&self) -> Arc<Seen> {
        Arc::clone(&self.witness)
    }

    /// The programs that are run when something has happened.
    pub(crate) fn hooks(&self) -> Arc<Hooks> {
        Arc::clone(&self.hooks)
    }

    /// The Kubernetes clusters whose Services are served.
    pub(crate) fn clusters(&self) -> Arc<Clusters> {
        Arc::clone(&self.clusters)
    }

    /// The backups that are made after changes.
    pub(crate) fn backups(&self) -> Arc<Backups> {
        Arc::clone(&self.backups)
    }

    /// As it was at start.
    pub(crate) fn admin(&self) -> &Admin {
        &self.admin
    }

    /// The configuration file.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// Configurations applied since the start.
    pub(crate) fn generation(&self) -> u64 {
        self.loaded().generation
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    fn loaded(&self) -> Loaded {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_loaded(&self, change: impl FnOnce(&mut Loaded)) {
        change(&mut self.loaded.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Notes whether a listener of `admin` stands, or why it does not. Says whether that is news.
    pub(crate) fn set_listener(&self, name: &'static str, result: Result<(), String>) -> bool {
        let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(()) => closed.remove(name).is_some(),
            Err(error) => closed.insert(name, error.clone()) != Some(error),
        }
    }

    /// The run ends as it was asked to.
    pub(crate) fn end_run(&self) {
        self.runs.end();
    }

    /// For how long this node is still held back after crashes.
    fn held_for(&self) -> Duration {
        let held = self.runs.held(overriding::wall_clock()).unwrap_or_default();
        held.saturating_sub(self.started.elapsed())
    }

    /// Why it is held back.
    fn held_back(&self) -> Option<String> {
        (!self.held_for().is_zero()).then(|| self.runs.why(overriding::wall_clock()))
    }

    /// Waits for its turn to change something. Whoever waited while another process took over would change what nobody runs.
    async fn change(&self) -> Result<tokio::sync::MutexGuard<'_, ()>, Refusal> {
        let turn = self.changing.lock().await;
        if self.estate.is_left() {
            return Err(Refusal::new(
                "a new process of this node has just taken over, and this was asked of the one before: nothing was changed\n  ask again"
                    .to_owned(),
            ));
        }
        Ok(turn)
    }

    /// What the nodes share is known again.
    fn set_found(&self) {
        *self.lost.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn source(&self) -> Option<Source> {
        self.source.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_source(&self, source: Source) {
        *self.source.lock().unwrap_or_else(PoisonError::into_inner) = Some(source);
    }
}

/// To the microsecond.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
