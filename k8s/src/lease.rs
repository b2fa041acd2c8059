//! A lock that is a `Lease` (coordination.k8s.io/v1): who may take it, without comparing anybody's clock with another's.
//!
//! Whoever has it writes a new version before its time is over, and counts that time from before it wrote. Who wants it has to see
//! one version unchanged for that whole time, and writes under the condition that it is still that version.

use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// Nobody is waited for longer, whatever a Lease says.
const AT_MOST: Duration = Duration::from_secs(600);

/// What a Lease says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// Its `resourceVersion`.
    pub(crate) version: String,
    /// Who has it; nobody, once it was given back.
    pub(crate) holder: Option<String>,
    /// How long that one has it after it wrote.
    pub(crate) lasts: Duration,
}

/// What this node has seen of it.
#[derive(Debug, Default)]
pub(crate) struct Observed(Option<(Record, Instant)>);

impl Observed {
    /// It said this at `now`, when the answer came.
    pub(crate) fn handle(&mut self, record: Record, now: Instant) {
        let is_known = self.0.as_ref().is_some_and(|(known, _)| *known == record);
        if !is_known {
            self.0 = Some((record, now));
        }
    }

    /// Who has it, for all that is known at `now`.
    pub(crate) fn holder(&self, now: Instant) -> Option<&str> {
        let (record, since) = self.0.as_ref()?;
        let over = now.saturating_duration_since(*since) > record.lasts.min(AT_MOST);
        record.holder.as_deref().filter(|_| !over)
    }

    /// Whether `node` may write itself into the version that was seen.
    pub(crate) fn may_take(&self, node: &str, now: Instant) -> bool {
        self.holder(now).is_none_or(|holder| holder == node)
    }
}
