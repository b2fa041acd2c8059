//! The running node: what it was started with, and what operators may do to it.

use crate::backup::Backups;
use crate::hooks::{Hooks, JUDGE};
use crate::inplace::Estate;
use crate::kubernetes::Clusters;
use crate::last_good;
use crate::runs::Runs;
use crate::systemd;
use crate::wire::{Refusal, Reloaded};
use crate::witness::Seen;
use fulcrum_config::{Admin, Before, Config, Diagnostics, GroupName, Parsed, Xdp, difference};
use fulcrum_lifecycle::{Alarm, ConfigState, Facts, Handle, Severity, Snapshots, Status, Trial};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

mod agree;
mod agreed;
mod allocated;
mod boot;
mod control_plane;
mod drill;
mod handover;
mod inplace;
mod limits;
mod memory;
mod outside;
mod overriding;
mod planned;
mod prepare;
mod rehearse;
mod share;
mod shared;
mod source;
mod trial;

use agreed::Agreed;
pub(crate) use allocated::KIND as ALLOCATIONS;
pub(crate) use boot::{Boot, boot};
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
    drains: planned::Drains,
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

/// What came of applying a configuration on all nodes.
struct Everywhere {
    /// What became of it at each peer.
    peers: Vec<String>,
    /// From the peers' agreement until the data plane served all of it.
    took: Duration,
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
        Self {
            handle,
            started,
            source: Mutex::new(boot.source.clone()),
            shared: Mutex::new(boot.shared.clone()),
            behind: Mutex::new(None),
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
            drains: planned::Drains::default(),
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

    /// What the whole node looks like.
    pub(crate) fn status(&self) -> Status {
        let mut facts = self.facts();
        facts.limits = limits::now();
        self.handle.status(&facts)
    }

    /// Which part of this process does not run any more.
    pub(crate) fn stuck(&self) -> Option<String> {
        systemd::stuck(self.handle.since_beat(), &self.handle.lb().borrow().stuck)
    }

    /// What someone should look at, and the snapshots that say so.
    pub(crate) fn alarms(&self) -> (Vec<Alarm>, Snapshots) {
        self.handle.alarms(&self.facts())
    }

    fn facts(&self) -> Facts {
        let loaded = self.loaded();
        Facts {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: self.started,
            config_file: self.file.display().to_string(),
            config_state: loaded.state,
            loaded: loaded.at,
            generation: loaded.generation,
            received_from: self.shared().received.map(|received| received.from),
            warnings: loaded.warnings,
            refused: loaded.refused,
            alarms: self.troubles(),
            witness: self.witness.get().into(),
            hooks: self.hooks.status(),
            kubernetes: self.clusters.status(),
            limits: BTreeMap::new(),
            finishing: self.estate.finishing(),
        }
    }

    /// Notes whether a listener of `admin` stands, or why it does not. Says whether that is news.
    pub(crate) fn set_listener(&self, name: &'static str, result: Result<(), String>) -> bool {
        let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(()) => closed.remove(name).is_some(),
            Err(error) => closed.insert(name, error.clone()) != Some(error),
        }
    }

