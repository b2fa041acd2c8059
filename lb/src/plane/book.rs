//! What the forwarding plane's tables are to hold: a pure function of what was asked, and of what they held.
//!
//! Services and backends have an index in the kernel for as long as flows may point there. After a restart the
//! indexes are found again in the tables of the earlier life.

use super::checks::Asked;
use super::deaths::Deaths;
use super::generations::Generations;
use super::history::Shown;
use super::live::Live;
use super::schedule::{Load, Share, least_connections, round_robin};
use super::sources::Sources;
use crate::balance::{Balancer, Member, Seed};
use crate::table::member;
use crate::{BackendState, BackendUse, Desired, ServiceDesired};
use fulcrum_config::{BackendAddress, Balance, Forwarding, OnDown, Protocol, Rate, Service, ServiceName};
use fulcrum_ebpf::plane::layout::{
    self, Class, Endpoint, Limit, MAX_BACKENDS, MAX_ENDPOINTS, MAX_SERVICES, NO_SERVICE, Pace, Reply, SLOTS,
    SOURCE_OF_FLOWS, ServiceMode, Slots, Transport,
};
use std::collections::btree_map::Entry::Vacant;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::mem::take;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[cfg(test)]
pub(super) mod tests;

/// How long flows of TCP may be silent, and the older table holds.
const TCP_HOLD: Duration = Duration::from_secs(3600);
/// The same of UDP.
const UDP_HOLD: Duration = Duration::from_secs(120);

/// How long flows of a protocol are kept.
pub(crate) fn hold(protocol: Protocol) -> Duration {
    match protocol {
        Protocol::Tcp => TCP_HOLD,
        Protocol::Udp => UDP_HOLD,
    }
}

/// What is known of the tables of an earlier life.
pub(crate) trait Earlier {
    /// The service at an endpoint.
    fn service_at(&self, endpoint: &Endpoint) -> Option<u32>;
    /// A service.
    fn service(&self, index: u32) -> Option<layout::Service>;
    /// The tables of a service.
    fn tables(&self, service: u32) -> Option<(Slots, Slots)>;
    /// The backends that noted flows of a service go to, also such that no table names any more: they drain.
    fn noted(&self, service: u32) -> BTreeSet<u32>;
    /// The address of a backend.
    fn backend(&self, index: u32) -> Option<BackendAddress>;
}

/// Every service of the plane.
#[derive(Debug, Default)]
pub(crate) struct Book {
    seed: Seed,
    entries: BTreeMap<ServiceName, Entry>,
    /// Backends that are no more, and whose flows are still to be forgotten.
    pub(super) freed_backends: BTreeSet<u32>,
}

/// One service.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Its index in the kernel.
    pub(crate) index: u32,
    /// As asked.
    pub(crate) desired: Arc<ServiceDesired>,
    /// Index of each backend, also of those that are no longer configured but may have flows.
    pub(crate) backends: BTreeMap<BackendAddress, u32>,
    pub(super) generations: Generations,
    /// Flows may have been noted.
    pub(crate) pinned: bool,
    /// The kernel goes by these tables.
    pub(super) told: bool,
    /// Since when backends are no longer configured.
    removed: BTreeMap<BackendAddress, Instant>,
    /// What was told of its tables.
    pub(super) shown: Option<Shown>,
    /// If it gives new flows in turn.
    turns: Option<Turns>,
    deaths: Deaths,
}

/// In which order a service gives new flows.
#[derive(Debug)]
struct Turns {
    /// To whom.
    shares: Vec<Share>,
    schedule: Arc<Slots>,
    /// What each had when it was made, and, as `given`, what it had got when the shares were: least connections.
    loads: Option<(Vec<Load>, Vec<Load>)>,
}

/// One backend as the kernel is to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WantedBackend {
    pub(crate) ip: IpAddr,
    /// 0 is the client's.
    pub(crate) port: u16,
    pub(crate) up: bool,
    pub(crate) forwarding: Forwarding,
    /// The service, which says where its packets may be sent on from.
    pub(crate) service: u32,
}

