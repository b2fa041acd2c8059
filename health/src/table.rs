//! All services and all targets: what is due, what is known, what is told.
//!
//! A plain value. The driver gives it what is desired and how probes ended, and takes from it which probe
//! starts next and what is to be told.

use crate::border::{Counters, Desired, Observed};
use crate::budget::Budget;
use crate::checker::Checker;
use crate::probe::{Outcome, files_needed};
use crate::service::ServiceState;
use crate::stall::Stall;
use fulcrum_config::{Service, ServiceName, Target};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// Changes that follow each other within this time are told together ...
const TELL_EVERY: Duration = Duration::from_millis(10);
/// ... and within this much more for each target: a large snapshot costs its readers time.
const TELL_EVERY_FOR_EACH: Duration = Duration::from_micros(2);
/// Counters are told this often, if probes were made.
const REFRESH_EVERY: Duration = Duration::from_secs(1);
/// New targets get their first probes so far apart: 10,000 of them within 2 s.
const START_SPACING: Duration = Duration::from_micros(200);
/// A timeout is void if the process stood still for one part of it in so many ...
const STALLED_PART: u32 = 4;
/// ... but not for ever: a node that is always starved must still notice a dead backend.
const VOIDED_IN_A_ROW: u8 = 3;

/// Names a target while it is known; never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TargetId(u64);

/// The engine's whole state.
#[derive(Debug)]
pub(crate) struct Table {
    services: BTreeMap<ServiceName, ServiceState>,
    /// Services by when a share of one of their backends grows. Some entries are out of date and do no harm.
    shares: BTreeSet<(Instant, ServiceName)>,
    targets: HashMap<TargetId, Entry>,
    ids: HashMap<Target, TargetId>,
    next_id: u64,
    /// Targets by when their next probe is due.
    queue: BTreeSet<(Instant, TargetId)>,
    in_flight: HashMap<TargetId, InFlight>,
    budget: Budget,
    stall: Stall,
    outbox: Outbox,
}

#[derive(Debug)]
struct Entry {
    target: Target,
    checker: Checker,
    /// The services that have it, once for each backend.
    users: Vec<ServiceName>,
    voided: u8,
}

#[derive(Debug, Clone, Copy)]
struct InFlight {
    files: u32,
    started: Instant,
    lost_before: Duration,
}

#[derive(Debug)]
struct Outbox {
    observed: Observed,
    /// Something about services changed ...
    changed: bool,
    /// ... and these have to be told anew.
    services: BTreeSet<ServiceName>,
    /// Only counters did.
    counted: bool,
    /// Before this, nothing more is told.
    calm: Instant,
    /// When counters and targets are told next.
    refresh: Instant,
}

impl Table {
    /// An empty table; probes use at most `files` open files at a time.
    pub(crate) fn new(files: u32, now: Instant) -> Self {
        Self {
            services: BTreeMap::new(),
            shares: BTreeSet::new(),
            targets: HashMap::new(),
            ids: HashMap::new(),
            next_id: 0,
            queue: BTreeSet::new(),
            in_flight: HashMap::new(),
            budget: Budget::new(files),
            stall: Stall::new(now),
            outbox: Outbox {
                observed: Observed::default(),
                changed: false,
                services: BTreeSet::new(),
                counted: false,
                calm: now,
                refresh: now,
            },
        }
    }

    /// The driver runs: to be called first whenever it wakes.
    pub(crate) fn handle_tick(&mut self, now: Instant) {
        self.stall.handle_tick(!self.in_flight.is_empty(), now);
        while self.shares.first().is_some_and(|(due, _)| *due <= now) {
            let Some((_, name)) = self.shares.pop_first() else { break };
            let is_due = |state: &ServiceState| state.poll_timeout().is_some_and(|due| due <= now);
            if let Some(state) = self.services.get_mut(&name).filter(|state| is_due(state)) {
                state.handle_timeout(now);
                self.publish(&name);
            }
        }
    }

