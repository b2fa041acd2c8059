//! Everything the loop holds, and one turn of it.

mod acting;
mod electing;
mod guarding;
mod inheriting;
mod keeping;
mod neighbours;
mod proving;
mod reading;
mod routing;

use super::addresses::Addresses;
use super::fence::Fence;
use super::group::GroupDriver;
use super::link::{LinkDriver, Listening, Update, count};
use super::second_chance::SecondChance;
use super::virtual_mac::{Devices, Kernel};
use super::{Links, Options};
use crate::border::{Counters, Desired, Observed, Role, Word};
use crate::error::StartError;
use crate::guard::Guard;
use crate::netlink::{Monitor, Netlink, Routes, View, dump_all};
use crate::poller::Poller;
use crate::router::Claim;
use crate::settings::Settings;
use crate::witness::Echoes;
use electing::Electing;
use fulcrum_config::{GroupName, Link};
use proving::Proving;
use routing::Routing;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// What a token's lowest bits say of its socket.
pub(super) const VRRP: u64 = 0;
pub(super) const NEIGHBOUR: u64 = 1;
const MONITOR: u64 = 2;
const GUARD: u64 = 3;
pub(super) const VIRTUAL: u64 = 4;
const ROUTES: u64 = 5;
pub(super) const SEGMENT: u64 = 6;
const KINDS: u64 = 8;

/// The token of a socket: which link, which kind.
pub(super) fn token(number: u64, kind: u64) -> u64 {
    number.saturating_mul(KINDS).saturating_add(kind)
}

/// Time between attempts to open what could not be opened.
const RETRY: Duration = Duration::from_secs(1);
/// Time between readings of all interfaces and addresses, should the kernel's messages ever tell too little.
const RESYNCHRONIZE: Duration = Duration::from_secs(15);
/// Time before a reading that failed, or that changes interrupted, is tried again.
const RESYNCHRONIZE_SOON: Duration = Duration::from_millis(100);
/// Attempts at start.
const FIRST_READINGS: u32 = 20;
/// Larger than any frame of an Ethernet with jumbo frames.
const BUFFER_BYTES: usize = 16 * 1024;

pub(super) struct Engine {
    poller: Poller,
    netlink: Netlink,
    monitor: Monitor,
    routing: Routing,
    pub(super) view: View,
    pub(super) settings: Settings,
    pub(super) guard: Option<Guard>,
    pub(super) desired: Option<Desired>,
    /// What another process of this node leads, until this one does.
    inherited: BTreeMap<GroupName, u64>,
    pub(super) links: BTreeMap<Link, LinkDriver>,
    pub(super) groups: BTreeMap<GroupName, GroupDriver>,
    /// The addresses of groups that are not configured any more, until they are gone.
    dropped: BTreeMap<GroupName, BTreeSet<IpAddr>>,
    addresses: Addresses,
    pub(super) fence: Fence,
    pub(super) second: SecondChance,
    pub(super) electing: Electing,
    proving: Proving,
    /// What the peers echo.
    pub(super) echoes: Option<watch::Receiver<Echoes>>,
    /// Groups or their addresses changed: the fence must be told which it guards.
    fence_due: bool,
    pub(super) devices: Devices,
    pub(super) counters: Counters,
    /// Of the kernel settings, by interface.
    pub(super) setting_errors: BTreeMap<String, String>,
    next_number: u64,
    retry_at: Option<Instant>,
    resynchronize_at: Option<Instant>,
    settings_at: Option<Instant>,
    last_run: Instant,
    pub(super) last_beat: Option<Instant>,
    busy_turns: u32,
    /// Something came in that may concern everything, not only the groups that it names.
    woken: bool,
    /// A peer echoed a heartbeat.
    echoed: bool,
    tokens: Vec<u64>,
    buffer: Vec<u8>,
    ending: bool,
    /// When an orderly stop ends although addresses could not be removed.
    give_up_at: Option<Instant>,
    pub(super) stopped: bool,
    pub(super) show: super::show::Show,
}