/// What the kernel's tables are to hold.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) services: BTreeMap<u32, layout::Service>,
    /// Of each service.
    pub(crate) limits: BTreeMap<u32, Limit>,
    /// Of services in mode fullnat: where packets are sent on from.
    pub(crate) sources: BTreeMap<u32, Sources>,
    pub(crate) backends: BTreeMap<u32, WantedBackend>,
    /// Current and previous of each service.
    pub(crate) tables: BTreeMap<u32, (Arc<Slots>, Arc<Slots>)>,
    /// Of those that give new flows in turn.
    pub(crate) schedules: BTreeMap<u32, Arc<Slots>>,
    pub(crate) endpoints: BTreeMap<Endpoint, u32>,
    pub(crate) replies: BTreeMap<Endpoint, Reply>,
    /// Backends that are checked for a VIP.
    pub(crate) checked: BTreeSet<Asked>,
}

/// The index of each backend of a service, and where its packets may be sent on from.
#[derive(Debug, Default)]
pub(crate) struct Places {
    backends: HashMap<(u32, SocketAddr), u16>,
    sources: BTreeMap<u32, BTreeSet<IpAddr>>,
}

impl Places {
    /// The backend at `address`, if flows of the service are, or are not, sent on from such a source.
    pub(crate) fn backend(
        &self,
        service: u32,
        address: SocketAddr,
        source: Option<SocketAddr>,
    ) -> Option<u16> {
        let sources = self.sources.get(&service);
        let fits = match (sources, source) {
            (Some(sources), Some(source)) => sources.contains(&source.ip()),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        self.backends.get(&(service, address)).copied().filter(|_| fits)
    }
}

impl Wanted {
    pub(crate) fn places(&self) -> Places {
        let backends = self.backends.iter().filter_map(|(index, backend)| {
            let address = SocketAddr::new(backend.ip, backend.port);
            Some(((backend.service, address), u16::try_from(*index).ok()?))
        });
        let sources = self.sources.iter().map(|(service, sources)| (*service, sources.addresses().collect()));
        Places { backends: backends.collect(), sources: sources.collect() }
    }
}

impl Book {
    pub(crate) fn new(seed: Seed) -> Self {
        Self { seed, ..Self::default() }
    }

    /// Each service, by name.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&ServiceName, &Entry)> {
        self.entries.iter()
    }

    pub(super) fn entries_mut(&mut self) -> impl Iterator<Item = (&ServiceName, &mut Entry)> {
        self.entries.iter_mut()
    }

    pub(super) fn entry(&self, name: &ServiceName) -> Option<&Entry> {
        self.entries.get(name)
    }

    pub(super) fn entry_mut(&mut self, name: &ServiceName) -> Option<&mut Entry> {
        self.entries.get_mut(name)
    }

    /// Takes over what is asked, and says for which services there is no room.
    pub(crate) fn apply(
        &mut self,
        desired: &Desired,
        earlier: &impl Earlier,
        now: Instant,
    ) -> BTreeMap<ServiceName, String> {
        let mut errors = BTreeMap::new();
        let gone = self.remove_gone(desired);
        let is_known = |(name, service): &(&ServiceName, &Arc<ServiceDesired>)| {
            self.entries.get(*name).is_some_and(|known| known.desired == **service)
        };
        let changed: Vec<_> = desired.services.iter().filter(|named| !is_known(named)).collect();
        self.find_again(&changed, gone, earlier, now);
        for (name, service) in changed {
            if let Err(error) = self.set_service(name, service, now) {
                errors.insert(name.clone(), error.to_owned());
            }
        }
        self.follow(&desired.follow, now);
        errors
    }

    /// Those that are asked for no more, or whose flows end.
    fn remove_gone(&mut self, desired: &Desired) -> Vec<Entry> {
        let stays = |(name, entry): &(ServiceName, Entry)| {
            desired.services.get(name).is_some_and(|new| is_same(new, &entry.desired))
        };
        let (kept, gone): (_, BTreeMap<_, _>) = take(&mut self.entries).into_iter().partition(stays);
        self.entries = kept;
        gone.into_values().collect()
    }

