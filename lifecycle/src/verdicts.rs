//! Whose verdicts each forwarded service goes by, and how far this node's tables agree with the others'.
//!
//! ```text
//!            the leader's verdict is known
//!   own ───────────────────────────────────► the leader's ◄─┐
//!    ▲                                            │         │ it is known again
//!    │ a health interval is over                  │ this node leads, or the leader is not heard
//!    └──────────────────── kept ◄─────────────────┘─────────┘
//! ```
//!
//! Two nodes choose alike only by the same verdicts. So a node that stands by goes by those of the node that leads; one
//! that takes over keeps them for a health interval, in which its own are as fresh as can be, and then goes by its own.
//! The proxy is not concerned: its connections end with their node.

use crate::plan;
use fulcrum_config::{
    BackendName, Config, GroupName, NodeName, Preempt, Service, ServiceName, ServiceTables,
};
use fulcrum_peer::{PeerState, Services, Serving, Verdict};
use fulcrum_vip_manager::Role;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// How long what was the leader's is kept, at least and at most.
const KEPT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How long a node that may take its group back waits for the leader's state.
pub(crate) const WAITS: Duration = Duration::from_secs(60);

/// What was observed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen<'a> {
    pub(crate) config: &'a Config,
    pub(crate) health: &'a fulcrum_health::Observed,
    pub(crate) vip: &'a fulcrum_vip_manager::Observed,
    pub(crate) lb: &'a fulcrum_lb::Observed,
    pub(crate) peer: &'a fulcrum_peer::Observed,
}

impl Seen<'_> {
    /// Whether this node knows the flows of every peer that it has a link to.
    fn has_flows(&self) -> bool {
        self.lb.plane.as_ref().is_some_and(|plane| plane.flows.in_sync)
    }

    /// What of it decides, in short: as long as this is the same, only time and this node's own checks change anything.
    pub(crate) fn essence(&self) -> Essence {
        let role = |(name, group): (&GroupName, &fulcrum_vip_manager::GroupObserved)| {
            let leader = group.leader.as_ref().and_then(|leader| leader.node.clone());
            (name.clone(), group.role, leader)
        };
        let said = |(name, peer): (&NodeName, &fulcrum_peer::PeerObserved)| {
            (name.clone(), peer.state, Arc::clone(&peer.serving))
        };
        Essence {
            groups: self.vip.groups.iter().map(role).collect(),
            peers: self.peer.peers.iter().map(said).collect(),
            tables: self.lb.plane.as_ref().map(|plane| Arc::clone(&plane.tables)),
            has_flows: self.has_flows(),
        }
    }
}

/// See [`Seen::essence`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Essence {
    groups: Vec<(GroupName, Role, Option<NodeName>)>,
    peers: Vec<(NodeName, PeerState, Arc<Services>)>,
    tables: Option<Arc<BTreeMap<ServiceName, Arc<ServiceTables>>>>,
    has_flows: bool,
}

/// What the data plane is to do as others do: only of services of which this is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Following {
    /// What each service is served by instead of this node's own verdicts.
    pub verdicts: BTreeMap<ServiceName, Arc<Verdict>>,
    /// What stands in the leader's tables.
    pub tables: BTreeMap<ServiceName, Arc<ServiceTables>>,
}

/// What is shown of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// Each forwarded service.
    pub services: BTreeMap<ServiceName, ServiceView>,
    /// The groups that this node may take back, and doesn't before it has the leader's state; since when it waits.
    pub waits: BTreeMap<GroupName, Instant>,
}

/// One service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceView {
    /// Whose verdicts it goes by.
    pub by: By,
    /// Those, if they are not this node's own.
    pub verdict: Option<Arc<Verdict>>,
    /// Backends of which this node thinks otherwise, and since when there are any.
    pub disputed: Option<(BTreeSet<BackendName>, Instant)>,
    /// How its tables compare with those of each node whose link is up, where one of the two leads.
    pub tables: BTreeMap<NodeName, Agreement>,
}

/// Whose verdicts a service goes by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum By {
    /// This node's.
    #[default]
    Own,
    /// The leader's.
    Leader(NodeName),
    /// What were those of this node, which led or whose link was up, until then.
    Kept(NodeName, Instant),
}

/// How the tables of two nodes compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreement {
    /// How.
    pub comparison: Comparison,
    /// Since when they are in sync, or are not.
    pub since: Instant,
}

/// How the tables of two nodes compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// They are the same.
    InSync,
    /// New flows go elsewhere.
    Current,
    /// Flows older than the last change go elsewhere.
    Previous,
    /// The other node has not told what stands in its tables.
    NotTold,
    /// This node's tables do not stand.
    NotHere,
}

