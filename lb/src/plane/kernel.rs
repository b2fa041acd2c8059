//! What the kernel was told, and telling it what is different now.

use super::book::{Book, Earlier, Entry, Wanted, WantedBackend};
use super::checks::Checks;
use super::room::rooms;
use super::routes::{Routes, Way, forwards};
use super::sources::Sources;
use super::xdp::Drivers;
use crate::PlaneObserved;
use crate::balance::Seed;
use fulcrum_config::{BackendAddress, Forwarding, InterfaceName, Protocol, ServiceName};
use fulcrum_ebpf::plane::layout::{
    Backend, Class, Counters, Ended, Endpoint, Limit, MAX_SERVICES, Pin, Reply, Service, Settings, Slots,
};
use fulcrum_ebpf::{KernelError, Mode, Plane};
use rustix::net::netdevice::{index_to_name, name_to_index};
use rustix::time::{ClockId, clock_gettime};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

mod flows;

pub(crate) use flows::{Heard, News};

/// A flow that was closed is kept for its last packets, and one that only began for its first.
const CLOSED: Duration = Duration::from_secs(60);
/// One that only one side has closed, or that is forwarded one way only: the other may go on.
const HALF_CLOSED: Duration = Duration::from_secs(600);

/// The same while there is little room for more: a flood is forgotten as fast as it comes.
const CLOSED_AND_SHORT: Duration = Duration::from_secs(5);

/// The same in mode dsr, where the backend's part is never seen.
const HALF_SEEN: Duration = Duration::from_secs(120);

/// And that while there is little room for more.
const HALF_SEEN_AND_SHORT: Duration = Duration::from_secs(10);

/// Each new table takes the kernel 20 ms and more, and the loop has other things to do.
const TURN: Duration = Duration::from_secs(1);

/// As the programs read it.
fn monotonic() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default()
}

/// The plane in the kernel, and what it was told.
#[derive(Debug)]
pub(crate) struct Kernel {
    plane: Plane,
    routes: Routes,
    seed: Seed,
    /// Whether the indexes of an earlier life are known: if not, what points there is worth nothing.
    adopts: bool,
    /// The backends that flows of each service went to then, as far as they were noted.
    noted: BTreeMap<u32, BTreeSet<u32>>,
    told: Told,
    interfaces: BTreeMap<u32, Standing>,
    /// Counted the last time, and how many more might be noted from then on.
    noted_flows: BTreeMap<Class, (u32, u32)>,
    errors: BTreeMap<ServiceName, Vec<String>>,
    /// Whether it stands at its interfaces, and what an earlier life left at others was looked for.
    stands: bool,
    /// Whether anybody is to be told of flows.
    heard: bool,
    checks: Checks,
}

/// An interface that the plane stands at.
#[derive(Debug)]
struct Standing {
    name: String,
    /// How.
    attached: String,
    /// Why not in the driver.
    without_xdp: Option<String>,
}

#[derive(Debug, Default)]
struct Told {
    services: BTreeMap<u32, Service>,
    limits: BTreeMap<u32, Limit>,
    backends: BTreeMap<u32, Backend>,
    tables: BTreeMap<u32, (Arc<Slots>, Arc<Slots>)>,
    schedules: BTreeMap<u32, Arc<Slots>>,
    endpoints: BTreeMap<Endpoint, u32>,
    replies: BTreeMap<Endpoint, Reply>,
    settings: Option<Settings>,
}

/// What was found of the flows that are noted.
#[derive(Debug, Default)]
pub(crate) struct Sifted {
    /// How many each service has.
    pub(crate) services: BTreeMap<u32, u32>,
    /// Backends that have any.
    pub(crate) backends: BTreeSet<u32>,
    /// How many each backend has that nobody has ended.
    pub(crate) live: BTreeMap<u32, u64>,
}

impl Sifted {
    fn keep(&mut self, service: u32, pin: &Pin) {
        let count = self.services.entry(service).or_default();
        *count = count.saturating_add(1);
        self.backends.insert(pin.backend());
        if pin.ended() == Ended::No {
            let live = self.live.entry(pin.backend()).or_default();
            *live = live.saturating_add(1);
        }
    }
}

