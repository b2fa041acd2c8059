//! From the status of a node to what is broken, the worst first: a pure function.

use fulcrum_lifecycle::{Backend, ConfigState, Group, Link, Peer, Service, Severity, Status};
use serde::Serialize;

#[cfg(test)]
mod tests;

/// Which link of the chain is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Broken {
    Daemon,
    Configuration,
    Group,
    Election,
    Neighbour,
    Plane,
    Backend,
    Peer,
    Alarm,
}

impl Broken {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Daemon => "daemon",
            Self::Configuration => "configuration",
            Self::Group => "group",
            Self::Election => "election",
            Self::Neighbour => "neighbour",
            Self::Plane => "plane",
            Self::Backend => "backend",
            Self::Peer => "peer",
            Self::Alarm => "alarm",
        }
    }
}

/// One thing that is broken.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    pub(crate) link: Broken,
    pub(crate) text: String,
    #[serde(rename = "do")]
    pub(crate) remedy: String,
}

fn critical(link: Broken, text: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding { severity: Severity::Critical, link, text: text.into(), remedy: remedy.into() }
}

fn warning(link: Broken, text: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding { severity: Severity::Warning, ..critical(link, text, remedy) }
}

/// That no daemon could be asked, and why.
pub(crate) fn without_daemon(why: &str) -> Finding {
    critical(
        Broken::Daemon,
        format!("nobody answers for this node's VIPs here, for the daemon does not: {why}"),
        "'systemctl status fulcrum' and the log say why it is not there; then 'systemctl start fulcrum'",
    )
}

/// Everything that is broken, the worst first.
pub(crate) fn findings(status: &Status) -> Vec<Finding> {
    let mut found = configuration(status);
    for group in &status.groups {
        found.extend(addresses(group));
        found.extend(election(status, group));
        found.extend(neighbours(group));
    }
    found.extend(plane(status));
    for service in &status.services {
        found.extend(listeners(service));
        found.extend(backends(service));
    }
    found.extend(status.peer_link.peers.iter().filter_map(peer));
    found.extend(status.alarms.iter().map(|alarm| Finding {
        severity: alarm.severity,
        link: Broken::Alarm,
        text: format!("{} (affects {})", alarm.what, alarm.affected),
        remedy: alarm.remedy.clone(),
    }));
    found.sort();
    found
}

fn configuration(status: &Status) -> Vec<Finding> {
    let config = &status.config;
    let first = config.refused.first().map_or("no mistake is told", String::as_str);
    let remedy = format!("'fulcrum check {}', correct it, then 'fulcrum reload'", config.file);
    let mut found = match config.state {
        ConfigState::LastGood => vec![warning(
            Broken::Configuration,
            format!("the last good configuration runs because {} was refused: {first}", config.file),
            remedy,
        )],
        ConfigState::Current if !config.refused.is_empty() => {
            vec![warning(
                Broken::Configuration,
                format!("what runs is not what {} says: {first}", config.file),
                remedy,
            )]
        }
        ConfigState::Current => Vec::new(),
    };
    if !status.ready {
        found.push(warning(
            Broken::Daemon,
            format!("the node is not ready: it waits for {}", status.not_ready.join(", ")),
            "remove what is named; it is tried again by itself",
        ));
    }
    found
}

/// VIPs that this node should answer for and can't.
fn addresses(group: &Group) -> Vec<Finding> {
    let mut found = Vec::new();
    for address in &group.addresses {
        let (vip, name) = (&address.address, &group.name);
        match address.state.as_str() {
            "conflict" => {
                let mac = address.mac.as_deref().unwrap_or("another machine");
                found.push(critical(
                    Broken::Group,
                    format!("VIP {vip} of group {name} is not answered here because {mac} has it, too"),
                    format!("find {mac} in the switch's table of MACs and take {vip} off it"),
                ));
            }
            "failed" => found.push(critical(
                Broken::Group,
                format!(
                    "VIP {vip} of group {name} could not be installed because {}",
                    address.error.as_deref().unwrap_or("of something that is not told")
                ),
                "remove the cause that is named; it is tried again by itself",
            )),
            _ => {}
        }
    }
    found
}

