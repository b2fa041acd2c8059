//! Joins what the engines observed into one [`Status`].

use crate::alarms::alarms;
use crate::overrides;
use crate::status::{
    Address, Alarm, Backend, Checks, Config as ConfigStatus, ConfigState, Failover, Fence, Finishing, Group,
    Leader, Limit, Link, Plane, Pool, Proof, Service, Setting, Status, Track,
};
use crate::sync;
use crate::verdicts::View;
use fulcrum_config::{BackendId, Config, Family, GroupName, NodeName};
use fulcrum_health::{ServiceHealth, Verdict};
use fulcrum_lb::ChecksObserved;
use fulcrum_vip_manager::{AddressState, Answerer, Finding, GroupObserved, ProofObserved, Role};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// What the daemon knows and no engine does.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The version of the daemon.
    pub version: String,
    /// When it started.
    pub started: Instant,
    /// The configuration's file.
    pub config_file: String,
    /// Whether its present content runs.
    pub config_state: ConfigState,
    /// When the running configuration was applied.
    pub loaded: Instant,
    /// How many were applied.
    pub generation: u64,
    /// The peer whose file it is, if it is not this node's own.
    pub received_from: Option<String>,
    /// What the parser found worth saying of it.
    pub warnings: Vec<String>,
    /// Why the file was refused when it was read last.
    pub refused: Vec<String>,
    /// What the daemon itself found.
    pub alarms: Vec<Alarm>,
    /// What it knows of a witness that holds a lock.
    pub witness: Witness,
    /// What it knows of each hook.
    pub hooks: Vec<crate::status::Hook>,
    /// How it stands with each Kubernetes cluster.
    pub kubernetes: Vec<crate::status::Kubernetes>,
    /// Further limits.
    pub limits: BTreeMap<String, Limit>,
    /// The process that this one took over from.
    pub finishing: Option<Finishing>,
}

/// What is known of a witness that holds a lock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Witness {
    /// Why it was not reached, if it was asked.
    pub error: Option<String>,
    /// Who has the lock.
    pub holder: Option<String>,
}

/// What was asked and observed at one moment.
#[derive(Debug, Clone)]
pub struct Snapshots {
    /// The configuration that runs.
    pub config: Arc<Config>,
    /// The serial number of what the nodes share of it.
    pub serial: u64,
    /// The groups that this node was asked to leave.
    pub standing_down: BTreeMap<GroupName, Option<NodeName>>,
    /// Of `health`.
    pub health: fulcrum_health::Observed,
    /// Of `vip-manager`.
    pub vip: fulcrum_vip_manager::Observed,
    /// Of `lb`.
    pub lb: fulcrum_lb::Observed,
    /// Of `peer`.
    pub peer: fulcrum_peer::Observed,
    /// `peer` has ended by itself.
    pub peer_ended: bool,
    /// Every check of the first configuration has had its verdict.
    pub first_round_done: bool,
    /// `lb` refused connections within the last minute because its limit was reached.
    pub limit_reached_lately: bool,
    /// Whose verdicts forwarded services go by, and how tables compare.
    pub verdicts: Arc<View>,
    /// The groups of class control-plane that this node could lead at once.
    pub ready: BTreeSet<GroupName>,
    /// Those that it leads and that no other node is known to be ready for: since when.
    pub without_standby: BTreeMap<GroupName, Instant>,
}

