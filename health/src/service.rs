//! One service: from its backends' verdicts to quorum and slow start.

use crate::border::{BackendHealth, ServiceHealth, TargetHealth, Verdict};
use crate::checker::Inherited;
use fulcrum_config::{Backend, Service, Target};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// A backend that came back starts with one of so many steps of its weight.
const SLOW_START_STEPS: u32 = 20;

/// A service and what its backends' targets say.
#[derive(Debug)]
pub(crate) struct ServiceState {
    service: Arc<Service>,
    up: bool,
    backends: Vec<BackendState>,
}

#[derive(Debug)]
struct BackendState {
    backend: Arc<Backend>,
    target: Option<Target>,
    verdict: Verdict,
    reason: Arc<str>,
    since: Instant,
    /// When it came back, while it still gets less than its whole weight.
    starting: Option<Instant>,
    share_percent: u8,
}

impl ServiceState {
    /// A service as configured. `previous` is what it was before the configuration changed; `health_of` says
    /// what is known of a target already.
    pub(crate) fn new<'a>(
        service: Arc<Service>,
        previous: Option<&Self>,
        health_of: impl Fn(&Target) -> Option<&'a TargetHealth>,
        now: Instant,
    ) -> Self {
        let backends = service
            .backends
            .iter()
            .map(|backend| {
                let target = service.target(backend);
                let kept = previous.and_then(|previous| previous.same_backend(backend));
                let known = target.as_ref().and_then(&health_of);
                BackendState::new(Arc::clone(backend), target, known, kept, now)
            })
            .collect();
        let mut state = Self { service, up: previous.is_none_or(|previous| previous.up), backends };
        if previous.is_none() {
            state.up = state.usable() >= state.service.quorum.minimum;
        }
        state.handle_timeout(now);
        state.judge();
        state
    }

    /// The targets it depends on.
    pub(crate) fn targets(&self) -> impl Iterator<Item = &Target> {
        self.backends.iter().filter_map(|backend| backend.target.as_ref())
    }

    /// The service as configured.
    pub(crate) fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// Something changed about a target.
    pub(crate) fn handle_target(&mut self, target: &Target, health: &TargetHealth, now: Instant) {
        let slow_start = self.service.slow_start;
        for backend in self.backends.iter_mut().filter(|backend| backend.target.as_ref() == Some(target)) {
            backend.take(health, slow_start, now);
        }
        self.judge();
    }

    /// When a share grows next.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let slow_start = self.service.slow_start?;
        self.backends.iter().filter_map(|backend| backend.next_step(slow_start)).min()
    }

    /// Time passed: shares grow.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let slow_start = self.service.slow_start;
        for backend in &mut self.backends {
            backend.grow(slow_start, now);
        }
    }

    /// What is told.
    pub(crate) fn health(&self) -> ServiceHealth {
        let tell = |backend: &BackendState| {
            let health = BackendHealth {
                address: backend.backend.address,
                verdict: backend.verdict,
                share_percent: backend.share_percent,
                reason: Arc::clone(&backend.reason),
                since: backend.since,
            };
            (backend.backend.name.clone(), health)
        };
        ServiceHealth { up: self.up, backends: self.backends.iter().map(tell).collect() }
    }

    /// Goes down below `minimum - hysteresis`, and comes up again at `minimum + hysteresis`, or with every
    /// backend it has if that is fewer.
    fn judge(&mut self) {
        let quorum = self.service.quorum;
        let usable = self.usable();
        let all = count(self.backends.iter().filter(|backend| backend.can_count()));
        let to_rise = quorum.minimum.saturating_add(quorum.hysteresis).min(all).max(quorum.minimum);
        self.up = if self.up {
            usable >= quorum.minimum.saturating_sub(quorum.hysteresis).max(1)
        } else {
            usable >= to_rise
        };
    }

    /// Backends that can take new connections. Backups count: they serve when the others are gone.
    fn usable(&self) -> u32 {
        count(self.backends.iter().filter(|backend| backend.can_count() && backend.verdict.usable()))
    }

    /// What is known of a backend under its name and address, whatever its check.
    pub(crate) fn inherited(&self, backend: &Backend) -> Option<Inherited> {
        let old = self.same_backend(backend)?;
        let is_known = old.target.is_some() && old.verdict != Verdict::Unchecked;
        is_known.then(|| Inherited {
            verdict: old.verdict,
            reason: Arc::clone(&old.reason),
            since: old.since,
        })
    }

    fn same_backend(&self, backend: &Backend) -> Option<&BackendState> {
        self.backends
            .iter()
            .find(|old| old.backend.name == backend.name && old.backend.address == backend.address)
    }
}