fn election(status: &Status, group: &Group) -> Vec<Finding> {
    let name = &group.name;
    let Some(leader) = &group.leader else {
        let remedy = "remove what is named; say 'fulcrum diagnose' on the other nodes, too";
        let text = format!("group {name} is led by nobody because {}", no_leader(status, group));
        return vec![critical(Broken::Election, text, remedy)];
    };
    if leader.node.is_none() {
        return vec![critical(
            Broken::Election,
            format!("group {name} is led by {}, which is none of the nodes in the file", leader.address),
            "list it in `nodes` (`foreign: true` if it is keepalived or FRR), or find it and give it another VRID",
        )];
    }
    if group.role == "init" {
        return vec![warning(
            Broken::Election,
            format!("this node takes no part in group {name} because {}", group.reason),
            "remove what is named: until then nobody here takes over from the leader",
        )];
    }
    let failed = group.tracks.iter().filter(|track| !track.good);
    let lowered = failed.map(|track| {
        warning(
            Broken::Election,
            format!("{} has failed, which counts against this node in group {name}", track.what),
            format!("repair {}", track.what),
        )
    });
    lowered.collect()
}

/// Why nobody leads a group, as far as this node knows.
fn no_leader(status: &Status, group: &Group) -> String {
    let mut why = Vec::new();
    if group.standing_down {
        why.push("an operator asked this node to leave it".to_owned());
    }
    let failed: Vec<&str> =
        group.tracks.iter().filter(|track| !track.good).map(|track| track.what.as_str()).collect();
    if group.priority.is_none() && !failed.is_empty() {
        why.push(format!("this node may not lead it while {} fails", failed.join(" and ")));
    }
    let down: Vec<String> = group
        .links
        .iter()
        .filter(|link| !link.up)
        .map(|link| format!("{} ({})", link.interface, link.family))
        .collect();
    if !down.is_empty() {
        why.push(format!("no adverts can be sent on {}", down.join(" and ")));
    }
    if let Some(votes) = status.votes.as_ref().filter(|votes| !votes.takes_over && group.vrid.is_none()) {
        why.push(format!(
            "only {} of {} nodes are heard, and it is to have no leader rather than two",
            votes.votes, votes.nodes
        ));
    }
    if why.is_empty() {
        why.push(format!("this node is {} ({}), and hears no other", group.role, group.reason));
    }
    why.join(", and ")
}

/// What the neighbours see of the VIPs.
fn neighbours(group: &Group) -> Vec<Finding> {
    let leader = group.leader.as_ref().map(|leader| leader.node.as_deref().unwrap_or(&leader.address));
    let (name, leader) = (&group.name, leader.unwrap_or("nobody"));
    let mut found = Vec::new();
    for link in group.links.iter().filter(|link| !link.up) {
        found.push(critical(
            Broken::Neighbour,
            format!(
                "group {name} has no neighbours on {} ({}): it is down, or has no address",
                link.interface, link.family
            ),
            format!(
                "'ip link' and 'ip address show {}': is the cable in, and is the node's address there?",
                link.interface
            ),
        ));
    }
    let version_2 = |link: &&Link| link.counters.get("refused_version_2").is_some_and(|count| *count > 0);
    for link in group.links.iter().filter(version_2) {
        found.push(critical(
            Broken::Neighbour,
            format!(
                "on {} ({}) adverts of VRRPv2 were heard since the start: whoever sends them and group {name} do not hear each other",
                link.interface, link.family
            ),
            "with keepalived, set `vrrp_version 3` in its `global_defs`; a router of another purpose needs nothing",
        ));
    }
    for address in &group.addresses {
        let Some(proof) = &address.proof else { continue };
        let (vip, by) = (&address.address, proof.by.join(" and "));
        let text = match proof.state.as_str() {
            "not-answered" => {
                format!("{leader} leads group {name}, and {vip} is not answered when this node asks for it")
            }
            "port-not-answered" => {
                let ports: Vec<String> = proof.ports.iter().map(ToString::to_string).collect();
                format!(
                    "{leader} answers for {vip}, but neither accepts nor refuses at port {}",
                    ports.join(" and ")
                )
            }
            "answered-twice" => format!("{vip} is answered twice, by {by}, too: clients get to either"),
            "answered-by-another" => {
                format!("{vip} is answered by {by} and not by {leader}, which leads group {name}")
            }
            "answered-unled" => format!("{vip} is answered by {by}, though nobody leads group {name}"),
            "nobody-answers" => {
                format!("nobody at all answers this node on the link of {vip}: it is cut off")
            }
            _ => continue,
        };
        found.push(critical(
            Broken::Neighbour,
            text,
            "say 'fulcrum diagnose' on the leader; find the MACs in the switch's table",
        ));
    }
    found
}

