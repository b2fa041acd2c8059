//! `fulcrum roll`: asks the nodes, does what the machine says is next, and keeps the journal.
#![allow(clippy::disallowed_methods, reason = "a driver: it runs commands, and waits between two looks")]

mod doing;
mod job;
mod say;

use crate::cli::replace::ReplaceOptions;
use crate::cli::roll::RollOptions;
use crate::error::Failure;
use crate::roll::journal::{Entry, Journal, beside};
use crate::roll::machine::{self, Next, looks};
use crate::roll::report::{Look, Report};
use crate::roll::step::Step;
use crate::roll::{lock, remote};
use fulcrum_config::{Inventory, InventoryPlace};
use job::Job;
use say::Say;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Between two looks at the nodes.
const LOOK: Duration = Duration::from_millis(500);
/// What a node may take to say how it is.
const ANSWER: Duration = Duration::from_secs(20);

pub(crate) fn roll(options: &RollOptions) -> Result<ExitCode, Failure> {
    start(&Job::Roll(options))
}

pub(crate) fn replace(options: &ReplaceOptions) -> Result<ExitCode, Failure> {
    start(&Job::Replace(options))
}

fn start(job: &Job<'_>) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Io { what: "no event loop".to_owned(), error })?;
    runtime.block_on(async {
        let options = job.common();
        let inventory = inventory(&options.inventory)?;
        let path = options.journal.clone().unwrap_or_else(|| beside(&options.inventory, job.name()));
        let say = Say { json: options.json };
        if options.dry_run {
            let kept = Journal::load(&path)?;
            return job.rehearse(&inventory, kept, say).await;
        }
        // One for all: while nodes are changed, none is replaced, and there is no drill.
        let lock = options.journal.clone().unwrap_or_else(|| beside(&options.inventory, "roll"));
        let _lock = lock::take(&lock)?;
        let kept = Journal::load(&path)?;
        let (journal, last) = job.begin(&inventory, kept, &path).await?;
        let roll = Roll::new(inventory, job, path, journal, say)?;
        roll.run(last).await
    })
}

pub(super) fn inventory(file: &Path) -> Result<Inventory, Failure> {
    let refused = |mistakes: fulcrum_config::Diagnostics| Failure::Refused(format!("\n{mistakes}"));
    let text = fulcrum_config::read(file).map_err(refused)?;
    Inventory::parse(&text, &file.display().to_string()).map_err(refused)
}

/// What each node says that is to be there.
pub(super) async fn look(inventory: &Inventory, journal: Option<&Journal>) -> Look {
    let asked: Vec<_> = inventory
        .nodes
        .iter()
        .filter(|place| !place.surge || journal.is_some_and(|journal| journal.stands_in(place.name.as_str())))
        .cloned()
        .map(|place| tokio::spawn(async move { (place.name.to_string(), status(&place).await) }))
        .collect();
    let mut look = Look::new();
    for answer in asked {
        if let Ok((node, said)) = answer.await {
            look.insert(node, said);
        }
    }
    look
}

async fn status(place: &InventoryPlace) -> Result<Report, String> {
    let words = [place.fulcrum.as_slice(), &["status".to_owned(), "--json".to_owned()]].concat();
    let ended = remote::ask(&words, ANSWER).await?;
    if ended.code != Some(0) {
        // What to do about it stands in further lines, for those who are there.
        let told = ended.told();
        return Err(told.lines().next().unwrap_or_default().to_owned());
    }
    serde_json::from_slice(&ended.out).map_err(|error| format!("what it says is no status: {error}"))
}

/// A roll that goes on.
#[derive(Debug)]
struct Roll {
    inventory: Inventory,
    /// What goes on with it.
    resume: String,
    path: PathBuf,
    journal: Journal,
    say: Say,
    /// How often it was asked to stop.
    stops: watch::Receiver<u32>,
    /// Until when time was counted.
    counted: Instant,
    /// What the last command that did not do what it should said.
    said: Option<String>,
}

