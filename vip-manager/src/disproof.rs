//! A leader that does not answer for its addresses, as a standby found out by asking from outside: it hands the group over
//! if the operator wants that, and comes last for a while. So no two nodes give it back and forth for a fault that
//! both of them have, or that is between them and everybody else.

use fulcrum_config::NodeName;
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// How long a node comes last after it was found not to answer, and does not find so itself of others.
const REST: Duration = Duration::from_secs(600);

/// Of one group.
#[derive(Debug, Default)]
pub(crate) struct Disproof {
    /// Who said so, and when last.
    failed: Option<(NodeName, Instant)>,
}

impl Disproof {
    /// This node leads, and another one says that it does not answer; or none does.
    pub(crate) fn handle_accused(&mut self, by: Option<&NodeName>, now: Instant) {
        if let Some(by) = by {
            self.failed = Some((by.clone(), now));
        }
    }

    /// Who said lately that this node does not answer.
    pub(crate) fn failed(&self, now: Instant) -> Option<&NodeName> {
        let (by, at) = self.failed.as_ref()?;
        (now.saturating_duration_since(*at) < REST).then_some(by)
    }
}
