//! What a roll does at a node.

use super::Roll;
use crate::error::Failure;
use crate::roll::journal::Emptied;
use crate::roll::machine::Task;
use crate::roll::plan::{COMMAND, command};
use crate::roll::remote::{self, Ended};
use crate::roll::step::{Action, Step};
use serde_json::Value;
use std::cell::Cell;
use std::time::Duration;

/// A command of ours that the node's version does not know, or that is not complete.
const UNKNOWN: i32 = 2;
/// The longest handover takes less.
const HAND_OVER: Duration = Duration::from_secs(240);

/// What comes after something was done.
#[derive(Debug)]
pub(super) enum Then {
    /// The following step; perhaps there is something to say.
    Advance(Option<String>),
    /// Another look.
    Look,
}

type Done = Result<Then, String>;

impl Roll {
    /// Does it; the inner error is why the roll stops.
    pub(super) async fn perform(&mut self, node: &str, task: &Task) -> Result<Done, Failure> {
        Ok(match task {
            Task::Preflight => self.preflight(node).await,
            Task::Backup => self.backup(node).await,
            Task::Drain => {
                let drained = self.drain(node).await;
                self.save()?;
                drained
            }
            Task::HandOver(groups) => self.hand_over(node, groups).await,
            Task::Change => return self.exec(node).await,
            Task::Undrain => {
                // Whether that was all, the next look says.
                self.said = self.undrain(node).await.err();
                Ok(Then::Look)
            }
        })
    }

    /// Runs `fulcrum` for a node. It is not waited for any more once it is asked to stop.
    async fn fulcrum(&self, node: &str, words: &[&str], deadline: Duration) -> Result<Ended, String> {
        let Some(place) = self.inventory.place(node) else {
            return Err(format!("{node} is not in the inventory any more"));
        };
        let words = place.fulcrum.iter().cloned().chain(words.iter().map(|word| (*word).to_owned()));
        let words: Vec<String> = words.collect();
        let mut stops = self.stops.clone();
        let begun = *stops.borrow();
        tokio::select! {
            ended = remote::ask(&words, deadline) => ended,
            // One more than there were: what puts a node back runs after the first.
            _ = stops.wait_for(|count| *count > begun) => Err("it was asked to stop".to_owned()),
        }
    }

    async fn preflight(&self, node: &str) -> Done {
        let config = self.inventory.place(node).and_then(|place| place.config.clone());
        let config = config.map(|path| path.display().to_string());
        let words: Vec<&str> = ["preflight", "--json"].into_iter().chain(config.as_deref()).collect();
        let ended = self.fulcrum(node, &words, COMMAND).await?;
        match ended.code {
            Some(0) => Ok(Then::Advance(None)),
            Some(1) => match failed_lines(&ended.out, |node| self.is_absent(node)) {
                None => Err(ended.told()),
                Some(lines) if lines.is_empty() => Ok(Then::Advance(None)),
                Some(lines) => Err(lines.join("\n  ")),
            },
            Some(_) | None => Err(ended.told()),
        }
    }

    /// Whether it stands in for others at another time, and is not to be there now.
    fn is_absent(&self, node: &str) -> bool {
        self.inventory.place(node).is_some_and(|place| place.surge) && !self.journal.stands_in(node)
    }

    /// Where it is, is said: on a disk that goes with the machine it is of no use.
    async fn backup(&self, node: &str) -> Done {
        let config = self.inventory.place(node).and_then(|place| place.config.clone());
        let config = config.map(|path| path.display().to_string());
        let of = config.as_deref().map(|config| ["--config", config]);
        let words: Vec<&str> = ["backup"].into_iter().chain(of.into_iter().flatten()).collect();
        let ended = self.fulcrum(node, &words, COMMAND).await?;
        match ended.code {
            Some(0) => {
                let file = String::from_utf8_lossy(&ended.out).trim().to_owned();
                Ok(Then::Advance((!file.is_empty()).then(|| format!("backup, on {node}: {file}"))))
            }
            Some(UNKNOWN) => {
                Ok(Then::Advance(Some("left out: that version has no `fulcrum backup`".to_owned())))
            }
            Some(_) | None => Err(ended.told()),
        }
    }

    /// The hooks of a node before it is changed; what there is to say.
    async fn before_upgrade(&mut self, node: &str) -> Result<Option<String>, String> {
        if self.journal.current().is_some_and(|entry| entry.told) {
            return Ok(None);
        }
        let ended = self.fulcrum(node, &["hook", "before-upgrade", "--cause", "roll"], COMMAND).await?;
        match ended.code {
            Some(0) => {
                self.change(|entry| entry.told = true);
                Ok(None)
            }
            Some(UNKNOWN) => Ok(Some("hooks before-upgrade left out: that version has none".to_owned())),
            Some(_) | None => Err(ended.told()),
        }
    }

    /// A node that was told so is told what came of it. Nothing depends on it.
    pub(super) async fn after_upgrade(&mut self, node: &str, is_done: bool) {
        let known = self.journal.current_mut().filter(|entry| entry.node == node && entry.told);
        let Some(entry) = known else { return };
        entry.told = false;
        let words = ["hook", "after-upgrade", "--cause", "roll", "--abandoned"];
        let words = words.get(..if is_done { 4 } else { 5 }).unwrap_or_default();
        let why = match self.fulcrum(node, words, COMMAND).await {
            Ok(ended) if ended.code == Some(0) => return,
            Ok(ended) => ended.told(),
            Err(why) => why,
        };
        self.say.note(Some(node), &format!("hooks after-upgrade were not told: {why}"));
    }