/// Joins them.
#[must_use]
pub fn join(facts: &Facts, snapshots: &Snapshots, now: Instant) -> Status {
    let config = &snapshots.config;
    let not_ready = not_ready(snapshots);
    let services: Vec<_> =
        config.services.values().map(|service| service_status(service, snapshots, now)).collect();
    Status {
        node: config.node.to_string(),
        version: facts.version.clone(),
        uptime_seconds: seconds(facts.started, now),
        config: ConfigStatus {
            file: facts.config_file.clone(),
            state: facts.config_state,
            loaded_seconds_ago: seconds(facts.loaded, now),
            generation: facts.generation,
            serial: snapshots.serial,
            received_from: facts.received_from.clone(),
            warnings: facts.warnings.clone(),
            refused: facts.refused.clone(),
        },
        groups: config.groups.values().map(|group| group_status(group, snapshots, now)).collect(),
        peer_link: crate::peers::status(snapshots, now),
        votes: crate::votes::status(facts, snapshots),
        guard: snapshots.vip.guard,
        fence: fence(&snapshots.vip),
        plane: snapshots.lb.plane.as_ref().map(|observed| plane(observed, &services)),
        services,
        pools: pools(config),
        ready: not_ready.is_empty(),
        not_ready,
        alarms: alarms(facts, snapshots),
        settings: settings(&snapshots.vip),
        limits: limits(facts, &snapshots.lb),
        counters: BTreeMap::from([
            ("health".to_owned(), counters(&snapshots.health.counters)),
            ("vip_manager".to_owned(), counters(&snapshots.vip.counters)),
            ("peer".to_owned(), counters(&snapshots.peer.counters)),
        ]),
        hooks: facts.hooks.clone(),
        kubernetes: facts.kubernetes.clone(),
        overrides: overrides::status(snapshots),
        sources: crate::sources::status(snapshots),
        finishing: facts.finishing.clone(),
    }
}

pub(crate) fn seconds(since: Instant, now: Instant) -> u64 {
    now.saturating_duration_since(since).as_secs()
}

fn not_ready(snapshots: &Snapshots) -> Vec<String> {
    let mut waits = Vec::new();
    if !snapshots.lb.stuck.is_empty() {
        waits.push(format!("threads that do not run: {}", snapshots.lb.stuck.join(", ")));
    }
    if !snapshots.lb.ready {
        waits.push("not every service listens yet".to_owned());
    }
    if !snapshots.first_round_done {
        waits.push("the first round of health checks is not done".to_owned());
    }
    let missing = snapshots.config.groups.keys().filter(|name| !snapshots.vip.groups.contains_key(*name));
    waits.extend(missing.map(|name| format!("group {name} has not started")));
    waits
}

fn group_status(group: &fulcrum_config::Group, snapshots: &Snapshots, now: Instant) -> Group {
    let observed = snapshots.vip.groups.get(&group.name);
    let (role, since, reason) = match observed {
        Some(seen) => (seen.role, seconds(seen.since, now), seen.reason.to_string()),
        None => (Role::Init, 0, "it has not started yet".to_owned()),
    };
    Group {
        name: group.name.to_string(),
        class: word(&group.class),
        standbys: observed
            .map_or_else(Vec::new, |seen| seen.order.iter().skip(1).map(ToString::to_string).collect()),
        moves_to: observed.and_then(|seen| seen.moves_to.as_ref()).map(ToString::to_string),
        ready_nodes: (group.class == fulcrum_config::Class::ControlPlane).then(|| {
            crate::control_plane::able(snapshots, &group.name).iter().map(ToString::to_string).collect()
        }),
        vrid: group.vrid().map(fulcrum_config::Vrid::get),
        role: word(&role),
        since_seconds: since,
        reason,
        leader: observed.and_then(|seen| leader(group, seen, snapshots)),
        priority: observed.and_then(|seen| seen.priority),
        epoch: observed.map_or(0, |seen| seen.epoch),
        transitions: observed.map_or(0, |seen| seen.transitions),
        takeover_ms: observed.and_then(|seen| seen.takeover).map(milliseconds),
        addresses: group.vips.iter().map(|vip| address(vip.address, observed, now)).collect(),
        tracks: observed.map_or_else(Vec::new, tracks),
        links: group.links().into_iter().map(|link| link_status(&link, observed)).collect(),
        standing_down: snapshots.standing_down.contains_key(&group.name),
        draining_seconds: observed
            .and_then(|seen| seen.draining)
            .map(|until| until.saturating_duration_since(now).as_secs()),
        waits: sync::waits(&group.name, snapshots, now),
        finisher: observed.and_then(|seen| seen.finisher.as_ref()).map(ToString::to_string),
        proven_seconds_ago: observed.and_then(|seen| proven(seen, now)),
    }
}