    /// New services go on as what there was at their address. What the kernel holds for one is nobody else's: all find
    /// theirs before any is given something new.
    fn find_again(
        &mut self,
        changed: &[(&ServiceName, &Arc<ServiceDesired>)],
        mut gone: Vec<Entry>,
        earlier: &impl Earlier,
        now: Instant,
    ) {
        for (name, service) in changed {
            if !self.entries.contains_key(*name)
                && let Some(place) = gone.iter().position(|entry| entry.goes_on_as(service))
            {
                self.entries.insert((*name).clone(), gone.swap_remove(place));
            }
        }
        self.freed_backends.extend(gone.into_iter().flat_map(|entry| entry.backends.into_values()));
        for (name, service) in changed {
            if !self.entries.contains_key(*name) {
                self.adopt(name, service, earlier, now);
            }
        }
    }

    fn set_service(
        &mut self,
        name: &ServiceName,
        desired: &Arc<ServiceDesired>,
        now: Instant,
    ) -> Result<(), &'static str> {
        let mut known = self.entries.remove(name);
        let mut backends = known.as_ref().map(|entry| entry.backends.clone()).unwrap_or_default();
        let addresses = desired.backends.iter().map(|state| key(&desired.service, state.backend.address));
        if let Err(error) = self.give_indexes(desired, addresses, &mut backends) {
            self.freed_backends.extend(backends.into_values());
            return Err(error);
        }
        let balancer = self.balancer(desired);
        let table = Arc::new(table(&balancer, desired, &backends));
        let shares = shares(&balancer, desired, &backends);
        let hold = hold(desired.service.protocol);
        let before = known.as_mut().and_then(|entry| entry.turns.take());
        let kept = known.as_mut().map(|entry| (take(&mut entry.deaths), take(&mut entry.removed)));
        let (deaths, removed) = kept.unwrap_or_default();
        // What does not change goes on where it is.
        let before = before.filter(|turns| turns.shares == shares && turns.is_of(&desired.service));
        let turns = is_in_turn(&desired.service).then(|| before.unwrap_or_else(|| Turns::new(shares)));
        let (index, generations, pinned) = match known {
            Some(mut entry) => {
                entry.generations.handle_table(table, now, hold);
                // Those of a service that gave them in turn until now are noted.
                let pinned = entry.is_pinned() || !entry.generations.is_settled();
                (entry.index, entry.generations, pinned)
            }
            None => {
                let taken: BTreeSet<u32> = self.entries.values().map(|entry| entry.index).collect();
                let free = (0..MAX_SERVICES).find(|index| !taken.contains(index));
                (free.ok_or(TOO_MANY_SERVICES)?, Generations::new(table), false)
            }
        };
        let desired = Arc::clone(desired);
        let (told, shown) = (false, None);
        let mut entry =
            Entry { index, desired, backends, generations, pinned, told, removed, shown, turns, deaths };
        entry.look_for_deaths(now);
        entry.look_for_removed(now);
        self.entries.insert(name.clone(), entry);
        Ok(())
    }

    /// Each backend of a service that has no index yet gets one.
    pub(super) fn give_indexes(
        &self,
        desired: &ServiceDesired,
        addresses: impl Iterator<Item = BackendAddress>,
        backends: &mut BTreeMap<BackendAddress, u32>,
    ) -> Result<(), &'static str> {
        let mut taken = self.taken();
        taken.extend(&self.freed_backends);
        taken.extend(backends.values());
        let mut free = (1..MAX_BACKENDS).filter(|index| !taken.contains(index));
        for address in addresses {
            if let Vacant(place) = backends.entry(address) {
                place.insert(free.next().ok_or(TOO_MANY_BACKENDS)?);
            }
        }
        let others = self.entries.values().filter(|entry| entry.desired.service.name != desired.service.name);
        let others = others.map(|entry| places(&entry.desired, &entry.backends));
        let (endpoints, replies) = others.fold(places(desired, backends), |sum, places| {
            (sum.0.saturating_add(places.0), sum.1.saturating_add(places.1))
        });
        if endpoints.max(replies) > MAX_ENDPOINTS as usize { Err(TOO_MANY_ENDPOINTS) } else { Ok(()) }
    }

    /// The service goes on as an earlier life served it, if one did. Flows of another mode end.
    fn adopt(
        &mut self,
        name: &ServiceName,
        desired: &Arc<ServiceDesired>,
        earlier: &impl Earlier,
        now: Instant,
    ) {
        let Some(entry) = self.adopted(desired, earlier, now) else { return };
        let mode = mode(entry.forwarding());
        // Where tables come from an earlier layout, the mode does not come with them.
        let is_another = |before: layout::Service| !before.is_of(mode) && !before.is_of(ServiceMode::Off);
        if earlier.service(entry.index).is_some_and(is_another) {
            self.freed_backends.extend(entry.backends.into_values());
        } else {
            self.freed_backends.retain(|freed| !entry.backends.values().any(|index| index == freed));
            self.entries.insert(name.clone(), entry);
        }
    }

    /// The service as an earlier life served it.
    fn adopted(&self, desired: &Arc<ServiceDesired>, earlier: &impl Earlier, now: Instant) -> Option<Entry> {
        let service = &desired.service;
        let vip = SocketAddr::new(*service.vips.first()?, service.ports.first);
        let index = earlier.service_at(&Endpoint::new(vip, transport(service.protocol)))?;
        if index >= MAX_SERVICES || self.entries.values().any(|entry| entry.index == index) {
            return None;
        }
        let (current, previous) = earlier.tables(index)?;
        let used: BTreeSet<u32> = current.0.iter().chain(&previous.0).copied().map(u32::from).collect();
        let taken = self.taken();
        // Of two with the same address it is the one that the tables name.
        let backends = earlier
            .noted(index)
            .into_iter()
            .chain(used)
            .filter(|index| *index != 0 && !taken.contains(index))
            .filter_map(|index| Some((earlier.backend(index)?, index)))
            .collect();
        let generations = Generations::adopted(current, previous, now, hold(service.protocol));
        // What was noted then is found when flows are counted.
        let (desired, pinned, told) = (Arc::clone(desired), true, false);
        let (shown, turns, deaths, removed) = (None, None, Deaths::default(), BTreeMap::new());
        Some(Entry { index, desired, backends, generations, pinned, told, removed, shown, turns, deaths })
    }

    /// The index of each backend of any service.
    fn taken(&self) -> BTreeSet<u32> {
        self.entries.values().flat_map(|entry| entry.backends.values().copied()).collect()
    }

    /// Those that take new flows of a service.
    fn balancer(&self, desired: &ServiceDesired) -> Balancer {
        let usable = desired.backends.iter().enumerate().filter_map(|(index, state)| member(index, state));
        let usable = if desired.up { usable.collect() } else { Vec::new() };
        Balancer::new(desired.service.balance, self.seed, usable, desired.backends.len())
    }

    /// Makes the schedules anew of services that go by what is live, if that is something else than before; gives those.
    pub(crate) fn reschedule(&mut self, live: &Live) -> Vec<(u32, Arc<Slots>)> {
        let mut made = Vec::new();
        for entry in self.entries.values_mut() {
            if entry.desired.service.balance == Balance::LeastConnections
                && let Some(turns) = &mut entry.turns
                && turns.reschedule(live)
            {
                made.push((entry.index, Arc::clone(&turns.schedule)));
            }
        }
        made
    }

    /// Whether it has to be known at once which flows begin and end.
    pub(crate) fn counts_flows(&self) -> bool {
        let counts = |entry: &Entry| entry.desired.service.balance == Balance::LeastConnections;
        self.entries.values().any(counts)
    }

    /// Ends older tables whose time is over, and finds backends dead; says whether there were any.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> bool {
        let mut ended = false;
        for entry in self.entries.values_mut() {
            ended |= entry.deaths.handle_timeout(round(&entry.desired.service), now);
            if entry.generations.handle_timeout(now) {
                ended = true;
                entry.told = false;
            }
        }
        ended
    }

    /// The services that have flows that were noted one by one, for those of the others need not be looked for, and the
    /// backends that these go to. Says whether that changes anything.
    pub(crate) fn handle_flows(
        &mut self,
        services: &BTreeMap<u32, u32>,
        backends: &BTreeSet<u32>,
        now: Instant,
    ) -> bool {
        let mut changed = false;
        for entry in self.entries.values_mut() {
            let pinned = services.contains_key(&entry.index) || !entry.generations.is_settled();
            let gone = entry.retire(backends, now);
            changed |= entry.pinned != pinned || !gone.is_empty();
            entry.pinned = pinned;
            self.freed_backends.extend(gone);
        }
        changed
    }

    /// The kernel was told all that it is to hold. Gives the backends whose flows are to be forgotten there.
    pub(crate) fn handle_told(&mut self) -> BTreeSet<u32> {
        self.entries.values_mut().for_each(|entry| entry.told = true);
        take(&mut self.freed_backends)
    }

    /// Another node told of a flow of the service of this index. Says whether that changes anything.
    pub(crate) fn handle_heard(&mut self, service: u32) -> bool {
        let entry = self.entries.values_mut().find(|entry| entry.index == service);
        entry.is_some_and(|entry| !entry.is_pinned() && !std::mem::replace(&mut entry.pinned, true))
    }

    /// What the kernel is to hold now.
    pub(crate) fn wanted(&self) -> Wanted {
        let mut wanted = Wanted::default();
        for entry in self.entries.values() {
            entry.add_to(&mut wanted);
        }
        wanted
    }
}

