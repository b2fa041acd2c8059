//! What the tables are in terms of addresses, which mean the same on every node: to be told, compared and taken over.
//!
//! A node that stands by does as the leader does: where both have the same current table, the leader's older one takes
//! the place of its own, or nothing if the leader has none any more. So flows that the leader sends by its older table
//! find their backend also through a node that was started, or joined, after the change.

use super::book::{Book, Entry};
use super::generations::Generations;
use fulcrum_config::{AddressSlots, BackendAddress, OlderTable, ServiceName, ServiceTables};
use fulcrum_ebpf::plane::layout::{SLOTS, Slots};
use std::collections::BTreeMap;
use std::hash::Hasher;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// What the tables of each service are.
pub(crate) type History = BTreeMap<ServiceName, Arc<ServiceTables>>;

/// Times of two nodes that differ by less are the same: what is told takes its time.
const SLACK: Duration = Duration::from_secs(10);

/// What was told of a service's tables, and of which.
#[derive(Debug)]
pub(crate) struct Shown {
    of: Generations,
    tables: Arc<ServiceTables>,
}

impl Book {
    /// What stands in the tables of each service.
    pub(crate) fn history(&mut self) -> History {
        let shown = |(name, entry): (&ServiceName, &mut Entry)| (name.clone(), entry.show());
        self.entries_mut().map(shown).collect()
    }

    /// Does as the leader does. Services that it has no room for go on by what they have.
    pub(super) fn follow(&mut self, leader: &History, now: Instant) {
        for (name, theirs) in leader {
            let Some(entry) = self.entry_mut(name) else { continue };
            let own = entry.show();
            if own.current != theirs.current || is_same(&own, theirs) {
                continue;
            }
            match &theirs.older {
                Some(older) if older.until > now => self.take_over(name, older, theirs.previous),
                None if theirs.previous == theirs.current => self.settle(name),
                Some(_) | None => {}
            }
        }
    }

    fn take_over(&mut self, name: &ServiceName, older: &OlderTable, fingerprint: u64) {
        let given = self.entry(name).map(|entry| (entry, entry.backends.clone()));
        let Some((entry, mut backends)) = given else { return };
        let previous = if entry.show_now().previous == fingerprint {
            Arc::clone(entry.generations.previous())
        } else {
            let room = self.give_indexes(&entry.desired, older.slots.backends.iter().copied(), &mut backends);
            let slots = room.ok().and_then(|()| slots(&older.slots, &backends));
            let Some(slots) = slots.filter(|slots| self::fingerprint(slots, &backends) == fingerprint) else {
                tracing::warn!(service = %name, "the leader's older table can't be taken over: flows older than the \
                                                 last change of backends may break at a takeover");
                return;
            };
            Arc::new(slots)
        };
        self.set_previous(name, backends, previous, Some(older.until));
    }

    fn settle(&mut self, name: &ServiceName) {
        if let Some(entry) = self.entry(name) {
            let (backends, current) = (entry.backends.clone(), Arc::clone(entry.generations.current()));
            self.set_previous(name, backends, current, None);
        }
    }

    fn set_previous(
        &mut self,
        name: &ServiceName,
        backends: BTreeMap<BackendAddress, u32>,
        previous: Arc<Slots>,
        until: Option<Instant>,
    ) {
        let Some(entry) = self.entry_mut(name) else { return };
        entry.backends = backends;
        entry.generations.follow(previous, until);
        entry.pinned |= !entry.generations.is_settled();
        entry.told = false;
    }
}

impl Entry {
    /// What its tables are; made only when they are others than last time.
    fn show(&mut self) -> Arc<ServiceTables> {
        let known = self.shown.as_ref().filter(|shown| shown.of.is_same(&self.generations));
        if let Some(shown) = known {
            return Arc::clone(&shown.tables);
        }
        let tables = Arc::new(self.show_now());
        self.shown = Some(Shown { of: self.generations.clone(), tables: Arc::clone(&tables) });
        tables
    }

    fn show_now(&self) -> ServiceTables {
        let (current, previous) = (self.generations.current(), self.generations.previous());
        let older = self
            .generations
            .until()
            .map(|until| OlderTable { until, slots: Arc::new(address_slots(previous, &self.backends)) });
        let current_is = fingerprint(current, &self.backends);
        let previous_is =
            if current == previous { current_is } else { fingerprint(previous, &self.backends) };
        ServiceTables { current: current_is, previous: previous_is, older }
    }
}

fn is_same(own: &ServiceTables, theirs: &ServiceTables) -> bool {
    own.previous == theirs.previous
        && match (&own.older, &theirs.older) {
            (Some(own), Some(theirs)) => {
                own.until.saturating_duration_since(theirs.until) < SLACK
                    && theirs.until.saturating_duration_since(own.until) < SLACK
            }
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
}

/// The table in terms of addresses.
fn address_slots(slots: &Slots, backends: &BTreeMap<BackendAddress, u32>) -> AddressSlots {
    let mut places: BTreeMap<u16, u16> = BTreeMap::new();
    let mut addresses = Vec::new();
    for (address, index) in backends {
        let Ok(index) = u16::try_from(*index) else { continue };
        if slots.0.contains(&index) {
            addresses.push(*address);
            places.insert(index, u16::try_from(addresses.len()).unwrap_or(0));
        }
    }
    let place = |index: &u16| places.get(index).copied().unwrap_or(0);
    AddressSlots { backends: addresses, slots: slots.0.iter().map(place).collect() }
}

/// The table by this node's own indexes, which `backends` gives; none if it is of another size.
fn slots(of: &AddressSlots, backends: &BTreeMap<BackendAddress, u32>) -> Option<Slots> {
    let index = |address| u16::try_from(*backends.get(address)?).ok();
    let indexes: Vec<u16> = of.backends.iter().map(index).collect::<Option<_>>()?;
    let place = |place: &u16| {
        let Some(place) = usize::from(*place).checked_sub(1) else { return Some(0) };
        indexes.get(place).copied()
    };
    let slots: Vec<u16> = of.slots.iter().map(place).collect::<Option<_>>()?;
    <[u16; SLOTS]>::try_from(slots).ok().map(Slots)
}

/// What stands for a table: the same wherever each slot has the same address.
fn fingerprint(slots: &Slots, backends: &BTreeMap<BackendAddress, u32>) -> u64 {
    let of: BTreeMap<u32, u64> =
        backends.iter().map(|(address, index)| (*index, of_address(*address))).collect();
    let mut known = (0, 0);
    let mut all = Fnv::default();
    for index in slots.0 {
        if known.0 != index {
            known = (index, of.get(&u32::from(index)).copied().unwrap_or(0));
        }
        all.write_u64(known.1);
    }
    all.finish()
}

fn of_address(address: BackendAddress) -> u64 {
    let ip = match address.ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let mut hash = Fnv::default();
    hash.write(&ip.octets());
    hash.write(&address.port.unwrap_or(0).to_be_bytes());
    hash.finish()
}

/// FNV-1a of 64 bits: it has to be the same in every version and on every machine, and nobody gains by a collision.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    /// A whole number at a step: tables have many of them.
    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0x0100_0000_01b3).rotate_left(29);
    }
}