impl Earlier for Kernel {
    fn service_at(&self, endpoint: &Endpoint) -> Option<u32> {
        self.told.endpoints.get(endpoint).copied().filter(|_| self.adopts)
    }
    fn service(&self, index: u32) -> Option<Service> {
        self.plane.service(index)
    }
    fn tables(&self, service: u32) -> Option<(Slots, Slots)> {
        self.plane.tables(service)
    }
    fn noted(&self, service: u32) -> BTreeSet<u32> {
        self.noted.get(&service).cloned().unwrap_or_default()
    }
    fn backend(&self, index: u32) -> Option<BackendAddress> {
        let (ip, port) = self.plane.backend(index)?.address();
        let is_one = !ip.is_unspecified();
        is_one.then_some(BackendAddress { ip, port: Some(port).filter(|port| *port != 0) })
    }
}

impl Kernel {
    /// Loads it with room for so many flows, with the tables of an earlier life if there are any.
    pub(crate) fn load(mode: Mode, seed: Seed, flows: u32) -> Result<Self, String> {
        let said = |error: &dyn std::fmt::Display| {
            format!("the kernel does not forward: {error}; as long as it doesn't, write `mode: proxy`")
        };
        let mut plane = Plane::load_for(mode, flows).map_err(|error| said(&error))?;
        let routes = Routes::open().map_err(|error| said(&error))?;
        let told = Told {
            endpoints: plane.endpoints().collect(),
            replies: plane.replies().collect(),
            ..Told::default()
        };
        let adopts = told
            .endpoints
            .values()
            .filter(|index| **index < MAX_SERVICES)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .all(|index| plane.tables(*index).is_some());
        if !adopts {
            tracing::warn!(
                "the forwarding plane's tables of an earlier life can't be read: flows that were noted one by one are forgotten"
            );
            let flows: Vec<_> = plane.flows().chain(plane.opening_flows()).collect();
            flows.iter().for_each(|(flow, pin)| plane.remove_flow(flow, pin));
        }
        let mut noted: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        for (flow, pin) in plane.flows().chain(plane.opening_flows()) {
            if let Some(service) = told.endpoints.get(&flow.endpoint()) {
                noted.entry(*service).or_default().insert(pin.backend());
            }
        }
        Ok(Self {
            plane,
            adopts,
            noted,
            routes,
            seed,
            told,
            interfaces: BTreeMap::new(),
            noted_flows: BTreeMap::new(),
            errors: BTreeMap::new(),
            stands: false,
            heard: false,
            checks: Checks::new(mode),
        })
    }

    /// Tells the kernel what is different, in an order in which no packet finds half of it.
    ///
    /// # Errors
    /// The kernel refuses, or there is more to tell than fits in a turn: the next one goes on.
    pub(crate) fn tell(
        &mut self,
        book: &mut Book,
        wanted: &Wanted,
        clients: &BTreeSet<InterfaceName>,
        drivers: &Drivers,
    ) -> Result<(), String> {
        let ways = self.ways(wanted);
        self.errors = errors(book, &ways);
        self.checks.tell(&wanted.checked, &ways, name_of, monotonic());
        // Later, interfaces come before the tables that lead packets there. The first time what an earlier life left, with tables
        // that may be its own, goes on until there is something to replace it by.
        if self.stands {
            self.attach(wanted, &ways, clients, drivers)?;
        }
        if !self.tell_tables(wanted, &ways).map_err(|error| error.to_string())? {
            return Err("the forwarding plane is still being told its tables; wait".to_owned());
        }
        if !self.stands {
            self.plane.copy_older();
            self.attach(wanted, &ways, clients, drivers)?;
            self.plane.end_older();
            self.stands = true;
        }
        let freed = book.handle_told();
        self.forget(&freed).map_err(|error| error.to_string())
    }

    /// How each backend is reached now.
    fn ways(&mut self, wanted: &Wanted) -> BTreeMap<IpAddr, Way> {
        let addresses: BTreeSet<IpAddr> = wanted.backends.values().map(|backend| backend.ip).collect();
        addresses
            .into_iter()
            .map(|address| (address, self.routes.way_to(address).unwrap_or(Way::None)))
            .collect()
    }

