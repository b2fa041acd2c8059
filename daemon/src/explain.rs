//! The chain of one VIP or service in words, from the status of this node.

use fulcrum_lifecycle::{Backend, Group, Service, Status};
use serde::Serialize;

#[cfg(test)]
mod tests;

/// What there is to say, from the address to the backends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Explained {
    /// What was asked for.
    pub(crate) name: String,
    /// A sentence each.
    pub(crate) chain: Vec<Step>,
}

/// One link of the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Step {
    /// `address`, `group`, `fence`, `peer`, `service`, `backend`.
    pub(crate) about: &'static str,
    pub(crate) text: String,
}

fn step(about: &'static str, text: impl Into<String>) -> Step {
    Step { about, text: text.into() }
}

/// Of a VIP or a service; or the names that are near.
pub(crate) fn explain(status: &Status, name: &str) -> Result<Explained, Vec<String>> {
    let services: Vec<&Service> = status
        .services
        .iter()
        .filter(|it| it.name == name || it.vips.iter().any(|vip| vip == name))
        .collect();
    let has = |group: &&Group| group.addresses.iter().any(|it| it.address == name);
    let group = status.groups.iter().find(has).or_else(|| {
        let service = services.first()?;
        status.groups.iter().find(|group| group.name == service.group)
    });
    let Some(group) = group else { return Err(near(status, name)) };
    let mut chain = addresses(group, &services, name);
    chain.extend(leadership(status, group));
    chain.extend(fence(status, group));
    chain.extend(peers(status));
    if services.is_empty() {
        chain.push(step("service", "no service is at this address: connections to it are refused"));
    }
    chain.extend(services.into_iter().flat_map(service));
    Ok(Explained { name: name.to_owned(), chain })
}

/// Names that somebody may have meant.
fn near(status: &Status, name: &str) -> Vec<String> {
    const SHOWN: usize = 5;
    let vips = status.groups.iter().flat_map(|group| group.addresses.iter().map(|it| it.address.as_str()));
    let mut all: Vec<&str> = status.services.iter().map(|it| it.name.as_str()).chain(vips).collect();
    all.sort_by_key(|known| std::cmp::Reverse(likeness(known, name)));
    all.dedup();
    all.into_iter().take(SHOWN).map(str::to_owned).collect()
}

/// Characters that two names have in common at their beginnings and ends.
fn likeness(one: &str, other: &str) -> usize {
    let begin = one.chars().zip(other.chars()).take_while(|(a, b)| a == b).count();
    let end = one.chars().rev().zip(other.chars().rev()).take_while(|(a, b)| a == b).count();
    begin.saturating_add(end)
}

fn addresses(group: &Group, services: &[&Service], name: &str) -> Vec<Step> {
    let is_meant = |address: &str| {
        address == name
            || services.iter().any(|it| it.name == name && it.vips.iter().any(|vip| vip == address))
    };
    let shown = group.addresses.iter().filter(|it| is_meant(&it.address));
    shown
        .map(|it| {
            let state = match it.state.as_str() {
                "answering" => "this node answers for it".to_owned(),
                "absent" => "this node does not answer for it".to_owned(),
                "probing" => "this node asks whether somebody else has it before it answers".to_owned(),
                "conflict" => format!(
                    "{} has it too, so this node does not answer",
                    it.mac.as_deref().unwrap_or("somebody")
                ),
                other => {
                    format!("it is {other} here: {}", it.error.as_deref().unwrap_or("no reason is known"))
                }
            };
            let proof = it
                .proof
                .as_ref()
                .filter(|proof| proof.state != "unknown")
                .map(|proof| format!("; asked from here it is {}", proof.state.replace('-', " ")));
            step(
                "address",
                format!("{} is of group {}: {state}{}", it.address, group.name, proof.unwrap_or_default()),
            )
        })
        .collect()
}