const TOO_MANY_SERVICES: &str =
    "the forwarding plane has no room for more services (1024); write `mode: proxy`";
const TOO_MANY_BACKENDS: &str =
    "the forwarding plane has no room for more backends (8191 of all services together); write `mode: proxy`";
const TOO_MANY_ENDPOINTS: &str = "the forwarding plane has no room for more addresses and ports (65536 of all services \
     together and, in mode nat, of all backends together); write fewer ports or `mode: proxy`";

impl Turns {
    fn new(shares: Vec<Share>) -> Self {
        Self { schedule: Arc::new(round_robin(&shares)), shares, loads: None }
    }

    /// Whether they are as the service asks: one that goes by connections now has none that were counted before.
    fn is_of(&self, service: &Service) -> bool {
        self.loads.is_some() == (service.balance == Balance::LeastConnections)
    }

    /// Says whether there is another one now.
    fn reschedule(&mut self, live: &Live) -> bool {
        let loads: Vec<Load> = self.shares.iter().map(|share| live.of(share.backend.into())).collect();
        if self.loads.as_ref().is_some_and(|(before, _)| *before == loads) {
            return false;
        }
        // What was given before others came, or were weighed otherwise, gives nobody a claim.
        let given_before = self.loads.take().map_or_else(|| loads.clone(), |(_, before)| before);
        let since = loads.iter().zip(&given_before);
        let since =
            since.map(|(load, before)| Load { given: load.given.saturating_sub(before.given), ..*load });
        self.schedule = Arc::new(least_connections(&self.shares, &since.collect::<Vec<_>>()));
        self.loads = Some((loads, given_before));
        true
    }
}