    /// Where clients are and, for their replies, where backends are.
    fn attach(
        &mut self,
        wanted: &Wanted,
        ways: &BTreeMap<IpAddr, Way>,
        clients: &BTreeSet<InterfaceName>,
        drivers: &Drivers,
    ) -> Result<(), String> {
        let mut indexes: BTreeSet<u32> = wanted
            .backends
            .values()
            .filter(|backend| backend.forwarding != Forwarding::Dsr)
            .filter_map(|backend| ways.get(&backend.ip))
            .filter_map(|way| if let Way::Hop(hop) = way { Some(hop.interface) } else { None })
            .collect();
        let outside = clients.iter().filter_map(|name| index_of(name.as_str()));
        indexes.extend(outside);
        let mut failed = Ok(());
        for index in &indexes {
            let Some(name) = name_of(*index) else { continue };
            match self.plane.attach(&name, *index) {
                Ok(attachment) if !self.interfaces.contains_key(index) => {
                    let neighbours = neighbours(ways, *index);
                    let by_xdp = drivers.attach(&mut self.plane, &name, *index, &neighbours);
                    let without_xdp = by_xdp.as_ref().err().cloned();
                    let attached = by_xdp.unwrap_or_else(|_| attachment.to_string());
                    tracing::info!(without_xdp, "the forwarding plane stands at {name} ({attached})");
                    self.interfaces.insert(*index, Standing { name, attached, without_xdp });
                }
                Ok(_) => {}
                Err(error) => failed = Err(error.to_string()),
            }
        }
        let others = if self.stands { Vec::new() } else { other_interfaces(&indexes) };
        if !self.stands || self.interfaces.keys().any(|index| !indexes.contains(index)) {
            self.plane.retain(|index| indexes.contains(&index), &others);
            self.interfaces.retain(|index, _| indexes.contains(index));
        }
        failed
    }

    /// Says whether all is told.
    fn tell_tables(&mut self, wanted: &Wanted, ways: &BTreeMap<IpAddr, Way>) -> Result<bool, KernelError> {
        let settings = Settings::new(self.seed.0, !wanted.replies.is_empty())
            .with_returns(!wanted.sources.is_empty())
            .with_told(self.heard);
        if self.told.settings != Some(settings) {
            self.plane.set_settings(settings)?;
            self.told.settings = Some(settings);
        }
        // Backends come before the tables that name them, and are down only when none does.
        self.tell_backends(wanted, ways, |backend| backend.up)?;
        // Schedules come before the services that go by them.
        if !self.tell_schedules(&wanted.schedules)? {
            return Ok(false);
        }
        for (index, service) in &wanted.services {
            let clients = wanted.sources.get(index).and_then(Sources::clients);
            let clients = clients.and_then(|name| index_of(name.as_str())).unwrap_or(0);
            let service = service.with_interface(clients);
            let before = self.told.services.get(index).copied();
            if before.is_none() && !self.told.endpoints.values().any(|known| known == index) {
                self.plane.clear_service_counters(*index)?;
            }
            if before != Some(service) {
                self.plane.set_service(*index, service)?;
                self.told.services.insert(*index, service);
            }
        }
        for (index, limit) in &wanted.limits {
            if self.told.limits.get(index) != Some(limit) {
                self.plane.set_limit(*index, *limit)?;
                self.told.limits.insert(*index, *limit);
            }
        }
        let begun = monotonic();
        for (index, tables) in &wanted.tables {
            if monotonic().saturating_sub(begun) > TURN {
                return Ok(false);
            }
            let told = self.told.tables.get(index);
            if told.is_none_or(|told| told.1 != tables.1) {
                self.plane.set_previous(*index, &tables.1)?;
            }
            if told.is_none_or(|told| told.0 != tables.0) {
                self.plane.set_current(*index, &tables.0)?;
            }
            self.told.tables.insert(*index, tables.clone());
        }
        self.tell_backends(wanted, ways, |backend| !backend.up)?;
        self.tell_endpoints(wanted)?;
        self.told.services.retain(|index, _| wanted.services.contains_key(index));
        self.told.limits.retain(|index, _| wanted.limits.contains_key(index));
        self.told.tables.retain(|index, _| wanted.tables.contains_key(index));
        self.told.schedules.retain(|index, _| wanted.schedules.contains_key(index));
        Ok(true)
    }