    /// What is to be probed from now on. Targets that stay keep what is known of them.
    pub(crate) fn handle_desired(&mut self, desired: &Desired, now: Instant) {
        let gone: Vec<_> =
            self.services.keys().filter(|name| !desired.services.contains_key(*name)).cloned().collect();
        // Let go of at the end only: a target that another service has from now on is the same one.
        let mut former: Vec<(ServiceName, ServiceState)> = Vec::new();
        for name in gone {
            former.extend(self.services.remove_entry(&name));
            self.outbox.observed.services.remove(&name);
        }
        let mut first = now;
        for (name, service) in &desired.services {
            let is_same = |state: &ServiceState| {
                Arc::ptr_eq(state.service(), service) || **state.service() == **service
            };
            if !self.services.get(name).is_some_and(is_same) {
                let previous = self.services.remove(name);
                self.set_service(name, service, previous.as_ref(), &mut first, now);
                former.extend(previous.map(|previous| (name.clone(), previous)));
            }
        }
        for (name, state) in &former {
            self.release(name, state);
        }
        self.outbox.changed = true;
        self.outbox.refresh = now;
    }

    /// A probe ended. `random` is any number.
    pub(crate) fn handle_outcome(&mut self, id: TargetId, outcome: &Outcome, random: u32, now: Instant) {
        let Some(probe) = self.in_flight.remove(&id) else { return };
        self.budget.give(probe.files);
        let Some(entry) = self.targets.get_mut(&id) else { return };
        let lost = self.stall.lost().saturating_sub(probe.lost_before);
        let is_void = entry.is_void(outcome, lost, now.saturating_duration_since(probe.started));
        self.outbox.observed.counters.count(outcome, is_void);
        self.outbox.counted = true;
        if is_void {
            entry.voided = entry.voided.saturating_add(1);
            entry.checker.handle_void(now);
            self.budget.handle_void(now);
        } else {
            entry.voided = 0;
            self.budget.handle_good();
            if entry.checker.handle_outcome(outcome, random, now) {
                let (target, health) = (entry.target.clone(), entry.checker.health().clone());
                let users: BTreeSet<_> = entry.users.iter().cloned().collect();
                for name in users {
                    if let Some(state) = self.services.get_mut(&name) {
                        state.handle_target(&target, &health, now);
                    }
                    self.publish(&name);
                }
            }
        }
        self.enqueue(id);
    }

    /// The next probe to start, if one is due and files are left.
    pub(crate) fn poll_probe(&mut self, now: Instant) -> Option<(TargetId, Target)> {
        let &(due, id) = self.queue.first().filter(|(due, _)| *due <= now)?;
        let entry = self.targets.get_mut(&id)?;
        let files = files_needed(&entry.target.check.kind);
        if !self.budget.take(files, now) {
            return None;
        }
        if self.budget.delayed(due) {
            let delayed = &mut self.outbox.observed.counters.probes_delayed;
            *delayed = delayed.saturating_add(1);
        }
        self.queue.pop_first();
        entry.checker.handle_start(now);
        let target = entry.target.clone();
        self.in_flight.insert(id, InFlight { files, started: now, lost_before: self.stall.lost() });
        Some((id, target))
    }

    /// What is to be told now, if anything.
    pub(crate) fn poll_observed(&mut self, now: Instant) -> Option<Observed> {
        if self.outbox.due()? > now {
            return None;
        }
        for name in std::mem::take(&mut self.outbox.services) {
            if let Some(state) = self.services.get(&name) {
                self.outbox.observed.services.insert(name, state.health());
            }
        }
        if self.outbox.refresh <= now {
            let tell = |entry: &Entry| (entry.target.clone(), Arc::new(entry.checker.health().clone()));
            self.outbox.observed.targets = Arc::new(self.targets.values().map(tell).collect());
            self.outbox.refresh = now.checked_add(REFRESH_EVERY).unwrap_or(now);
            self.outbox.counted = false;
        }
        self.outbox.observed.counters.in_flight = u64::try_from(self.in_flight.len()).unwrap_or(u64::MAX);
        self.outbox.changed = false;
        let targets = u32::try_from(self.targets.len()).unwrap_or(u32::MAX);
        let pause = TELL_EVERY.saturating_add(TELL_EVERY_FOR_EACH.saturating_mul(targets));
        self.outbox.calm = now.checked_add(pause).unwrap_or(now);
        Some(self.outbox.observed.clone())
    }