impl Engine {
    pub(super) fn new(
        options: &Options,
        links: Links,
        observed: watch::Sender<Observed>,
        clock: impl Fn() -> Instant,
    ) -> Result<Self, StartError> {
        let now = clock();
        let poller = Poller::new().map_err(|error| StartError::of("waiting for packets (epoll)", error))?;
        let monitor = Monitor::open()
            .and_then(|monitor| poller.add(&monitor, token(0, MONITOR)).map(|()| monitor))
            .map_err(|error| StartError::of("listening for changes of interfaces (netlink)", error))?;
        let routing = Routes::open()
            .and_then(|routes| poller.add(&routes, token(0, ROUTES)).map(|()| Routing::new(routes)))
            .map_err(|error| StartError::of("listening for changes of routes (netlink)", error))?;
        let netlink = Netlink::open().map_err(|error| StartError::of("opening a netlink socket", error))?;
        require_capabilities()?;
        let directory = options.state_directory.as_deref();
        let settings = Settings::load(directory).map_err(|error| StartError::State {
            path: directory.map(|path| path.display().to_string()).unwrap_or_default(),
            error,
        })?;
        let mut engine = Self {
            poller,
            netlink,
            monitor,
            routing,
            view: View::default(),
            settings,
            guard: options.guard.clone().map(|command| Guard::new(command, now)),
            desired: None,
            inherited: options.inherited.clone().unwrap_or_default(),
            links: BTreeMap::new(),
            groups: BTreeMap::new(),
            dropped: BTreeMap::new(),
            addresses: Addresses::default(),
            fence: Fence::new(options.fencing, options.inherited.is_some(), clock),
            second: SecondChance::new(options.fencing.mode()),
            electing: Electing::new(links, now),
            proving: Proving::new(now),
            echoes: options.echoes.clone(),
            fence_due: true,
            devices: Devices::default(),
            counters: Counters::default(),
            setting_errors: BTreeMap::new(),
            next_number: 1,
            retry_at: None,
            resynchronize_at: now.checked_add(RESYNCHRONIZE),
            settings_at: now.checked_add(keeping::INTERVAL),
            last_run: now,
            last_beat: None,
            busy_turns: 0,
            woken: true,
            echoed: false,
            tokens: Vec::new(),
            buffer: vec![0; BUFFER_BYTES],
            ending: false,
            give_up_at: None,
            stopped: false,
            show: super::show::Show::new(observed, now).map_err(StartError::Thread)?,
        };
        engine.read_first().map_err(|error| StartError::of("reading interfaces and addresses", error))?;
        Ok(engine)
    }

    /// Waits for packets, messages or the deadline. Cancel safe.
    pub(super) async fn wait(&self, now: Instant, deadline: Option<Instant>) -> io::Result<()> {
        self.poller.wait(now, deadline).await
    }

    /// Whether everything is done after the end of `desired`.
    pub(super) fn is_finished(&self) -> bool {
        self.is_left() || (self.ending && self.stopped)
    }

    /// Whether `desired` has ended.
    pub(super) fn is_ending(&self) -> bool {
        self.ending
    }

    /// Nobody can change what is desired any more: everything is given up in good order.
    pub(super) fn handle_end(&mut self, now: Instant) {
        self.ending = true;
        if self.is_heir() {
            // What it leads is another process's still.
            self.stopped = true;
        }
        if self.stopped {
            return;
        }
        match self.desired.clone() {
            Some(desired) => self.handle_desired(Desired { stopping: true, ..desired }, now),
            None => self.stopped = true,
        }
    }

    /// A peer echoed a heartbeat.
    pub(super) fn handle_echo(&mut self) {
        self.echoed = true;
    }

    /// Something changed that every group may ask for.
    pub(super) fn wake(&mut self) {
        self.woken = true;
    }