    /// In which order services give new flows to backends that are there already. Says whether all is told.
    pub(crate) fn tell_schedules(
        &mut self,
        schedules: &BTreeMap<u32, Arc<Slots>>,
    ) -> Result<bool, KernelError> {
        let begun = monotonic();
        for (index, schedule) in schedules {
            if monotonic().saturating_sub(begun) > TURN {
                return Ok(false);
            }
            if self.told.schedules.get(index).is_none_or(|told| !Arc::ptr_eq(told, schedule)) {
                self.plane.set_schedule(*index, schedule)?;
                self.told.schedules.insert(*index, Arc::clone(schedule));
            }
        }
        Ok(true)
    }

    fn tell_backends(
        &mut self,
        wanted: &Wanted,
        ways: &BTreeMap<IpAddr, Way>,
        which: impl Fn(&WantedBackend) -> bool,
    ) -> Result<(), KernelError> {
        for (index, backend) in wanted.backends.iter().filter(|(_, backend)| which(backend)) {
            let hop = match ways.get(&backend.ip) {
                Some(Way::Hop(hop)) => Some(*hop),
                Some(Way::Local | Way::None) | None => None,
            };
            let source = wanted.sources.get(&backend.service).and_then(|sources| {
                let interface = hop.and_then(|hop| name_of(hop.interface));
                sources.towards(backend.ip, interface.as_deref())
            });
            let told = Backend::new(backend.ip, backend.port, backend.up, hop);
            let told = source.map_or(told, |source| told.with_source(source));
            let before = self.told.backends.insert(*index, told);
            if before == Some(told) {
                continue;
            }
            if before.is_none()
                && self.plane.backend(*index).map(|known| known.address()) != Some(told.address())
            {
                self.plane.clear_backend_counters(*index)?;
            }
            self.plane.set_backend(*index, told)?;
        }
        Ok(())
    }

    /// What goes makes room for what comes.
    fn tell_endpoints(&mut self, wanted: &Wanted) -> Result<(), KernelError> {
        for endpoint in gone(&self.told.endpoints, &wanted.endpoints) {
            self.plane.remove_endpoint(&endpoint)?;
            self.told.endpoints.remove(&endpoint);
        }
        for endpoint in gone(&self.told.replies, &wanted.replies) {
            self.plane.remove_reply(&endpoint)?;
            self.told.replies.remove(&endpoint);
        }
        for (endpoint, reply) in &wanted.replies {
            if self.told.replies.get(endpoint) != Some(reply) {
                self.plane.set_reply(*endpoint, *reply)?;
                self.told.replies.insert(*endpoint, *reply);
            }
        }
        for (endpoint, service) in &wanted.endpoints {
            if self.told.endpoints.get(endpoint) != Some(service) {
                self.plane.set_endpoint(*endpoint, *service)?;
                self.told.endpoints.insert(*endpoint, *service);
            }
        }
        Ok(())
    }

    /// Backends whose indexes others may take: no flow may still point there.
    fn forget(&mut self, freed: &BTreeSet<u32>) -> Result<(), KernelError> {
        if freed.is_empty() {
            return Ok(());
        }
        let all = self.plane.flows().chain(self.plane.opening_flows());
        let flows: Vec<_> = all.filter(|(_, pin)| freed.contains(&pin.backend())).collect();
        for (flow, pin) in flows {
            self.plane.remove_flow(&flow, &pin);
        }
        for index in freed {
            self.plane.set_backend(*index, Backend::NONE)?;
            self.told.backends.remove(index);
        }
        Ok(())
    }

