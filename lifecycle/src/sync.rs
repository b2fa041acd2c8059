//! Whose verdicts forwarded services go by, and whether two nodes' tables agree: what of it is shown, and what is an
//! alarm.

use crate::join::{Snapshots, seconds};
use crate::status::{Alarm, Forwarded, Severity, TablesOf};
use crate::verdicts::{Agreement, By, Comparison, ServiceView, WAITS};
use fulcrum_config::{BackendAddress, Forwarding, GroupName, NodeName, Service, ServiceName};
use fulcrum_peer::Usage;
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// How long nodes may differ before that is an alarm: a change takes its time on both.
const DIFFERS: Duration = Duration::from_secs(10);

pub(crate) fn forwarded(service: &Service, snapshots: &Snapshots, now: Instant) -> Option<Forwarded> {
    let view = snapshots.verdicts.services.get(&service.name)?;
    let (verdicts_of, kept_seconds) = match &view.by {
        By::Own => ("own".to_owned(), None),
        By::Leader(node) => (node.to_string(), None),
        By::Kept(node, until) => (node.to_string(), Some(until.saturating_duration_since(now).as_secs())),
    };
    let disputed = view.disputed.iter().flat_map(|(backends, _)| backends).map(ToString::to_string);
    let tables = view.tables.iter().map(|(node, agreement)| TablesOf {
        peer: node.to_string(),
        in_sync: agreement.comparison == Comparison::InSync,
        what: said(agreement.comparison).to_owned(),
        since_seconds: seconds(agreement.since, now),
    });
    Some(Forwarded {
        verdicts_of,
        kept_seconds,
        disputed: disputed.collect(),
        tables: tables.collect(),
        each_flow_known: service.mode.forwarding() == Some(Forwarding::Fullnat)
            || service.balance.is_stateful(),
    })
}

pub(crate) fn said(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::InSync => "in sync",
        Comparison::Current => "new flows go to other backends there",
        Comparison::Previous => "flows older than the last change of backends go to others there",
        Comparison::NotTold => "it has not told what stands in its tables",
        Comparison::NotHere => "this node's tables do not stand yet",
    }
}

/// What a backend is used for by verdicts that are not this node's.
pub(crate) fn served_as(
    service: &ServiceName,
    backend: BackendAddress,
    snapshots: &Snapshots,
) -> Option<String> {
    let verdict = snapshots.verdicts.services.get(service)?.verdict.as_ref()?;
    let usage = verdict.backends.get(&backend)?.usage;
    Some(in_words(usage).to_owned())
}

fn in_words(usage: Usage) -> &'static str {
    match usage {
        Usage::Live => "live",
        Usage::Draining => "draining",
        Usage::Down => "down",
    }
}

/// What this node waits for before it takes the group back, for people.
pub(crate) fn waits(group: &GroupName, snapshots: &Snapshots, now: Instant) -> Option<String> {
    let since = snapshots.verdicts.waits.get(group)?;
    let left = WAITS.saturating_sub(now.saturating_duration_since(*since));
    Some(format!(
        "has not got the leader's verdicts, tables and connections yet: does not take the group from it for {} s at most",
        left.as_secs()
    ))
}

pub(crate) fn alarms(snapshots: &Snapshots, now: Instant) -> Vec<Alarm> {
    let of = |(name, view)| tables(name, view, snapshots, now).into_iter().chain(dispute(name, view, now));
    snapshots.verdicts.services.iter().flat_map(of).collect()
}

fn tables(service: &ServiceName, view: &ServiceView, snapshots: &Snapshots, now: Instant) -> Vec<Alarm> {
    let is_same_config = |node: &NodeName| {
        let config = snapshots.peer.peers.get(node).and_then(|peer| peer.config);
        config.is_some_and(|config| config.digest == snapshots.config.shared)
    };
    let differ = |(node, agreement): &(&NodeName, &Agreement)| {
        agreement.comparison != Comparison::InSync
            && now.saturating_duration_since(agreement.since) >= DIFFERS
            && is_same_config(node)
    };
    let alarm = |(node, agreement): (&NodeName, &Agreement)| Alarm {
        severity: Severity::Warning,
        what: format!(
            "service {service}: its tables are not in sync with those of {node}: {}",
            said(agreement.comparison)
        ),
        affected: format!("connections of service {service}, when the leader changes: some may break"),
        remedy: format!(
            "look on both nodes for errors of service {service}; if there are none, for other versions of fulcrum; what \
             was led alone heals by itself, at the latest when its older flows have ended"
        ),
    };
    view.tables.iter().filter(differ).map(alarm).collect()
}

fn dispute(service: &ServiceName, view: &ServiceView, now: Instant) -> Option<Alarm> {
    let (backends, since) = view.disputed.as_ref()?;
    let (By::Leader(node) | By::Kept(node, _)) = &view.by else { return None };
    if now.saturating_duration_since(*since) < DIFFERS {
        return None;
    }
    let names: Vec<&str> = backends.iter().map(|name| name.as_str()).collect();
    let names = names.join(", ");
    Some(Alarm {
        severity: Severity::Warning,
        what: format!(
            "service {service}: this node's checks of {names} say something else than those of {node}, which leads"
        ),
        affected: format!(
            "nothing as long as {node} leads; a health interval after this node has taken over, its own checks count"
        ),
        remedy: format!(
            "compare 'fulcrum status' here and on {node}; look at routes and firewalls between this node and {names}"
        ),
    })
}
