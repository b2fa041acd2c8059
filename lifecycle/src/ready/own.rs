//! What keeps this node from leading groups at once, as it tells its peers.

use fulcrum_config::{BackendName, Config, Group, GroupName, ServiceName};
use fulcrum_vip_manager::{AddressState, Finding, GroupObserved, Role};
use std::collections::{BTreeMap, BTreeSet};

/// Different reasons that peers are told, and the length of each: of the rest they are told that there are some.
const REASONS: (usize, usize) = (64, 200);
/// Backends that peers are told of.
const FAILS: usize = 1000;

/// What decides which groups this node could lead at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Own<'a> {
    pub(crate) config: &'a Config,
    pub(crate) vip: &'a fulcrum_vip_manager::Observed,
    pub(crate) lb: &'a fulcrum_lb::Observed,
    /// Groups whose leader's state is not here.
    pub(crate) behind: &'a BTreeSet<GroupName>,
    /// Groups that it was asked to leave.
    pub(crate) standing_down: &'a BTreeMap<GroupName, Option<fulcrum_config::NodeName>>,
    /// Why it leaves them, if nobody asked for it.
    pub(crate) held_back: Option<&'a str>,
    /// It leaves all of them.
    pub(crate) stopping: bool,
    /// Each check had its first verdict.
    pub(crate) first_round_done: bool,
}

/// Why this node could not lead groups at once: those that it leads or could lead are absent.
pub(crate) fn reasons(own: Own<'_>) -> BTreeMap<GroupName, String> {
    let unserved = unserved(own);
    let reason = |group: &Group| {
        let why = of_node(own).or_else(|| of_group(own, group));
        why.or_else(|| unserved.get(&group.name).cloned())
    };
    let groups = own.config.groups.values();
    groups.filter_map(|group| Some((group.name.clone(), reason(group)?))).collect()
}

fn of_node(own: Own<'_>) -> Option<String> {
    if own.stopping {
        Some("it is about to end".to_owned())
    } else if !own.first_round_done {
        Some("its first round of health checks is not done".to_owned())
    } else if !own.lb.stuck.is_empty() {
        Some(format!("threads that do not run: {}", own.lb.stuck.join(", ")))
    } else {
        None
    }
}

fn of_group(own: Own<'_>, group: &Group) -> Option<String> {
    let name = &group.name;
    let Some(observed) = own.vip.groups.get(name) else { return Some("it has not started it".to_owned()) };
    if own.standing_down.contains_key(name) {
        return Some(own.held_back.unwrap_or("an operator asked it to leave it").to_owned());
    }
    let behind = || "it has not got the leader's verdicts, tables and connections yet".to_owned();
    unfit(observed).or_else(|| own.behind.contains(name).then(behind))
}

/// What is the matter with its links, tracks, addresses and what it hears.
fn unfit(group: &GroupObserved) -> Option<String> {
    let link = group.links.iter().find(|(_, link)| !link.up);
    if let Some((link, _)) = link {
        return Some(format!("interface {} is gone, down or has no address", link.interface));
    }
    if let Some(track) = group.tracks.iter().find(|track| !track.good) {
        return Some(format!("track failed: {}", track.what));
    }
    let bad = group.addresses.iter().find_map(|(address, state)| match state {
        AddressState::Conflict { mac } => Some(format!("another machine ({mac}) has {address}")),
        AddressState::Failed { error } => Some(format!("{address} can't be installed: {error}")),
        AddressState::Absent | AddressState::Probing | AddressState::Answering => None,
    });
    if bad.is_some() {
        return bad;
    }
    if group.role == Role::Init || group.priority.is_none() {
        return Some(format!("it does not take part, or only if nobody else does: {}", group.reason));
    }
    let unheard = group.proof.iter().find(|(_, proof)| proof.finding == Finding::NobodyAnswers);
    unheard.map(|(address, _)| format!("nobody on the link answers it, whatever it asks for ({address})"))
}

/// The groups of which a service does not stand.
fn unserved(own: Own<'_>) -> BTreeMap<GroupName, String> {
    let mut unserved = BTreeMap::new();
    // Thousands are looked at several times a second: side by side, as both are in order.
    let mut served = own.lb.services.iter().peekable();
    for (name, service) in &own.config.services {
        while served.next_if(|(other, _)| *other < name).is_some() {}
        let why = match served.next_if(|(other, _)| *other == name) {
            Some((_, observed)) => observed.errors.first().cloned(),
            None => Some("its listeners do not stand yet".to_owned()),
        };
        if let Some(why) = why {
            unserved.entry(service.group.clone()).or_insert(format!("service {}: {why}", service.name));
        }
    }
    unserved
}

/// The same by reason, no more than fits into a message.
pub(crate) fn in_words(reasons: &BTreeMap<GroupName, String>) -> BTreeMap<String, BTreeSet<GroupName>> {
    let mut words: BTreeMap<String, BTreeSet<GroupName>> = BTreeMap::new();
    for (group, why) in reasons {
        let mut why: String = why.chars().take(REASONS.1).collect();
        if words.len() >= REASONS.0.saturating_sub(1) && !words.contains_key(&why) {
            "there is something the matter there".clone_into(&mut why);
        }
        words.entry(why).or_default().insert(group.clone());
    }
    words
}

/// The backends that fail this node's checks, up to a number.
pub(crate) fn fails(
    config: &Config,
    health: &fulcrum_health::Observed,
) -> BTreeMap<ServiceName, BTreeSet<BackendName>> {
    let mut fails: BTreeMap<ServiceName, BTreeSet<BackendName>> = BTreeMap::new();
    let failed = health.services.iter().flat_map(|(service, health)| {
        let failed = health.backends.iter().filter(|(_, backend)| !backend.verdict.usable());
        failed.map(move |(backend, _)| (service, backend))
    });
    let known = failed.filter(|(service, _)| config.services.contains_key(*service));
    for (service, backend) in known.take(FAILS) {
        fails.entry(service.clone()).or_default().insert(backend.clone());
    }
    fails
}
