//! What `fulcrum preflight` says: a line for each thing that was looked at; and what the file alone shows.

use crate::model::{Config, DomainName, Family, NodeKind, NodeName, Track};
use ipnet::IpNet;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

#[cfg(test)]
mod tests;

/// How something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// As it should.
    Ok,
    /// It does not matter here.
    NotApplicable,
    /// It works, and someone should look at it.
    Warning,
    /// A node that goes live like this does not do what it is to do.
    Failed,
}

/// One line: what was looked at and what was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Which check: `link`, `gateway`.
    pub check: &'static str,
    /// What of: `eth0`, `10.0.0.1`.
    pub about: String,
    /// How it stands.
    pub state: State,
    /// What was found, or why it does not matter, as a sentence.
    pub found: String,
    /// What to do, if something is to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Line {
    /// It is as it should be.
    pub fn ok(check: &'static str, about: impl ToString, found: impl Into<String>) -> Self {
        Self { check, about: about.to_string(), state: State::Ok, found: found.into(), remedy: None }
    }

    /// It does not matter here.
    pub fn not_applicable(check: &'static str, about: impl ToString, why: impl Into<String>) -> Self {
        Self { state: State::NotApplicable, ..Self::ok(check, about, why) }
    }

    /// Someone should look at it.
    pub fn warning(
        check: &'static str,
        about: impl ToString,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { state: State::Warning, remedy: Some(remedy.into()), ..Self::ok(check, about, found) }
    }

    /// It must not stay so.
    pub fn failed(
        check: &'static str,
        about: impl ToString,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { state: State::Failed, remedy: Some(remedy.into()), ..Self::ok(check, about, found) }
    }
}

/// Whether one failure takes two of our nodes.
#[must_use]
pub fn failure_domains(config: &Config) -> Vec<Line> {
    const CHECK: &str = "failure-domain";
    let ours = || config.nodes.iter().filter(|(_, node)| node.kind == NodeKind::Fulcrum);
    let mut domains: BTreeMap<&DomainName, Vec<&str>> = BTreeMap::new();
    for (name, node) in ours() {
        if let Some(domain) = &node.domain {
            domains.entry(domain).or_default().push(name.as_str());
        }
    }
    if domains.is_empty() {
        let why = "no node has `domain`: it is not known which of them fail at once";
        return vec![Line::not_applicable(CHECK, "nodes", why)];
    }
    let unknown = ours().filter(|(_, node)| node.domain.is_none()).count();
    let is_only = domains.len() == 1 && unknown == 0;
    let shared = domains.iter().filter(|(_, nodes)| nodes.len() > 1);
    let mut lines: Vec<Line> = shared
        .map(|(domain, nodes)| {
            let nodes = nodes.join(" and ");
            if is_only {
                let found = format!("{nodes} share it, and there is no other: when it fails, nobody answers");
                Line::failed(CHECK, domain, found, "move one of them to another machine or rack")
            } else {
                let found = format!("{nodes} share it: when it fails, they fail at once");
                Line::warning(CHECK, domain, found, "move one of them, if the others can't carry the load")
            }
        })
        .collect();
    if lines.is_empty() {
        lines.push(Line::ok(CHECK, "nodes", "no two nodes that have `domain` share one"));
    }
    lines
}

/// Addresses that the file gives to nobody, the lowest few of each network of IPv4: one more node needs one.
#[must_use]
pub fn free_addresses(config: &Config, network: &IpNet) -> Vec<IpAddr> {
    const ENOUGH: usize = 4;
    const LOOKED_AT: usize = 1 << 16;
    let taken = named(config);
    let is_free = |address: &IpAddr| !taken.contains(address) && config.pool_of(*address).is_none();
    network.hosts().take(LOOKED_AT).filter(is_free).take(ENOUGH).collect()
}

/// The networks in which a further node would need an address.
pub fn networks(config: &Config) -> impl Iterator<Item = &IpNet> {
    config.interfaces.values().flat_map(|interface| &interface.networks)
}

/// Addresses that somebody has.
fn named(config: &Config) -> BTreeSet<IpAddr> {
    let nodes = config.nodes.values().flat_map(|node| node.addresses.clone());
    let vips = config.groups.values().flat_map(|group| group.vips.iter().map(|vip| vip.address));
    let backends =
        config.services.values().flat_map(|service| service.backends.iter().map(|it| it.address.ip));
    let gateways = config.groups.values().flat_map(|group| &group.tracks).filter_map(|track| match track {
        Track::Gateway { address, .. } => Some(*address),
        Track::Link { .. } | Track::DataPlane { .. } => None,
    });
    nodes.chain(vips).chain(backends).chain(gateways).collect()
}

/// How many addresses of pools are left.
#[must_use]
pub fn pools(config: &Config) -> Vec<Line> {
    const CHECK: &str = "free-addresses";
    let lines = config.pool_use().into_iter().map(|pool| {
        let about = format!("pool {}", pool.pool);
        let used = u128::try_from(pool.used).unwrap_or(u128::MAX);
        let free = pool.total.saturating_sub(used);
        let found = format!("{free} of {} {} addresses are free", pool.total, pool.family);
        if free == 0 {
            Line::warning(CHECK, about, found, "give the pool another range before a service asks for one")
        } else {
            Line::ok(CHECK, about, found)
        }
    });
    lines.collect()
}

/// Each other node of this family, with its address in one of the networks behind an interface.
pub fn others(config: &Config, family: Family) -> impl Iterator<Item = (&NodeName, IpAddr)> {
    let others = config.nodes.iter().filter(|(name, _)| **name != config.node);
    others
        .flat_map(|(name, node)| node.addresses.iter().map(move |address| (name, *address)))
        .filter(move |(_, address)| Family::of(*address) == family)
}