/// Since the address that was answered longest ago was answered.
fn proven(seen: &GroupObserved, now: Instant) -> Option<u64> {
    let answered: Option<Vec<Instant>> = seen.proof.values().map(|proof| proof.answered).collect();
    Some(seconds(answered?.into_iter().min()?, now))
}

fn proof(observed: &ProofObserved, now: Instant) -> Proof {
    let (by, ports): (&[Answerer], &[u16]) = match &observed.finding {
        Finding::AnsweredTwice { by } | Finding::AnsweredByAnother { by } | Finding::AnsweredUnled { by } => {
            (by, &[])
        }
        Finding::PortNotAnswered { ports } => (&[], ports),
        Finding::Unknown | Finding::Answered | Finding::NotAnswered | Finding::NobodyAnswers => (&[], &[]),
    };
    Proof {
        state: observed.finding.name().to_owned(),
        since_seconds: seconds(observed.since, now),
        answered_seconds_ago: observed.answered.map(|answered| seconds(answered, now)),
        by: by.iter().map(|one| one.mac.clone()).collect(),
        ports: ports.to_vec(),
    }
}

fn leader(group: &fulcrum_config::Group, seen: &GroupObserved, snapshots: &Snapshots) -> Option<Leader> {
    if seen.role != Role::Leader {
        return seen.leader.as_ref().map(|peer| Leader {
            node: peer.node.as_ref().map(ToString::to_string),
            address: peer.address.to_string(),
            priority: peer.priority,
        });
    }
    let node = &snapshots.config.node;
    let own = seen.links.values().find_map(|link| link.address);
    Some(Leader {
        node: Some(node.to_string()),
        address: own.map(|address| address.to_string()).unwrap_or_default(),
        priority: seen.priority.or_else(|| group.priorities.get(node).map(|p| p.get())).unwrap_or(0),
    })
}

fn address(vip: std::net::IpAddr, observed: Option<&GroupObserved>, now: Instant) -> Address {
    let proof = observed.and_then(|seen| seen.proof.get(&vip)).map(|observed| proof(observed, now));
    let state = observed.and_then(|seen| seen.addresses.get(&vip)).unwrap_or(&AddressState::Absent);
    let (state, mac, error) = match state {
        AddressState::Absent => ("absent", None, None),
        AddressState::Probing => ("probing", None, None),
        AddressState::Answering => ("answering", None, None),
        AddressState::Conflict { mac } => ("conflict", Some(mac.clone()), None),
        AddressState::Failed { error } => ("failed", None, Some(error.clone())),
    };
    Address { address: vip.to_string(), state: state.to_owned(), mac, error, proof }
}

fn tracks(observed: &GroupObserved) -> Vec<Track> {
    observed.tracks.iter().map(|track| Track { what: track.what.clone(), good: track.good }).collect()
}

fn link_status(link: &fulcrum_config::Link, observed: Option<&GroupObserved>) -> Link {
    let seen = observed.and_then(|seen| seen.links.get(link));
    let family = match link.family {
        Family::Ipv4 => "ipv4",
        Family::Ipv6 => "ipv6",
    };
    Link {
        interface: link.interface.to_string(),
        family: family.to_owned(),
        up: seen.is_some_and(|seen| seen.up),
        address: seen.and_then(|seen| seen.address).map(|address| address.to_string()),
        counters: seen.map_or_else(BTreeMap::new, |seen| {
            seen.counters.0.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
        }),
    }
}

fn pools(config: &Config) -> Vec<Pool> {
    let count = |count: u128| u64::try_from(count).unwrap_or(u64::MAX);
    let pool = |usage: fulcrum_config::PoolUse| {
        let pool = config.pools.get(&usage.pool)?;
        let used = u64::try_from(usage.used).unwrap_or(u64::MAX);
        Some(Pool {
            name: pool.name.to_string(),
            group: pool.group.as_ref().map(ToString::to_string),
            family: word(&usage.family),
            auto_assign: pool.auto_assign,
            used,
            free: count(usage.total.saturating_sub(used.into())),
            total: count(usage.total),
        })
    };
    config.pool_use().into_iter().filter_map(pool).collect()
}

