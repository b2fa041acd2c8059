//! What a drill strikes, what is measured, and why not now: pure functions of what the nodes say of themselves.

use super::history::Kind;
use crate::roll::report::{Look, Report, Service};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

#[cfg(test)]
mod tests;

/// As many services are asked; each has its turn, so more of them are seen less sharply.
pub(crate) const ENDPOINTS: usize = 16;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) kind: Kind,
    /// Whose groups move.
    pub(crate) node: String,
    /// Those that are measured.
    pub(crate) groups: Vec<String>,
    /// Those that move with them.
    pub(crate) others: Vec<String>,
    pub(crate) endpoints: Vec<Endpoint>,
    /// Services that can't be asked: why.
    pub(crate) unasked: Vec<String>,
}

/// Where a client connects to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) group: String,
    pub(crate) service: String,
    pub(crate) address: SocketAddr,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) kind: Kind,
    pub(crate) group: Option<&'a str>,
    pub(crate) node: Option<&'a str>,
}

/// Whom it strikes, and what is asked meanwhile.
///
/// # Errors
/// That can't be said, for people.
pub(crate) fn plan(look: &Look, asked: Asked<'_>) -> Result<Plan, String> {
    let node = match asked.group {
        Some(group) => leader(look, group)?,
        None => struck(look, asked.node)?,
    };
    let Some(Ok(report)) = look.get(&node) else { return Err(format!("{node} does not answer")) };
    let led = report.leads();
    let (groups, others) = match asked.group {
        Some(group) => led.into_iter().partition(|name| name == group),
        None => (led, Vec::new()),
    };
    let others: Vec<String> = if asked.kind == Kind::Handover { Vec::new() } else { others };
    let (endpoints, unasked) = endpoints(report, &groups);
    if let Some(blind) = groups.iter().find(|group| !endpoints.iter().any(|it| it.group == **group)) {
        let why = if unasked.is_empty() { String::new() } else { format!(" ({})", unasked.join("; ")) };
        return Err(format!("group {blind} has no TCP service that a client could ask{why}"));
    }
    Ok(Plan { kind: asked.kind, node, groups, others, endpoints, unasked })
}

fn leader(look: &Look, group: &str) -> Result<String, String> {
    let leaders = leaders(look, group);
    match leaders.as_slice() {
        [one] => Ok(one.clone()),
        [] => {
            let known: BTreeSet<&str> = look
                .values()
                .flatten()
                .flat_map(|report| &report.groups)
                .map(|it| it.name.as_str())
                .collect();
            if known.contains(group) {
                return Err(format!("no node of the inventory leads group {group}"));
            }
            let known: Vec<&str> = known.into_iter().collect();
            Err(format!("there is no group {group}; there are: {}", known.join(", ")))
        }
        several => {
            Err(format!("{} lead group {group}: one of them is about to leave it", several.join(" and ")))
        }
    }
}

/// Who says that it leads a group.
pub(crate) fn leaders(look: &Look, group: &str) -> Vec<String> {
    let leads = |report: &&Report| report.group(group).is_some_and(crate::roll::report::Group::is_led);
    look.values().flatten().filter(leads).map(|report| report.node.clone()).collect()
}

fn struck(look: &Look, named: Option<&str>) -> Result<String, String> {
    let leading: Vec<&str> = look
        .iter()
        .filter(|(_, said)| said.as_ref().is_ok_and(|report| !report.leads().is_empty()))
        .map(|(node, _)| node.as_str())
        .collect();
    match (named, leading.as_slice()) {
        (Some(named), leading) if leading.contains(&named) => Ok(named.to_owned()),
        (Some(named), _) => Err(format!("{named} is no node of the inventory that leads a group")),
        (None, [one]) => Ok((*one).to_owned()),
        (None, []) => Err("no node of the inventory leads a group".to_owned()),
        (None, several) => {
            Err(format!("{} lead groups: name a group, or --node NODE", several.join(" and ")))
        }
    }
}

fn endpoints(report: &Report, groups: &[String]) -> (Vec<Endpoint>, Vec<String>) {
    let (mut endpoints, mut unasked) = (Vec::new(), Vec::new());
    for service in report.services.iter().filter(|service| groups.contains(&service.group)) {
        match address(service) {
            Ok(_) if endpoints.len() >= ENDPOINTS => {
                unasked.push(format!("{}: {ENDPOINTS} others are asked", service.name));
            }
            Ok(address) => endpoints.push(Endpoint {
                group: service.group.clone(),
                service: service.name.clone(),
                address,
            }),
            Err(why) => unasked.push(format!("{}: {why}", service.name)),
        }
    }
    (endpoints, unasked)
}

fn address(service: &Service) -> Result<SocketAddr, String> {
    if service.protocol != "tcp" {
        return Err(format!("{} is not asked, only tcp", service.protocol));
    }
    let vip: Option<IpAddr> = service.vips.first().and_then(|vip| vip.parse().ok());
    let port = service.ports.split('-').next().and_then(|port| port.parse().ok());
    vip.zip(port).map(|(vip, port)| SocketAddr::new(vip, port)).ok_or_else(|| "it has no address".to_owned())
}

/// Why nothing may be struck now.
pub(crate) fn in_the_way(look: &Look, plan: &Plan, min_uptime: Duration) -> Vec<String> {
    let names: Vec<&str> = look.keys().map(String::as_str).collect();
    let mut reasons = Vec::new();
    for (name, said) in look {
        match said {
            Err(why) => reasons.push(format!("{name} does not answer: {why}")),
            Ok(report) => {
                reasons.extend(report.unready(&names, false).into_iter().map(|why| format!("{name}: {why}")));
                let up = report.uptime_seconds;
                if up < min_uptime.as_secs() {
                    reasons.push(format!(
                        "{name}: it came up {up} s ago; it is to be up for {} s",
                        min_uptime.as_secs()
                    ));
                }
            }
        }
    }
    let mut drained = drained(look);
    drained.retain(|reason| !reasons.contains(reason));
    reasons.extend(drained);
    for group in plan.groups.iter().chain(&plan.others) {
        let able = |(name, said): &(&String, &Result<Report, String>)| {
            **name != plan.node && said.as_ref().is_ok_and(|report| report.group(group).is_some())
        };
        if !look.iter().any(|node| able(&node)) {
            reasons.push(format!("group {group}: no other node of the inventory could take it"));
        }
        if leaders(look, group) != [plan.node.clone()] {
            reasons.push(format!("group {group}: more than {} says that it leads it", plan.node));
        }
    }
    reasons
}

/// Nodes that others know to be drained: one that was just drained, or undrained, may not know it yet.
fn drained(look: &Look) -> BTreeSet<String> {
    let overrides = look.values().flatten().flat_map(|report| &report.overrides);
    let drained = overrides.filter_map(|asked| Some((asked.of.strip_prefix("lb-node ")?, &asked.by)));
    drained.map(|(node, by)| format!("{node}: it is drained, by {by}")).collect()
}

/// Whether the source that this machine reaches a VIP from is an address of a node, or the VIP itself.
pub(crate) fn is_node(look: &Look, source: IpAddr, vip: IpAddr) -> Option<String> {
    let has = |report: &&Report| {
        let links = report.groups.iter().flat_map(|group| &group.links);
        links.filter_map(|link| link.address.as_ref()?.parse().ok()).any(|own: IpAddr| own == source)
    };
    let node = look.values().flatten().find(has).map(|report| report.node.clone());
    node.or_else(|| (source == vip).then(|| "the node that leads".to_owned()))
}
