//! What `fulcrum preflight` asks this room: do the backends answer, each asked once as its check asks?

use crate::probe::{Outcome, Tools, probe};
use fulcrum_config::preflight::Line;
use fulcrum_config::{Backend, Check, CheckKind, Forwarding, Protocol, Service, ServiceName, Target};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

#[cfg(test)]
mod tests;

const CHECK: &str = "backends";
/// Probes at a time.
const AT_ONCE: usize = 128;
/// How long a backend without a check has to take a connection.
const CONNECT: Duration = Duration::from_secs(1);
/// Backends that are named in a line.
const NAMED: usize = 3;

type Outcomes = HashMap<Target, Outcome>;

/// Asks each backend once, within `bound`.
#[must_use]
pub fn backends(services: &BTreeMap<ServiceName, Arc<Service>>, bound: Duration) -> Vec<Line> {
    if services.is_empty() {
        return vec![Line::not_applicable(CHECK, "services", "there is no service")];
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let found = format!("nothing can be asked: {error}");
            return vec![Line::failed(CHECK, "services", found, "are there files left (LimitNOFILE=)?")];
        }
    };
    let outcomes = runtime.block_on(ask(services, bound));
    runtime.shutdown_background();
    services.values().map(|service| of_service(service, &outcomes)).collect()
}

async fn ask(services: &BTreeMap<ServiceName, Arc<Service>>, bound: Duration) -> Outcomes {
    let (tools, places) = (Arc::new(Tools::default()), Arc::new(Semaphore::new(AT_ONCE)));
    let mut probes = JoinSet::new();
    let backends = services.values().flat_map(|service| service.backends.iter().map(move |it| (service, it)));
    let targets: std::collections::HashSet<Target> =
        backends.filter_map(|(service, backend)| target(service, backend)).collect();
    for target in targets {
        let (tools, places) = (Arc::clone(&tools), Arc::clone(&places));
        probes.spawn(async move {
            let _place = places.acquire_owned().await;
            let outcome = probe(&target, &tools).await;
            (target, outcome)
        });
    }
    let mut outcomes = Outcomes::new();
    let all = async {
        while let Some(ended) = probes.join_next().await {
            outcomes.extend(ended);
        }
    };
    // Who was not asked in time has no outcome.
    let _ = tokio::time::timeout(bound, all).await;
    outcomes
}

/// What is asked: as the check does, or else whether it takes a connection.
fn target(service: &Service, backend: &Backend) -> Option<Target> {
    service.target(backend).or_else(|| {
        (service.protocol == Protocol::Tcp).then(|| Target {
            address: service.address_of(backend),
            vip: None,
            check: Arc::new(connection()),
            proxy_protocol: None,
        })
    })
}

fn connection() -> Check {
    Check {
        kind: CheckKind::Tcp,
        port: None,
        interval: CONNECT,
        fast_interval: CONNECT,
        timeout: CONNECT,
        rise: 1,
        fall: 1,
        jitter_percent: 0,
    }
}

fn of_service(service: &Service, outcomes: &Outcomes) -> Line {
    let about = format!("service {}", service.name);
    let asked: Vec<(&Backend, Target)> =
        service.backends.iter().filter_map(|backend| Some((&**backend, target(service, backend)?))).collect();
    if service.backends.is_empty() {
        let remedy = "give it backends, or take it out: it refuses every client";
        return Line::warning(CHECK, about, "it has no backend", remedy);
    }
    if asked.is_empty() {
        return Line::not_applicable(CHECK, about, "it is of UDP and has no check, so nobody can be asked");
    }
    let bad: Vec<String> = asked
        .iter()
        .filter_map(|(backend, target)| {
            let why = match outcomes.get(target) {
                Some(Outcome::Passed) => return None,
                Some(Outcome::Failed(why) | Outcome::TimedOut(why) | Outcome::NotMade(why)) => why.as_str(),
                None => "no answer in time",
            };
            Some(format!("{} ({}): {why}", backend.name, target.address))
        })
        .collect();
    verdict(service, about, asked.len(), &bad)
}

fn verdict(service: &Service, about: String, asked: usize, bad: &[String]) -> Line {
    let up = asked.saturating_sub(bad.len());
    let how = if service.check.is_some() { "answer their check" } else { "take a connection" };
    let path = match service.mode.forwarding() {
        Some(Forwarding::Dsr) => "; whether they have the VIP shows once the daemon runs",
        Some(Forwarding::Nat | Forwarding::Fullnat) | None => "",
    };
    let named = bad.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join("; ");
    let more = match bad.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    let remedy =
        "check that they run and listen, and that their firewalls let this node in; or correct the file";
    let needed = usize::try_from(service.quorum.minimum).unwrap_or(usize::MAX);
    if bad.is_empty() {
        Line::ok(CHECK, about, format!("all {asked} backends {how}{path}"))
    } else if up < needed.max(1) {
        let found = format!("{up} of {asked} backends {how}, and it needs {needed}: {named}{more}");
        Line::failed(CHECK, about, found, remedy)
    } else {
        Line::warning(CHECK, about, format!("{up} of {asked} backends {how}: {named}{more}"), remedy)
    }
}
