//! Drains and upgrades, as hooks are told of them.

use super::{Details, Hooks, Occurrence, Subject};
use crate::status::Override;
use fulcrum_config::HookEvent;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What is drained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DrainKind {
    /// A backend of services.
    Backend,
    /// A node of this load balancer.
    LbNode,
    /// A pool of addresses.
    Pool,
}

impl fmt::Display for DrainKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Backend => "backend",
            Self::LbNode => "lb-node",
            Self::Pool => "pool",
        })
    }
}

/// A drain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// What is drained.
    pub kind: DrainKind,
    /// As the operator named it.
    pub name: String,
    /// Each that is meant by that, as status shows it.
    pub of: Vec<String>,
    /// Who asked.
    pub by: String,
    /// When what is left is cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_seconds: Option<u64>,
    /// How it went; none before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<DrainEnd>,
    /// Connections that were left then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u64>,
}

/// How a drain went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DrainEnd {
    /// Nothing is left.
    Empty,
    /// Its deadline is over.
    Deadline,
    /// It was taken back before that.
    Undrained,
    /// It was refused: nothing was changed.
    Refused,
}

/// An upgrade of this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Upgrade {
    /// What does it: `upgrade-binary`, `roll`, or as was said.
    pub cause: String,
    /// Who asked.
    pub by: String,
    /// The version that runs.
    pub version: String,
    /// The version that is to run, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// How it went; none before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<UpgradeEnd>,
}

/// How an upgrade went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpgradeEnd {
    /// The node is ready again.
    Done,
    /// It was given up: what ran before runs.
    Abandoned,
}

impl UpgradeEnd {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Done, Self::Abandoned];

    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Abandoned => "abandoned",
        }
    }
}

impl Drain {
    /// How it went, if it is over: by what there is of `overrides` now, and whether addresses of a pool are in use still.
    #[must_use]
    pub fn end(&self, overrides: &[Override], is_in_use: bool, is_late: bool) -> Option<Self> {
        let is_of_it = |it: &&Override| self.of.contains(&it.of) && !it.what.starts_with("weight");
        let left: Vec<&Override> = overrides.iter().filter(is_of_it).collect();
        let connections = left.iter().filter_map(|it| it.connections).fold(0, u64::saturating_add);
        let outcome = if left.is_empty() {
            DrainEnd::Undrained
        } else if connections == 0 && !is_in_use && left.iter().all(|it| it.leads.is_empty()) {
            DrainEnd::Empty
        } else if is_late {
            DrainEnd::Deadline
        } else {
            return None;
        };
        Some(Self { outcome: Some(outcome), connections: Some(connections), ..self.clone() })
    }
}

impl Hooks {
    /// A drain is over. That nothing came of it is only for hooks that were told before: they may undo what they prepared.
    pub fn drained(&mut self, node: &str, drain: &Drain) {
        let came_to_nothing = matches!(drain.outcome, Some(DrainEnd::Undrained | DrainEnd::Refused));
        let subject = Subject::Drain(drain.of.clone());
        let before = came_to_nothing.then_some(HookEvent::BeforeDrain);
        self.over(node, HookEvent::AfterDrain, Details::Drain(drain.clone()), subject, before);
    }

    /// An upgrade is over; the same holds.
    pub fn upgraded(&mut self, node: &str, upgrade: &Upgrade) {
        let came_to_nothing = upgrade.outcome == Some(UpgradeEnd::Abandoned);
        let before = came_to_nothing.then_some(HookEvent::BeforeUpgrade);
        let details = Details::Upgrade(upgrade.clone());
        self.over(node, HookEvent::AfterUpgrade, details, Subject::Upgrade, before);
    }

    fn over(
        &mut self,
        node: &str,
        event: HookEvent,
        details: Details,
        subject: Subject,
        only_after: Option<HookEvent>,
    ) {
        let occurrence = Occurrence::new(event, node, details);
        let is_told = |events: &std::collections::BTreeSet<HookEvent>| {
            only_after.is_none_or(|before| events.contains(&before))
        };
        for queue in self.queues.iter_mut().filter(|queue| is_told(&queue.hook.events)) {
            queue.tell(&subject, &occurrence);
        }
    }
}
