//! What operators asked for over the file: drains, backends out of use, other weights.

use super::{BackendName, Config, NodeName, PoolName, ServiceName, Weight};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime};

#[cfg(test)]
mod tests;

/// The longest name in an override; that of who asked, too.
const NAME_LIMIT: usize = ServiceName::LENGTH + 128;
/// As many as there can be.
const COUNT_LIMIT: usize = 1024;

/// A time of the wall clock, in whole seconds since 1970: what nodes tell each other and keep on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixTime(pub u64);

impl UnixTime {
    /// Of a wall clock that shows `time`.
    #[must_use]
    pub fn of(time: SystemTime) -> Self {
        Self(time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()))
    }

    /// That time after it.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time.as_secs()))
    }

    /// The time from here until `later`; none if that is over.
    #[must_use]
    pub fn until(self, later: Self) -> Duration {
        Duration::from_secs(later.0.saturating_sub(self.0))
    }
}

/// A backend of a service: `shop/web-1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BackendId {
    /// The service.
    pub service: ServiceName,
    /// The backend.
    pub backend: BackendName,
}

impl fmt::Display for BackendId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.service, self.backend)
    }
}

impl From<BackendId> for String {
    fn from(id: BackendId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for BackendId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        // Names of services that come from outside the file have `/`, those of backends never.
        let (service, backend) = text.rsplit_once('/').ok_or("a backend is SERVICE/BACKEND")?;
        Ok(Self { service: ServiceName::new(service), backend: BackendName::new(backend) })
    }
}

/// Who asked for something, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noted<T> {
    /// What.
    pub what: T,
    /// Who, as the audit log says it.
    pub by: String,
    /// When.
    pub since: UnixTime,
}

/// What becomes of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Serving {
    /// It keeps its connections and gets no new ones; those that are left at the deadline are closed.
    Draining(Option<UnixTime>),
    /// It gets none, and those that it has are closed.
    Disabled,
}

impl Serving {
    /// Whether its connections are to be closed at `now`.
    #[must_use]
    pub fn is_over(self, now: UnixTime) -> bool {
        match self {
            Self::Disabled => true,
            Self::Draining(until) => until.is_some_and(|until| until <= now),
        }
    }
}

/// What a drained node may still do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeDrain {
    /// How long it finishes its proxied connections, if not for as long as each group says.
    pub finish: Option<Duration>,
}

/// What operators asked for over the file: kept on every node, across reloads, restarts and takeovers, until it is taken
/// back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked", into = "Unchecked")]
pub struct Overrides {
    /// Backends that are drained or out of use.
    pub backends: BTreeMap<BackendId, Noted<Serving>>,
    /// Backends with another weight.
    pub weights: BTreeMap<BackendId, Noted<Weight>>,
    /// Nodes that are to lead nothing as long as any other can.
    pub nodes: BTreeMap<NodeName, Noted<NodeDrain>>,
    /// Pools that hand out no address.
    pub pools: BTreeMap<PoolName, Noted<()>>,
}

#[derive(Serialize, Deserialize)]
struct Unchecked {
    #[serde(default)]
    backends: BTreeMap<BackendId, Noted<Serving>>,
    #[serde(default)]
    weights: BTreeMap<BackendId, Noted<u16>>,
    #[serde(default)]
    nodes: BTreeMap<NodeName, Noted<NodeDrain>>,
    #[serde(default)]
    pools: BTreeMap<PoolName, Noted<()>>,
}

impl From<Overrides> for Unchecked {
    fn from(overrides: Overrides) -> Self {
        let Overrides { backends, weights, nodes, pools } = overrides;
        let plain = |(id, noted): (BackendId, Noted<Weight>)| {
            (id, Noted { what: noted.what.get(), by: noted.by, since: noted.since })
        };
        Self { backends, weights: weights.into_iter().map(plain).collect(), nodes, pools }
    }
}

impl TryFrom<Unchecked> for Overrides {
    type Error = &'static str;

