//! What is said and heard of forwarded services: only what changed, and all anew on each connection.

use crate::message::serving::{Portion, SERVICES_LIMIT, Told};
use crate::serving::{Services, Serving};
use fulcrum_config::{OlderTable, ServiceName, ServiceTables};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

#[cfg(test)]
mod tests;

/// What the peer is told.
#[derive(Debug)]
pub(super) struct Teller {
    instance: u64,
    sequence: u64,
    since: u64,
    wanted: Arc<Services>,
    told: Arc<Services>,
}

impl Teller {
    pub(super) fn new(instance: u64) -> Self {
        Self { instance, sequence: 0, since: 0, wanted: Arc::default(), told: Arc::default() }
    }

    /// There is something else to be said, on a connection or on the next one.
    pub(super) fn handle(&mut self, wanted: Arc<Services>) {
        self.wanted = wanted;
    }

    #[cfg(test)]
    pub(super) fn wanted(&self) -> Arc<Services> {
        Arc::clone(&self.wanted)
    }

    /// What has to be said on a connection that stands.
    pub(super) fn poll_changes(&mut self, now: Instant) -> Vec<Portion> {
        if Arc::ptr_eq(&self.wanted, &self.told) {
            return Vec::new();
        }
        let is_news =
            |(name, serving): &(&ServiceName, &Arc<Serving>)| self.told.get(*name) != Some(*serving);
        let mut services: BTreeMap<ServiceName, Option<Told>> = self
            .wanted
            .iter()
            .filter(is_news)
            .map(|(name, serving)| (name.clone(), Some(told(serving, now))))
            .collect();
        let gone = self.told.keys().filter(|name| !self.wanted.contains_key(*name));
        services.extend(gone.map(|name| (name.clone(), None)));
        self.told = Arc::clone(&self.wanted);
        if services.is_empty() { Vec::new() } else { self.portions(services) }
    }

    /// What has to be said on a new connection. Of what was said on others it is not known what was heard.
    pub(super) fn poll_all(&mut self, now: Instant) -> Vec<Portion> {
        self.told = Arc::clone(&self.wanted);
        if self.sequence == 0 && self.wanted.is_empty() {
            return Vec::new();
        }
        self.since = self.sequence.saturating_add(1);
        let all = self.wanted.iter().map(|(name, serving)| (name.clone(), Some(told(serving, now))));
        self.portions(all.collect())
    }

    fn portions(&mut self, services: BTreeMap<ServiceName, Option<Told>>) -> Vec<Portion> {
        let portion = |services| {
            self.sequence = self.sequence.saturating_add(1);
            Portion { instance: self.instance, sequence: self.sequence, since: self.since, services }
        };
        Portion::split(services).into_iter().map(portion).collect()
    }
}

fn told(serving: &Serving, now: Instant) -> Told {
    let older = serving.tables.as_ref().and_then(|tables| tables.older.as_ref());
    let leads = serving.verdict.is_some();
    Told {
        verdict: serving.verdict.clone(),
        tables: serving.tables.as_ref().map(|tables| (tables.current, tables.previous)),
        older: older
            .filter(|_| leads)
            .map(|it| (it.until.saturating_duration_since(now), Arc::clone(&it.slots))),
    }
}

/// What the peer said, in one life of it or two: what a new life says may come before it says that it is one.
#[derive(Debug, Default)]
pub(super) struct Hearer {
    lives: Vec<Life>,
}

#[derive(Debug)]
struct Life {
    instance: u64,
    since: u64,
    /// The portion that told of each service last.
    portions: BTreeMap<ServiceName, u64>,
    services: Arc<Services>,
}

impl Hearer {
    /// What the life of this number says.
    pub(super) fn services(&self, instance: u64) -> Arc<Services> {
        let life = self.lives.iter().find(|life| life.instance == instance);
        life.map(|life| Arc::clone(&life.services)).unwrap_or_default()
    }

    /// Takes a portion. `present` is the life that the peer is known by. Says whether there is no room for all of it.
    pub(super) fn handle(&mut self, portion: Portion, present: Option<u64>, now: Instant) -> bool {
        let instance = portion.instance;
        self.lives.retain(|life| life.instance == instance || Some(life.instance) == present);
        if !self.lives.iter().any(|life| life.instance == instance) {
            self.lives.push(Life { instance, since: 0, portions: BTreeMap::new(), services: Arc::default() });
        }
        let life = self.lives.iter_mut().find(|life| life.instance == instance);
        life.is_some_and(|life| life.handle(portion, now))
    }
}

impl Life {
    /// Portions travel by themselves: what was said later may come earlier.
    fn handle(&mut self, portion: Portion, now: Instant) -> bool {
        let services = Arc::make_mut(&mut self.services);
        if portion.since > self.since {
            self.since = portion.since;
            self.portions.retain(|_, sequence| *sequence >= portion.since);
            services.retain(|name, _| self.portions.contains_key(name));
        }
        if portion.sequence < self.since {
            return false;
        }
        let mut is_full = false;
        for (name, told) in portion.services {
            let before = self.portions.get(&name).copied();
            if before.is_some_and(|before| before >= portion.sequence) {
                continue;
            }
            if before.is_none() && self.portions.len() >= SERVICES_LIMIT {
                is_full = true;
                continue;
            }
            self.portions.insert(name.clone(), portion.sequence);
            match told {
                Some(told) => drop(services.insert(name, Arc::new(serving(told, now)))),
                None => drop(services.remove(&name)),
            }
        }
        is_full
    }
}

fn serving(told: Told, now: Instant) -> Serving {
    let older = told.older.map(|(left, slots)| OlderTable { until: super::after(now, left), slots });
    let tables = told.tables.map(|(current, previous)| Arc::new(ServiceTables { current, previous, older }));
    Serving { verdict: told.verdict, tables }
}