fn leadership(status: &Status, group: &Group) -> Vec<Step> {
    let how = match group.vrid {
        Some(vrid) => format!("by VRRP with VRID {vrid}"),
        None => "by election over the peer link".to_owned(),
    };
    let leader = match &group.leader {
        None => "nobody is known to lead it".to_owned(),
        Some(leader) => match leader.node.as_deref() {
            Some(node) if node == status.node => "this node leads it".to_owned(),
            Some(node) => format!("{node} leads it"),
            None => format!("{} leads it and is none of the nodes", leader.address),
        },
    };
    let mut steps = vec![step(
        "group",
        format!("group {} (class {}) finds its leader {how}: {leader}", group.name, group.class),
    )];
    let since = crate::show::time(group.since_seconds);
    let priority = group.priority.map_or_else(|| "ineligible".to_owned(), |it| format!("of priority {it}"));
    steps.push(step(
        "group",
        format!("here {} is {} for {since}, {priority}: {}", status.node, group.role, group.reason),
    ));
    for track in group.tracks.iter().filter(|track| !track.good) {
        steps.push(step("group", format!("{} has failed, which counts against this node", track.what)));
    }
    steps.extend(group.waits.iter().map(|waits| step("group", waits.clone())));
    steps.push(step("group", successors(group)));
    steps
}

/// Who stands by, as far as this node knows.
fn successors(group: &Group) -> String {
    let names = |nodes: &[String]| if nodes.is_empty() { "nobody".to_owned() } else { nodes.join(", ") };
    match &group.ready_nodes {
        Some(ready) => format!("ready to lead it, as far as this node knows: {}", names(ready)),
        None if group.vrid.is_some() => {
            "if its leader falls silent, the one of highest priority that is fit takes it over".to_owned()
        }
        None => format!(
            "if its leader falls silent, it is taken over by, one after the other: {}",
            names(&group.standbys)
        ),
    }
}

fn fence(status: &Status, group: &Group) -> Vec<Step> {
    let on = |interface: &str| {
        group.links.iter().any(|link| link.interface == interface) || group.links.is_empty()
    };
    let fences = status.fence.iter().filter(|fence| on(&fence.interface));
    fences
        .map(|fence| {
            step(
                "fence",
                format!("what silences this node at {} if it freezes: {}", fence.interface, fence.what),
            )
        })
        .collect()
}

fn peers(status: &Status) -> Vec<Step> {
    if let Some(why) = &status.peer_link.why {
        return vec![step("peer", format!("there is no peer link: {why}"))];
    }
    let line = |peer: &fulcrum_lifecycle::Peer| {
        let agrees = match peer.config_agrees {
            Some(true) => ", with the same configuration",
            Some(false) => ", WITH ANOTHER CONFIGURATION",
            None => "",
        };
        step("peer", format!("the link to {} is {}{agrees}: {}", peer.name, peer.state, peer.reason))
    };
    status.peer_link.peers.iter().map(line).collect()
}

fn service(service: &Service) -> Vec<Step> {
    let Service { name, ports, protocol, mode, mode_reason, .. } = service;
    let up = if service.up {
        "it takes connections"
    } else {
        "it REFUSES connections: too few backends can take them"
    };
    let mut steps = vec![step(
        "service",
        format!("service {name} is at {ports}/{protocol} by mode {mode} ({mode_reason}): {up}"),
    )];
    steps.extend(service.errors.iter().map(|error| step("service", format!("it does not listen: {error}"))));
    let (taking, not): (Vec<&Backend>, Vec<&Backend>) =
        service.backends.iter().partition(|it| is_taking(it, service));
    let names: Vec<String> = taking.iter().map(|it| format!("{} ({})", it.name, it.address)).collect();
    if names.is_empty() {
        steps.push(step("backend", "no backend takes new connections"));
    } else {
        steps.push(step("backend", format!("new connections go to {}", names.join(", "))));
    }
    for backend in not {
        let why = if backend.backup && is_up(backend) {
            "it is a backup, and others are up"
        } else {
            backend.reason.as_str()
        };
        steps.push(step(
            "backend",
            format!("none go to {} ({}), which is {}: {why}", backend.name, backend.address, backend.state),
        ));
    }
    steps
}

fn is_up(backend: &Backend) -> bool {
    match backend.served_as.as_deref() {
        Some(served) => served == "live",
        None => ["up", "unchecked"].contains(&backend.state.as_str()),
    }
}

/// A backup does only while no other is up.
fn is_taking(backend: &Backend, service: &Service) -> bool {
    let others = || service.backends.iter().any(|it| !it.backup && is_up(it));
    is_up(backend) && !(backend.backup && others())
}