impl Roll {
    fn new(
        inventory: Inventory,
        job: &Job<'_>,
        path: PathBuf,
        journal: Journal,
        say: Say,
    ) -> Result<Self, Failure> {
        let (told, stops) = watch::channel(0_u32);
        for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
            let mut signals = signal(kind)
                .map_err(|error| Failure::Io { what: "signals can't be taken".to_owned(), error })?;
            let told = told.clone();
            tokio::spawn(async move {
                while signals.recv().await.is_some() {
                    told.send_modify(|count| *count = count.saturating_add(1));
                }
            });
        }
        let resume = job.resume();
        Ok(Self { inventory, resume, path, journal, say, stops, counted: Instant::now(), said: None })
    }

    async fn run(mut self, last: Option<Duration>) -> Result<ExitCode, Failure> {
        self.journal.stopped = None;
        self.save()?;
        let look = look(&self.inventory, Some(&self.journal)).await;
        self.say.plan(&self.inventory, &self.journal, &look, last, false);
        self.wait_for_what_runs().await?;
        let mut since = Instant::now();
        let mut shown = None;
        while let Some(entry) = self.journal.current() {
            let (node, step) = (entry.node.clone(), entry.step);
            if self.is_stopped() {
                return self.stop("it was asked to stop").await;
            }
            if shown != Some((self.journal.done(), step)) {
                self.say.step(&node, self.journal.done(), self.journal.nodes.len(), step);
                shown = Some((self.journal.done(), step));
                since = Instant::now();
                self.said = None;
            }
            let look = if looks(step) { self.look().await } else { Look::new() };
            match machine::next(&self.journal, &look, since.elapsed()) {
                Next::Done => break,
                Next::Advance(note) => {
                    if step == Step::Settle {
                        self.after_upgrade(&node, true).await;
                    }
                    self.advance(note, last)?;
                }
                Next::Wait(what) => {
                    self.say.wait(&node, step, &what);
                    self.pause().await;
                }
                Next::Do(task) => match self.perform(&node, &task).await? {
                    Ok(doing::Then::Advance(note)) => self.advance(note, last)?,
                    Ok(doing::Then::Look) => self.pause().await,
                    Err(why) => return self.stop(&why).await,
                },
                Next::Stop(why) => {
                    let said = self.said.take().map(|said| format!("; {said}")).unwrap_or_default();
                    return self.stop(&format!("{why}{said}")).await;
                }
            }
        }
        self.say.done(&self.journal);
        Ok(ExitCode::SUCCESS)
    }

    /// A command that outlived the process that began it is not begun a second time beside itself.
    async fn wait_for_what_runs(&mut self) -> Result<(), Failure> {
        let Some(entry) = self.journal.current() else { return Ok(()) };
        let Some(running) = entry.running else { return Ok(()) };
        let (node, begun, patience) =
            (entry.node.clone(), Instant::now(), self.journal.options.exec_deadline);
        while remote::lives(running) {
            self.say.wait(
                &node,
                Step::Change,
                &format!("the command of before still runs (process {})", running.pid),
            );
            if begun.elapsed() > patience || self.is_stopped() {
                return Err(Failure::Refused(format!(
                    "the command of before still runs for {node}: process {}; nothing further was done\n  wait for its \
                     end, or end it, and go on with --resume",
                    running.pid
                )));
            }
            self.pause().await;
        }
        Ok(())
    }

    fn is_stopped(&self) -> bool {
        *self.stops.borrow() > 0
    }

    /// Until the next look, or until it is asked to stop.
    async fn pause(&mut self) {
        let _ = tokio::time::timeout(LOOK, self.stops.wait_for(|count| *count > 0)).await;
    }

    /// What the nodes say; what is missing if it is asked to stop meanwhile is not needed any more.
    async fn look(&mut self) -> Look {
        let mut stops = self.stops.clone();
        tokio::select! {
            look = look(&self.inventory, Some(&self.journal)) => look,
            _ = stops.wait_for(|count| *count > 0) => Look::new(),
        }
    }

    fn advance(&mut self, note: Option<String>, last: Option<Duration>) -> Result<(), Failure> {
        let done = self.journal.done();
        let node = self.journal.current().map(|entry| entry.node.clone());
        if let Some(note) = note {
            self.say.note(node.as_deref(), &note);
            self.change(|entry| entry.note(note));
        }
        // Before the step, as the time counts for the node that is worked at.
        self.count();
        self.journal.advance();
        self.save()?;
        if self.journal.done() > done {
            self.say.changed(&self.journal, done, last);
        }
        Ok(())
    }

    fn change(&mut self, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.journal.current_mut() {
            change(entry);
        }
    }

    fn count(&mut self) {
        let spent = self.counted.elapsed();
        self.counted = Instant::now();
        self.change(|entry| entry.spent = entry.spent.saturating_add(spent));
    }

    fn save(&mut self) -> Result<(), Failure> {
        self.count();
        self.journal.save(&self.path)
    }

    /// Ends here. A node that was not changed yet is put back as it was.
    async fn stop(mut self, why: &str) -> Result<ExitCode, Failure> {
        let step = self.journal.current().map_or(Step::Done, |entry| entry.step);
        let why = format!("{}: {why}", step.about());
        if let Some(note) = self.put_back().await {
            self.say.note(None, &note);
        }
        self.journal.stopped = Some(why.clone());
        self.save()?;
        self.say.stopped(&self.journal, &why, &self.resume);
        Ok(ExitCode::FAILURE)
    }
}

/// All groups that are known.
fn groups(look: &Look) -> usize {
    let groups = look.values().flatten().flat_map(|report| &report.groups);
    groups.map(|group| group.name.as_str()).collect::<BTreeSet<_>>().len()
}
