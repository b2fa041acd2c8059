//! What nodes tell each other of the services whose packets their kernels forward: what the leader serves them by, and
//! what stands in the tables.

use fulcrum_config::{BackendAddress, ServiceName, ServiceTables};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a node says of each such service.
pub type Services = BTreeMap<ServiceName, Arc<Serving>>;

/// What a node says of one service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Serving {
    /// What it serves it by, if it leads the service's group.
    pub verdict: Option<Arc<Verdict>>,
    /// Its tables, once they stand; the older one itself only of the node that leads.
    pub tables: Option<Arc<ServiceTables>>,
}

/// What a service is served by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it accepts at all.
    pub up: bool,
    /// Each backend, by its address: names need not be the same on all nodes.
    pub backends: BTreeMap<BackendAddress, Judged>,
}

/// What a backend is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judged {
    /// What for.
    pub usage: Usage,
    /// Its weight now, in hundredths of the configured weight's unit.
    pub weight: u32,
}

/// What a backend may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Usage {
    /// New connections.
    Live,
    /// Only those it has.
    Draining,
    /// Nothing.
    Down,
}
