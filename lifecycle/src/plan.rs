//! What each engine is to do: pure functions of what was asked and what was observed.

use crate::verdicts::Following;
use fulcrum_config::{
    Backend, BackendName, Class, Config, Forwarding, GroupName, InterfaceName, NodeName, Protocol, Service,
    ServiceName, Target,
};
use fulcrum_health::{ServiceHealth, TargetHealth};
use fulcrum_lb::{BackendState, BackendUse, ServiceDesired};
use fulcrum_peer::{Judged, Services, Serving, Usage, Verdict};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

#[cfg(test)]
mod tests;

/// What `health` is to probe.
#[must_use]
pub fn health_desired(config: &Config) -> fulcrum_health::Desired {
    fulcrum_health::Desired { services: config.services.clone() }
}

/// The table that `lb` is to serve, or `None` if `previous` is that already.
///
/// A service that is served as before keeps its `Arc`, so that neither side touches it: of thousands of
/// services, only those whose health changed are built. What is `following` counts more than this node's own verdicts.
#[must_use]
pub fn lb_desired(
    config: &Config,
    health: &fulcrum_health::Observed,
    following: &Following,
    previous: &fulcrum_lb::Desired,
) -> Option<fulcrum_lb::Desired> {
    let mut changed = config.services.len() != previous.services.len();
    let services = config
        .services
        .iter()
        .map(|(name, service)| {
            let verdict = following.verdicts.get(name).map(|verdict| &**verdict);
            let by = Judgement { checked: Checked::of(health, service), verdict };
            if let Some(kept) = previous.services.get(name)
                && kept.protected == is_protected(config, service)
                && kept.sources == sources(config, service)
                && is_as_desired(kept, service, by)
            {
                return (name.clone(), Arc::clone(kept));
            }
            changed = true;
            (name.clone(), Arc::new(service_desired(config, service, by)))
        })
        .collect();
    let interfaces = interfaces(config);
    changed |= interfaces != previous.interfaces || following.tables != previous.follow;
    let follow = following.tables.clone();
    changed.then_some(fulcrum_lb::Desired { services, interfaces, follow, ..previous.clone() })
}

/// What a service is served by: this node's own health checks, and what counts more if it is there.
#[derive(Debug, Clone, Copy)]
struct Judgement<'a> {
    checked: Checked<'a>,
    verdict: Option<&'a Verdict>,
}

impl Judgement<'_> {
    /// A service without a verdict counts as up.
    fn is_up(&self) -> bool {
        self.verdict.map_or_else(|| self.checked.health.is_none_or(|health| health.up), |verdict| verdict.up)
    }

    /// Of a backend that the leader's configuration does not have, this node's own checks decide.
    fn of(&self, backend: &Backend, spares_needed: bool) -> (BackendUse, u32) {
        let judged = self.verdict.and_then(|verdict| verdict.backends.get(&backend.address));
        judged.map_or_else(
            || self.checked.usage(backend, spares_needed),
            |judged| (used(judged), judged.weight),
        )
    }
}

/// A service, and what this node's own checks say of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Checked<'a> {
    service: &'a Service,
    health: Option<&'a ServiceHealth>,
    targets: &'a HashMap<Target, Arc<TargetHealth>>,
}

impl<'a> Checked<'a> {
    pub(crate) fn of(health: &'a fulcrum_health::Observed, service: &'a Service) -> Self {
        Self { service, health: health.services.get(&service.name), targets: &health.targets }
    }

    /// The verdict of a backend, and its share in percent. Until the checks have heard of a change, another one may
    /// have its name; and what they know of its target counts, whatever service it was of.
    fn backend(&self, backend: &Backend) -> Option<(fulcrum_health::Verdict, u8)> {
        let named = self.health.and_then(|health| health.backends.get(&backend.name));
        if let Some(health) = named.filter(|health| health.address == backend.address) {
            return Some((health.verdict, health.share_percent));
        }
        let target = self.targets.get(&self.service.target(backend)?)?;
        Some((target.verdict, 100))
    }

    fn is_usable(&self, backend: &Backend) -> bool {
        self.backend(backend).is_none_or(|(verdict, _)| verdict.usable())
    }

    /// Whether the backup backends are needed: no other takes new connections.
    fn spares_needed(&self) -> bool {
        !self.service.backends.iter().any(|backend| {
            !backend.backup && !backend.drain && backend.weight.get() > 0 && self.is_usable(backend)
        })
    }

    fn usage(&self, backend: &Backend, spares_needed: bool) -> (BackendUse, u32) {
        let (verdict, share) = self.backend(backend).unwrap_or((fulcrum_health::Verdict::Unchecked, 100));
        let weight = u32::from(backend.weight.get()).saturating_mul(u32::from(share));
        let usage = if backend.disabled || !verdict.usable() {
            BackendUse::Down
        } else if backend.drain || (backend.backup && !spares_needed) {
            BackendUse::Draining
        } else {
            BackendUse::Live
        };
        (usage, weight)
    }
}

