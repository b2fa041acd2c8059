//! What is done with a node, and the steps of that.

use serde::{Deserialize, Serialize};

/// What is done with a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Action {
    /// It lives: it is emptied, and made anew.
    #[default]
    Recreate,
    /// It was lost, and is made anew.
    Replace,
    /// It stands in while others are changed, and is made now.
    Create,
    /// It stood in, is emptied, and goes.
    Remove,
}

/// What is done, or waited for, next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Step {
    /// All others are ready, and each group would have a leader.
    Others,
    /// Nobody hears it.
    Gone,
    Preflight,
    Backup,
    Drain,
    /// Leads nothing, its connections finished.
    Empty,
    /// The operator's command.
    Change,
    /// Answers, is ready and in sync.
    Return,
    Undrain,
    /// All nodes are ready, and each group has one leader.
    Settle,
    Done,
}

impl Action {
    /// Its steps, without the end.
    pub(crate) fn steps(self) -> &'static [Step] {
        use Step::{Backup, Change, Drain, Empty, Gone, Others, Preflight, Return, Settle, Undrain};
        match self {
            Self::Recreate => &[Others, Preflight, Backup, Drain, Empty, Change, Return, Undrain, Settle],
            Self::Replace => &[Others, Gone, Change, Return, Undrain, Settle],
            Self::Create => &[Others, Change, Return, Undrain, Settle],
            Self::Remove => &[Others, Drain, Empty, Change, Gone, Undrain, Settle],
        }
    }

    /// Those from `step` on.
    pub(crate) fn left(self, step: Step) -> &'static [Step] {
        let steps = self.steps();
        let at = steps.iter().position(|it| *it == step).unwrap_or(steps.len());
        steps.get(at..).unwrap_or_default()
    }

    /// What comes after `step`.
    pub(crate) fn after(self, step: Step) -> Step {
        self.left(step).get(1).copied().unwrap_or(Step::Done)
    }

    /// For people: what the node is afterwards.
    pub(crate) fn done(self) -> &'static str {
        match self {
            Self::Recreate => "changed",
            Self::Replace => "replaced",
            Self::Create => "there",
            Self::Remove => "removed",
        }
    }

    /// What stands for `{action}` in the operator's command.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Recreate | Self::Replace => "recreate",
            Self::Create => "create",
            Self::Remove => "remove",
        }
    }
}

impl Step {
    /// For people: what is done in it.
    pub(crate) fn about(self) -> &'static str {
        match self {
            Self::Others => "all other nodes are to be ready",
            Self::Gone => "nobody is to hear it",
            Self::Preflight => "preflight",
            Self::Backup => "backup",
            Self::Drain => "drain",
            Self::Empty => "it is to lead nothing and to finish its connections",
            Self::Change => "the command",
            Self::Return => "it is to answer, ready and in sync",
            Self::Undrain => "undrain",
            Self::Settle => "all nodes are to be ready, with one leader of each group",
            Self::Done => "done",
        }
    }
}