/// The machine.
#[derive(Debug, Default)]
pub(crate) struct Verdicts {
    services: BTreeMap<ServiceName, State>,
    waits: BTreeMap<GroupName, Wait>,
    /// Groups whose leader's state is not here.
    behind: BTreeSet<GroupName>,
    /// Groups for which it was waited long enough, to be told.
    given_up: Vec<GroupName>,
    view: Arc<View>,
    following: Following,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Own,
    Leader {
        node: NodeName,
        serving: Arc<Serving>,
    },
    Kept {
        node: NodeName,
        verdict: Arc<Verdict>,
        until: Instant,
        /// This node has led since.
        led: bool,
    },
}

#[derive(Debug)]
struct Wait {
    since: Instant,
    given_up: bool,
}

impl Verdicts {
    /// Something was observed, or time has passed. Says whether the data plane is to be told.
    pub(crate) fn handle(&mut self, seen: &Seen<'_>, now: Instant) -> bool {
        let forwarded: BTreeMap<&ServiceName, &Arc<Service>> =
            seen.config.services.iter().filter(|(_, service)| service.mode.forwarding().is_some()).collect();
        self.services.retain(|name, _| forwarded.contains_key(name));
        let mut services = BTreeMap::new();
        let mut following = Following::default();
        for (name, service) in &forwarded {
            let state = self.services.entry((*name).clone()).or_default();
            state.handle(seen, service, now);
            if let Some(verdict) = state.verdict() {
                following.verdicts.insert((*name).clone(), Arc::clone(verdict));
            }
            if let State::Leader { serving, .. } = state
                && let Some(tables) = &serving.tables
            {
                following.tables.insert((*name).clone(), Arc::clone(tables));
            }
            let before = self.view.services.get(*name);
            services.insert((*name).clone(), view(state, seen, service, before, now));
        }
        self.wait(seen, &services, now);
        let preempts = |name: &GroupName| {
            seen.config.groups.get(name).is_some_and(|group| group.preempt != Preempt::Never)
        };
        let waits = self.waits.iter().filter(|(name, wait)| !wait.given_up && preempts(name));
        let waits = waits.map(|(name, wait)| (name.clone(), wait.since)).collect();
        let view = View { services, waits };
        if *self.view != view {
            self.view = Arc::new(view);
        }
        let changed = self.following != following;
        self.following = following;
        changed
    }

    /// A node that was away takes its group back only once it has what the leader has.
    fn wait(&mut self, seen: &Seen<'_>, services: &BTreeMap<ServiceName, ServiceView>, now: Instant) {
        self.behind.clear();
        let mut waits = BTreeMap::new();
        for name in seen.config.groups.keys().filter(|name| has_peer(seen.config, name)) {
            let observed = seen.vip.groups.get(name);
            if seen.vip.leads(name) || is_in_sync(seen, name, services) {
                continue;
            }
            let leader = observed.and_then(|observed| observed.leader.as_ref());
            let wait = match (leader, self.waits.remove(name)) {
                // It may not have been heard yet.
                (None, _) => {
                    self.behind.insert(name.clone());
                    continue;
                }
                (Some(_), wait) => wait.unwrap_or(Wait { since: now, given_up: false }),
            };
            let is_over = now.saturating_duration_since(wait.since) >= WAITS;
            if is_over && !wait.given_up {
                self.given_up.push(name.clone());
            } else if !is_over {
                self.behind.insert(name.clone());
            }
            waits.insert(name.clone(), Wait { given_up: is_over, ..wait });
        }
        self.waits = waits;
    }

    /// The groups whose leader's state is not here yet: this node does not take them from it.
    pub(crate) fn behind(&self) -> &BTreeSet<GroupName> {
        &self.behind
    }

    /// The groups that it waits for no longer, each once.
    pub(crate) fn poll_given_up(&mut self) -> Option<GroupName> {
        self.given_up.pop()
    }

    /// When to look again at the latest, though nothing else was observed.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let kept = self.services.values().filter_map(|state| match state {
            State::Kept { until, .. } => Some(*until),
            State::Own | State::Leader { .. } => None,
        });
        let waits = self.waits.values().filter(|wait| !wait.given_up);
        kept.chain(waits.filter_map(|wait| wait.since.checked_add(WAITS))).min()
    }

    /// What the data plane is to do as others do.
    pub(crate) fn following(&self) -> &Following {
        &self.following
    }

    /// What is shown.
    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&self.view)
    }
}

/// Whether a group has services whose state nodes tell each other, and a peer that could.
pub(crate) fn has_peer(config: &Config, group: &GroupName) -> bool {
    let pins = &config.peer.pins;
    let has_key = |node: &NodeName| pins.contains_key(node) && *node != config.node;
    let is_forwarded =
        |service: &Arc<Service>| service.group == *group && service.mode.forwarding().is_some();
    pins.contains_key(&config.node)
        && config.groups.get(group).is_some_and(|group| group.priorities.keys().any(has_key))
        && config.services.values().any(is_forwarded)
}

