//! What is served: one immutable snapshot for each service, replaced whole when the service changes.
//!
//! Workers read a snapshot without a lock and keep the cells of the service and the backend with each
//! connection. A cell outlives its snapshots, so a change touches no connection. A backend or a service that
//! is removed keeps the connections it has, as a draining one does.

#[cfg(test)]
mod tests;

use crate::balance::{Balancer, Circumstances, Flow, Member, Seed};
use crate::connection_log::LogGate;
use crate::counters::{BackendCounters, ServiceCounters};
use crate::limits::Limiter;
use crate::{BackendState, BackendUse, Desired, ServiceDesired, ServiceObserved, ServiceStats};
use arc_swap::{ArcSwap, Guard};
use fulcrum_config::{BackendAddress, BackendName, OnDown, Protocol, Service, ServiceName};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

/// One service for as long as it is configured.
#[derive(Debug)]
pub(crate) struct ServiceCell {
    /// Its name.
    pub(crate) name: ServiceName,
    /// Each worker counts in its own.
    pub(crate) counters: Box<[ServiceCounters]>,
    table: ArcSwap<ServiceTable>,
    turn: AtomicU64,
}

/// One service at one time.
#[derive(Debug)]
pub(crate) struct ServiceTable {
    /// What was asked for.
    pub(crate) desired: Arc<ServiceDesired>,
    /// In the order of `desired`.
    pub(crate) backends: Vec<Arc<BackendCell>>,
    /// Who may connect; none if everybody may, as often as they like.
    pub(crate) limiter: Option<Arc<Limiter>>,
    /// Which connections are logged.
    pub(crate) log: Option<Arc<LogGate>>,
    balancer: Balancer,
}

/// One backend of one service for as long as it is configured, and while a connection to it lasts.
#[derive(Debug)]
pub(crate) struct BackendCell {
    /// Its name.
    pub(crate) name: BackendName,
    /// Where it is.
    pub(crate) address: BackendAddress,
    /// Each worker counts in its own.
    pub(crate) counters: Box<[BackendCounters]>,
    /// Connections now (UDP: sessions), for the choice.
    pub(crate) connections: AtomicU32,
    /// Its connections are to be closed.
    condemned: AtomicBool,
}

impl BackendCell {
    /// Whether it is down and its service closes the connections of such backends.
    pub(crate) fn is_condemned(&self) -> bool {
        self.condemned.load(Ordering::Relaxed)
    }
}

impl ServiceCell {
    /// TCP or UDP; it never changes.
    pub(crate) fn protocol(&self) -> Protocol {
        self.table().service().protocol
    }

    /// The snapshot now.
    pub(crate) fn table(&self) -> Guard<Arc<ServiceTable>> {
        self.table.load()
    }

    /// The backend for a new flow, but none of those `tried`. `None` means: refuse.
    pub(crate) fn choose(
        &self,
        table: &ServiceTable,
        flow: &Flow,
        tried: &[Arc<BackendCell>],
    ) -> Option<Arc<BackendCell>> {
        if !table.desired.up {
            return None;
        }
        let now = Now { table, turn: &self.turn, tried };
        table.balancer.choose(flow, &now).and_then(|index| table.backends.get(index)).cloned()
    }

    /// Brings what was told of the service up to date, and says whether anything changed.
    pub(crate) fn update(&self, told: &mut ServiceObserved, errors: &[String]) -> bool {
        let table = self.table();
        let stats = self.stats(&table);
        let mut news = told.stats != stats || told.errors != errors;
        told.stats = stats;
        if told.errors != errors {
            told.errors = errors.to_vec();
        }
        for backend in &table.backends {
            let stats = BackendCounters::sum(&backend.counters);
            match told.backends.get_mut(&backend.name) {
                Some(told) => {
                    news |= *told != stats;
                    *told = stats;
                }
                None => {
                    told.backends.insert(backend.name.clone(), stats);
                    news = true;
                }
            }
        }
        if told.backends.len() > table.backends.len() {
            told.backends.retain(|name, _| table.backends.iter().any(|backend| backend.name == *name));
            news = true;
        }
        news
    }