fn used(judged: &Judged) -> BackendUse {
    match judged.usage {
        Usage::Live => BackendUse::Live,
        Usage::Draining => BackendUse::Draining,
        Usage::Down => BackendUse::Down,
    }
}

/// The backends that this node would use for something else than `verdict` says.
pub(crate) fn disputed(checked: &Checked<'_>, verdict: &Verdict) -> BTreeSet<BackendName> {
    let spares_needed = checked.spares_needed();
    let is_disputed = |backend: &&Arc<Backend>| {
        let judged = verdict.backends.get(&backend.address);
        judged.is_some_and(|judged| used(judged) != checked.usage(backend, spares_needed).0)
    };
    checked.service.backends.iter().filter(is_disputed).map(|backend| backend.name.clone()).collect()
}

/// What the peers are told of forwarded services: of those that this node leads also what it serves them by.
#[must_use]
pub(crate) fn serving(
    config: &Config,
    vip: &fulcrum_vip_manager::Observed,
    desired: &fulcrum_lb::Desired,
    lb: &fulcrum_lb::Observed,
    before: &Arc<Services>,
) -> Arc<Services> {
    let tables = lb.plane.as_ref().map(|plane| &plane.tables);
    let mut services = Services::new();
    for (name, service) in config.services.iter().filter(|(_, service)| service.mode.forwarding().is_some()) {
        let known = before.get(name);
        let served = desired.services.get(name).filter(|_| vip.leads(&service.group));
        let verdict = served.map(|served| match known.and_then(|known| known.verdict.as_ref()) {
            Some(known) if is_served_by(served, known) => Arc::clone(known),
            Some(_) | None => Arc::new(verdict(served)),
        });
        let serving = Serving { verdict, tables: tables.and_then(|tables| tables.get(name)).cloned() };
        let kept = known.filter(|known| ***known == serving).cloned();
        services.insert(name.clone(), kept.unwrap_or_else(|| Arc::new(serving)));
    }
    if services == **before { Arc::clone(before) } else { Arc::new(services) }
}

fn is_served_by(desired: &ServiceDesired, verdict: &Verdict) -> bool {
    let is_same = |state: &BackendState| {
        let judged = verdict.backends.get(&state.backend.address);
        judged.is_some_and(|judged| used(judged) == state.usage && judged.weight == state.weight)
    };
    desired.up == verdict.up
        && desired.backends.len() == verdict.backends.len()
        && desired.backends.iter().all(is_same)
}

fn verdict(desired: &ServiceDesired) -> Verdict {
    let judged = |state: &BackendState| {
        let usage = match state.usage {
            BackendUse::Live => Usage::Live,
            BackendUse::Draining => Usage::Draining,
            BackendUse::Down => Usage::Down,
        };
        (state.backend.address, Judged { usage, weight: state.weight })
    };
    Verdict { up: desired.up, backends: desired.backends.iter().map(judged).collect() }
}

/// Where VIPs are.
fn interfaces(config: &Config) -> BTreeSet<InterfaceName> {
    config.groups.values().flat_map(|group| &group.vips).map(|vip| vip.interface.clone()).collect()
}

fn is_as_desired(kept: &ServiceDesired, service: &Arc<Service>, by: Judgement<'_>) -> bool {
    if !Arc::ptr_eq(&kept.service, service) && kept.service != *service {
        return false;
    }
    let spares_needed = by.checked.spares_needed();
    kept.up == by.is_up()
        && kept.backends.iter().all(|state| {
            let (usage, weight) = by.of(&state.backend, spares_needed);
            state.usage == usage && state.weight == weight
        })
}

fn service_desired(config: &Config, service: &Arc<Service>, by: Judgement<'_>) -> ServiceDesired {
    let spares_needed = by.checked.spares_needed();
    let backends = service
        .backends
        .iter()
        .map(|backend| {
            let (usage, weight) = by.of(backend, spares_needed);
            BackendState { backend: Arc::clone(backend), usage, weight }
        })
        .collect();
    ServiceDesired {
        service: Arc::clone(service),
        up: by.is_up(),
        protected: is_protected(config, service),
        backends,
        sources: sources(config, service),
    }
}

/// Where packets of a service may be sent on from.
fn sources(config: &Config, service: &Service) -> Vec<(InterfaceName, IpAddr)> {
    if service.mode.forwarding() != Some(Forwarding::Fullnat) {
        return Vec::new();
    }
    let group = config.groups.get(&service.group);
    let vips = group.into_iter().flat_map(|group| &group.vips);
    vips.map(|vip| (vip.interface.clone(), vip.address)).collect()
}

/// Whether its group is of the control plane.
fn is_protected(config: &Config, service: &Service) -> bool {
    config.groups.get(&service.group).is_some_and(|group| group.class == Class::ControlPlane)
}