/// The table of a hash.
fn table(balancer: &Balancer, desired: &ServiceDesired, backends: &BTreeMap<BackendAddress, u32>) -> Slots {
    let mut slots = Slots([0; SLOTS]);
    for (slot, place) in slots.0.iter_mut().zip(balancer.table(SLOTS)) {
        *slot = index_of(place, desired, backends).unwrap_or(0);
    }
    slots
}

/// Who takes new flows in turn.
fn shares(
    balancer: &Balancer,
    desired: &ServiceDesired,
    backends: &BTreeMap<BackendAddress, u32>,
) -> Vec<Share> {
    let members = balancer.members().iter();
    let share = |member: &Member| {
        Some(Share { backend: index_of(member.index, desired, backends)?, weight: member.weight })
    };
    members.filter_map(share).collect()
}

/// The index of the backend at a place in the service's list.
fn index_of(place: usize, desired: &ServiceDesired, backends: &BTreeMap<BackendAddress, u32>) -> Option<u16> {
    let address = key(&desired.service, desired.backends.get(place)?.backend.address);
    u16::try_from(*backends.get(&address)?).ok()
}

/// Whether new flows get their backends in turn, so that each has to be known.
fn is_in_turn(service: &Service) -> bool {
    service.balance.is_stateful()
}

/// Whether flows of the one are flows of the other.
fn is_same(new: &ServiceDesired, old: &ServiceDesired) -> bool {
    new.service.protocol == old.service.protocol && new.service.mode == old.service.mode
}

/// What a backend is known by. In mode dsr packets keep their port, whatever is written.
fn key(service: &Service, address: BackendAddress) -> BackendAddress {
    match service.mode.forwarding() {
        Some(Forwarding::Dsr) => BackendAddress { port: None, ..address },
        Some(Forwarding::Nat | Forwarding::Fullnat) | None => address,
    }
}

