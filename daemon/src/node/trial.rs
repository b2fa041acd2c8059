//! A new configuration on trial: do the listeners of what it changes stand?

use fulcrum_config::Config;
use fulcrum_lb::Observed;
use std::time::Duration;
use tokio::sync::watch;

/// How long the data plane may take to apply a change before it is taken as good anyway.
const PATIENCE: Duration = Duration::from_secs(3);
/// After the first news, how long to wait for errors that come behind them.
const SETTLE: Duration = Duration::from_millis(300);

/// Waits until `lb` serves what `new` changes of `old`, or can't. `lb` has seen nothing that came after `new`
/// was applied.
///
/// # Errors
/// Why listeners of new or changed services do not stand.
pub(crate) async fn listens(
    mut lb: watch::Receiver<Observed>,
    old: &Config,
    new: &Config,
) -> Result<(), Vec<String>> {
    let is_new = |name| old.services.get(name) != new.services.get(name);
    let changed: Vec<_> = new.services.keys().filter(|name| is_new(*name)).collect();
    if changed.is_empty() {
        return Ok(());
    }
    let stands = |lb: &Observed| lb.ready && changed.iter().all(|name| lb.services.contains_key(*name));
    let errors = |lb: &Observed| -> Vec<String> {
        let of = |name| lb.services.get(name).map_or(&[][..], |observed| observed.errors.as_slice());
        changed
            .iter()
            .flat_map(|name| of(*name).iter().map(move |error| format!("service {name}: {error}")))
            .collect()
    };
    let wait = async {
        while lb.changed().await.is_ok() {
            let seen = lb.borrow_and_update();
            if !errors(&seen).is_empty() || stands(&seen) {
                break;
            }
        }
        tokio::time::sleep(SETTLE).await;
    };
    let _ = tokio::time::timeout(PATIENCE, wait).await;
    let errors = errors(&lb.borrow());
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}