    async fn drain(&mut self, node: &str) -> Done {
        let said = self.before_upgrade(node).await?;
        // Whole seconds, and as long as it is waited for here.
        let deadline = format!("{}s", self.journal.options.deadline.as_secs().max(1));
        let ended = self.fulcrum(node, &["drain", "lb-node", node, "--deadline", &deadline], COMMAND).await?;
        let (emptied, note) = match ended.code {
            Some(0) => (Emptied::Drained, said),
            Some(UNKNOWN) => {
                let note = "that version has no `fulcrum drain`: what it leads is handed over";
                (Emptied::HandedOver, Some(note.to_owned()))
            }
            Some(_) | None => return Err(ended.told()),
        };
        self.change(|entry| entry.emptied = Some(emptied));
        Ok(Then::Advance(note))
    }

    /// Each group; one that does not go is tried again at the next look.
    async fn hand_over(&mut self, node: &str, groups: &[String]) -> Done {
        for group in groups {
            let is_word = |letter: char| letter.is_ascii_alphanumeric() || "._-:".contains(letter);
            if group.starts_with('-') || !group.chars().all(is_word) {
                return Err(format!("a group is called {group:?}, which is no name"));
            }
            let ended = self.fulcrum(node, &["handover", group], HAND_OVER).await?;
            let told = String::from_utf8_lossy(&ended.out).trim().to_owned();
            if ended.code == Some(0) {
                self.say.note(Some(node), &told);
            } else {
                self.said = Some(format!("handover of {group}: {}", ended.told()));
            }
        }
        Ok(Then::Look)
    }

    /// One that is gone is undrained by another.
    async fn undrain(&self, node: &str) -> Result<(), String> {
        let is_gone = self
            .journal
            .current()
            .is_some_and(|entry| entry.action == Action::Remove && entry.step > Step::Change);
        let mut others = self.inventory.nodes.iter().filter(|place| !place.surge);
        let by = others.next().map_or(node, |place| place.name.as_str());
        let ended =
            self.fulcrum(if is_gone { by } else { node }, &["undrain", "lb-node", node], COMMAND).await?;
        if ended.code == Some(0) { Ok(()) } else { Err(ended.told()) }
    }

    /// The operator's command. It is in the journal before it begins.
    async fn exec(&mut self, node: &str) -> Result<Done, Failure> {
        self.change(|entry| {
            entry.begun = true;
            entry.running = None;
        });
        self.save()?;
        let words = self.journal.current().map(|entry| command(&self.journal.options, entry));
        let words = words.unwrap_or_default();
        let deadline = self.journal.options.exec_deadline;
        let (say, mut stops) = (self.say, self.stops.clone());
        let cut = async move {
            let _ = stops.wait_for(|count| *count > 0).await;
            say.note(Some(node), "it stops when the command has ended; a second signal kills that");
            let _ = stops.wait_for(|count| *count > 1).await;
            "it was asked twice to stop, and was killed".to_owned()
        };
        let kept = Cell::new(Ok(()));
        let began = |running| {
            self.change(|entry| entry.running = running);
            kept.set(self.save());
        };
        let ended = remote::watch(&words, deadline, cut, began, &|line: &str| say.output(node, line)).await;
        kept.into_inner()?;
        self.change(|entry| entry.running = None);
        self.save()?;
        Ok(match ended {
            Ok(ended) if ended.code == Some(0) => Ok(Then::Advance(None)),
            Ok(ended) => Err(ended.told()),
            Err(why) => Err(why),
        })
    }

    /// Puts a node back that was not changed yet; says so if it could not.
    pub(super) async fn put_back(&mut self) -> Option<String> {
        let entry = self.journal.current()?;
        let (node, step) = (entry.node.clone(), entry.step);
        if entry.begun || step < Step::Drain {
            return None;
        }
        if matches!(entry.action, Action::Create | Action::Replace) {
            self.journal.rewind();
            return None;
        }
        // Also where a drain did not end well: it may have begun.
        let emptied = entry.emptied;
        let undrained = match emptied {
            Some(Emptied::HandedOver) => Ok(()),
            Some(Emptied::Drained) | None => self.undrain(&node).await,
        };
        self.after_upgrade(&node, false).await;
        match undrained {
            Err(why) if emptied == Some(Emptied::Drained) => Some(format!(
                "{node} could not be undrained: {why}; 'fulcrum undrain lb-node {node}' there does it"
            )),
            Ok(_) | Err(_) => {
                self.journal.rewind();
                None
            }
        }
    }
}

/// What failed, of the JSON of a preflight, but for links with nodes that are not to be there; none if it is no such JSON, or
/// says nothing of a failure.
fn failed_lines(page: &[u8], is_absent: impl Fn(&str) -> bool) -> Option<Vec<String>> {
    let page: Value = serde_json::from_slice(page).ok()?;
    let lines = page.get("lines")?.as_array()?.iter();
    let failed: Vec<&Value> =
        lines.filter(|line| line.get("state").is_some_and(|it| it == "failed")).collect();
    let word = |line: &Value, key| line.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let counts = |line: &&&Value| word(line, "check") != "peer" || !is_absent(&word(line, "about"));
    let lines = failed.iter().filter(counts).map(|line| {
        let (check, about) = (word(line, "check"), word(line, "about"));
        format!("{check}, {about}: {}; do: {}", word(line, "found"), word(line, "remedy"))
    });
    (!failed.is_empty()).then(|| lines.collect())
}
