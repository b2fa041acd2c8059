//! What the two processes say to each other.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Grows when what is said changes so that an older version would misunderstand it.
pub(super) const PROTOCOL: u32 = 1;

/// Groups, or files, that are told of at a time: a message has its limits.
pub(super) const AT_A_TIME: usize = 32;

/// One message; files go along with some.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Word {
    /// The new one runs.
    Hello { protocol: u32, version: String },
    /// It runs the configuration of this number, and has looked at every backend.
    Prepared { serial: u64 },
    /// It has all that it needs, and leads.
    Stands,
    /// It answers operators.
    Serves,
    /// It can't.
    Failed { why: String },
    /// Groups that the old one leads, with their epochs.
    Led { groups: BTreeMap<String, u64> },
    /// Services that the old one serves: their backends pass its checks.
    Up { services: Vec<String> },
    /// What the files are that go along.
    Files { names: Vec<String> },
    /// There is no more of either.
    All,
    /// Clients are the new one's.
    Go,
    /// The old one has let go of everything but its connections.
    Gone,
    /// It has so many left, for so many seconds at most.
    Finishing { connections: u64, seconds: u64 },
}
