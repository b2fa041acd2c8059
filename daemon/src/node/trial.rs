//! A new configuration on trial: do the listeners of what it changes stand?

use fulcrum_config::{Config, ServiceName};
use fulcrum_lb::Observed;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::watch;

#[cfg(test)]
mod tests;

/// How long the data plane may take to find that a listener can't stand; errors that come later are alarms.
const TRIAL: Duration = Duration::from_millis(250);
/// For each service that changes, besides.
const TRIAL_OF_EACH: Duration = Duration::from_micros(500);

/// Services of `new` that `old` does not have like this, and that did not fail already.
pub(crate) fn changed(old: &Config, new: &Config, lb: &Observed) -> BTreeSet<ServiceName> {
    let failed = |name| lb.services.get(name).is_some_and(|observed| !observed.errors.is_empty());
    let is_new = |name| old.services.get(name) != new.services.get(name) && !failed(name);
    new.services.keys().filter(|name| is_new(*name)).cloned().collect()
}

/// Waits for errors of the `changed` services.
///
/// # Errors
/// Why their listeners do not stand.
pub(crate) async fn listens(
    mut lb: watch::Receiver<Observed>,
    changed: &BTreeSet<ServiceName>,
) -> Result<(), Vec<String>> {
    if changed.is_empty() {
        return Ok(());
    }
    let count = u32::try_from(changed.len()).unwrap_or(u32::MAX);
    let patience = TRIAL.saturating_add(TRIAL_OF_EACH.saturating_mul(count));
    let failed = lb.wait_for(|lb| !errors(lb, changed).is_empty());
    match tokio::time::timeout(patience, failed).await {
        Ok(Ok(lb)) => Err(errors(&lb, changed)),
        // An engine that ended is noticed elsewhere.
        Ok(Err(_)) | Err(_) => Ok(()),
    }
}

fn errors(lb: &Observed, changed: &BTreeSet<ServiceName>) -> Vec<String> {
    let services = lb.services.iter().filter(|(name, _)| changed.contains(*name));
    services
        .flat_map(|(name, observed)| {
            observed.errors.iter().map(move |error| format!("service {name}: {error}"))
        })
        .collect()
}
