//! The forwarding plane's caller: tells the kernel's tables what is asked, and tells what they count.
//!
//! Of two nodes with the same configuration and verdicts both tell their kernels the same; which of them forwards
//! is for the fence to say.

pub(crate) mod book;
mod checks;
mod deaths;
mod generations;
mod history;
mod kernel;
mod live;
mod room;
mod routes;
pub(crate) use routes::forwards;
mod schedule;
mod sources;
mod telling;
pub(crate) mod told;
mod xdp;

use crate::balance::Seed;
use crate::engine::Options;
use crate::{
    BackendStats, ChecksObserved, Desired, FlowsObserved, PlaneObserved, ServiceObserved, ServiceStats,
};
use book::{Book, Entry, Places, Wanted, hold};
use checks::Checks;
use fulcrum_config::{Backend, DEFAULT_FLOWS, NodeName, Protocol, ServiceName};
use fulcrum_ebpf::Mode;
use fulcrum_ebpf::plane::layout::{Counters, MAX_FLOWS, room_in};
use history::History;
use kernel::{Heard, Kernel, News};
use live::Live;
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};
use telling::Telling;
use xdp::Drivers;

// What the file means by default is what the tables hold by default.
const _: () = assert!(DEFAULT_FLOWS == room_in(MAX_FLOWS));

/// How often routes and interfaces are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often noted flows are, at most.
const SIFT_EVERY: Duration = Duration::from_secs(1);
/// The part of the time that this may take: one in so many.
const SIFT_SHARE: u32 = 50;
/// Whatever it takes, it is done so often.
const SIFT_LATEST: Duration = Duration::from_secs(30);
/// The same while there is little room for more.
const SIFT_SOON: Duration = Duration::from_secs(5);
/// How often schedules that go by what is live are made anew, at most.
const SCHEDULE_EVERY: Duration = Duration::from_millis(100);
/// How often the kernel is asked again, if it refused.
const TRY_EVERY: Duration = Duration::from_secs(10);

/// News of flows that are taken from the kernel at a time.
const NEWS: usize = 8000;

/// All services of the plane.
#[derive(Debug)]
pub(crate) struct Plane {
    book: Book,
    mode: Mode,
    drivers: Drivers,
    /// How many flows are to be known one by one.
    room: u32,
    seed: Seed,
    desired: Desired,
    /// `wanted` is no longer what it should be.
    changed: bool,
    wanted: Wanted,
    /// In the kernel, if any service asks for it.
    kernel: Option<Kernel>,
    /// Why it is not there, or not whole.
    error: Option<String>,
    /// Services that there is no room for.
    no_room: BTreeMap<ServiceName, String>,
    next_look: Instant,
    next_sift: Instant,
    next_schedule: Instant,
    next_try: Instant,
    /// Whether what an earlier life left was looked for.
    left_removed: bool,
    /// The kernel's tables are another process's.
    left: bool,
    observed: BTreeMap<ServiceName, ServiceObserved>,
    telling: Telling,
    places: Places,
    /// Flows that each backend has, of those that are known one by one and that nobody has ended.
    live: Live,
    /// How often it was loaded.
    number: u64,
    /// News that the kernel had no room to tell of.
    untold: u64,
    /// What stands in the tables.
    history: Arc<History>,
}

impl Plane {
    pub(crate) fn new(options: &Options, now: Instant) -> Self {
        let seed = options.seed;
        Self {
            book: Book::new(seed),
            mode: options.attach,
            drivers: Drivers::new(options.xdp),
            room: options.flows.unwrap_or(DEFAULT_FLOWS),
            seed,
            desired: Desired::default(),
            changed: false,
            wanted: Wanted::default(),
            left_removed: false,
            left: false,
            kernel: None,
            error: None,
            no_room: BTreeMap::new(),
            next_look: now,
            next_sift: now,
            next_try: now,
            observed: BTreeMap::new(),
            telling: Telling::new(fastrand::u64(..)),
            places: Places::default(),
            live: Live::default(),
            next_schedule: now,
            number: 0,
            untold: 0,
            history: Arc::default(),
        }
    }

