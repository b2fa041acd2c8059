//! What someone should look at.

mod proof;

use crate::join::{Facts, Snapshots};
use crate::plan::not_made;
use crate::status::{Alarm, ConfigState, Severity};
use fulcrum_config::Class;
use fulcrum_lb::ChecksObserved;
use fulcrum_vip_manager::{AddressState, Advice, GroupObserved, KernelSetting, Role, Unclaimed};
use std::time::Duration;

#[cfg(test)]
pub(crate) mod tests;

/// Alarms of one kind that are listed one by one; the rest are one alarm that counts them.
const LISTED: usize = 20;

/// How long adverts that nobody claims are an alarm after the last.
const UNCLAIMED: Duration = Duration::from_secs(60);

/// Probes in a row that could not be made before that is an alarm.
const NOT_MADE: u32 = 3;

/// All alarms, worst first.
#[must_use]
pub(crate) fn alarms(facts: &Facts, snapshots: &Snapshots) -> Vec<Alarm> {
    let mut alarms = Vec::new();
    alarms.extend(config(facts));
    alarms.extend(facts.alarms.iter().cloned());
    alarms.extend(bounded(wrong_settings(snapshots)));
    alarms.extend(guard(snapshots));
    alarms.extend(snapshots.vip.errors.iter().map(|error| Alarm {
        severity: Severity::Critical,
        what: error.clone(),
        affected: "the VIP groups of this node".to_owned(),
        remedy: "look at the log for what led to it".to_owned(),
    }));
    alarms.extend(stuck(snapshots));
    alarms.extend(bounded(groups(snapshots)));
    alarms.extend(bounded(crate::votes::alarms(facts, snapshots)));
    alarms.extend(bounded(proof::alarms(snapshots)));
    alarms.extend(bounded(listeners(snapshots)));
    alarms.extend(bounded(checks_at_backends(snapshots)));
    alarms.extend(bounded(services_down(snapshots)));
    alarms.extend(bounded(checks_not_made(snapshots)));
    alarms.extend(limit(snapshots));
    alarms.extend(crate::peers::alarms(facts, snapshots));
    alarms.extend(bounded(lasting(snapshots)));
    alarms.sort();
    alarms
}

#[allow(clippy::disallowed_methods, reason = "says how long it has been so; nothing is decided by it")]
fn lasting(snapshots: &Snapshots) -> Vec<Alarm> {
    let now = std::time::Instant::now();
    let mut alarms = crate::control_plane::alarms(snapshots, now);
    alarms.extend(crate::sync::alarms(snapshots, now));
    alarms
}

fn bounded(mut alarms: Vec<Alarm>) -> Vec<Alarm> {
    alarms.sort();
    let left_out = alarms.len().saturating_sub(LISTED);
    if let Some(worst_left_out) = alarms.get(LISTED).cloned() {
        alarms.truncate(LISTED);
        alarms
            .push(Alarm { what: format!("{left_out} more like: {}", worst_left_out.what), ..worst_left_out });
    }
    alarms
}

fn config(facts: &Facts) -> Option<Alarm> {
    let first = facts.refused.first().map_or("", String::as_str);
    let what = match facts.config_state {
        ConfigState::LastGood => {
            format!("{} was refused at start; the last good configuration runs: {first}", facts.config_file)
        }
        ConfigState::Current if facts.refused.is_empty() => return None,
        ConfigState::Current => {
            format!("{} was refused; the one read before it runs on: {first}", facts.config_file)
        }
    };
    Some(Alarm {
        severity: Severity::Warning,
        what,
        affected: "changes of the configuration since then".to_owned(),
        remedy: format!("run 'fulcrum check {}', correct it, then 'fulcrum reload'", facts.config_file),
    })
}