/// What `peer` is to keep a link for.
#[must_use]
pub fn peer_desired(
    config: &Arc<Config>,
    generation: u64,
    serial: u64,
    vip: &fulcrum_vip_manager::Observed,
) -> fulcrum_peer::Desired {
    let fulcrum_vip_manager::Word { leads, asks, holds, sources, accuses, .. } = vip.word.clone();
    fulcrum_peer::Desired {
        config: Arc::clone(config),
        generation,
        word: fulcrum_peer::Word { leads, asks, holds, sources, accuses, ..fulcrum_peer::Word::default() },
        answers: vip.answers.clone(),
        serial,
        changes: fulcrum_peer::Changes::default(),
        serving: Arc::default(),
    }
}

/// What `vip-manager` is to know of the peers' adverts: the words of those whose link is up.
pub(crate) fn words(peer: &fulcrum_peer::Observed) -> BTreeMap<NodeName, fulcrum_vip_manager::Word> {
    let word = |word: &fulcrum_peer::Word| {
        let fulcrum_peer::Word { leads, asks, answers, holds, sources, accuses, .. } = word.clone();
        fulcrum_vip_manager::Word { leads, asks, answers, holds, sources, accuses }
    };
    peer.peers.iter().filter_map(|(name, peer)| Some((name.clone(), word(peer.word.as_ref()?)))).collect()
}

/// What `vip-manager` is to lead.
#[must_use]
pub fn vip_desired(
    config: &Arc<Config>,
    standing_down: &BTreeMap<GroupName, Option<NodeName>>,
    stopping: bool,
    data_plane_missing: BTreeSet<GroupName>,
    held: BTreeSet<GroupName>,
) -> fulcrum_vip_manager::Desired {
    let standing_down = standing_down.iter().filter(|(group, _)| config.groups.contains_key(*group));
    let standing_down = standing_down.map(|(group, to)| (group.clone(), to.clone())).collect();
    fulcrum_vip_manager::Desired {
        config: Arc::clone(config),
        data_plane_missing,
        standing_down,
        stopping,
        words: BTreeMap::new(),
        held,
        // Until the first round of checks is done.
        behind: config.groups.keys().cloned().collect(),
        part: fulcrum_vip_manager::Part::Whole,
    }
}

/// The groups whose services the local data plane does not serve.
///
/// All of them, if a thread is stuck: its share of the clients waits whatever the service.
/// A service that `lb` has not reached yet counts as missing only until its group was served whole
/// (`served_once`): a reload that adds a service to a group must not make its leader resign. Nor must one that
/// is `on_trial`.
#[must_use]
pub fn data_plane_missing(
    config: &Config,
    lb: &fulcrum_lb::Observed,
    served_once: &BTreeSet<GroupName>,
    on_trial: &BTreeSet<ServiceName>,
) -> BTreeSet<GroupName> {
    let is_missing = |service: &Service| {
        !lb.stuck.is_empty()
            || match lb.services.get(&service.name) {
                Some(observed) => !observed.errors.is_empty() && !on_trial.contains(&service.name),
                None => !served_once.contains(&service.group),
            }
    };
    config.services.values().filter(|service| is_missing(service)).map(|s| s.group.clone()).collect()
}

/// The groups that the local data plane has proxied TCP connections of.
#[must_use]
pub(crate) fn held(config: &Config, lb: &fulcrum_lb::Observed) -> BTreeSet<GroupName> {
    let is_busy = |service: &&Arc<Service>| {
        service.protocol == Protocol::Tcp
            && service.mode.forwarding().is_none()
            && lb.services.get(&service.name).is_some_and(|observed| observed.stats.connections > 0)
    };
    config.services.values().filter(is_busy).map(|service| service.group.clone()).collect()
}

/// The groups that the local data plane serves whole: `lb` has reached each of their services, without an error.
#[must_use]
pub(crate) fn served(config: &Config, lb: &fulcrum_lb::Observed) -> BTreeSet<GroupName> {
    let missing = data_plane_missing(config, lb, &BTreeSet::new(), &BTreeSet::new());
    config.groups.keys().filter(|name| !missing.contains(*name)).cloned().collect()
}

/// Whether every backend that is checked has its first verdict, or was tried and can't be checked by this node.
#[must_use]
pub fn first_round_done(config: &Config, observed: &fulcrum_health::Observed) -> bool {
    config.services.values().filter(|service| service.check.is_some()).all(|service| {
        let Some(health) = observed.services.get(&service.name) else { return false };
        service.backends.iter().all(|backend| {
            let is_known = health
                .backends
                .get(&backend.name)
                .is_some_and(|health| health.verdict != fulcrum_health::Verdict::Unchecked);
            is_known || not_made(service, backend, observed).is_some()
        })
    })
}

/// What is known of a backend's target, if the last probes of it could not be made by this node.
pub(crate) fn not_made<'a>(
    service: &Service,
    backend: &Backend,
    observed: &'a fulcrum_health::Observed,
) -> Option<&'a fulcrum_health::TargetHealth> {
    let target = observed.targets.get(&service.target(backend)?)?;
    (target.not_made > 0).then_some(target)
}