/// The protocol as the programs know it.
pub(crate) fn transport(protocol: Protocol) -> Transport {
    match protocol {
        Protocol::Tcp => Transport::Tcp,
        Protocol::Udp => Transport::Udp,
    }
}

/// The mode as the programs know it.
fn mode(forwarding: Forwarding) -> ServiceMode {
    match forwarding {
        Forwarding::Nat => ServiceMode::Nat,
        Forwarding::Dsr => ServiceMode::Dsr,
        Forwarding::Fullnat => ServiceMode::Fullnat,
    }
}

/// How often new connections may come; the kernel knows those of TCP alone.
fn limit(service: &Service) -> Limit {
    let pace = |rate: Option<Rate>| rate.map_or(Pace::NONE, |rate| Pace::new(rate.per_second, rate.burst));
    match service.protocol {
        Protocol::Tcp => Limit::new(pace(service.limits.rate), pace(service.limits.rate_per_client)),
        Protocol::Udp => Limit::default(),
    }
}

/// As long as it takes until each backend of the service was checked once more.
fn round(service: &Service) -> Duration {
    let check = service.check.as_ref();
    check.map_or(Duration::ZERO, |check| check.interval.saturating_add(check.fast_interval))
}

/// Every address and port of a service.
fn addresses(service: &Service) -> impl Iterator<Item = SocketAddr> {
    service.vips.iter().flat_map(|vip| service.ports.iter().map(|port| SocketAddr::new(*vip, port)))
}

/// How many endpoints and replies a service takes, at most: an address that several have is counted for each.
fn places(desired: &ServiceDesired, backends: &BTreeMap<BackendAddress, u32>) -> (usize, usize) {
    let service = &desired.service;
    let ports = service.ports.iter().count();
    let with_mark = |ports: usize| ports.saturating_add(1);
    let endpoints = service.vips.len().saturating_mul(with_mark(ports)).saturating_add(desired.sources.len());
    let replies = backends.keys().map(|address| with_mark(if address.port.is_some() { 1 } else { ports }));
    let has_replies = service.mode.forwarding() == Some(Forwarding::Nat);
    (endpoints, if has_replies { replies.fold(0, usize::saturating_add) } else { 0 })
}

impl Entry {
    /// Whether flows of it are flows of a service of another name.
    fn goes_on_as(&self, new: &ServiceDesired) -> bool {
        let (old, service) = (&self.desired.service, &new.service);
        let is_at = |vip: &IpAddr| old.vips.contains(vip) && old.ports.contains(service.ports.first);
        is_same(new, &self.desired) && service.vips.first().is_some_and(is_at)
    }

    /// Forgets backends that are no longer configured, have no place in a table and none of the `noted` flows; gives
    /// their indexes.
    fn retire(&mut self, noted: &BTreeSet<u32>, now: Instant) -> Vec<u32> {
        let mut gone = Vec::new();
        // Until the kernel knows of the tables it may give them more.
        if !self.told {
            return gone;
        }
        let configured = self.configured();
        let tables = [self.generations.current(), self.generations.previous()];
        let is_used = |index: u32| {
            u16::try_from(index).is_ok_and(|index| tables.iter().any(|table| table.0.contains(&index)))
        };
        let is_kept = |address: &BackendAddress| match self.desired.service.protocol {
            Protocol::Tcp => true,
            // A sender that hears nothing may go on for ever: others get its datagrams then.
            Protocol::Udp => {
                let removed = self.removed.get(address);
                removed.is_some_and(|removed| now.saturating_duration_since(*removed) < UDP_HOLD)
            }
        };
        self.backends.retain(|address, index| {
            let has_flows = || noted.contains(index) && is_kept(address);
            let stays = configured.contains(address) || has_flows() || is_used(*index);
            if !stays {
                gone.push(*index);
            }
            stays
        });
        gone
    }

    fn configured(&self) -> BTreeSet<BackendAddress> {
        let service = &self.desired.service;
        self.desired.backends.iter().map(|state| key(service, state.backend.address)).collect()
    }

    fn look_for_removed(&mut self, now: Instant) {
        let configured = self.configured();
        let removed = self.backends.keys().filter(|address| !configured.contains(address));
        let since = |address: &BackendAddress| (*address, self.removed.get(address).copied().unwrap_or(now));
        self.removed = removed.map(since).collect();
    }