    /// Forgets noted flows that ended or fell silent, and counts the others. Says how long that took.
    pub(crate) fn sift(&mut self, book: &Book, hold: impl Fn(Protocol) -> Duration) -> (Sifted, Duration) {
        let begun = monotonic();
        let classes: BTreeMap<u32, Class> =
            book.entries().map(|(_, entry)| (entry.index, entry.class())).collect();
        let mut sifted = Sifted::default();
        if book.entries().any(|(_, entry)| entry.is_pinned()) {
            let one_way = |(_, entry): &(_, &Entry)| entry.forwarding() == Forwarding::Dsr;
            let one_way = book.entries().filter(one_way).map(|(_, entry)| entry.index).collect();
            sifted = self.sift_flows(hold, &one_way);
        }
        let mut counted: BTreeMap<Class, u32> = BTreeMap::new();
        for (service, count) in &sifted.services {
            let class = classes.get(service).copied().unwrap_or(Class::Workload);
            let sum = counted.entry(class).or_default();
            *sum = sum.saturating_add(*count);
        }
        self.give_room(&counted, classes.values().any(|class| *class == Class::Protected));
        (sifted, monotonic().saturating_sub(begun))
    }

    /// Of services that are `one_way` only what clients send is seen.
    fn sift_flows(&mut self, hold: impl Fn(Protocol) -> Duration, one_way: &BTreeSet<u32>) -> Sifted {
        let now = monotonic();
        let mut sifted = Sifted::default();
        let mut ended = Vec::new();
        let short = self.is_short_of_room();
        let (closed, half_seen) =
            if short { (CLOSED_AND_SHORT, HALF_SEEN_AND_SHORT) } else { (CLOSED, HALF_SEEN) };
        for (flow, pin) in self.plane.flows() {
            let protocol = if flow.is_tcp() { Protocol::Tcp } else { Protocol::Udp };
            let silent = now.saturating_sub(Duration::from_nanos(pin.seen));
            let service = self.told.endpoints.get(&flow.endpoint());
            let patience = match pin.ended() {
                Ended::No => hold(protocol),
                Ended::Half if service.is_some_and(|service| one_way.contains(service)) => half_seen,
                Ended::Half => HALF_CLOSED,
                Ended::Whole => closed,
            };
            match service {
                Some(service) if silent <= patience => sifted.keep(*service, &pin),
                Some(_) | None => ended.push((flow, pin)),
            }
        }
        for (flow, pin) in ended {
            self.plane.remove_flow(&flow, &pin);
        }
        sifted
    }

    /// What is noted while this runs is counted the next time.
    fn give_room(&mut self, counted: &BTreeMap<Class, u32>, any_protected: bool) {
        for (class, left) in rooms(counted, any_protected, self.plane.room_for_flows()) {
            // If the kernel refuses that, what it was told before still holds.
            let _ = self.plane.set_room(class, left);
            self.noted_flows.insert(class, (counted.get(&class).copied().unwrap_or(0), left));
        }
    }

    /// Counted the last time, and noted since.
    fn noted_flows(&self) -> u64 {
        let classes = self.noted_flows.iter().map(|(class, (counted, given))| {
            let left = u32::try_from(self.plane.room(*class).left).unwrap_or(0);
            u64::from(counted.saturating_add(given.saturating_sub(left)))
        });
        classes.sum()
    }

    /// Whether little is left for workloads.
    pub(crate) fn is_short_of_room(&self) -> bool {
        self.plane.room(Class::Workload).left < i64::from(self.plane.room_for_flows() / 4)
    }

    /// How many flows began or ended that there was no room to tell of.
    pub(crate) fn untold(&self) -> u64 {
        let reasons = self.plane.reasons();
        reasons.into_iter().find(|(name, _)| *name == "untold_flow").map_or(0, |(_, count)| count)
    }

    pub(crate) fn service_counters(&self, index: u32) -> Counters {
        self.plane.service_counters(index)
    }

    pub(crate) fn backend_counters(&self, index: u32) -> Counters {
        self.plane.backend_counters(index)
    }

