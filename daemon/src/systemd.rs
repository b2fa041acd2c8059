//! What systemd is told: ready, reloading, stopping, and that the loops beat. Without systemd nothing is sent.

use crate::show::counted;
use fulcrum_lifecycle::{Alarm, Snapshots};
use fulcrum_vip_manager::Role;
use sd_notify::NotifyState;
use std::time::Duration;

#[cfg(test)]
mod tests;

/// A loop that has not beaten for this long is stuck.
const STUCK: Duration = Duration::from_secs(3);

/// Which part of the process does not run any more, if one does not: of the loops the one that has not run for
/// longest, and threads that are known to hang.
pub(crate) fn stuck((name, since): (&str, Duration), threads: &[String]) -> Option<String> {
    if since >= STUCK {
        return Some(format!("the loop of {name} has not run for {} ms", since.as_millis()));
    }
    (!threads.is_empty()).then(|| format!("threads that do not run: {}", threads.join(", ")))
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd could not be told");
    }
}

pub(crate) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

pub(crate) fn reloading() {
    let mut states = vec![NotifyState::Reloading];
    states.extend(NotifyState::monotonic_usec_now().ok());
    tell(&states);
}

pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("handing the groups over")]);
}

/// Another process is the one to watch. Only the one that is says so.
pub(crate) fn main_process(pid: u32) {
    tell(&[NotifyState::MainPid(pid)]);
}

pub(crate) fn watchdog() {
    tell(&[NotifyState::Watchdog]);
}

/// How often systemd wants to hear from us, halved so that one late beat is forgiven.
pub(crate) fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().and_then(|interval| interval.checked_div(2))
}

/// Says how things are, for `systemctl status`.
pub(crate) fn status(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

/// How things are, in one line.
pub(crate) fn summary(snapshots: &Snapshots, alarms: &[Alarm]) -> String {
    let groups = &snapshots.vip.groups;
    let leads = groups.values().filter(|group| group.role == Role::Leader).count();
    format!(
        "leads {leads} of {}; {}; {}",
        counted(groups.len(), "group"),
        counted(snapshots.config.services.len(), "service"),
        counted(alarms.len(), "alarm")
    )
}
