//! `fulcrum preflight`: all checks side by side, each in the room that knows, within one deadline.
#![allow(clippy::disallowed_methods, reason = "it waits for checks that run beside")]

mod certificates;
mod pace;
mod running;

use crate::kubernetes::own_node;
use fulcrum_config::Config;
use fulcrum_config::preflight::{Line, failure_domains, pools};
use fulcrum_vip_manager::preflight as vip;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// For everything.
const DEADLINE: Duration = Duration::from_millis(4900);
/// Backends and APIs that have not answered by then do not.
const BACKENDS: Duration = Duration::from_millis(4500);

type Work = Box<dyn FnOnce() -> Vec<Line> + Send>;

/// Every line, in the order of the checks.
pub(crate) fn run(config: &Arc<Config>, socket: PathBuf) -> Vec<Line> {
    gather(checks(config, socket), DEADLINE)
}

fn gather(checks: Vec<(&'static str, Work)>, deadline: Duration) -> Vec<Line> {
    let begun = Instant::now();
    let mut results: Vec<(&str, Option<Vec<Line>>)> = checks.iter().map(|(name, _)| (*name, None)).collect();
    let (tell, told) = mpsc::channel();
    for (place, (_, work)) in checks.into_iter().enumerate() {
        let tell = tell.clone();
        // Nobody may be listening any more; and a check that can't be started has no result.
        let _ = std::thread::Builder::new().spawn(move || {
            let _ = tell.send((place, work()));
        });
    }
    drop(tell);
    while let Ok((place, lines)) = told.recv_timeout(deadline.saturating_sub(begun.elapsed())) {
        if let Some((_, result)) = results.get_mut(place) {
            *result = Some(lines);
        }
    }
    results.into_iter().flat_map(|(name, lines)| lines.unwrap_or_else(|| vec![unfinished(name)])).collect()
}

fn unfinished(check: &'static str) -> Line {
    let found = "it did not end in time, so nothing is known of it";
    Line::failed(check, "check", found, "say 'fulcrum preflight' again; is this machine overloaded?")
}

fn checks(config: &Arc<Config>, socket: PathBuf) -> Vec<(&'static str, Work)> {
    // Each has the configuration to itself.
    let with = |check: fn(&Arc<Config>) -> Vec<Line>| -> Work {
        let config = Arc::clone(config);
        Box::new(move || check(&config))
    };
    let of_peers = {
        let config = Arc::clone(config);
        Box::new(move || running::peers(&config, socket))
    };
    vec![
        ("kernel", Box::new(vip::kernel)),
        ("privileges", with(|config| vip::privileges(config))),
        ("sysctl", with(|config| vip::settings(config))),
        ("forwarding", with(|config| fulcrum_lb::preflight::plane(config))),
        ("link", with(|config| vip::links(config))),
        ("mtu", with(|config| vip::mtu(config))),
        ("neighbours", with(|config| vip::neighbours(config))),
        ("time-to-detect", with(|config| vip::detection(config))),
        ("pace", with(|config| pace::pace(config))),
        ("peer", of_peers),
        ("backends", with(|config| fulcrum_health::preflight::backends(&config.services, BACKENDS))),
        ("kubernetes", with(|config| fulcrum_k8s::preflight(config, &own_node(&config.node), BACKENDS))),
        ("free-addresses", with(|config| pools(config))),
        ("certificates", with(|config| certificates::certificates(config))),
        ("failure-domain", with(|config| failure_domains(config))),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use fulcrum_config::preflight::State;

    #[test]
    fn a_check_that_does_not_end_in_time_has_failed_and_the_others_are_told() {
        let (_open, never) = mpsc::channel::<()>();
        let good = || -> Work { Box::new(|| vec![Line::ok("good", "it", "it is")]) };
        let stuck: Work = Box::new(move || {
            let _ = never.recv();
            Vec::new()
        });
        let lines =
            gather(vec![("good", good()), ("stuck", stuck), ("good", good())], Duration::from_millis(200));
        let told: Vec<_> = lines.iter().map(|line| (line.check, line.state)).collect();
        assert_eq!(told, [("good", State::Ok), ("stuck", State::Failed), ("good", State::Ok)]);
    }
}