fn service_status(service: &fulcrum_config::Service, snapshots: &Snapshots, now: Instant) -> Service {
    let health = snapshots.health.services.get(&service.name);
    let served = snapshots.lb.services.get(&service.name);
    let led = snapshots.verdicts.services.get(&service.name).and_then(|view| view.verdict.as_ref());
    let ports = service.ports;
    let range = if ports.first == ports.last {
        ports.first.to_string()
    } else {
        format!("{}-{}", ports.first, ports.last)
    };
    Service {
        name: service.name.to_string(),
        group: service.group.to_string(),
        vips: service.vips.iter().map(ToString::to_string).collect(),
        pools: snapshots
            .config
            .allocations
            .of(&service.name)
            .into_iter()
            .flatten()
            .map(|(address, pool)| (address.to_string(), pool.to_string()))
            .collect(),
        protocol: word(&service.protocol),
        ports: range,
        mode: service.mode.forwarding().map_or_else(|| "proxy".to_owned(), |forwarding| word(&forwarding)),
        mode_reason: mode_reason(service.mode).to_owned(),
        up: led.map_or_else(|| health.is_none_or(|health| health.up), |verdict| verdict.up),
        connections: served.map_or(0, |served| served.stats.connections),
        stats: served.map_or_else(BTreeMap::new, |served| counters(&served.stats)),
        errors: served.map_or_else(Vec::new, |served| served.errors.clone()),
        backends: service
            .backends
            .iter()
            .map(|backend| {
                let stats = served.and_then(|served| served.backends.get(&backend.name));
                let served_as = sync::served_as(&service.name, backend.address, snapshots);
                let id = BackendId { service: service.name.clone(), backend: backend.name.clone() };
                let asked = overrides::reason(&id, snapshots);
                Backend { served_as, ..backend_status(backend, health, stats, asked, now) }
            })
            .collect(),
        forwarded: sync::forwarded(service, snapshots, now),
        checks: served.and_then(|served| served.checks.as_ref()).map(checks),
    }
}

fn checks(observed: &ChecksObserved) -> Checks {
    match observed {
        ChecksObserved::AtVip => Checks { at_vip: true, why: None },
        ChecksObserved::AtBackend(why) => Checks { at_vip: false, why: Some(why.clone()) },
    }
}

fn mode_reason(mode: fulcrum_config::Mode) -> &'static str {
    match mode {
        fulcrum_config::Mode::Auto => {
            "auto: `nat` and `dsr` need backends that are set up for them, so they must be asked for"
        }
        fulcrum_config::Mode::Proxy
        | fulcrum_config::Mode::Nat
        | fulcrum_config::Mode::Dsr
        | fulcrum_config::Mode::Fullnat => "the configuration asks for it",
    }
}

fn backend_status(
    backend: &fulcrum_config::Backend,
    health: Option<&ServiceHealth>,
    stats: Option<&fulcrum_lb::BackendStats>,
    asked: Option<String>,
    now: Instant,
) -> Backend {
    let health = health.and_then(|health| health.backends.get(&backend.name));
    let verdict = health.map_or(Verdict::Unchecked, |health| health.verdict);
    let (state, reason) = if backend.disabled {
        ("disabled", asked.unwrap_or_default())
    } else if backend.weight.get() == 0 {
        ("disabled", "its weight is 0".to_owned())
    } else if backend.drain && verdict.usable() {
        ("draining", asked.unwrap_or_else(|| "the configuration drains it".to_owned()))
    } else {
        let state = match verdict {
            Verdict::Unchecked => "unchecked",
            Verdict::Up => "up",
            Verdict::Down => "down",
        };
        (state, health.map_or_else(|| "no verdict yet".to_owned(), |health| health.reason.to_string()))
    };
    let share = health.map_or(100, |health| health.share_percent);
    let port = backend.address.port.map_or_else(|| "*".to_owned(), |port| port.to_string());
    Backend {
        name: backend.name.to_string(),
        address: if backend.address.ip.is_ipv6() {
            format!("[{}]:{port}", backend.address.ip)
        } else {
            format!("{}:{port}", backend.address.ip)
        },
        state: state.to_owned(),
        reason,
        since_seconds: health.map_or(0, |health| seconds(health.since, now)),
        weight: f64::from(backend.weight.get()) * f64::from(share) / 100.0,
        backup: backend.backup,
        served_as: None,
        connections: stats.map_or(0, |stats| stats.connections),
        stats: stats.map_or_else(BTreeMap::new, counters),
    }
}