    /// Takes over what is asked: only the services of the plane.
    pub(crate) fn apply(&mut self, desired: Desired, now: Instant) {
        self.apply_desired(desired, now);
        self.drivers.handle_started();
    }

    fn apply_desired(&mut self, desired: Desired, now: Instant) {
        self.desired = desired;
        self.changed = true;
        if self.left {
            return;
        }
        if self.desired.services.is_empty() {
            self.stop();
            if !std::mem::replace(&mut self.left_removed, true) {
                kernel::remove_left();
            }
            return;
        }
        self.left_removed = true;
        if self.kernel.is_none() {
            self.next_try = now;
        }
        self.renew(now);
    }

    /// To be called now and then.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.reschedule(now);
        if self.left || self.desired.services.is_empty() || now < self.next_look {
            return;
        }
        self.next_look = now.checked_add(LOOK_EVERY).unwrap_or(now);
        self.renew(now);
        self.tell_all(now);
    }

    /// Brings the kernel up to date.
    fn renew(&mut self, now: Instant) {
        if self.left {
            return;
        }
        if self.kernel.is_none() && now >= self.next_try {
            self.next_try = now.checked_add(TRY_EVERY).unwrap_or(now);
            match Kernel::load(self.mode, self.seed, self.room) {
                Ok(kernel) => {
                    self.untold = kernel.untold();
                    self.number = self.number.wrapping_add(1);
                    self.kernel = Some(kernel);
                    self.telling.handle_loaded(now);
                }
                Err(error) => self.error = Some(error),
            }
        }
        let Some(kernel) = &mut self.kernel else { return };
        if self.changed {
            self.no_room = self.book.apply(&self.desired, kernel, now);
        }
        self.changed |= self.book.handle_timeout(now);
        if now >= self.next_sift {
            let (sifted, took) = kernel.sift(&self.book, hold);
            let latest = if kernel.is_short_of_room() { SIFT_SOON } else { SIFT_LATEST };
            let pause = took.saturating_mul(SIFT_SHARE).clamp(SIFT_EVERY, latest);
            self.next_sift = now.checked_add(pause).unwrap_or(now);
            self.changed |= self.book.handle_flows(&sifted.services, &sifted.backends, now);
            self.live.handle_count(&sifted.live);
        }
        if std::mem::take(&mut self.changed) {
            self.book.reschedule(&self.live);
            self.wanted = self.book.wanted();
            self.places = self.wanted.places();
            self.history = Arc::new(self.book.history());
        }
        kernel.set_heard(self.telling.is_heard() || self.book.counts_flows());
        let error = kernel.tell(&mut self.book, &self.wanted, &self.desired.interfaces, &self.drivers).err();
        if let Some(error) = error.as_ref().filter(|error| self.error.as_ref() != Some(error)) {
            tracing::error!("{error}");
        }
        self.error = error;
        self.look_at_losses(now);
        self.telling.handle_timeout(now);
        self.observe();
    }

    fn look_at_losses(&mut self, now: Instant) {
        let Some(kernel) = &self.kernel else { return };
        let untold = kernel.untold();
        if std::mem::replace(&mut self.untold, untold) < untold {
            self.telling.handle_loss(now);
        }
    }

    /// The kernel's tables are another process's: they stay as they are, and so does what stands at the interfaces. Or they are
    /// this one's again.
    pub(crate) fn set_left(&mut self, left: bool) {
        if self.left != left && left {
            self.kernel = None;
        }
        if self.left && !left {
            // What the other told the kernel is adopted as that of an earlier life is.
            self.book = Book::new(self.seed);
            self.live = Live::default();
            self.changed = true;
        }
        self.left = left;
    }

    /// Which loading of the kernel's tables this is, if they are there.
    pub(crate) fn number(&self) -> Option<u64> {
        self.kernel.as_ref().map(|_| self.number)
    }

    /// Is readable once the kernel has news of flows.
    pub(crate) fn news_file(&self) -> Option<OwnedFd> {
        let file = self.kernel.as_ref()?.news_file();
        file.map_err(|error| tracing::warn!("flows can't be told of: {error}")).ok()
    }

    /// The kernel has news. Says whether there may be more.
    pub(crate) fn handle_news(&mut self, now: Instant) -> bool {
        let Some(kernel) = &mut self.kernel else { return false };
        let news = kernel.news(NEWS);
        news.iter().for_each(|News { backend, change, .. }| self.live.handle_change(*backend, *change));
        let more = news.len() == NEWS;
        let told: Vec<_> = news.into_iter().filter_map(|news| news.told).collect();
        self.telling.tell(&told, now);
        self.reschedule(now);
        more
    }

    /// What is live may have changed, and with it who is to take new flows.
    fn reschedule(&mut self, now: Instant) {
        let Some(kernel) = &mut self.kernel else { return };
        if now < self.next_schedule {
            return;
        }
        let made = self.book.reschedule(&self.live);
        if made.is_empty() {
            return;
        }
        self.next_schedule = now.checked_add(SCHEDULE_EVERY).unwrap_or(now);
        self.wanted.schedules.extend(made);
        // If the kernel refuses, the next turn tells it again, and says so.
        let _ = kernel.tell_schedules(&self.wanted.schedules);
    }

    /// The links to peers that are up, each for the time of that number.
    pub(crate) fn handle_peers(&mut self, peers: BTreeMap<NodeName, u64>, now: Instant) {
        self.telling.handle_peers(peers, now);
        if self.kernel.is_some() {
            self.renew(now);
            self.tell_all(now);
        }
    }

    /// A peer said something of its flows.
    pub(crate) fn handle_message(&mut self, from: &NodeName, bytes: &[u8], now: Instant) {
        for told in self.telling.handle_message(from, bytes, now) {
            match self.kernel.as_mut().map(|kernel| kernel.hear(&told, &self.places)) {
                Some(Heard::Of(service)) => self.changed |= self.book.handle_heard(service),
                Some(Heard::Known) => {}
                Some(Heard::Misfit) | None => self.telling.handle_misfit(),
            }
        }
    }

    /// What is to be said to the peers next.
    pub(crate) fn poll_message(&self) -> Option<Arc<[u8]>> {
        self.telling.poll_message()
    }

    /// It was said.
    pub(crate) fn handle_sent(&mut self) {
        self.telling.handle_sent();
    }

    fn tell_all(&mut self, now: Instant) {
        if let Some(which) = self.telling.poll_all(now) {
            let flows = self.kernel.iter().flat_map(|kernel| kernel.all(which));
            self.telling.tell_all(flows, now);
        }
    }

    /// How backends of a service in mode dsr are checked.
    fn checks_of(&self, name: &ServiceName) -> Option<ChecksObserved> {
        let service = &self.desired.services.get(name)?.service;
        let asked = |backend: &Arc<Backend>| Some((backend.address.ip, service.target(backend)?.vip?));
        let asked: Vec<_> = service.backends.iter().filter_map(asked).collect();
        let checks = self.kernel.as_ref().map(Kernel::checks);
        if asked.is_empty()
            || checks.is_some_and(|checks| asked.iter().all(|asked| checks.is_rewritten(asked)))
        {
            return (!asked.is_empty()).then_some(ChecksObserved::AtVip);
        }
        let why = checks.map_or(self.error.as_deref(), Checks::error);
        let why = why.unwrap_or("not every backend is on a link of this node");
        Some(ChecksObserved::AtBackend(why.to_owned()))
    }

    fn observe(&mut self) {
        let Some(kernel) = &self.kernel else { return };
        self.observed = self
            .desired
            .services
            .keys()
            .map(|name| {
                let entry = self.book.entries().find(|(known, _)| *known == name).map(|(_, entry)| entry);
                let observed =
                    entry.map_or_else(ServiceObserved::default, |entry| observe(kernel, entry, &self.live));
                let checks = self.checks_of(name);
                (name.clone(), ServiceObserved { errors: self.errors_of(name), checks, ..observed })
            })
            .collect();
    }

    fn errors_of(&self, name: &ServiceName) -> Vec<String> {
        let own = self.kernel.iter().flat_map(|kernel| kernel.errors_of(name));
        self.error.iter().chain(self.no_room.get(name)).chain(own).cloned().collect()
    }

    /// Each service as it is served.
    pub(crate) fn services(&self) -> impl Iterator<Item = (&ServiceName, ServiceObserved)> {
        self.desired.services.keys().map(|name| {
            let observed = self.observed.get(name).cloned().unwrap_or_default();
            (name, ServiceObserved { errors: self.errors_of(name), checks: self.checks_of(name), ..observed })
        })
    }

    /// Whether `name` is one of its services.
    pub(crate) fn has(&self, name: &ServiceName) -> bool {
        self.desired.services.contains_key(name)
    }

    /// How many services it has.
    pub(crate) fn len(&self) -> usize {
        self.desired.services.len()
    }

    /// Whether all of them are served.
    pub(crate) fn is_whole(&self) -> bool {
        let names: BTreeSet<&ServiceName> = self.desired.services.keys().collect();
        names.into_iter().all(|name| self.errors_of(name).is_empty())
    }

    /// The plane itself.
    pub(crate) fn observed(&self) -> Option<PlaneObserved> {
        let observed = self.kernel.as_ref()?.observed();
        let flows = FlowsObserved {
            held_by: self.telling.held_by().clone(),
            in_sync: self.telling.is_in_sync(),
            counters: self.telling.counters(),
        };
        Some(PlaneObserved { flows, tables: Arc::clone(&self.history), ..observed })
    }

    /// Takes it out of the kernel.
    pub(crate) fn stop(&mut self) {
        if let Some(kernel) = self.kernel.take() {
            kernel.stop();
        }
        self.book = Book::new(self.seed);
        self.error = None;
        self.observed.clear();
        self.live = Live::default();
        self.history = Arc::default();
        self.no_room.clear();
    }
}