    /// What of a service can't be done.
    pub(crate) fn errors_of(&self, name: &ServiceName) -> &[String] {
        self.errors.get(name).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn observed(&self) -> PlaneObserved {
        let interfaces = self.interfaces.values();
        PlaneObserved {
            without_xdp: interfaces
                .clone()
                .filter_map(|it| Some((it.name.clone(), it.without_xdp.clone()?)))
                .collect(),
            interfaces: interfaces.map(|it| (it.name.clone(), it.attached.clone())).collect(),
            not_forwarded: self.plane.reasons().into_iter().filter(|(_, count)| *count > 0).collect(),
            checks: self.checks.counters().into_iter().collect(),
            noted_flows: self.noted_flows(),
            noted_flows_limit: u64::from(self.plane.room_for_flows()),
            not_noted: [Class::Workload, Class::Protected]
                .into_iter()
                .fold(0, |sum, class| sum.saturating_add(self.plane.room(class).refused)),
            ..PlaneObserved::default()
        }
    }

    /// How backends are checked that answer for a VIP themselves.
    pub(crate) fn checks(&self) -> &Checks {
        &self.checks
    }

    pub(crate) fn stop(mut self) {
        self.checks.stop();
        self.plane.stop();
    }
}

/// Those of which nothing is wanted any more.
fn gone<V>(told: &BTreeMap<Endpoint, V>, wanted: &BTreeMap<Endpoint, V>) -> Vec<Endpoint> {
    told.keys().filter(|endpoint| !wanted.contains_key(endpoint)).copied().collect()
}

/// Who is on the link of an interface, as far as packets go there.
fn neighbours(ways: &BTreeMap<IpAddr, Way>, interface: u32) -> Vec<Ipv4Addr> {
    let hops = ways.values().filter_map(|way| if let Way::Hop(hop) = way { Some(hop) } else { None });
    let here: BTreeSet<IpAddr> =
        hops.filter(|hop| hop.interface == interface).map(|hop| hop.address).collect();
    here.into_iter()
        .filter_map(|address| if let IpAddr::V4(v4) = address { Some(v4) } else { None })
        .collect()
}

/// Which backends can't be reached in the way that is asked, and what to do.
fn errors(book: &Book, ways: &BTreeMap<IpAddr, Way>) -> BTreeMap<ServiceName, Vec<String>> {
    let mut errors: BTreeMap<ServiceName, Vec<String>> = BTreeMap::new();
    for (name, entry) in book.entries() {
        let forwarding = entry.desired.service.mode.forwarding();
        let mut said = BTreeSet::new();
        for state in &entry.desired.backends {
            let ip = state.backend.address.ip;
            let problem = match (ways.get(&ip), forwarding) {
                (Some(Way::Local), _) => Some(format!(
                    "backend {} is this node itself, to which nothing can be forwarded: write `mode: proxy`",
                    state.backend.name
                )),
                (Some(Way::Hop(hop)), Some(Forwarding::Dsr)) if hop.address != ip => Some(format!(
                    "backend {} is behind the router {}: in mode dsr it must be on a link of this node; write `mode: nat` or \
                     `mode: proxy`",
                    state.backend.name, hop.address
                )),
                (Some(Way::Hop(hop)), Some(Forwarding::Nat)) => not_forwarding(hop.interface, ip),
                _ => None,
            };
            said.extend(problem);
        }
        if !said.is_empty() {
            errors.insert(name.clone(), said.into_iter().collect());
        }
    }
    errors
}

/// Whether the kernel would not forward what comes in by the interface: then it does not say where clients are.
fn not_forwarding(index: u32, address: IpAddr) -> Option<String> {
    let family = if address.is_ipv4() { "ipv4" } else { "ipv6" };
    let name = name_of(index)?;
    (!forwards(family, &name)?).then(|| {
        let all = if address.is_ipv4() { "net.ipv4.ip_forward" } else { "net.ipv6.conf.all.forwarding" };
        format!("forwarding is off at {name}, so replies of backends can't reach clients: set {all}=1")
    })
}

fn index_of(name: &str) -> Option<u32> {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None);
    name_to_index(socket.ok()?, name).ok()
}

fn name_of(index: u32) -> Option<String> {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None);
    index_to_name(socket.ok()?, index).ok()
}

/// All but these, by name: an earlier life may have used them.
pub(crate) fn other_interfaces(but: &BTreeSet<u32>) -> Vec<String> {
    let text = fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
    let names = text.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim().to_owned());
    names.filter(|name| index_of(name).is_some_and(|index| !but.contains(&index))).collect()
}

/// Removes what an earlier life has left.
pub(crate) fn remove_left() {
    Plane::remove_left(&other_interfaces(&BTreeSet::new()));
    super::checks::remove_left();
}