    /// Whose room its noted flows take.
    pub(crate) fn class(&self) -> Class {
        if self.desired.protected { Class::Protected } else { Class::Workload }
    }

    pub(crate) fn forwarding(&self) -> Forwarding {
        self.desired.service.mode.forwarding().unwrap_or(Forwarding::Nat)
    }

    /// The index of a configured backend.
    pub(crate) fn index_of(&self, state: &BackendState) -> Option<u32> {
        self.backends.get(&key(&self.desired.service, state.backend.address)).copied()
    }

    /// Whether flows may go to a backend. One that is no longer configured keeps those that it has.
    fn is_up(&self, state: Option<&BackendState>) -> bool {
        state.is_none_or(|state| match self.desired.service.on_down {
            OnDown::Drain => !state.backend.disabled,
            OnDown::Reset { .. } => !self.deaths.has(state.backend.address),
        })
    }

    fn look_for_deaths(&mut self, now: Instant) {
        let judged = self.desired.backends.iter();
        let judged = judged.map(|state| (state.backend.address, state.usage == BackendUse::Down));
        self.deaths.handle(judged, round(&self.desired.service), now);
    }

    fn add_to(&self, wanted: &mut Wanted) {
        let service = &self.desired.service;
        let transport = transport(service.protocol);
        let forwarding = self.forwarding();
        let by_client = service.balance == Balance::Source;
        let kernel_service =
            layout::Service::new(mode(forwarding), by_client, self.is_pinned()).of_class(self.class());
        let kernel_service = if is_in_turn(service) { kernel_service.in_turn() } else { kernel_service };
        wanted.services.insert(self.index, kernel_service);
        if let Some(turns) = &self.turns {
            wanted.schedules.insert(self.index, Arc::clone(&turns.schedule));
        }
        wanted.limits.insert(self.index, limit(service));
        if forwarding == Forwarding::Fullnat {
            self.add_sources(wanted);
        }
        let tables = (Arc::clone(self.generations.current()), Arc::clone(self.generations.previous()));
        wanted.tables.insert(self.index, tables);
        let states: BTreeMap<BackendAddress, &BackendState> =
            self.desired.backends.iter().map(|state| (key(service, state.backend.address), state)).collect();
        for (address, index) in &self.backends {
            let state = states.get(address).copied();
            let port = address.port.unwrap_or(0);
            let (ip, up, service) = (address.ip, self.is_up(state), self.index);
            let backend = WantedBackend { ip, port, up, forwarding, service };
            wanted.backends.insert(*index, backend);
            if forwarding == Forwarding::Nat {
                self.add_replies(wanted, *address, *index);
            }
        }
        let target = |state: &BackendState| service.target(&state.backend);
        let checked = self
            .desired
            .backends
            .iter()
            .filter_map(|state| Some((state.backend.address.ip, target(state)?.vip?)));
        wanted.checked.extend(checked);
        for address in addresses(service) {
            wanted.endpoints.insert(Endpoint::new(address, transport), self.index);
            let mark = Endpoint::new(SocketAddr::new(address.ip(), 0), transport);
            wanted.endpoints.entry(mark).or_insert(NO_SERVICE);
        }
    }

    /// Whether flows of it may be known one by one.
    pub(crate) fn is_pinned(&self) -> bool {
        self.pinned || self.forwarding() == Forwarding::Fullnat || is_in_turn(&self.desired.service)
    }

    fn add_sources(&self, wanted: &mut Wanted) {
        let sources = Sources::of(&self.desired);
        for address in sources.addresses() {
            let mark = Endpoint::new(SocketAddr::new(address, 0), transport(self.desired.service.protocol));
            wanted.endpoints.insert(mark, SOURCE_OF_FLOWS);
        }
        wanted.sources.insert(self.index, sources);
    }

    fn add_replies(&self, wanted: &mut Wanted, backend: BackendAddress, index: u32) {
        let transport = transport(self.desired.service.protocol);
        for vip in addresses(&self.desired.service) {
            let endpoint = Endpoint::new(backend.socket(vip.port()), transport);
            wanted.replies.insert(endpoint, Reply::new(vip, self.index, index));
        }
        let mark = Endpoint::new(SocketAddr::new(backend.ip, 0), transport);
        wanted.replies.entry(mark).or_insert_with(Reply::mark);
    }
}
