//! Others that write what we write. What is new is told at once; what was told and has been overwritten is told again at once,
//! too, and then after pauses that double: two that correct each other for ever are a flood of writes for everybody.

use crate::objects::ObjectName;
use crate::report::Report;
use crate::words;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// Before the second correction, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// What is left alone for so long is not disputed any more.
const CALM: Duration = Duration::from_secs(300);
/// After so many corrections it is said.
const SAID_FROM: u32 = 3;

/// What Services were told, and how often that had to be said again.
#[derive(Debug, Default)]
pub(crate) struct Rivals {
    told: BTreeMap<ObjectName, Told>,
}

#[derive(Debug)]
struct Told {
    /// Stands for what it was.
    what: u64,
    at: Instant,
    corrections: u32,
}

impl Told {
    fn is_calm(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.at) > CALM
    }

    fn pause(&self) -> Duration {
        let Some(doublings) = self.corrections.checked_sub(1) else { return Duration::ZERO };
        PAUSE.0.saturating_mul(2_u32.saturating_pow(doublings)).min(PAUSE.1)
    }
}

impl Rivals {
    /// When a Service that does not say `report` (none: that it is not ours) may be told it.
    pub(crate) fn when(&self, name: &ObjectName, report: Option<&Report>, now: Instant) -> Instant {
        let known = self.told.get(name).filter(|told| told.what == fingerprint(report) && !told.is_calm(now));
        let then = known.and_then(|told| told.at.checked_add(told.pause()));
        then.map_or(now, |then| then.max(now))
    }

    /// It was told.
    pub(crate) fn told(&mut self, name: &ObjectName, report: Option<&Report>, now: Instant) {
        let what = fingerprint(report);
        let before = self.told.get(name).filter(|told| !told.is_calm(now));
        let corrections = match before {
            Some(told) if told.what == what => told.corrections.saturating_add(1),
            Some(told) => told.corrections,
            None => 0,
        };
        self.told.insert(name.clone(), Told { what, at: now, corrections });
    }

    /// Forgets all Services but those that `is_there`.
    pub(crate) fn retain(&mut self, is_there: impl Fn(&ObjectName) -> bool) {
        self.told.retain(|name, _| is_there(name));
    }

    /// What is to be said of those that are disputed.
    pub(crate) fn said(&self, now: Instant) -> Option<String> {
        let disputed = |told: &&Told| told.corrections >= SAID_FROM && !told.is_calm(now);
        let count = self.told.values().filter(disputed).count();
        let (name, _) = self.told.iter().find(|(_, told)| disputed(told))?;
        let others =
            if count > 1 { format!(" (and of {} more)", count.saturating_sub(1)) } else { String::new() };
        Some(format!(
            "what is written to Service {name}{others} is overwritten by somebody else, and written again ever more seldom: see who by \
             `kubectl get service {} --namespace {} --show-managed-fields --output yaml`, and let one of the two serve it \
             (`spec.loadBalancerClass`)",
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
