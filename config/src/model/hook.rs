//! Programs that are run when something has happened, or is about to.

use super::{GroupName, HookName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

/// A program and what it is run after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// Its name.
    pub name: HookName,
    /// What it is run after; never empty.
    pub events: BTreeSet<HookEvent>,
    /// Only for these groups, and backends of services in them; all, if it is empty.
    pub groups: BTreeSet<GroupName>,
    /// The program by its absolute path, and its arguments; never empty, and never a shell.
    pub command: Vec<String>,
    /// How it is told what happened.
    pub style: HookStyle,
    /// It is killed if it runs for longer.
    pub deadline: Duration,
    /// What comes of its failure.
    pub on_failure: Policy,
}

impl Hook {
    /// A generous time for a call to another machine.
    pub const DEADLINE: Duration = Duration::from_secs(10);

    /// Whether what happens to `group` concerns it.
    #[must_use]
    pub fn is_for(&self, group: &GroupName) -> bool {
        self.groups.is_empty() || self.groups.contains(group)
    }
}

/// How a hook is told what happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HookStyle {
    /// JSON at its standard input, and the same in its environment.
    Json,
    /// Besides that, the four last arguments that keepalived gives its notify scripts.
    Keepalived,
}

/// What comes of a hook that fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// It is told, and nothing else.
    #[default]
    Ignore,
    /// The planned change waits, and the hook is run again, for a while.
    Hold,
    /// The planned change is not made.
    Abort,
}

/// What a hook can be run at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HookEvent {
    /// An operator has another node hand a group over to this one: it does not lead it yet.
    BeforeLeading,
    /// An operator has this node hand a group over that it leads: it still does.
    BeforeStandby,
    /// This node leads a group.
    AfterLeading,
    /// It does not lead it, or not any more.
    AfterStandby,
    /// An operator drains something: nothing has changed yet.
    BeforeDrain,
    /// What was drained is empty, or its deadline is over.
    AfterDrain,
    /// An operator upgrades this node: nothing has changed yet.
    BeforeUpgrade,
    /// That is over.
    AfterUpgrade,
    /// A configuration is in force.
    ConfigApplied,
    /// A backend fails its check.
    BackendDown,
    /// An alarm rose.
    Fault,
}

impl HookEvent {
    /// As the file has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BeforeLeading => "before-leading",
            Self::BeforeStandby => "before-standby",
            Self::AfterLeading => "after-leading",
            Self::AfterStandby => "after-standby",
            Self::BeforeDrain => "before-drain",
            Self::AfterDrain => "after-drain",
            Self::BeforeUpgrade => "before-upgrade",
            Self::AfterUpgrade => "after-upgrade",
            Self::ConfigApplied => "config-applied",
            Self::BackendDown => "backend-down",
            Self::Fault => "fault",
        }
    }

    /// Whether it is told before something is done, which may be held up by it then.
    #[must_use]
    pub fn is_before(self) -> bool {
        match self {
            Self::BeforeLeading | Self::BeforeStandby | Self::BeforeDrain | Self::BeforeUpgrade => true,
            Self::AfterLeading
            | Self::AfterStandby
            | Self::AfterDrain
            | Self::AfterUpgrade
            | Self::ConfigApplied
            | Self::BackendDown
            | Self::Fault => false,
        }
    }

    /// Whether it happens to one group.
    #[must_use]
    pub fn is_of_a_group(self) -> bool {
        match self {
            Self::BeforeLeading
            | Self::BeforeStandby
            | Self::AfterLeading
            | Self::AfterStandby
            | Self::BackendDown => true,
            Self::BeforeDrain
            | Self::AfterDrain
            | Self::BeforeUpgrade
            | Self::AfterUpgrade
            | Self::ConfigApplied
            | Self::Fault => false,
        }
    }
}

impl fmt::Display for HookEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