fn observe(kernel: &Kernel, entry: &Entry, live: &Live) -> ServiceObserved {
    let counters = kernel.service_counters(entry.index);
    let udp = entry.desired.service.protocol == Protocol::Udp;
    let of = |index: &u32| live.of(*index).live;
    let stats = ServiceStats {
        // Also those of backends that are no longer configured.
        connections: entry.backends.values().map(of).fold(0, u64::saturating_add),
        accepted: counters.opened,
        refused_no_backend: counters.refused,
        refused_rate: counters.limited,
        bytes_in: counters.bytes_in,
        bytes_out: counters.bytes_out,
        packets_in: counters.packets_in,
        packets_out: counters.packets_out,
        datagrams_in: if udp { counters.packets_in } else { 0 },
        datagrams_out: if udp { counters.packets_out } else { 0 },
        ..ServiceStats::default()
    };
    let backends = entry.desired.backends.iter().map(|state| {
        let index = entry.index_of(state);
        let counters = index.map(|index| kernel.backend_counters(index)).unwrap_or_default();
        (state.backend.name.clone(), backend_stats(counters, index.as_ref().map_or(0, of)))
    });
    ServiceObserved { stats, backends: backends.collect(), ..ServiceObserved::default() }
}

fn backend_stats(counters: Counters, connections: u64) -> BackendStats {
    BackendStats {
        connections,
        connected: counters.opened,
        bytes_in: counters.bytes_in,
        bytes_out: counters.bytes_out,
        packets_in: counters.packets_in,
        packets_out: counters.packets_out,
        ..BackendStats::default()
    }
}