    /// Counters of the service and of its backends.
    pub(crate) fn observed(&self, errors: Vec<String>) -> ServiceObserved {
        let table = self.table();
        let backends = table.backends.iter().map(|backend| {
            let stats = BackendCounters::sum(&backend.counters);
            (backend.name.clone(), stats)
        });
        ServiceObserved { errors, stats: self.stats(&table), backends: backends.collect(), checks: None }
    }

    fn stats(&self, table: &ServiceTable) -> ServiceStats {
        let client_table_full = table.limiter.as_ref().map_or(0, |limiter| limiter.table_full());
        ServiceStats { client_table_full, ..ServiceCounters::sum(&self.counters) }
    }
}

impl ServiceTable {
    /// As configured.
    pub(crate) fn service(&self) -> &Service {
        &self.desired.service
    }

    /// Whether a new connection has anywhere to go.
    pub(crate) fn can_serve(&self) -> bool {
        self.desired.up && !self.balancer.is_empty()
    }

    /// Every address and port it is reached by.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        let service = self.service();
        service.vips.iter().flat_map(|vip| service.ports.iter().map(|port| SocketAddr::new(*vip, port)))
    }
}

struct Now<'a> {
    table: &'a ServiceTable,
    turn: &'a AtomicU64,
    tried: &'a [Arc<BackendCell>],
}

impl Circumstances for Now<'_> {
    fn turn(&self) -> u64 {
        // A second try takes no turn from the others.
        let amount = u64::from(self.tried.is_empty());
        self.turn.fetch_add(amount, Ordering::Relaxed)
    }

    fn random(&self) -> u64 {
        fastrand::u64(..)
    }

    fn connections(&self, index: usize) -> u32 {
        self.table.backends.get(index).map_or(0, |backend| backend.connections.load(Ordering::Relaxed))
    }

    fn tried(&self, index: usize) -> bool {
        let backend = self.table.backends.get(index);
        backend.is_some_and(|backend| self.tried.iter().any(|tried| Arc::ptr_eq(tried, backend)))
    }
}

/// What changed of one service.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// It is new or otherwise than before.
    Made {
        /// As it is now.
        cell: Arc<ServiceCell>,
        /// Its addresses, its ability to serve or its sockets' options changed.
        listeners: bool,
        /// Some of its backends went down and their connections are to be closed.
        condemned: bool,
    },
    /// It is no longer configured.
    Removed(Arc<ServiceCell>),
}

/// Every service, as last applied.
#[derive(Debug)]
pub(crate) struct Tables {
    services: BTreeMap<ServiceName, Arc<ServiceCell>>,
    seed: Seed,
    workers: usize,
    epoch: Instant,
}

impl Tables {
    /// Nothing yet. `epoch` is any time not after the first connection.
    pub(crate) fn new(seed: Seed, workers: usize, epoch: Instant) -> Self {
        Self { services: BTreeMap::new(), seed, workers, epoch }
    }

    /// Each service.
    pub(crate) fn services(&self) -> impl ExactSizeIterator<Item = &Arc<ServiceCell>> {
        self.services.values()
    }

    /// One of them.
    pub(crate) fn service(&self, name: &ServiceName) -> Option<&Arc<ServiceCell>> {
        self.services.get(name)
    }

    /// Takes over what changed and says what that was. What did not change is not touched.
    pub(crate) fn apply(&mut self, desired: &Desired) -> Vec<Change> {
        let mut changes = Vec::new();
        self.services.retain(|name, cell| {
            let protocol = desired.services.get(name).map(|service| service.service.protocol);
            // A service of another protocol under the same name is another service.
            let keep = protocol == Some(cell.table().service().protocol);
            if !keep {
                changes.push(Change::Removed(Arc::clone(cell)));
            }
            keep
        });
        for (name, service) in &desired.services {
            match self.services.get(name) {
                Some(cell) => self.change(cell, service, &mut changes),
                None => {
                    let cell = Arc::new(self.make_cell(name, service));
                    self.services.insert(name.clone(), Arc::clone(&cell));
                    changes.push(Change::Made { cell, listeners: true, condemned: false });
                }
            }
        }
        changes
    }

    fn make_cell(&self, name: &ServiceName, desired: &Arc<ServiceDesired>) -> ServiceCell {
        ServiceCell {
            name: name.clone(),
            counters: ServiceCounters::for_workers(self.workers),
            table: ArcSwap::from_pointee(self.make_table(desired, None)),
            turn: AtomicU64::new(0),
        }
    }