/// Whether this node has all that the leader of a group has: its verdicts, its tables as they are compared, and the flows
/// that nodes tell each other of.
fn is_in_sync(seen: &Seen<'_>, group: &GroupName, services: &BTreeMap<ServiceName, ServiceView>) -> bool {
    let of_group = services
        .iter()
        .filter(|(name, _)| seen.config.services.get(*name).is_some_and(|it| it.group == *group));
    let mut all = of_group.map(|(_, service)| match &service.by {
        By::Leader(node) => {
            service.tables.get(node).is_some_and(|tables| tables.comparison == Comparison::InSync)
        }
        By::Own | By::Kept(..) => false,
    });
    all.all(|good| good) && seen.has_flows()
}

/// How long what was the leader's is kept: in that time every check has its say.
fn kept(service: &Service) -> Duration {
    let check = service.check.as_ref();
    let interval = check.map_or(KEPT.0, |check| check.interval.saturating_mul(check.rise.max(check.fall)));
    interval.clamp(KEPT.0, KEPT.1)
}

impl State {
    fn handle(&mut self, seen: &Seen<'_>, service: &Service, now: Instant) {
        let group = seen.vip.groups.get(&service.group);
        let leads = group.is_some_and(|group| group.role == Role::Leader);
        let leader = group.filter(|_| !leads).and_then(|group| group.leader.as_ref()?.node.clone());
        let said = leader.and_then(|node| {
            let peer = seen.peer.peers.get(&node).filter(|peer| peer.state == PeerState::Up)?;
            let serving = peer.serving.get(&service.name).filter(|serving| serving.verdict.is_some())?;
            Some((node, Arc::clone(serving)))
        });
        if let Some((node, serving)) = said {
            *self = Self::Leader { node, serving };
            return;
        }
        let until = now.checked_add(kept(service)).unwrap_or(now);
        match self {
            Self::Leader { node, serving } => {
                if let Some(verdict) = serving.verdict.clone() {
                    *self = Self::Kept { node: node.clone(), verdict, until, led: leads };
                }
            }
            // The whole of it counts from the takeover.
            Self::Kept { until: before, led: led @ false, .. } if leads => (*before, *led) = (until, true),
            Self::Kept { until, .. } if *until <= now => *self = Self::Own,
            Self::Kept { .. } | Self::Own => {}
        }
    }

    fn verdict(&self) -> Option<&Arc<Verdict>> {
        match self {
            Self::Own => None,
            Self::Leader { serving, .. } => serving.verdict.as_ref(),
            Self::Kept { verdict, .. } => Some(verdict),
        }
    }
}

fn view(
    state: &State,
    seen: &Seen<'_>,
    service: &Service,
    before: Option<&ServiceView>,
    now: Instant,
) -> ServiceView {
    let by = match state {
        State::Own => By::Own,
        State::Leader { node, .. } => By::Leader(node.clone()),
        State::Kept { node, until, .. } => By::Kept(node.clone(), *until),
    };
    let verdict = state.verdict().cloned();
    let checked = plan::Checked::of(seen.health, service);
    let disputed = verdict.as_ref().map(|verdict| plan::disputed(&checked, verdict));
    let disputed = disputed.filter(|disputed| !disputed.is_empty()).map(|disputed| {
        let since = before.and_then(|before| before.disputed.as_ref()).map_or(now, |(_, since)| *since);
        (disputed, since)
    });
    ServiceView { by, verdict, disputed, tables: agreements(seen, service, before, now) }
}

fn agreements(
    seen: &Seen<'_>,
    service: &Service,
    before: Option<&ServiceView>,
    now: Instant,
) -> BTreeMap<NodeName, Agreement> {
    let group = seen.vip.groups.get(&service.group);
    let leads = group.is_some_and(|group| group.role == Role::Leader);
    let own = seen.lb.plane.as_ref().and_then(|plane| plane.tables.get(&service.name));
    let takes_part = |node: &NodeName| {
        seen.config.groups.get(&service.group).is_some_and(|it| it.priorities.contains_key(node))
    };
    let mut agreements = BTreeMap::new();
    for (node, peer) in &seen.peer.peers {
        let theirs = peer.serving.get(&service.name);
        let is_leader = theirs.is_some_and(|theirs| theirs.verdict.is_some());
        if peer.state != PeerState::Up || !takes_part(node) || !(leads || is_leader) {
            continue;
        }
        let comparison = compare(own, theirs.and_then(|theirs| theirs.tables.as_ref()));
        let known = before
            .and_then(|before| before.tables.get(node))
            .filter(|known| (known.comparison == Comparison::InSync) == (comparison == Comparison::InSync));
        let since = known.map_or(now, |known| known.since);
        agreements.insert(node.clone(), Agreement { comparison, since });
    }
    agreements
}

fn compare(own: Option<&Arc<ServiceTables>>, theirs: Option<&Arc<ServiceTables>>) -> Comparison {
    match (own, theirs) {
        (_, None) => Comparison::NotTold,
        (None, Some(_)) => Comparison::NotHere,
        (Some(own), Some(theirs)) if own.current != theirs.current => Comparison::Current,
        (Some(own), Some(theirs)) if own.previous != theirs.previous => Comparison::Previous,
        (Some(_), Some(_)) => Comparison::InSync,
    }
}