fn wrong_settings(snapshots: &Snapshots) -> Vec<Alarm> {
    let wrong = snapshots.vip.settings.iter().filter(|setting| !setting.good);
    let alarm = |setting: &KernelSetting| {
        let (name, value) = (&setting.name, &setting.value);
        let (what, affected, remedy) = match &setting.advice {
            Some(Advice { harm, remedy }) => {
                (format!("the kernel setting {name} is {value}"), harm.clone(), remedy.clone())
            }
            None => (
                format!("the kernel setting {name} is {value} and could not be set"),
                "how this node answers for its VIPs".to_owned(),
                format!("sysctl -w {name}={}", setting.wanted),
            ),
        };
        Alarm { severity: Severity::Warning, what, affected, remedy }
    };
    wrong.map(alarm).collect()
}

fn guard(snapshots: &Snapshots) -> Option<Alarm> {
    (!snapshots.vip.guard && !snapshots.config.groups.is_empty()).then(|| Alarm {
        severity: Severity::Warning,
        what: "the guard process does not run or is out of date".to_owned(),
        affected: "a crash of the daemon: its addresses would stay until the peer has waited for adverts"
            .to_owned(),
        remedy: "if this stays for more than some seconds, restart the daemon and look at its log".to_owned(),
    })
}

fn stuck(snapshots: &Snapshots) -> Option<Alarm> {
    let threads = &snapshots.lb.stuck;
    (!threads.is_empty()).then(|| Alarm {
        severity: Severity::Critical,
        what: format!("threads that move bytes do not run: {}", threads.join(", ")),
        affected: "the connections they have, and their share of new ones; the groups go to the peer"
            .to_owned(),
        remedy: "restart fulcrum on this node, and report it with the log and the stacks of its threads"
            .to_owned(),
    })
}

fn groups(snapshots: &Snapshots) -> Vec<Alarm> {
    let mut alarms = Vec::new();
    for (name, observed) in &snapshots.vip.groups {
        addresses(name, observed, &mut alarms);
        alarms.extend(unclaimed(name, observed));
        if observed.role == Role::Init && observed.leader.is_none() {
            alarms.push(Alarm {
                severity: Severity::Critical,
                what: format!("group {name}: this node cannot take part, and no leader is heard"),
                affected: format!("every service of group {name}"),
                remedy: "look at the reason, links and tracks in 'fulcrum status', here and on the peer"
                    .to_owned(),
            });
        }
        if observed.role == Role::Leader
            && let Some(track) = observed.tracks.iter().find(|track| !track.good)
        {
            alarms.push(Alarm {
                severity: Severity::Warning,
                what: format!(
                    "group {name}: leads although {} has failed; no peer is better off",
                    track.what
                ),
                affected: format!("services of group {name} that need it"),
                remedy: format!("repair {}, here or on the peer", track.what),
            });
        }
    }
    alarms
}

#[allow(clippy::disallowed_methods, reason = "says for how long it is an alarm; nothing is decided by it")]
fn unclaimed(name: &fulcrum_config::GroupName, observed: &GroupObserved) -> Option<Alarm> {
    let Unclaimed { link, source, mac, priority, last, .. } = observed.unclaimed.as_ref()?;
    if last.elapsed() > UNCLAIMED {
        return None;
    }
    let mac = mac.as_deref().unwrap_or("not seen");
    Some(Alarm {
        severity: Severity::Critical,
        what: format!(
            "group {name}: the machine with MAC {mac} sends adverts of priority {priority} from {source} on {}, and no \
             node of this group says that they are its own",
            link.interface
        ),
        affected: format!(
            "nothing while the peer link is up: they are dropped; without the link, they would take group {name} away"
        ),
        remedy: format!("find {mac} in the switch's MAC table; a VRRP router there has to use another VRID"),
    })
}

fn addresses(name: &fulcrum_config::GroupName, observed: &GroupObserved, alarms: &mut Vec<Alarm>) {
    for (address, state) in &observed.addresses {
        match state {
            AddressState::Absent | AddressState::Probing | AddressState::Answering => {}
            AddressState::Conflict { mac } => alarms.push(Alarm {
                severity: Severity::Critical,
                what: format!("VIP {address} of group {name} is also used by the machine with MAC {mac}"),
                affected: format!("{address} stays down here; the group's other addresses work"),
                remedy: format!("find {mac} in the switch's MAC table and take {address} from it"),
            }),
            AddressState::Failed { error } => alarms.push(Alarm {
                severity: Severity::Critical,
                what: format!("VIP {address} of group {name} could not be installed: {error}"),
                affected: format!("every service on {address}"),
                remedy: "remove the cause that is named; it is tried again by itself".to_owned(),
            }),
        }
    }
}