    /// Takes a new snapshot.
    pub(super) fn handle_desired(&mut self, desired: Desired, now: Instant) {
        self.wake();
        if self.desired.as_ref().map(|known| known.part) != Some(desired.part) {
            self.handle_part(desired.part);
        }
        if self.is_left() {
            return;
        }
        let same = self.desired.as_ref().is_some_and(|known| {
            Arc::ptr_eq(&known.config, &desired.config)
                && known.data_plane_missing == desired.data_plane_missing
                && known.standing_down == desired.standing_down
                && known.stopping == desired.stopping
                && known.part == desired.part
        });
        if same {
            // Only the peers said something else, or less or more of their state is here.
            self.desired = Some(desired);
            return self.tell_words(now);
        }
        let config = Arc::clone(&desired.config);
        let gone: Vec<GroupName> =
            self.groups.keys().filter(|name| !config.groups.contains_key(*name)).cloned().collect();
        for name in gone {
            self.drop_group(&name);
        }
        let stopping = desired.stopping;
        self.desired = Some(desired);
        for (name, group) in &config.groups {
            match self.groups.get_mut(name) {
                Some(driver) => driver.reconfigure(&config, Arc::clone(group), now),
                None => {
                    let driver = GroupDriver::new(&config, Arc::clone(group), now);
                    self.groups.insert(name.clone(), driver);
                }
            }
        }
        self.fence_due = true;
        let ports = proving::ports(&config);
        self.groups.values_mut().for_each(|group| group.update_proof(&ports, now));
        self.update_elected(&config, now);
        for (group, to) in self.desired.iter().flat_map(|desired| &desired.standing_down) {
            if let Some(to) =
                to.as_ref().filter(|_| config.groups.get(group).is_some_and(|it| it.is_elected()))
            {
                self.electing.elector.handle_named(group, to, now);
            }
        }
        self.update_fenced();
        // Before a router acts by priorities that were only written.
        self.elect(now);
        self.update_links(now);
        self.update_fitness(now);
        self.tell_words(now);
        if stopping {
            self.electing.elector.handle_stop();
            for group in self.groups.values_mut() {
                group.router.handle_stop(now);
                group.drain.handle_stop(now);
            }
        }
        self.show.changed();
    }

    /// Tells the routers what the peers say of their adverts, what there is to be finished, and what is not here yet.
    fn tell_words(&mut self, now: Instant) {
        let Some(desired) = &self.desired else { return };
        for (name, group) in &mut self.groups {
            group.drain.handle_held(desired.held.contains(name), now);
            group.router.handle_behind(desired.behind.contains(name), now);
            let claim = |word: &Word| Claim {
                sources: word.leads.get(name).cloned(),
                answered: word.answers.get(name).copied(),
            };
            let claims = desired.words.iter().map(|(node, word)| (node.clone(), claim(word)));
            group.router.handle_claims(claims.collect(), now);
        }
        self.show.changed();
    }

    /// A group is not configured any more: its addresses go, and its peers need not wait.
    fn drop_group(&mut self, name: &GroupName) {
        let Some(mut group) = self.groups.remove(name) else { return };
        if group.leading {
            group.resign(&mut self.links);
        }
        let addresses: BTreeSet<IpAddr> = group.ours().collect();
        self.addresses.forget(addresses.iter().copied());
        self.dropped.insert(name.clone(), addresses);
    }

    /// One turn: everything that came in, then everything that is due, then everything to be done. Most of what comes in
    /// only says that all is as it was; with many groups the rest of a turn would be most of the work.
    pub(super) fn turn(&mut self, clock: impl Fn() -> Instant) {
        if self.is_left() || (self.is_heir() && self.ending) {
            return;
        }
        self.handle_pause(clock());
        self.read(&clock);
        let now = clock();
        self.handle_pause(now);
        self.read_heartbeats(now);
        if self.is_still(now) {
            if std::mem::take(&mut self.echoed) {
                self.renew_fence(now);
            }
            return;
        }
        (self.woken, self.echoed) = (false, false);
        self.grant(now);
        for group in self.groups.values_mut() {
            group.handle_timer(now);
        }
        if self.questions() != self.show.questions {
            self.show.changed();
        }
        self.update_fitness(now);
        self.handle_retry(now);
        self.keep_settings(now);
        self.handle_guard_timer(now);
        self.act(now);
        // The guard knows what to do before there is anything to undo, and a beat comes before orders.
        self.beat(now);
        self.instruct_guard(now);
        // They are there, and what becomes of them is for the other process's guard to say as long as there is one.
        if !self.is_heir() {
            self.reconcile_devices(now);
            if self.addresses.reconcile(&mut self.groups, &mut self.view, &mut self.netlink, now) {
                self.show.changed();
            }
        }
        self.look_at_routes(now);
        // And it forgets nothing before it is undone.
        self.instruct_guard(now);
        self.update_fenced();
        // The kernel may have kept us waiting for its lock.
        let now = clock();
        self.handle_pause(now);
        self.send_due(now);
        self.act(now);
        self.prove(now);
        self.note_takeovers(clock());
        self.finish_stop(now);
        self.publish(now);
    }