fn plane(status: &Status) -> Vec<Finding> {
    let mut found = Vec::new();
    let forwarded = status.services.iter().filter(|it| ["nat", "dsr", "fullnat"].contains(&it.mode.as_str()));
    let forwarded: Vec<&str> = forwarded.map(|it| it.name.as_str()).collect();
    let works = status.plane.as_ref().is_some_and(|plane| !plane.interfaces.is_empty());
    if let Some(first) = forwarded.first().filter(|_| !works) {
        found.push(critical(
            Broken::Plane,
            format!(
                "packets of service {first}{} are not forwarded because the forwarding plane is at no interface",
                if forwarded.len() > 1 { " and others" } else { "" }
            ),
            "'fulcrum preflight' says what the kernel or the privileges lack",
        ));
    }
    for fence in status.fence.iter().filter(|fence| !fence.kernel) {
        found.push(warning(
            Broken::Plane,
            format!("at {} nothing silences this node if it freezes: {}", fence.interface, fence.what),
            "'fulcrum preflight' says what the kernel or the privileges lack",
        ));
    }
    found
}

fn listeners(service: &Service) -> Option<Finding> {
    let first = service.errors.first()?;
    Some(critical(
        Broken::Plane,
        format!("service {} does not listen because {first}", service.name),
        "remove the cause that is named; it is tried again by itself",
    ))
}

fn backends(service: &Service) -> Vec<Finding> {
    let is_up = |backend: &&Backend| ["up", "unchecked"].contains(&backend.state.as_str());
    let (name, all) = (&service.name, service.backends.len());
    let up = service.backends.iter().filter(is_up).count();
    let down = service.backends.iter().filter(|it| it.state == "down");
    let reasons: Vec<String> =
        down.take(3).map(|it| format!("{} ({}): {}", it.name, it.address, it.reason)).collect();
    let reasons =
        if reasons.is_empty() { "none of them is down by its check".to_owned() } else { reasons.join("; ") };
    if !service.up {
        return vec![critical(
            Broken::Backend,
            format!("service {name} refuses every client because {up} of {all} backends are up: {reasons}"),
            "ask one of them from here by hand ('curl', 'nc'), as its check does",
        )];
    }
    let is_down = service.backends.iter().any(|it| it.state == "down");
    let few = is_down.then(|| {
        warning(
            Broken::Backend,
            format!("service {name} has {up} of {all} backends: {reasons}"),
            "ask one of them from here by hand ('curl', 'nc'), as its check does",
        )
    });
    few.into_iter().collect()
}

fn peer(peer: &Peer) -> Option<Finding> {
    let name = &peer.name;
    if peer.state != "up" {
        return Some(warning(
            Broken::Peer,
            format!("there is no link with {name}, which is {}: {}", peer.state, peer.reason),
            "is it up, and UDP open between the nodes? 'fulcrum preflight' tries it",
        ));
    }
    (peer.config_agrees == Some(false)).then(|| {
        warning(
            Broken::Configuration,
            format!("{name} runs another configuration than this node"),
            "'fulcrum reload' on the node with the right file brings all to one",
        )
    })
}