fn listeners(snapshots: &Snapshots) -> Vec<Alarm> {
    let errors = snapshots.lb.services.iter().flat_map(|(name, observed)| {
        let first = observed.errors.first()?;
        let severity = severity_of(snapshots, name);
        Some(Alarm {
            severity,
            what: format!("service {name} does not listen: {first}"),
            affected: format!("service {name} on this node"),
            remedy: "remove the cause that is named; it is tried again by itself".to_owned(),
        })
    });
    errors.collect()
}

fn checks_at_backends(snapshots: &Snapshots) -> Vec<Alarm> {
    let services = snapshots.lb.services.iter().filter(|(_, observed)| observed.errors.is_empty());
    let found = services.filter_map(|(name, observed)| match observed.checks.as_ref()? {
        ChecksObserved::AtVip => None,
        ChecksObserved::AtBackend(why) => Some(Alarm {
            severity: Severity::Warning,
            what: format!(
                "backends of service {name} are checked at their own addresses, not at its VIP: {why}"
            ),
            affected: format!("service {name}: a backend that has not the VIP counts as up"),
            remedy: "remove the cause that is named; it is tried again by itself".to_owned(),
        }),
    });
    found.collect()
}

fn services_down(snapshots: &Snapshots) -> Vec<Alarm> {
    let down = snapshots
        .health
        .services
        .iter()
        .filter(|(name, health)| !health.up && snapshots.config.services.contains_key(*name));
    down.map(|(name, health)| {
        let down = health.backends.values().filter(|backend| !backend.verdict.usable()).count();
        let all = health.backends.len();
        Alarm {
            severity: severity_of(snapshots, name),
            what: format!(
                "service {name} refuses: {down} of {all} backend{} {} down",
                if all == 1 { "" } else { "s" },
                if down == 1 { "is" } else { "are" }
            ),
            affected: format!("every client of service {name}"),
            remedy: format!("see the reasons with 'fulcrum status', service {name}"),
        }
    })
    .collect()
}

fn checks_not_made(snapshots: &Snapshots) -> Vec<Alarm> {
    let mut alarms = Vec::new();
    for (name, service) in &snapshots.config.services {
        for backend in &service.backends {
            let target = not_made(service, backend, &snapshots.health);
            let Some(target) = target.filter(|target| target.not_made >= NOT_MADE) else { continue };
            alarms.push(Alarm {
                severity: severity_of(snapshots, name),
                what: format!(
                    "service {name}: backend {} can't be checked from this node: {}",
                    backend.name, target.not_made_reason
                ),
                affected: format!("clients of service {name}, if the backend dies unseen"),
                remedy: "remove the cause that is named; it is tried again by itself".to_owned(),
            });
        }
    }
    alarms
}

fn severity_of(snapshots: &Snapshots, service: &fulcrum_config::ServiceName) -> Severity {
    let group = snapshots.config.services.get(service).and_then(|s| snapshots.config.groups.get(&s.group));
    match group.map(|group| group.class) {
        Some(Class::ControlPlane) => Severity::Critical,
        Some(Class::Workload) | None => Severity::Warning,
    }
}

fn limit(snapshots: &Snapshots) -> Option<Alarm> {
    let lb = &snapshots.lb;
    let is_near = lb.connections_limit > 0
        && lb.connections.saturating_mul(10) >= lb.connections_limit.saturating_mul(9);
    (is_near || snapshots.limit_reached_lately).then(|| Alarm {
        severity: Severity::Warning,
        what: format!(
            "{} of {} connections in use, {} refused because of the limit so far",
            lb.connections, lb.connections_limit, lb.refused_at_limit
        ),
        affected: "new connections to every service".to_owned(),
        remedy: "raise the limit on open files (LimitNOFILE= in the unit) or limit the busiest service"
            .to_owned(),
    })
}
