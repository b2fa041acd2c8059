//! Another process of this node takes over from this one.

use super::Node;
use crate::inplace::{Given, hand_over};
use crate::show::counted;
use crate::wire::{Refusal, Replaced};
use fulcrum_config::OnSplit;
use fulcrum_lifecycle::ConfigState;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Hooks that run may go on for so long.
const HOOKS: Duration = Duration::from_secs(3);

/// How another process is to take over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InPlace {
    /// How long it may take until it has all that it needs.
    pub(crate) ready: Duration,
    /// How long connections of this one are finished.
    pub(crate) deadline: Duration,
}

impl Node {
    /// Has the binary that is installed where this one was take over. What it is to be given does not change meanwhile.
    pub(crate) async fn hand_over_in_place(self: &Arc<Self>, how: InPlace) -> Result<Replaced, Refusal> {
        let changing = self.change().await?;
        let _moving = Arc::clone(&self.moving).try_lock_owned().map_err(|_| {
            refused("a drill, or a move of a group of class control-plane, is under way: try again when it is over")
        })?;
        let program = program()?;
        self.could_be_replaced()?;
        let node = Arc::clone(self);
        let handing = self.handing.lock().await;
        let work = move || hand_over(&node, &program, node.file(), how.ready, how.deadline);
        let given = tokio::task::spawn_blocking(work).await.map_err(|error| refused(&error.to_string()))?;
        drop((handing, changing));
        let Given { pid, version, finisher } = given.map_err(|why| {
            tracing::error!("the new process was given up: {why}");
            refused(&format!("the new process was given up: {why}"))
        })?;
        tracing::info!(pid, version, "another process is the node now; this one finishes its connections");
        self.hooks.leave(HOOKS).await;
        let connections = self.handle.lb().borrow().connections;
        let finish = move || finisher.finish();
        if let Err(error) = std::thread::Builder::new().name("finisher".to_owned()).spawn(finish) {
            tracing::error!(%error, "no thread is left: this process ends, and cuts its connections");
            self.estate.end();
        }
        Ok(Replaced { pid, version, connections })
    }

    /// This process is to end: nobody takes over any more. Says whether somebody has.
    pub(crate) async fn call_off(&self) -> bool {
        self.estate.call_off();
        // What was under way is given up, or is over, in a moment.
        drop(tokio::time::timeout(HOOKS, self.handing.lock()).await);
        self.estate.is_left()
    }

    /// What keeps another process from taking over unnoticed.
    fn could_be_replaced(&self) -> Result<(), Refusal> {
        if let Some(before) = self.estate.finishing() {
            return Err(refused(&format!(
                "process {} of before finishes {} still, for {} s at most, and there is at most one such: try again then",
                before.pid,
                counted(usize::try_from(before.connections).unwrap_or(usize::MAX), "connection"),
                before.seconds
            )));
        }
        if std::process::id() == 1 {
            return Err(refused(
                "this process is the first of its container, which ends with it: replace the container",
            ));
        }
        if self.handle.is_stopping() {
            return Err(refused("this process is about to end"));
        }
        if !self.handle.lb().borrow().ready {
            return Err(refused(
                "not every service is served here ('fulcrum status' says which and why), and a new process could not tell whether \
                it does as well: correct that first",
            ));
        }
        self.runs_its_file()?;
        let config = self.handle.config();
        if let Some(group) = config.groups.values().find(|group| group.on_split == OnSplit::One) {
            return Err(refused(&format!(
                "group {} has on_split: one, and votes are not handed over: upgrade by way of another node",
                group.name
            )));
        }
        let vip = self.handle.vip();
        let vip = vip.borrow();
        let mut draining = vip.groups.iter().filter(|(_, group)| group.draining.is_some());
        match draining.next() {
            Some((name, _)) => Err(refused(&format!(
                "connections of group {name}, which was handed over, are finished here still: try again when they have ended"
            ))),
            None => Ok(()),
        }
    }

    /// Whether a new process would read what this one runs.
    fn runs_its_file(&self) -> Result<(), Refusal> {
        let file = self.file.display();
        if self.loaded().state == ConfigState::LastGood {
            return Err(refused(&format!(
                "{file} is bad, and its last good copy runs: correct it, then 'fulcrum reload'"
            )));
        }
        let text = fulcrum_config::read(&self.file).map_err(|error| refused(&format!("{file}: {error}")))?;
        if self.source().is_some_and(|source| source.own != text) {
            return Err(refused(&format!(
                "{file} was changed, and what it says does not run yet: 'fulcrum reload' first"
            )));
        }
        Ok(())
    }
}

/// What is installed where this program was.
fn program() -> Result<PathBuf, Refusal> {
    let path =
        std::env::current_exe().map_err(|error| refused(&format!("where is this program: {error}")))?;
    // As the kernel calls a file that was replaced.
    let text = path.to_string_lossy();
    Ok(text.strip_suffix(" (deleted)").map_or_else(|| path.clone(), PathBuf::from))
}

fn refused(why: &str) -> Refusal {
    Refusal::new(format!("{why}\n  this process goes on as before"))
}
