//! How far a roll is, on disk: written beside and renamed, before and after each step, so that a crash of the
//! operator's machine leaves the old one or the new one.

use super::step::{Action, Step};
use crate::error::Failure;
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

#[cfg(test)]
mod tests;

/// 2 has further actions; what was written by 1 is read.
const VERSION: u32 = 2;
/// 64 nodes and their notes are far less.
const LIMIT: u64 = 4 << 20;
/// What is noted of one node at most.
const NOTES: usize = 100;

/// A roll.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Journal {
    version: u32,
    pub(crate) options: Options,
    /// In the order in which they are changed.
    pub(crate) nodes: Vec<Entry>,
    /// Why it stopped last, if it did.
    pub(crate) stopped: Option<String>,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Options {
    /// The operator's command; `{node}` stands for the node's name.
    pub(crate) exec: Vec<String>,
    /// How long connections of a proxy may go on before the node is changed all the same.
    pub(crate) deadline: Duration,
    /// How long the operator's command may take.
    pub(crate) exec_deadline: Duration,
    /// How long a changed node may take until it is ready and in sync.
    pub(crate) ready_deadline: Duration,
    /// Whether preflight is asked before each node is changed.
    pub(crate) preflight: bool,
    /// What stands for `{backup}` in the command.
    #[serde(default)]
    pub(crate) backup: Option<PathBuf>,
    /// A node is replaced even if it lives.
    #[serde(default)]
    pub(crate) force: bool,
}

/// A node, and how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) node: String,
    #[serde(default)]
    pub(crate) action: Action,
    /// How many groups it led when the roll was planned.
    pub(crate) led: usize,
    pub(crate) step: Step,
    /// How it was emptied, if it was.
    pub(crate) emptied: Option<Emptied>,
    /// Its hooks were told that it is about to be upgraded.
    #[serde(default)]
    pub(crate) told: bool,
    /// The operator's command was begun, and may have done something.
    pub(crate) begun: bool,
    /// The process group of the command, while it runs.
    pub(crate) running: Option<Running>,
    /// Time spent on it so far.
    pub(crate) spent: Duration,
    pub(crate) notes: Vec<String>,
}

/// How a node was emptied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Emptied {
    /// By `fulcrum drain`: it takes nothing back until it is undrained.
    Drained,
    /// Each of its groups was handed over.
    HandedOver,
}

/// A process, known again by when it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Running {
    pub(crate) pid: u32,
    /// As in `/proc/PID/stat`.
    pub(crate) began: u64,
}

impl Entry {
    pub(crate) fn new(node: &str, led: usize) -> Self {
        Self {
            node: node.to_owned(),
            action: Action::default(),
            led,
            step: Step::Others,
            emptied: None,
            told: false,
            begun: false,
            running: None,
            spent: Duration::ZERO,
            notes: Vec::new(),
        }
    }

    /// To be done with it.
    pub(crate) fn of(node: &str, action: Action) -> Self {
        Self { action, ..Self::new(node, 0) }
    }

    /// For people: it, and what is done with it if that is not the usual.
    pub(crate) fn called(&self) -> String {
        match self.action {
            Action::Recreate | Action::Replace => self.node.clone(),
            Action::Create | Action::Remove => format!("{} ({})", self.node, self.action.word()),
        }
    }

    pub(crate) fn note(&mut self, note: String) {
        if self.notes.len() < NOTES && self.notes.last() != Some(&note) {
            self.notes.push(note);
        }
    }
}

impl Journal {
    pub(crate) fn new(options: Options, nodes: Vec<Entry>) -> Self {
        Self { version: VERSION, options, nodes, stopped: None }
    }

    /// The node that is being changed; none if all are done.
    pub(crate) fn current(&self) -> Option<&Entry> {
        self.nodes.iter().find(|entry| entry.step != Step::Done)
    }

    pub(crate) fn current_mut(&mut self) -> Option<&mut Entry> {
        self.nodes.iter_mut().find(|entry| entry.step != Step::Done)
    }

    /// Whether a node is there that is only there for a while: is being made, is made, or is not gone yet.
    pub(crate) fn stands_in(&self, node: &str) -> bool {
        let of = |action| self.nodes.iter().find(|entry| entry.node == node && entry.action == action);
        let is_done = |action| of(action).is_some_and(|entry| entry.step == Step::Done);
        let is_current = self.current().is_some_and(|entry| entry.node == node);
        is_current || is_done(Action::Create) && !is_done(Action::Remove)
    }

    pub(crate) fn done(&self) -> usize {
        self.nodes.iter().filter(|entry| entry.step == Step::Done).count()
    }

    /// The present step is over.
    pub(crate) fn advance(&mut self) {
        if let Some(entry) = self.current_mut() {
            entry.step = entry.action.after(entry.step);
            entry.running = None;
        }
    }

    /// Nothing was changed yet: the node begins anew.
    pub(crate) fn rewind(&mut self) {
        if let Some(entry) = self.current_mut().filter(|entry| !entry.begun) {
            entry.step = Step::Others;
            entry.emptied = None;
            entry.told = false;
        }
    }

    /// Where it stands, in a sentence.
    pub(crate) fn stands(&self) -> String {
        let names = |nodes: Vec<&Entry>| {
            let names: Vec<String> = nodes.iter().map(|entry| entry.called()).collect();
            if names.is_empty() { "none".to_owned() } else { names.join(", ") }
        };
        let done = names(self.nodes.iter().filter(|entry| entry.step == Step::Done).collect());
        let Some(current) = self.current() else { return format!("done: {done}") };
        let left = self.nodes.iter().filter(|entry| entry.step != Step::Done).skip(1);
        let state = match (current.begun, current.emptied) {
            (true, Some(Emptied::Drained)) => " (its command was begun; it is drained)",
            (true, _) => " (its command was begun)",
            (false, Some(Emptied::Drained)) => " (not changed yet; it is drained)",
            (false, _) => " (not changed yet)",
        };
        let at = current.step.about();
        format!("done: {done}; at {}: {at}{state}; to come: {}", current.called(), names(left.collect()))
    }

    /// Reads it; none if there is none.
    pub(crate) fn load(path: &Path) -> Result<Option<Self>, Failure> {
        let broken = |why: String| {
            Failure::Refused(format!(
                "{}: the journal of a roll can't be read: {why}\n  if no roll is unfinished, remove it ('fulcrum status' \
                 of each node says whether it is drained)",
                path.display()
            ))
        };
        let mut text = String::new();
        match std::fs::File::open(path).and_then(|file| file.take(LIMIT).read_to_string(&mut text)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(broken(error.to_string())),
        }
        let journal: Self = serde_json::from_str(&text).map_err(|error| broken(error.to_string()))?;
        if (1..=VERSION).contains(&journal.version) {
            Ok(Some(journal))
        } else {
            Err(broken(format!("it is of version {}, and this program knows {VERSION}", journal.version)))
        }
    }

    /// Writes it.
    pub(crate) fn save(&self, path: &Path) -> Result<(), Failure> {
        self.write(path).map_err(|error| Failure::Io {
            what: format!("{}: the journal can't be written, so nothing further is done", path.display()),
            error,
        })
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        serde_json::to_writer_pretty(&mut file, self)?;
        file.write_all(b"\n")?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        // The rename itself is safe only once the directory is.
        std::fs::File::open(directory)?.sync_all()
    }
}

/// Where it is unless said otherwise: beside the inventory, by the name of the command.
pub(crate) fn beside(inventory: &Path, command: &str) -> PathBuf {
    let mut path = inventory.as_os_str().to_owned();
    path.push(".");
    path.push(command);
    PathBuf::from(path)
}
