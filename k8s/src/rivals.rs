//! Others that write what we write. What is new is told at once; what was told and has been overwritten is told again at once,
//! too, and then after pauses that double: two that correct each other for ever are a flood of writes for everybody.

use crate::objects::ObjectName;
use crate::report::Report;
use crate::words;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// Before the second correction of a Service, and at most, as long as few are disputed.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Where many are disputed, on average between two corrections of whichever: two Fulcrums that serve one class dispute all.
const PACE: Duration = Duration::from_secs(1);
/// What is left alone for so long is not disputed any more.
const CALM: Duration = Duration::from_secs(300);
/// After so many corrections it is said.
const SAID_FROM: u32 = 3;

/// What Services were told, and how often that had to be said again.
#[derive(Debug, Default)]
pub(crate) struct Rivals {
    told: BTreeMap<ObjectName, Told>,
    /// How many were disputed at the last count.
    disputed: u32,
}

#[derive(Debug)]
struct Told {
    /// Stands for what it was.
    what: u64,
    at: Instant,
    corrections: u32,
}

impl Told {
    fn is_disputed(&self) -> bool {
        self.corrections >= SAID_FROM
    }
}

impl Rivals {
    /// When a Service that does not say `report` (none: that it is not ours) may be told it.
    pub(crate) fn when(&self, name: &ObjectName, report: Option<&Report>, now: Instant) -> Instant {
        let then = self.known(name, report, now).and_then(|told| told.at.checked_add(self.pause(told)));
        then.map_or(now, |then| then.max(now))
    }

    /// Whether a Service was told just that before.
    pub(crate) fn corrects(&self, name: &ObjectName, report: Option<&Report>, now: Instant) -> bool {
        self.known(name, report, now).is_some()
    }

    fn known(&self, name: &ObjectName, report: Option<&Report>, now: Instant) -> Option<&Told> {
        self.told.get(name).filter(|told| told.what == fingerprint(report) && !self.is_calm(told, now))
    }

    fn pause(&self, told: &Told) -> Duration {
        let Some(doublings) = told.corrections.checked_sub(1) else { return Duration::ZERO };
        let most = PAUSE.1.max(PACE.saturating_mul(self.disputed));
        PAUSE.0.saturating_mul(2_u32.saturating_pow(doublings)).min(most)
    }

    /// What waits for its next correction is not left alone yet.
    fn is_calm(&self, told: &Told, now: Instant) -> bool {
        now.saturating_duration_since(told.at) > CALM.saturating_add(self.pause(told))
    }

    /// It was told.
    pub(crate) fn told(&mut self, name: &ObjectName, report: Option<&Report>, now: Instant) {
        let what = fingerprint(report);
        let before = self.told.get(name).filter(|told| !self.is_calm(told, now));
        let corrections = match before {
            Some(told) if told.what == what => told.corrections.saturating_add(1),
            Some(told) => told.corrections,
            None => 0,
        };
        self.told.insert(name.clone(), Told { what, at: now, corrections });
    }

    /// Forgets all Services but those that `is_there`, and counts those that are disputed.
    pub(crate) fn retain(&mut self, is_there: impl Fn(&ObjectName) -> bool, now: Instant) {
        self.told.retain(|name, _| is_there(name));
        let disputed = self.disputed(now).count();
        self.disputed = u32::try_from(disputed).unwrap_or(u32::MAX);
    }

    fn disputed(&self, now: Instant) -> impl Iterator<Item = &ObjectName> {
        let disputed =
            self.told.iter().filter(move |(_, told)| told.is_disputed() && !self.is_calm(told, now));
        disputed.map(|(name, _)| name)
    }

    /// What is to be said of those that are disputed.
    pub(crate) fn said(&self, now: Instant) -> Option<String> {
        let count = self.disputed(now).count();
        let name = self.disputed(now).next()?;
        let others =
            if count > 1 { format!(" (and of {} more)", count.saturating_sub(1)) } else { String::new() };
        Some(format!(
            "what is written to Service {name}{others} is overwritten by somebody else, and written again ever more seldom: see who by \
             `kubectl get service {} --namespace {} --show-managed-fields --output yaml`, and let one of the two serve it \
             (`spec.loadBalancerClass`); if that is another Fulcrum (`fulcrum`), give one of them another `class` in its fulcrum.yaml",
            name.name, name.namespace
        ))
    }
}

fn fingerprint(report: Option<&Report>) -> u64 {
    let said = report.into_iter().flat_map(|report| {
        let ingress = report.ingress.iter().map(ToString::to_string);
        [report.reason.clone(), report.message.clone()].into_iter().chain(ingress)
    });
    words::fingerprint(said)
}
