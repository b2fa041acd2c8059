//! What a client saw, request by request.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// One request.
#[derive(Debug, Clone)]
pub struct Sample {
    /// When it began.
    pub begun: Instant,
    /// How long it took to its outcome.
    pub took: Duration,
    /// How it ended.
    pub outcome: Outcome,
}

impl Sample {
    /// Whether it was answered.
    #[must_use]
    pub fn is_answer(&self) -> bool {
        matches!(self.outcome, Outcome::Answer { .. })
    }

    /// Where the backend saw it come from, if it was answered.
    #[must_use]
    pub fn via(&self) -> Option<IpAddr> {
        if let Outcome::Answer { via, .. } = self.outcome { Some(via) } else { None }
    }

    /// Which backend answered it, if one did.
    #[must_use]
    pub fn backend(&self) -> Option<&str> {
        if let Outcome::Answer { backend, .. } = &self.outcome { Some(backend) } else { None }
    }
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Answered.
    Answer {
        /// The backend's name.
        backend: Box<str>,
        /// Where the backend saw it come from: the leader's own address, behind a proxy.
        via: IpAddr,
    },
    /// Refused at once.
    Refused,
    /// Connected, and then reset.
    Reset,
    /// No whole answer in time.
    Timeout,
    /// An end without a whole answer.
    Garbled,
    /// Another error.
    Failed(io::ErrorKind),
}

impl Outcome {
    pub(super) fn of_error(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::ConnectionRefused {
            Self::Refused
        } else if error.kind() == io::ErrorKind::ConnectionReset {
            Self::Reset
        } else {
            Self::Failed(error.kind())
        }
    }

    /// In one word, for tables.
    #[must_use]
    pub fn word(&self) -> String {
        match self {
            Self::Answer { .. } => "answered".into(),
            Self::Refused => "refused".into(),
            Self::Reset => "reset".into(),
            Self::Timeout => "timeout".into(),
            Self::Garbled => "garbled".into(),
            Self::Failed(kind) => format!("failed ({kind})"),
        }
    }
}

/// The longest time without service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// The start of the last request before it that was answered.
    pub from: Instant,
    /// The start of the first request after it that was answered.
    pub to: Instant,
}

impl Outage {
    /// How long it was.
    #[must_use]
    pub fn gap(&self) -> Duration {
        self.to.saturating_duration_since(self.from)
    }
}

/// All that a probe saw, in the order in which requests began.
#[derive(Debug, Clone)]
pub struct Timeline {
    begun: Instant,
    /// When the last answered request before this part began: an outage may reach back to it.
    answered_before: Option<Instant>,
    samples: Vec<Sample>,
}

impl Timeline {
    pub(super) fn new(begun: Instant, mut samples: Vec<Sample>) -> Self {
        samples.sort_by_key(|sample| sample.begun);
        Self { begun, answered_before: None, samples }
    }

    /// When the probe began.
    #[must_use]
    pub fn begun(&self) -> Instant {
        self.begun
    }

    /// Every request.
    #[must_use]
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// The requests that began in a span of time. Its longest outage may have begun before.
    #[must_use]
    pub fn between(&self, from: Instant, to: Instant) -> Self {
        let before = |sample: &&Sample| sample.begun < from && sample.is_answer();
        let answered_before = self.samples.iter().filter(before).map(|sample| sample.begun).next_back();
        let inside = |sample: &&Sample| (from..=to).contains(&sample.begun);
        let samples = self.samples.iter().filter(inside).cloned().collect();
        Self { begun: from, answered_before: answered_before.or(self.answered_before), samples }
    }

    /// The requests that began after a moment. Its longest outage may have begun before.
    #[must_use]
    pub fn since(&self, from: Instant) -> Self {
        let last = self.samples.last().map_or(from, |sample| sample.begun.max(from));
        self.between(from, last)
    }

    /// The longest time between the starts of two answered requests that follow each other: any fresh request
    /// that began in between failed. None when fewer than two were answered.
    #[must_use]
    pub fn longest_outage(&self) -> Option<Outage> {
        let inside = self.samples.iter().filter(|sample| sample.is_answer()).map(|sample| sample.begun);
        let answered: Vec<Instant> = self.answered_before.into_iter().chain(inside).collect();
        answered
            .iter()
            .zip(answered.iter().skip(1))
            .map(|(from, to)| Outage { from: *from, to: *to })
            .max_by_key(Outage::gap)
    }

    /// The length of the longest outage; zero when fewer than two requests were answered.
    #[must_use]
    pub fn longest_gap(&self) -> Duration {
        self.longest_outage().map(|outage| outage.gap()).unwrap_or_default()
    }

    /// The longest time between the starts of two requests: for so long the client itself did not ask, because
    /// its machine was busy. A gap that is hardly longer says nothing about the service.
    #[must_use]
    pub fn longest_pause(&self) -> Duration {
        let starts = self.samples.iter().map(|sample| sample.begun);
        let pauses =
            starts.clone().zip(starts.skip(1)).map(|(one, next)| next.saturating_duration_since(one));
        pauses.max().unwrap_or_default()
    }

    /// How many requests were answered.
    #[must_use]
    pub fn answered(&self) -> usize {
        self.samples.iter().filter(|sample| sample.is_answer()).count()
    }

    /// How many were not.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.samples.len().saturating_sub(self.answered())
    }

    /// How many ended how, by [`Outcome::word`].
    #[must_use]
    pub fn outcomes(&self) -> BTreeMap<String, usize> {
        count(self.samples.iter().map(|sample| sample.outcome.word()))
    }

    /// How many each backend answered.
    #[must_use]
    pub fn backends(&self) -> BTreeMap<String, usize> {
        count(self.samples.iter().filter_map(Sample::backend).map(str::to_owned))
    }

    /// How many came to backends through each address.
    #[must_use]
    pub fn via(&self) -> BTreeMap<IpAddr, usize> {
        count(self.samples.iter().filter_map(Sample::via))
    }
}

fn count<K: Ord>(keys: impl Iterator<Item = K>) -> BTreeMap<K, usize> {
    let mut counts = BTreeMap::new();
    for key in keys {
        let count: &mut usize = counts.entry(key).or_default();
        *count = count.saturating_add(1);
    }
    counts
}

#[cfg(test)]
mod tests;