    fn try_from(unchecked: Unchecked) -> Result<Self, Self::Error> {
        let Unchecked { backends, weights, nodes, pools } = unchecked;
        let parsed = |(id, noted): (BackendId, Noted<u16>)| {
            let what = Weight::new(noted.what).map_err(|_| "no such weight")?;
            Ok((id, Noted { what, by: noted.by, since: noted.since }))
        };
        let weights = weights.into_iter().map(parsed).collect::<Result<_, Self::Error>>()?;
        let overrides = Self { backends, weights, nodes, pools };
        if overrides.len() > COUNT_LIMIT {
            return Err("more than there can be");
        }
        let rows = overrides.rows();
        let is_plain =
            |text: &str| text.len() <= NAME_LIMIT && !text.is_empty() && !text.chars().any(char::is_control);
        match rows.iter().all(|row| is_plain(&row.of.to_string()) && is_plain(row.by)) {
            true => Ok(overrides),
            false => Err("a name that none can have"),
        }
    }
}

/// What an override is of: `backend shop/web-1`, `lb-node lb-1`, `pool public`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject<'a> {
    /// A backend.
    Backend(&'a BackendId),
    /// The weight of a backend.
    Weight(&'a BackendId),
    /// A node.
    Node(&'a NodeName),
    /// A pool.
    Pool(&'a PoolName),
}

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backend(id) | Self::Weight(id) => write!(f, "backend {id}"),
            Self::Node(name) => write!(f, "lb-node {name}"),
            Self::Pool(name) => write!(f, "pool {name}"),
        }
    }
}

/// One of them, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row<'a> {
    /// What it is of.
    pub of: Subject<'a>,
    /// `drained`, `disabled`, `weight 5`.
    pub what: String,
    /// When connections are closed.
    pub until: Option<UnixTime>,
    /// Who asked.
    pub by: &'a str,
    /// When.
    pub since: UnixTime,
}

impl Overrides {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        [self.backends.len(), self.weights.len(), self.nodes.len(), self.pools.len()].iter().sum()
    }

    /// Whether `node` is to lead nothing as long as any other can.
    #[must_use]
    pub fn is_drained(&self, node: &NodeName) -> bool {
        self.nodes.contains_key(node)
    }

    /// The next deadline after `now`.
    #[must_use]
    pub fn next_deadline(&self, now: UnixTime) -> Option<UnixTime> {
        let untils = self.backends.values().filter_map(|noted| match noted.what {
            Serving::Draining(until) => until,
            Serving::Disabled => None,
        });
        untils.filter(|until| now < *until).min()
    }

    /// Each of them, for people.
    #[must_use]
    pub fn rows(&self) -> Vec<Row<'_>> {
        fn row<'a, T>(of: Subject<'a>, noted: &'a Noted<T>, what: &str) -> Row<'a> {
            Row { of, what: what.to_owned(), until: None, by: &noted.by, since: noted.since }
        }
        let backends = self.backends.iter().map(|(id, noted)| match noted.what {
            Serving::Draining(until) => Row { until, ..row(Subject::Backend(id), noted, "drained") },
            Serving::Disabled => row(Subject::Backend(id), noted, "disabled"),
        });
        let weights = self.weights.iter();
        let weights = weights
            .map(|(id, noted)| row(Subject::Weight(id), noted, &format!("weight {}", noted.what.get())));
        let nodes = self.nodes.iter().map(|(name, noted)| row(Subject::Node(name), noted, "drained"));
        let pools = self.pools.iter().map(|(name, noted)| row(Subject::Pool(name), noted, "drained"));
        backends.chain(weights).chain(nodes).chain(pools).collect()
    }

    /// Without what `config` has not.
    #[must_use]
    pub fn known_in(&self, config: &Config) -> Self {
        let has = |id: &BackendId| {
            let service = config.services.get(&id.service);
            service.is_some_and(|service| service.backends.iter().any(|it| it.name == id.backend))
        };
        let mut known = self.clone();
        known.backends.retain(|id, _| has(id));
        known.weights.retain(|id, _| has(id));
        known.nodes.retain(|name, _| config.nodes.contains_key(name));
        known.pools.retain(|name, _| config.pools.contains_key(name));
        known
    }
}