    /// When the driver has to look again, if nothing happens before.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let fits = |id: &TargetId| {
            let needed = self.targets.get(id).map(|entry| files_needed(&entry.target.check.kind));
            needed.is_some_and(|needed| self.budget.fits(needed))
        };
        let probe = self.queue.first().filter(|(_, id)| fits(id)).map(|(due, _)| *due);
        let tick = (!self.in_flight.is_empty()).then(|| self.stall.poll_timeout());
        let shares = self.shares.first().map(|(due, _)| *due);
        [probe, tick, shares, self.outbox.due()].into_iter().flatten().min()
    }

    fn set_service(
        &mut self,
        name: &ServiceName,
        service: &Arc<Service>,
        previous: Option<&ServiceState>,
        first: &mut Instant,
        now: Instant,
    ) {
        for backend in &service.backends {
            let Some(target) = service.target(backend) else { continue };
            let id = self.ids.get(&target).copied().unwrap_or_else(|| {
                let inherited = previous.and_then(|previous| previous.inherited(backend));
                let checker = Checker::new(Arc::clone(&target.check), inherited, *first, now);
                *first = first.checked_add(START_SPACING).unwrap_or(*first);
                self.add_target(target, checker)
            });
            if let Some(entry) = self.targets.get_mut(&id) {
                entry.users.push(name.clone());
            }
        }
        let health_of = |target: &Target| {
            self.ids.get(target).and_then(|id| self.targets.get(id)).map(|entry| entry.checker.health())
        };
        let state = ServiceState::new(Arc::clone(service), previous, health_of, now);
        self.services.insert(name.clone(), state);
        self.publish(name);
    }

    fn add_target(&mut self, target: Target, checker: Checker) -> TargetId {
        let id = TargetId(self.next_id);
        self.next_id = self.next_id.saturating_add(1);
        self.ids.insert(target.clone(), id);
        self.targets.insert(id, Entry { target, checker, users: Vec::new(), voided: 0 });
        self.enqueue(id);
        id
    }

    /// A target that nobody uses any more is forgotten; its probe in flight ends unheard.
    fn release(&mut self, name: &ServiceName, state: &ServiceState) {
        for target in state.targets() {
            let Some(&id) = self.ids.get(target) else { continue };
            let Some(entry) = self.targets.get_mut(&id) else { continue };
            if let Some(position) = entry.users.iter().position(|user| user == name) {
                entry.users.swap_remove(position);
            }
            if entry.users.is_empty() {
                if let Some(due) = entry.checker.poll_timeout() {
                    self.queue.remove(&(due, id));
                }
                self.targets.remove(&id);
                self.ids.remove(target);
            }
        }
    }

    fn enqueue(&mut self, id: TargetId) {
        if let Some(due) = self.targets.get(&id).and_then(|entry| entry.checker.poll_timeout()) {
            self.queue.insert((due, id));
        }
    }

    fn publish(&mut self, name: &ServiceName) {
        let Some(state) = self.services.get(name) else { return };
        if let Some(due) = state.poll_timeout() {
            self.shares.insert((due, name.clone()));
        }
        self.outbox.services.insert(name.clone());
        self.outbox.changed = true;
    }
}

impl Entry {
    /// `lost` is what the ticks saw; that the timeout itself came late shows shorter stalls too.
    fn is_void(&self, outcome: &Outcome, lost: Duration, took: Duration) -> bool {
        let timeout = self.target.check.timeout;
        let lost = lost.max(took.saturating_sub(timeout));
        let was_stalled = lost.saturating_mul(STALLED_PART) >= timeout;
        matches!(outcome, Outcome::TimedOut(_)) && was_stalled && self.voided < VOIDED_IN_A_ROW
    }
}

impl Outbox {
    /// When something is to be told: changes at once after a calm, counters every second.
    fn due(&self) -> Option<Instant> {
        if self.changed { Some(self.calm) } else { self.counted.then_some(self.refresh) }
    }
}

impl Counters {
    fn count(&mut self, outcome: &Outcome, is_void: bool) {
        let counter = match outcome {
            _ if is_void => &mut self.stalled,
            Outcome::NotMade(_) => &mut self.local_errors,
            Outcome::Failed(_) | Outcome::TimedOut(_) => {
                self.failures = self.failures.saturating_add(1);
                &mut self.probes
            }
            Outcome::Passed => &mut self.probes,
        };
        *counter = counter.saturating_add(1);
    }
}