impl BackendState {
    fn new(
        backend: Arc<Backend>,
        target: Option<Target>,
        known: Option<&TargetHealth>,
        kept: Option<&Self>,
        now: Instant,
    ) -> Self {
        let (verdict, reason, since) = match (known, &target) {
            (Some(known), _) => (known.verdict, Arc::clone(&known.reason), known.since),
            (None, Some(_)) => (Verdict::Unchecked, "not checked yet".into(), now),
            (None, None) => {
                let since = kept.map_or(now, |kept| kept.since);
                (Verdict::Unchecked, "no check is configured".into(), since)
            }
        };
        let starting = kept.and_then(|kept| kept.starting);
        Self { backend, target, verdict, reason, since, starting, share_percent: 100 }
    }

    /// Whether it counts towards the quorum when it is up: drained ones, and those of weight 0, take no new
    /// connections.
    fn can_count(&self) -> bool {
        !self.backend.drain && self.backend.weight.get() > 0
    }

    fn take(&mut self, health: &TargetHealth, slow_start: Option<Duration>, now: Instant) {
        // Only a backend that was down starts slowly: at the start of the process all begin with their share.
        let came_back = self.verdict == Verdict::Down && health.verdict == Verdict::Up;
        self.verdict = health.verdict;
        self.reason = Arc::clone(&health.reason);
        self.since = health.since;
        if came_back {
            self.starting = Some(now);
        } else if health.verdict == Verdict::Down {
            self.starting = None;
        }
        self.grow(slow_start, now);
    }

    fn grow(&mut self, slow_start: Option<Duration>, now: Instant) {
        self.share_percent = 100;
        let (Some(began), Some(slow_start)) = (self.starting, slow_start) else {
            self.starting = None;
            return;
        };
        let steps = steps_done(now.saturating_duration_since(began), slow_start);
        if steps >= SLOW_START_STEPS {
            self.starting = None;
        } else {
            let share = steps.max(1).saturating_mul(100) / SLOW_START_STEPS;
            self.share_percent = u8::try_from(share).unwrap_or(100);
        }
    }

    fn next_step(&self, slow_start: Duration) -> Option<Instant> {
        let began = self.starting?;
        // The first step is given at once, so the next one is the second.
        let next = (u32::from(self.share_percent).saturating_mul(SLOW_START_STEPS) / 100).saturating_add(1);
        began.checked_add(step_time(slow_start, next))
    }
}

/// The time after which `steps` steps are done, rounded up, so that at that time they are.
fn step_time(slow_start: Duration, steps: u32) -> Duration {
    let nanos =
        slow_start.as_nanos().saturating_mul(u128::from(steps)).div_ceil(u128::from(SLOW_START_STEPS));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

fn steps_done(elapsed: Duration, slow_start: Duration) -> u32 {
    let steps = elapsed.as_nanos().saturating_mul(u128::from(SLOW_START_STEPS));
    let steps = steps.checked_div(slow_start.as_nanos()).unwrap_or(u128::from(SLOW_START_STEPS));
    u32::try_from(steps).unwrap_or(u32::MAX)
}

fn count<T>(items: impl Iterator<Item = T>) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}
