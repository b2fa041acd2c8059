//! What was asked for: all nodes one after another, or one that was lost.

use super::{look, say::Say};
use crate::backup::file;
use crate::cli::replace::ReplaceOptions;
use crate::cli::roll::{Common, RollOptions};
use crate::error::Failure;
use crate::roll::journal::{Entry, Journal, Options};
use crate::roll::report::Look;
use crate::roll::step::Action;
use crate::roll::{machine, plan};
use fulcrum_config::Inventory;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

#[derive(Debug, Clone, Copy)]
pub(super) enum Job<'a> {
    Roll(&'a RollOptions),
    Replace(&'a ReplaceOptions),
}

impl Job<'_> {
    pub(super) fn common(&self) -> &Common {
        match self {
            Self::Roll(options) => &options.common,
            Self::Replace(options) => &options.common,
        }
    }

    /// The command, with which the name of its journal ends.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Roll(_) => "roll",
            Self::Replace(_) => "replace",
        }
    }

    /// For people: one of them.
    fn noun(&self) -> &'static str {
        match self {
            Self::Roll(_) => "roll",
            Self::Replace(_) => "replacement",
        }
    }

    /// The command that goes on with it.
    pub(super) fn resume(&self) -> String {
        let inventory = self.common().inventory.display();
        match self {
            Self::Roll(_) => format!("fulcrum roll --inventory {inventory} --resume"),
            Self::Replace(options) => {
                format!("fulcrum replace {} --inventory {inventory} --resume", options.node)
            }
        }
    }

    fn surge(&self) -> u8 {
        match self {
            Self::Roll(options) => options.surge,
            Self::Replace(_) => 0,
        }
    }

    fn asked(&self) -> Result<Options, Failure> {
        let common = self.common();
        let Some(exec) = &common.exec else {
            return Err(Failure::Refused("--exec is missing: the command that changes a node".to_owned()));
        };
        let exec =
            fulcrum_config::words(exec).map_err(|why| Failure::Refused(format!("--exec {exec:?}: {why}")))?;
        let says = |what: &str| exec.iter().any(|word| word.contains(what));
        let refused = |why: &str| Failure::Refused(format!("--exec {:?}: {why}", exec.join(" ")));
        if !says("{node}") {
            return Err(refused("it does not say which node: write {node} where its name is to stand"));
        }
        if self.surge() > 0 && !says("{action}") {
            return Err(refused(
                "with --surge it makes and removes nodes, too: write {action} where create, recreate or remove is to stand",
            ));
        }
        let (deadline, preflight, force, backup) = match self {
            Self::Roll(options) => (options.deadline, !options.no_preflight, false, None),
            Self::Replace(options) => {
                let backup =
                    options.backup.as_deref().map(|path| backup_of(&options.node, path)).transpose()?;
                (Duration::ZERO, false, options.force, backup)
            }
        };
        match (says("{backup}"), &backup) {
            (true, None) => Err(refused("it asks for a backup ({backup}), and --backup is not given")),
            (false, Some(_)) => Err(refused(
                "--backup is of no use to it: write {backup} where the path of the file is to stand",
            )),
            (true, Some(_)) | (false, None) => Ok(Options {
                exec,
                deadline,
                exec_deadline: common.exec_deadline,
                ready_deadline: common.ready_deadline,
                preflight,
                backup,
                force,
            }),
        }
    }

    fn plan(&self, inventory: &Inventory, look: &Look) -> Result<Vec<Entry>, Failure> {
        let entries = match self {
            Self::Roll(options) if options.surge > 0 => {
                plan::surge(inventory, look, usize::from(options.surge))
            }
            Self::Roll(_) => plan::plan(inventory, look),
            Self::Replace(options) => {
                plan::replacement(inventory, look, &options.node, options.force).map(|entry| vec![entry])
            }
        };
        entries.map_err(|faults| Failure::Refused(format!("nothing was done:\n  {}", faults.join("\n  "))))
    }

    /// The journal to go on with, and what a node took in the last roll that came to its end.
    pub(super) async fn begin(
        &self,
        inventory: &Inventory,
        kept: Option<Journal>,
        path: &Path,
    ) -> Result<(Journal, Option<Duration>), Failure> {
        let unfinished = kept.as_ref().filter(|journal| journal.current().is_some());
        match (self.common().resume, unfinished) {
            (true, Some(journal)) => {
                self.fits(inventory, journal)?;
                Ok((journal.clone(), None))
            }
            (true, None) => Err(Failure::Refused(format!(
                "{}: no {} is unfinished; begin without --resume",
                path.display(),
                self.noun()
            ))),
            (false, Some(journal)) => Err(self.unfinished(journal, path)),
            (false, None) => {
                let asked = self.asked()?;
                let look = look(inventory, None).await;
                let nodes = self.plan(inventory, &look)?;
                Ok((Journal::new(asked, nodes), kept.as_ref().and_then(plan::mean)))
            }
        }
    }

    fn unfinished(&self, journal: &Journal, path: &Path) -> Failure {
        let why = journal.stopped.as_ref().map(|why| format!("\n  it stopped: {why}")).unwrap_or_default();
        let stand_in: Vec<&str> = journal
            .nodes
            .iter()
            .map(|entry| entry.node.as_str())
            .filter(|node| journal.stands_in(node))
            .collect();
        let is_surge = journal.nodes.iter().any(|entry| entry.action == Action::Create);
        let stand_in = if is_surge && !stand_in.is_empty() {
            format!(", drain and remove what stands in ({})", stand_in.join(", "))
        } else {
            String::new()
        };
        Failure::Refused(format!(
            "a {} is not finished: {}{why}\n  go on with --resume; or give it up: undrain that node if it is drained{stand_in}, and \
             remove {}",
            self.noun(),
            journal.stands(),
            path.display()
        ))
    }

    /// Whether what is asked for now is what was begun.
    fn fits(&self, inventory: &Inventory, journal: &Journal) -> Result<(), Failure> {
        let gone = journal.nodes.iter().map(|entry| entry.node.as_str());
        let gone: Vec<&str> = gone.filter(|node| inventory.place(node).is_none()).collect();
        if !gone.is_empty() {
            return Err(Failure::Refused(format!(
                "{}: the {} that is to go on has nodes that are not there: {}\n  add them again",
                self.common().inventory.display(),
                self.noun(),
                gone.join(", ")
            )));
        }
        if let (Self::Replace(options), Some(entry)) = (self, journal.current())
            && entry.node != options.node
        {
            return Err(Failure::Refused(format!(
                "the replacement that is not finished is of {}, not of {}",
                entry.node, options.node
            )));
        }
        let exec = journal.options.exec.join(" ");
        match &self.common().exec {
            Some(asked) if asked.split_whitespace().ne(journal.options.exec.iter().map(String::as_str)) => {
                Err(Failure::Refused(format!("--resume goes on with --exec {exec:?}; leave --exec out")))
            }
            Some(_) | None => Ok(()),
        }
    }

    pub(super) async fn rehearse(
        &self,
        inventory: &Inventory,
        kept: Option<Journal>,
        say: Say,
    ) -> Result<ExitCode, Failure> {
        let unfinished = kept.as_ref().filter(|journal| journal.current().is_some());
        let look = look(inventory, unfinished).await;
        let journal = match unfinished {
            Some(journal) => {
                self.fits(inventory, journal)?;
                journal.clone()
            }
            None => {
                let nodes = self.plan(inventory, &look)?;
                Journal::new(self.asked()?, nodes)
            }
        };
        say.plan(inventory, &journal, &look, kept.as_ref().and_then(plan::mean), true);
        if unfinished.is_some() {
            let unfinished =
                format!("a {} is not finished: {}; --resume goes on", self.noun(), journal.stands());
            say.note(None, &unfinished);
            return Ok(ExitCode::SUCCESS);
        }
        let reasons = machine::in_the_way(&journal, &look);
        if reasons.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        Err(Failure::Refused(format!("it would not begin:\n  {}", reasons.join("\n  "))))
    }
}

/// A good backup of the node: this file, or the newest in this directory.
fn backup_of(node: &str, path: &Path) -> Result<PathBuf, Failure> {
    let refused = |why: String| Failure::Refused(format!("--backup {}: {why}", path.display()));
    let io = |error: std::io::Error| refused(error.to_string());
    let found = if path.is_dir() {
        let files = std::fs::read_dir(path).map_err(io)?.flatten().map(|entry| entry.path());
        let of_node = files.filter_map(|file| Some((file::read(&file).ok()?, file)));
        let of_node = of_node.filter(|(backup, _)| backup.node == node);
        let newest = of_node.max_by_key(|(backup, _)| (backup.made_at.clone(), backup.serial));
        newest
            .map(|(_, file)| file)
            .ok_or_else(|| refused(format!("there is no good backup of {node} in it")))?
    } else {
        let backup = file::read(path).map_err(|damage| refused(damage.to_string()))?;
        if backup.node != node {
            return Err(refused(format!("it is a backup of {}, not of {node}", backup.node)));
        }
        path.to_owned()
    };
    // The command may run elsewhere than here, and so may --resume.
    found.canonicalize().map_err(io)
}