    fn change(&self, cell: &Arc<ServiceCell>, desired: &Arc<ServiceDesired>, changes: &mut Vec<Change>) {
        let old = cell.table();
        if Arc::ptr_eq(&old.desired, desired) || old.desired == *desired {
            return;
        }
        let new = Arc::new(self.make_table(desired, Some(&old)));
        let condemned = mark_condemned(&new);
        let (was, is) = (old.service(), new.service());
        let same_listeners = old.can_serve() == new.can_serve()
            && old.desired.protected == new.desired.protected
            && was.vips == is.vips
            && was.ports == is.ports
            && was.timeouts.unacknowledged == is.timeouts.unacknowledged;
        cell.table.store(new);
        changes.push(Change::Made { cell: Arc::clone(cell), listeners: !same_listeners, condemned });
    }

    fn make_table(&self, desired: &Arc<ServiceDesired>, old: Option<&ServiceTable>) -> ServiceTable {
        let service = &desired.service;
        let backends = desired.backends.iter().map(|state| self.keep_or_make(state, old)).collect();
        let usable = desired.backends.iter().enumerate().filter_map(|(index, state)| member(index, state));
        let balancer = Balancer::new(service.balance, self.seed, usable.collect(), desired.backends.len());
        ServiceTable {
            limiter: self.limiter(service, old),
            log: self.log_gate(service, old),
            desired: Arc::clone(desired),
            backends,
            balancer,
        }
    }

    /// A backend that stays keeps its cell and thus its counters and connections.
    fn keep_or_make(&self, state: &BackendState, old: Option<&ServiceTable>) -> Arc<BackendCell> {
        let backend = &state.backend;
        let same = |cell: &&Arc<BackendCell>| cell.name == backend.name && cell.address == backend.address;
        let known = old.and_then(|old| old.backends.iter().find(same));
        known.map_or_else(
            || {
                Arc::new(BackendCell {
                    name: backend.name.clone(),
                    address: backend.address,
                    counters: BackendCounters::for_workers(self.workers),
                    connections: AtomicU32::new(0),
                    condemned: AtomicBool::new(false),
                })
            },
            Arc::clone,
        )
    }

    fn limiter(&self, service: &Service, old: Option<&ServiceTable>) -> Option<Arc<Limiter>> {
        let limited = !service.sources.is_empty() || service.limits != fulcrum_config::Limits::default();
        let before = old.and_then(|old| old.limiter.as_ref().map(|limiter| (old, limiter)));
        match before {
            Some((old, limiter))
                if old.service().limits == service.limits && old.service().sources == service.sources =>
            {
                Some(Arc::clone(limiter))
            }
            Some((_, limiter)) => Some(Arc::new(limiter.changed(service))),
            None => limited.then(|| Arc::new(Limiter::new(service, self.epoch))),
        }
    }

    fn log_gate(&self, service: &Service, old: Option<&ServiceTable>) -> Option<Arc<LogGate>> {
        let log = service.log?;
        let same = old.filter(|old| old.service().log == Some(log)).and_then(|old| old.log.clone());
        same.or_else(|| Some(Arc::new(LogGate::new(log, self.epoch))))
    }
}

/// The backend as one that may take new connections, if it may.
pub(crate) fn member(index: usize, state: &BackendState) -> Option<Member> {
    let usable = match state.usage {
        BackendUse::Live => !state.backend.drain,
        BackendUse::Draining | BackendUse::Down => false,
    };
    usable.then(|| Member {
        index,
        address: state.backend.address,
        weight: state.weight,
        backup: state.backend.backup,
    })
}

/// Marks the backends whose connections must go, and says whether there are new ones among them.
fn mark_condemned(table: &ServiceTable) -> bool {
    let closes = match table.service().on_down {
        OnDown::Reset { .. } => true,
        OnDown::Drain => false,
    };
    let mut any = false;
    for (state, cell) in table.desired.backends.iter().zip(&table.backends) {
        let condemned = state.usage == BackendUse::Down && (closes || state.backend.disabled);
        let before = cell.condemned.swap(condemned, Ordering::Relaxed);
        any |= condemned && !before;
    }
    any
}