    /// Whether nothing is to be done.
    fn is_still(&self, now: Instant) -> bool {
        let stopping = self.desired.as_ref().is_some_and(|desired| desired.stopping);
        let acts = || self.groups.values().any(|group| group.router.has_action());
        let is_due = || self.poll_timeout(now).is_some_and(|at| at <= now);
        !self.woken && !stopping && !acts() && !is_due()
    }

    /// When the next turn is due if nothing comes in.
    pub(super) fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        if self.busy_turns > 0 {
            return Some(now);
        }
        // What the leader of an elected group has to say waits for the next heartbeat, which says it for all groups.
        let heartbeat = self.electing.elector.next_beat();
        let groups = self.groups.values().filter_map(|group| group.poll_timeout(heartbeat)).min();
        let last_beat = self.last_beat.unwrap_or(self.last_run);
        let beat = self.beat_interval().and_then(|interval| last_beat.checked_add(interval));
        let tick = self.tick_interval().and_then(|interval| self.last_run.checked_add(interval));
        let guard = self.guard.as_ref().filter(|_| !self.is_heir()).and_then(Guard::poll_timeout);
        let deadlines = [
            groups,
            beat,
            tick,
            guard,
            self.retry_at,
            self.resynchronize_at,
            self.settings_at,
            self.routing.poll_timeout(),
            self.addresses.poll_timeout(),
            self.devices.poll_timeout(),
            self.electing.elector.poll_timeout(now),
            self.prove_at(),
            self.show.poll_timeout(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// How often this loop must run to notice its own pauses; `None` when it takes part in nothing.
    fn tick_interval(&self) -> Option<Duration> {
        let takes_part = |group: &&GroupDriver| group.held || group.router.role() != Role::Init;
        self.groups.values().filter(takes_part).map(|group| group.group.advert_interval.duration()).min()
    }

    /// A process that did not run may have been replaced by its peers: the routers must know before anything
    /// is sent or answered. Called wherever time may have passed.
    fn handle_pause(&mut self, now: Instant) {
        let paused = now.saturating_duration_since(self.last_run);
        self.last_run = now;
        if paused >= crate::proof::PAUSE {
            self.groups.values_mut().for_each(|group| group.proof.handle_pause(now));
        }
        // Without anything to wait for, a long quiet time is no pause.
        if self.tick_interval().is_none_or(|interval| paused <= interval.saturating_mul(2)) {
            return;
        }
        count(&mut self.counters, "pauses");
        self.wake();
        for group in self.groups.values_mut() {
            group.router.handle_stall(paused, now);
        }
        self.electing.elector.handle_pause(now);
        self.act(now);
    }

    /// Reads all links and addresses for the first time.
    fn read_first(&mut self) -> io::Result<()> {
        for _ in 1..FIRST_READINGS {
            if self.read_all().is_ok() {
                return Ok(());
            }
            super::pause();
        }
        self.read_all()
    }

    /// Reads all links and addresses anew, now or, if that fails, soon.
    fn resynchronize(&mut self, now: Instant) {
        self.routing.look(now);
        let read = self.read_all();
        let wait = if read.is_ok() { RESYNCHRONIZE } else { RESYNCHRONIZE_SOON };
        self.resynchronize_at = now.checked_add(wait);
        if let Err(error) = read {
            count(&mut self.counters, "netlink_dumps_failed");
            tracing::debug!(%error, "interfaces and addresses could not be read; trying again");
        }
    }

    fn read_all(&mut self) -> io::Result<()> {
        // Messages from before the dump are not to be applied over it.
        self.monitor.discard();
        let mut view = View::default();
        for message in dump_all(&mut self.netlink)? {
            view.handle_message(&message);
        }
        self.view = view;
        Ok(())
    }

    /// Opens and closes sockets as interfaces and the configuration say, and tells the routers.
    fn update_links(&mut self, now: Instant) {
        let Some(config) = self.desired.as_ref().map(|desired| Arc::clone(&desired.config)) else { return };
        let wanted: BTreeSet<Link> = self.groups.values().flat_map(GroupDriver::links).cloned().collect();
        let guard = &mut self.guard;
        self.links.retain(|link, driver| {
            let stays = wanted.contains(link);
            if let Some(guard) = guard.as_mut().filter(|_| !stays) {
                driver.sender_numbers().for_each(|number| guard.remove_sender(now, number));
            }
            stays
        });
        for link in wanted {
            let driver = self.links.entry(link.clone()).or_insert_with(|| {
                let number = self.next_number;
                self.next_number = number.saturating_add(1);
                LinkDriver::new(link.clone(), number)
            });
            let update = driver.update(&config, &self.view, &self.poller);
            if let Update::Opened = update {
                // The interface may have another MAC now.
                self.groups.values_mut().for_each(|group| group.announce_on(&link, now));
                keeping::apply(&mut self.settings, &mut self.setting_errors, &self.view, &link);
                hand_over_senders(self.guard.as_mut(), driver, now);
            }
            if !matches!(update, Update::Unchanged) {
                match &driver.error {
                    Some(error) => tracing::warn!("{error}"),
                    None => tracing::info!("{link} is ready for adverts and the neighbours' requests"),
                }
                self.show.changed();
            }
            if driver.wants_retry() {
                self.retry_at = now.checked_add(RETRY);
            }
            proving::look_around(driver, &config, &self.groups);
            let about = self.groups.values().flat_map(|group| group.heard_on(&link)).collect();
            let from = driver.neighbourhood.addresses().collect();
            driver.listen_for(Listening { about, from });
            driver.watch_senders(self.groups.values().any(|group| group.is_claimed_on(&link)));
        }
        for group in self.groups.values_mut() {
            group.update_links(&self.links, now);
        }
        // Before the fence is attached: what stands there lets pass what is led.
        self.inherit(now);
        let interfaces = self.links.keys().map(|link| link.interface.clone()).collect();
        if self.stopped {
            return;
        }
        self.second.attach(&config, &interfaces, &self.view);
        if self.fence.attach(&interfaces, &self.view) {
            self.show.changed();
        }
    }

    /// Makes the devices for virtual MACs what the groups want.
    fn reconcile_devices(&mut self, now: Instant) {
        let mut kernel = Kernel {
            view: &self.view,
            netlink: &mut self.netlink,
            settings: &mut self.settings,
            poller: &self.poller,
        };
        if self.stopped {
            return self.devices.remove_all(&mut kernel);
        }
        self.devices.reconcile(&self.groups, &self.links, &mut kernel, &mut self.next_number, now);
    }

    fn update_fitness(&mut self, now: Instant) {
        let Some(desired) = &self.desired else { return };
        for (name, group) in &mut self.groups {
            group.update_fitness(desired, &self.view, self.electing.elector.moves_to(name), now);
        }
    }

    /// How long from the decision to lead until the first announcement was sent.
    fn note_takeovers(&mut self, now: Instant) {
        for (name, group) in &mut self.groups {
            if let Some(decided) = group.decided.take() {
                let took = now.saturating_duration_since(decided);
                group.takeover = Some(took);
                let milliseconds = took.as_secs_f64() * 1000.0;
                tracing::info!(
                    group = %name,
                    "its addresses are added and announced, {milliseconds:.3} ms after the decision to lead"
                );
            }
        }
    }

    fn handle_retry(&mut self, now: Instant) {
        if self.resynchronize_at.is_some_and(|at| at <= now) {
            self.resynchronize(now);
            self.update_links(now);
        }
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            self.update_links(now);
        }
    }
}

/// What can't be tried without side effects is asked for.
fn require_capabilities() -> Result<(), StartError> {
    use socket2::{Domain, Protocol, Socket, Type};
    Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)))
        .map_err(|error| StartError::of("opening a packet socket (CAP_NET_RAW)", error))?;
    let capabilities = rustix::thread::capabilities(None)
        .map_err(|error| StartError::of("reading the capabilities of this process", error.into()))?;
    if capabilities.effective.contains(rustix::thread::CapabilitySet::NET_ADMIN) {
        return Ok(());
    }
    let error = io::ErrorKind::PermissionDenied.into();
    Err(StartError::of("changing addresses (CAP_NET_ADMIN)", error))
}

/// Gives the guard the sockets that it would resign by.
fn hand_over_senders(guard: Option<&mut Guard>, driver: &LinkDriver, now: Instant) {
    let Some(guard) = guard else { return };
    match driver.senders() {
        Ok(senders) => senders.into_iter().for_each(|(number, sender)| guard.set_sender(now, number, sender)),
        Err(error) => tracing::error!(%error, "no descriptors are left for the guard; it can't resign"),
    }
}
