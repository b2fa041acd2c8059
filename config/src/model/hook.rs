//! Programs that are run when something has happened, or is about to.

use super::{GroupName, HookName, WebAddress};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
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
    /// What is done.
    pub does: HookCall,
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

/// What a hook does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookCall {
    /// Runs a program, by its absolute path, with arguments; never empty, and never a shell.
    Program(Vec<String>),
    /// Posts to a web server.
    Web(WebCall),
}

impl HookCall {
    /// As people are shown it: a program and its arguments, or a web server.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        match self {
            Self::Program(words) => words.clone(),
            Self::Web(call) => vec![call.to.to_string()],
        }
    }
}

impl fmt::Display for HookCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Program(words) => f.write_str(&words.join(" ")),
            Self::Web(call) => call.fmt(f),
        }
    }
}

/// A call of a web server.
#[derive(Clone, PartialEq, Eq)]
pub struct WebCall {
    /// The server.
    pub to: WebAddress,
    /// The path and query there, which may be a secret.
    pub path: String,
    /// PEM file of the authorities that are trusted; those of the system, if there is none.
    pub ca: Option<PathBuf>,
    /// The file with the token that it wants.
    pub token: Option<PathBuf>,
}

/// Without what may be a secret.
impl fmt::Display for WebCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.to)
    }
}

impl fmt::Debug for WebCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebCall").field("to", &self.to).finish_non_exhaustive()
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
