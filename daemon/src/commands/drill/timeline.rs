//! What a client saw, connection by connection.

use serde::{Deserialize, Serialize};
use std::time::Duration;

#[cfg(test)]
mod tests;

/// One connection that was tried. Times are since the probe began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) begun: Duration,
    pub(crate) is_answered: bool,
}

/// What was lost.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// From the start of the last connection that was answered to the start of the first one after it, with failed ones in
    /// between; the longest such time. Zero if none failed.
    pub(crate) outage_ms: f64,
    /// The service was not back when the measurement ended: it lasted at least that long.
    pub(crate) is_over: bool,
    /// How often service was interrupted.
    pub(crate) outages: usize,
    /// Connections that were tried, and those of them that failed.
    pub(crate) requests: usize,
    pub(crate) failed: usize,
    /// What that outage may be shorter by, as it began and ended between two tries. If none failed: the longest time between
    /// two tries, within which nothing was seen.
    pub(crate) resolution_ms: f64,
}

/// Failed connections one after another, with none between them that was answered.
#[derive(Debug, Clone, Copy)]
struct Outage {
    /// The starts of the last one answered before and of the first one answered after; of the first and the last that failed.
    answered: (Duration, Duration),
    failed: (Duration, Duration),
}

impl Outage {
    fn length(&self) -> Duration {
        self.answered.1.saturating_sub(self.answered.0)
    }

    /// What it may be shorter by: it began and ended between two tries.
    fn unsure(&self) -> Duration {
        self.length().saturating_sub(self.failed.1.saturating_sub(self.failed.0))
    }
}

/// Of samples in their order; the last one may not be over.
fn outages(samples: &[Sample]) -> Vec<Outage> {
    let mut outages: Vec<Outage> = Vec::new();
    let mut before: Option<Sample> = None;
    for sample in samples {
        let at = sample.begun;
        let follows = before.is_some_and(|before| !before.is_answered);
        match outages.last_mut().filter(|_| follows) {
            Some(outage) if sample.is_answered => outage.answered.1 = at,
            Some(outage) => (outage.answered.1, outage.failed.1) = (at, at),
            None if sample.is_answered => {}
            None => {
                let since = before.map_or(at, |before| before.begun);
                outages.push(Outage { answered: (since, at), failed: (at, at) });
            }
        }
        before = Some(*sample);
    }
    outages
}

/// What was lost of the connections that were tried since `from`. `samples` may be in any order; what came before `from` says
/// when the service was last there.
pub(crate) fn measure(samples: &[Sample], from: Duration) -> Measured {
    let mut samples = samples.to_vec();
    samples.sort_by_key(|sample| sample.begun);
    let outages = outages(&samples);
    let longest = outages.iter().max_by_key(|outage| outage.length());
    let since: Vec<&Sample> = samples.iter().filter(|sample| sample.begun >= from).collect();
    let pauses =
        since.iter().zip(since.iter().skip(1)).map(|(one, next)| next.begun.saturating_sub(one.begun));
    Measured {
        outage_ms: milliseconds(longest.map(Outage::length).unwrap_or_default()),
        is_over: samples.last().is_some_and(|sample| sample.is_answered),
        outages: outages.len(),
        requests: since.len(),
        failed: since.iter().filter(|sample| !sample.is_answered).count(),
        resolution_ms: milliseconds(longest.map(Outage::unsure).or(pauses.max()).unwrap_or_default()),
    }
}

/// Whether all were answered that were begun since `from`, and some were.
pub(crate) fn is_clean_since(samples: &[Sample], from: Duration) -> bool {
    let mut since = samples.iter().filter(|sample| sample.begun >= from).peekable();
    since.peek().is_some() && since.all(|sample| sample.is_answered)
}

/// To a hundredth.
fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 100_000.0).round() / 100.0
}