    fn troubles(&self) -> Vec<Alarm> {
        let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        let alarm = |(name, error): (&&str, &String)| Alarm {
            severity: Severity::Warning,
            what: error.clone(),
            affected: format!("whoever asks the daemon through {name}; traffic and VIPs do not need it"),
            remedy: "remove the cause that is named; it is tried again by itself".to_owned(),
        };
        let behind = self.behind.lock().unwrap_or_else(PoisonError::into_inner);
        let behind = behind.as_ref().map(|behind| Alarm {
            severity: Severity::Warning,
            what: format!(
                "the configuration of {} (serial {}) can't be applied here, and this node stays behind: {}",
                behind.from,
                behind.serial,
                behind.lines.first().map_or("", String::as_str)
            ),
            affected: "what changes when the leader does: services, backends or limits are others here"
                .to_owned(),
            remedy: "remove the cause that is named (it is tried again by itself), or change the file there"
                .to_owned(),
        });
        closed
            .iter()
            .map(alarm)
            .chain(behind)
            .chain(self.trouble_of_allocations())
            .chain(self.hooks.alarms())
            .chain(overriding::forgotten(&self.handle.config(), overriding::wall_clock()))
            .chain(self.clusters.alarms())
            .chain(self.backups.alarm())
            .chain(self.runs.alarm(self.held_for(), overriding::wall_clock()))
            .collect()
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

    /// What was to come after `config` did not.
    async fn keep_allocations_again(&self, config: &Arc<Config>) {
        if let Err(why) = self.keep_allocations(config).await {
            tracing::error!(target: "config", "what services have from pools is not on disk: {why}");
            self.allocations.lock().unwrap_or_else(PoisonError::into_inner).unkept = Some(why);
        }
    }

    fn trouble_of_allocations(&self) -> Vec<Alarm> {
        let allocated = self.allocations.lock().unwrap_or_else(PoisonError::into_inner);
        let alarm = |what: String, remedy: &str| Alarm {
            severity: Severity::Warning,
            what,
            affected: "services whose addresses are of pools: they may get others".to_owned(),
            remedy: remedy.to_owned(),
        };
        let unkept = allocated.unkept.as_ref().map(|why| {
            let what = format!("what services have from pools is not on disk: {why}");
            alarm(what, "make room in the state directory, then 'fulcrum reload'")
        });
        let damage = allocated.damage.as_ref().map(|damage| {
            alarm(
                damage.clone(),
                "compare 'fulcrum status' of the nodes, and reload where the addresses are right",
            )
        });
        unkept.into_iter().chain(damage).collect()
    }

    /// Keeps what services have from pools by `config`: before it is in use.
    async fn keep_allocations(&self, config: &Arc<Config>) -> Result<(), String> {
        let (state_dir, file, config) = (self.state_dir.clone(), self.file.clone(), Arc::clone(config));
        let work = move || allocated::store(&config.allocations, &state_dir, &file);
        let kept = tokio::task::spawn_blocking(work).await;
        let kept = kept.unwrap_or_else(|error| Err(error.to_string()));
        if kept.is_ok() {
            *self.allocations.lock().unwrap_or_else(PoisonError::into_inner) = Allocated::default();
        }
        kept
    }

    fn take_unproven(&self) -> Option<String> {
        self.unproven.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Keeps what was read at start as the last good configuration once its listeners stand: a file that parses
    /// but can't work must not replace one that did.
    pub(crate) async fn keep_proven(&self) {
        let mut lb = self.handle.lb();
        if lb.wait_for(|lb| lb.ready).await.is_ok()
            && let Some(text) = self.take_unproven()
        {
            keep(&self.state_dir, &self.file, &text);
        }
        self.backups.changed();
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

    /// Reads the file again and applies the difference, here and on every peer that can be asked, or nowhere.
    pub(crate) async fn reload(&self, how: How) -> Result<Reloaded, Refusal> {
        let _changing = self.change().await?;
        let result = self.try_reload(&how).await;
        self.withdraw();
        if let Err(refusal) = &result {
            let mut lines = refusal.diagnostics.clone();
            if lines.is_empty() {
                lines.push(refusal.error.clone());
            }
            self.set_loaded(|loaded| loaded.refused = lines);
        }
        result
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "status says since when and how long; nothing is decided by it"
    )]
    async fn try_reload(&self, how: &How) -> Result<Reloaded, Refusal> {
        let begun = Instant::now();
        let old = self.handle.config();
        let (source, parsed) = self.read_again(&old, how).await?;
        let new = Arc::new(parsed.config);
        let read = begun.elapsed();
        let received = source.received.as_ref().map(|received| {
            format!(
                "{} was not edited since {} sent a newer configuration, which stays in force",
                self.file.display(),
                received.from
            )
        });
        let Everywhere { mut peers, took } = self.apply_everywhere(begun, source, &old, &new, how).await?;
        peers.extend(received);
        let warnings: Vec<String> = parsed.warnings.iter().map(ToString::to_string).collect();
        self.set_applied(warnings.clone());
        Ok(Reloaded {
            changes: difference(&old, &new),
            needs_restart: self.admin != new.admin || (self.xdp, self.flows) != (new.xdp, new.flows),
            peers,
            warnings,
            read_ms: milliseconds(read),
            applied_ms: milliseconds(took),
        })
    }

    /// Applies `new`, which was read from `source`, here and on every peer that can be asked, or nowhere.
    #[allow(clippy::disallowed_methods, reason = "status says how long it took; nothing is decided by it")]
    async fn apply_everywhere(
        &self,
        begun: Instant,
        source: Source,
        old: &Config,
        new: &Arc<Config>,
        how: &How,
    ) -> Result<Everywhere, Refusal> {
        let agreement = self.agree(source.text(), old, new, how).await?;
        let asked = begun.elapsed();
        let before = (self.shared(), self.handle.said().text);
        // If this process dies now, the next one runs it, and the peers that agreed catch up.
        self.keep_allocations(new).await.map_err(|why| self.unkept(&why))?;
        let (shared, text) = (source.shared(agreement.serial, new), source.text_of(agreement.serial, new));
        let kept = self.set_shared(shared, text).await;
        let kept = kept.or_else(|why| if new.overrides == old.overrides { Ok(()) } else { Err(why) });
        let result = match kept {
            Ok(()) => self.put_in_force(old, new, agreement.serial).await,
            Err(why) => Err(Refusal::new(format!(
                "what is asked for can't be kept, and would be forgotten by a restart: {why}; nothing was changed\n  make \
                 room in the state directory, and try again"
            ))),
        };
        let revision = match result {
            Ok(revision) => revision,
            Err(refusal) => {
                let _ = self.set_shared(before.0, before.1).await;
                self.keep_allocations_again(&self.handle.config()).await;
                return Err(refusal);
            }
        };
        trial::applied(self.handle.lb(), revision).await;
        let took = begun.elapsed().saturating_sub(asked);
        let mut peers = agreement.notes.clone();
        // What comes from outside the file proves nothing of that.
        if new.sources.fragments == old.sources.fragments {
            drop(self.take_unproven());
            self.keep_text(source.runs.clone()).await;
        }
        self.set_source(source);
        self.withdraw();
        peers.extend(self.applied_by(&agreement).await);
        Ok(Everywhere { peers, took })
    }

    #[allow(clippy::disallowed_methods, reason = "status says since when; nothing is decided by it")]
    fn set_applied(&self, warnings: Vec<String>) {
        self.set_loaded(|loaded| {
            *loaded = Loaded {
                state: ConfigState::Current,
                at: Instant::now(),
                generation: loaded.generation.saturating_add(1),
                warnings,
                refused: Vec::new(),
            };
        });
    }

    /// What a configuration that comes after `old` goes by.
    fn before(&self, old: &Config, give_up: bool) -> Before {
        let (allocations, overrides) = (Arc::clone(&old.allocations), Arc::clone(&old.overrides));
        let (fragments, now) = (Arc::clone(&old.sources.fragments), overriding::wall_clock());
        Before { allocations, give_up, overrides, fragments, now, ..Before::default() }
    }

    fn source(&self) -> Option<Source> {
        self.source.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_source(&self, source: Source) {
        *self.source.lock().unwrap_or_else(PoisonError::into_inner) = Some(source);
    }

    /// Reads what runs once more, off the loop that serves signals.
    async fn parse_source(&self, source: &Source, before: Before) -> Result<Parsed, Diagnostics> {
        let (file, source) = (self.file.clone(), source.clone());
        let work = move || source.parse(&file, &before);
        let parsed = tokio::task::spawn_blocking(work).await;
        parsed.unwrap_or_else(|error| {
            let message = format!("the configuration that runs could not be read again: {error}");
            Err(Diagnostics::of_file(&self.file.display().to_string(), &message, "try again"))
        })
    }

    /// Reads the file, and refuses it if this node can't become that, or should not; what did not change of it is shared
    /// with `old`.
    async fn read_again(&self, old: &Arc<Config>, how: &How) -> Result<(Source, Parsed), Refusal> {
        let shared = self.shared();
        let (file, running) = (self.file.clone(), Arc::clone(old));
        let before = Before { programs: JUDGE, ..self.before(old, how.give_up) };
        let work = move || {
            Source::read(&file, &shared, &before).map(|(source, mut parsed)| {
                parsed.config.share(&running);
                (source, parsed)
            })
        };
        let (source, parsed) = tokio::task::spawn_blocking(work)
            .await
            .map_err(|error| Refusal::new(format!("the file could not be read: {error}")))?
            .map_err(|diagnostics| self.refusal(&diagnostics))?;
        self.possible(old, &parsed.config)?;
        self.knows_forced(old, &how.forced)?;
        self.protects(old, &parsed.config, &how.forced)?;
        self.keeps_addresses_of_sources(old, &parsed.config, how)?;
        Ok((source, parsed))
    }

    /// Tries the listeners of `new` out, and applies it if they stand. Gives the revision by which all of its
    /// services are served.
    async fn put_in_force(&self, old: &Config, new: &Arc<Config>, serial: u64) -> Result<u64, Refusal> {
        let tried = self.try_listeners(old, new, false).await?;
        let applied = self.handle.apply(Arc::clone(new), serial);
        // What was tried out is served already.
        Ok(tried.unwrap_or(applied))
    }

    /// Tries the listeners of `new` out; those of `old` stand again afterwards if one did not, or if it is a
    /// `rehearsal`: then only services are tried that are new, so that nothing that runs is touched. Gives the revision
    /// by which all services of `new` are served already, if they are.
    async fn try_listeners(
        &self,
        old: &Config,
        new: &Arc<Config>,
        rehearsal: bool,
    ) -> Result<Option<u64>, Refusal> {
        let lb = self.handle.lb();
        let (table, mut changed) = if rehearsal {
            trial::additions(old, new)
        } else {
            (trial::table(old, new), trial::changed(old, new, &lb.borrow()))
        };
        // One of these that can't listen is an alarm of its own, and keeps nothing else back.
        changed.retain(|name| name.source().is_none());
        if changed.is_empty() {
            return Ok(None);
        }
        // The groups and checks hear of it only when its listeners stand.
        let is_whole = table.services.len() == new.services.len();
        let trial = Trial { table: Some(Arc::new(table)), services: changed.clone() };
        let revision = self.handle.try_out(Some(trial));
        let listens = trial::listens(lb.clone(), revision, &changed).await;
        if rehearsal || listens.is_err() {
            let revision = self.handle.try_out(Some(Trial { table: None, services: changed.clone() }));
            trial::settles(lb, revision, &changed).await;
            self.handle.try_out(None);
        }
        if let Err(errors) = listens {
            return Err(Refusal {
                error: format!(
                    "{} can't work here: listeners did not stand; the configuration that ran before runs on",
                    self.file.display()
                ),
                diagnostics: errors,
            });
        }
        Ok((is_whole && !rehearsal).then_some(revision))
    }

    /// As [`keep`], off the loop that serves signals: it waits for the disk.
    async fn keep_text(&self, text: String) {
        let (state_dir, file) = (self.state_dir.clone(), self.file.clone());
        let _ = tokio::task::spawn_blocking(move || keep(&state_dir, &file, &text)).await;
        self.backups.changed();
    }

    fn refusal(&self, diagnostics: &Diagnostics) -> Refusal {
        Refusal {
            error: format!("{} is refused; the running configuration stays", self.file.display()),
            diagnostics: diagnostics.iter().map(ToString::to_string).collect(),
        }
    }

    fn unkept(&self, why: &str) -> Refusal {
        Refusal::new(format!(
            "{}: what services get from pools can't be kept, and so is not handed out: {why}; the running configuration \
             stays\n  make room in the state directory, and reload again",
            self.file.display()
        ))
    }

    /// What a running node can't become.
    fn possible(&self, old: &Config, new: &Config) -> Result<(), Refusal> {
        if old.node != new.node {
            return Err(Refusal::new(format!(
                "{}: node is {}, but this daemon runs as {}; the running configuration stays\n  correct the \
                 file, or stop the daemon and start it again",
                self.file.display(),
                new.node,
                old.node
            )));
        }
        let added = new.interfaces.keys().filter(|name| !old.interfaces.contains_key(*name));
        for name in added {
            if !Path::new("/sys/class/net").join(name.as_str()).exists() {
                return Err(Refusal::new(format!(
                    "{}: interface {name} does not exist on this node; the running configuration stays\n  \
                     create it first, or correct its name ('ip link' lists them)",
                    self.file.display()
                )));
            }
        }
        Ok(())
    }
}

/// To the microsecond.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// Reads and parses the file, as a node would whose state is on this machine.
pub(crate) fn read(file: &Path) -> Result<(String, Parsed), Diagnostics> {
    let recalled = allocated::Recalled::of(&crate::last_good::candidates(file, None), file);
    read_after(file, &recalled.before(false))
}

/// As [`read`], for a file that is to be run: the programs of its hooks are judged, too.
pub(crate) fn read_to_run(file: &Path) -> Result<(String, Parsed), Diagnostics> {
    let recalled = allocated::Recalled::of(&crate::last_good::candidates(file, None), file);
    read_after(file, &Before { programs: JUDGE, ..recalled.before(false) })
}

fn read_after(file: &Path, before: &Before) -> Result<(String, Parsed), Diagnostics> {
    let text = fulcrum_config::read(file)?;
    let parsed = fulcrum_config::parse_after(&text, &file.display().to_string(), &host_name(), before)?;
    Ok((text, parsed))
}

/// The name of this machine, without its domain.
pub(crate) fn host_name() -> String {
    let uname = rustix::system::uname();
    let name = uname.nodename().to_string_lossy();
    name.split('.').next().unwrap_or_default().to_owned()
}

/// Keeps `text` as the last good configuration; if that fails, everything else goes on.
fn keep(state_dir: &Path, file: &Path, text: &str) {
    if let Err(error) = fulcrum_config::last_good::keep(&last_good::path(state_dir, file), text) {
        tracing::warn!(target: "config", "{error}");
    }
}
