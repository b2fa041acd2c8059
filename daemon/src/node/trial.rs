//! A new configuration on trial: do the listeners of what it changes stand?

use fulcrum_config::{Config, Service, ServiceName};
use fulcrum_lb::Observed;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

#[cfg(test)]
mod tests;

/// How long the data plane may take to try listeners out; errors that come later are alarms.
const TRIAL: Duration = Duration::from_millis(250);
/// How long listeners that a failed trial disturbed may take to stand again.
const SETTLE: Duration = Duration::from_secs(2);
/// For each service that changes, besides.
const TRIAL_OF_EACH: Duration = Duration::from_micros(500);
/// Of many that do not stand, so many are told, and how many there are.
const TOLD: usize = 20;

/// Services of `new` that `old` does not have like this, and that did not fail already.
pub(crate) fn changed(old: &Config, new: &Config, lb: &Observed) -> BTreeSet<ServiceName> {
    let failed = |name| lb.services.get(name).is_some_and(|observed| !observed.errors.is_empty());
    let services = new.services.iter();
    let changed = services.filter(|(name, service)| old.services.get(*name) != Some(*service));
    changed.map(|(name, _)| name).filter(|name| !failed(*name)).cloned().collect()
}

/// What `lb` serves while the listeners of `new` are tried out: those of both. A listener of `old` that is in the
/// way of one of `new` makes room for it.
pub(crate) fn table(old: &Config, new: &Config) -> Config {
    let mut table = new.clone();
    let is_in_the_way = |kept: &Service| new.services.values().any(|service| overlap(kept, service));
    let kept = old.services.iter().filter(|(name, _)| !new.services.contains_key(*name));
    let kept = kept.filter(|(_, service)| !is_in_the_way(service));
    table.services.extend(kept.map(|(name, service)| (name.clone(), Arc::clone(service))));
    for (name, group) in &old.groups {
        table.groups.entry(name.clone()).or_insert_with(|| Arc::clone(group));
    }
    table
}

/// What `lb` serves while only those services of `new` are tried out that `old` does not have and that are in nobody's
/// way; and their names.
pub(crate) fn additions(old: &Config, new: &Config) -> (Config, BTreeSet<ServiceName>) {
    let mut table = old.clone();
    let added = new.services.iter().filter(|(name, service)| {
        !old.services.contains_key(*name) && !old.services.values().any(|kept| overlap(kept, service))
    });
    let added: Vec<_> = added.map(|(name, service)| (name.clone(), Arc::clone(service))).collect();
    let names = added.iter().map(|(name, _)| name.clone()).collect();
    table.services.extend(added);
    for (name, group) in &new.groups {
        table.groups.entry(name.clone()).or_insert_with(|| Arc::clone(group));
    }
    (table, names)
}

fn overlap(one: &Service, other: &Service) -> bool {
    one.protocol == other.protocol
        && one.ports.first <= other.ports.last
        && other.ports.first <= one.ports.last
        && one.vips.iter().any(|vip| other.vips.contains(vip))
}

/// Waits until no service of `old` that was `changed` for a trial has an error, but not for long: what stays is an
/// error of its own.
pub(crate) async fn settles(
    mut lb: watch::Receiver<Observed>,
    revision: u64,
    changed: &BTreeSet<ServiceName>,
) {
    let stand = |lb: &Observed| lb.applied >= revision && errors(lb, changed).is_empty();
    let _ = tokio::time::timeout(SETTLE, lb.wait_for(stand)).await;
}

/// Waits until `lb` serves what was asked of it as `revision`, but not for long.
pub(crate) async fn applied(mut lb: watch::Receiver<Observed>, revision: u64) {
    let _ = tokio::time::timeout(SETTLE, lb.wait_for(|lb| lb.applied >= revision)).await;
}

/// Waits until `lb` has tried the listeners of the `changed` services out.
///
/// # Errors
/// Why their listeners do not stand.
pub(crate) async fn listens(
    mut lb: watch::Receiver<Observed>,
    revision: u64,
    changed: &BTreeSet<ServiceName>,
) -> Result<(), Vec<String>> {
    if changed.is_empty() {
        return Ok(());
    }
    let count = u32::try_from(changed.len()).unwrap_or(u32::MAX);
    let patience = TRIAL.saturating_add(TRIAL_OF_EACH.saturating_mul(count));
    let tried = lb.wait_for(|lb| lb.applied >= revision || !errors(lb, changed).is_empty());
    match tokio::time::timeout(patience, tried).await {
        Ok(Ok(lb)) => {
            let errors = errors(&lb, changed);
            if errors.is_empty() { Ok(()) } else { Err(in_short(errors)) }
        }
        // An engine that ended is noticed elsewhere.
        Ok(Err(_)) | Err(_) => Ok(()),
    }
}

fn in_short(mut errors: Vec<String>) -> Vec<String> {
    let left_out = errors.len().saturating_sub(TOLD);
    if left_out > 0 {
        errors.truncate(TOLD);
        errors.push(format!("... and {left_out} more"));
    }
    errors
}

fn errors(lb: &Observed, changed: &BTreeSet<ServiceName>) -> Vec<String> {
    let services = lb.services.iter().filter(|(name, _)| changed.contains(*name));
    services
        .flat_map(|(name, observed)| {
            observed.errors.iter().map(move |error| format!("service {name}: {error}"))
        })
        .collect()
}