fn fence(vip: &fulcrum_vip_manager::Observed) -> Vec<Fence> {
    let fences = vip.fence.iter().map(|(interface, fence)| Fence {
        interface: interface.to_string(),
        kernel: fence.is_kernel(),
        what: fence.to_string(),
    });
    fences.collect()
}

fn plane(plane: &fulcrum_lb::PlaneObserved, services: &[Service]) -> Plane {
    let not_forwarded = plane.not_forwarded.iter().map(|(reason, count)| ((*reason).to_owned(), *count));
    Plane {
        interfaces: plane.interfaces.clone(),
        without_xdp: plane.without_xdp.clone(),
        not_forwarded: not_forwarded.collect(),
        checks: plane.checks.iter().map(|(what, count)| ((*what).to_owned(), *count)).collect(),
        noted_flows: plane.noted_flows,
        flows_held_by: plane.flows.held_by.iter().map(ToString::to_string).collect(),
        flows_in_sync: plane.flows.in_sync,
        flow_counters: counters(&plane.flows.counters),
        failover: failover(!plane.flows.held_by.is_empty(), services),
    }
}

/// `held`: a peer knows what is known here.
fn failover(held: bool, services: &[Service]) -> Failover {
    let mut failover = Failover::default();
    for (service, forwarded) in services.iter().filter_map(|one| Some((one, one.forwarded.as_ref()?))) {
        failover.live = failover.live.saturating_add(service.connections);
        if forwarded.each_flow_known {
            continue;
        }
        failover.by_hash.push(service.name.clone());
        if !forwarded.tables.iter().any(|tables| tables.in_sync) {
            failover.by_unproven_hash.push(service.name.clone());
        }
    }
    failover.held = if held { failover.live } else { 0 };
    failover
}

pub(crate) fn settings(vip: &fulcrum_vip_manager::Observed) -> Vec<Setting> {
    let settings = vip.settings.iter().map(|setting| Setting {
        name: setting.name.clone(),
        value: setting.value.clone(),
        wanted: setting.wanted.clone(),
        found: setting.found.clone(),
        good: setting.good,
    });
    settings.collect()
}

fn limits(facts: &Facts, lb: &fulcrum_lb::Observed) -> BTreeMap<String, Limit> {
    let mut limits = facts.limits.clone();
    let connections =
        Limit { used: lb.connections, limit: lb.connections_limit, reached: lb.refused_at_limit };
    limits.insert("connections".to_owned(), connections);
    if let Some(plane) = &lb.plane {
        let noted =
            Limit { used: plane.noted_flows, limit: plane.noted_flows_limit, reached: plane.not_noted };
        limits.insert("noted_flows".to_owned(), noted);
    }
    limits
}

pub(crate) fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// The name that serde gives a plain enum.
pub(crate) fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(_) | Err(_) => String::new(),
    }
}

/// A struct of counters as a map, so that each new one shows by itself.
pub(crate) fn counters(value: &impl Serialize) -> BTreeMap<String, u64> {
    let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(value) else {
        return BTreeMap::new();
    };
    fields.into_iter().filter_map(|(name, count)| Some((name, count.as_u64()?))).collect()
}
