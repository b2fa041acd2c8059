//! `fulcrum roll`: asks the nodes, does what the machine says is next, and keeps the journal.
#![allow(clippy::disallowed_methods, reason = "a driver: it runs commands, and waits between two looks")]

mod doing;
mod say;

use crate::cli::roll::RollOptions;
use crate::error::Failure;
use crate::roll::journal::{Entry, Journal, Options, Step, beside};
use crate::roll::machine::{self, Next, looks};
use crate::roll::report::{Look, Report};
use crate::roll::{lock, plan, remote};
use fulcrum_config::{Inventory, InventoryPlace};
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
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Io { what: "no event loop".to_owned(), error })?;
    runtime.block_on(async {
        let inventory = inventory(&options.inventory)?;
        let path = options.journal.clone().unwrap_or_else(|| beside(&options.inventory));
        let say = Say { json: options.json };
        if options.dry_run {
            let kept = Journal::load(&path)?;
            return rehearse(&inventory, options, kept, &say).await;
        }
        let _lock = lock::take(&path)?;
        let kept = Journal::load(&path)?;
        let (journal, last) = begin(&inventory, options, kept, &path).await?;
        let roll = Roll::new(inventory, options, path, journal, say)?;
        roll.run(last).await
    })
}

fn inventory(file: &Path) -> Result<Inventory, Failure> {
    let refused = |mistakes: fulcrum_config::Diagnostics| Failure::Refused(format!("\n{mistakes}"));
    let text = fulcrum_config::read(file).map_err(refused)?;
    Inventory::parse(&text, &file.display().to_string()).map_err(refused)
}

fn asked(options: &RollOptions) -> Result<Options, Failure> {
    let Some(exec) = &options.exec else {
        return Err(Failure::Refused("--exec is missing: the command that changes a node".to_owned()));
    };
    let exec =
        fulcrum_config::words(exec).map_err(|why| Failure::Refused(format!("--exec {exec:?}: {why}")))?;
    if !exec.iter().any(|word| word.contains("{node}")) {
        return Err(Failure::Refused(format!(
            "--exec {:?}: it does not say which node: write {{node}} where its name is to stand",
            exec.join(" ")
        )));
    }
    Ok(Options {
        exec,
        deadline: options.deadline,
        exec_deadline: options.exec_deadline,
        ready_deadline: options.ready_deadline,
        preflight: !options.no_preflight,
    })
}

/// The journal to go on with, and what a node took in the last roll that came to its end.
async fn begin(
    inventory: &Inventory,
    options: &RollOptions,
    kept: Option<Journal>,
    path: &Path,
) -> Result<(Journal, Option<Duration>), Failure> {
    let unfinished = kept.as_ref().filter(|journal| journal.current().is_some());
    match (options.resume, unfinished) {
        (true, Some(journal)) => {
            fits(inventory, options, journal)?;
            Ok((journal.clone(), None))
        }
        (true, None) => Err(Failure::Refused(format!(
            "{}: no roll is unfinished; begin without --resume",
            path.display()
        ))),
        (false, Some(journal)) => Err(unfinished_roll(journal, path)),
        (false, None) => {
            let asked = asked(options)?;
            let look = look(inventory).await;
            let nodes = plan::plan(inventory, &look).map_err(|faults| unplanned(&faults))?;
            Ok((Journal::new(asked, nodes), kept.as_ref().and_then(plan::mean)))
        }
    }
}

fn unplanned(faults: &[String]) -> Failure {
    Failure::Refused(format!("nothing was done, for not every node answers:\n  {}", faults.join("\n  ")))
}

fn unfinished_roll(journal: &Journal, path: &Path) -> Failure {
    let why = journal.stopped.as_ref().map(|why| format!("\n  it stopped: {why}")).unwrap_or_default();
    Failure::Refused(format!(
        "a roll is not finished: {}{why}\n  go on with --resume; or give it up: undrain that node if it is drained, and \
         remove {}",
        journal.stands(),
        path.display()
    ))
}

/// Whether what is asked for now is what was begun.
fn fits(inventory: &Inventory, options: &RollOptions, journal: &Journal) -> Result<(), Failure> {
    let gone: Vec<&str> = journal.nodes.iter().map(|entry| entry.node.as_str()).collect();
    let gone: Vec<&str> = gone.into_iter().filter(|node| inventory.place(node).is_none()).collect();
    if !gone.is_empty() {
        return Err(Failure::Refused(format!(
            "{}: the roll that is to go on has nodes that are not there: {}\n  add them again",
            options.inventory.display(),
            gone.join(", ")
        )));
    }
    let exec = journal.options.exec.join(" ");
    match &options.exec {
        Some(asked) if asked.split_whitespace().ne(journal.options.exec.iter().map(String::as_str)) => {
            Err(Failure::Refused(format!("--resume goes on with --exec {exec:?}; leave --exec out")))
        }
        Some(_) | None => Ok(()),
    }
}

/// What each node says.
async fn look(inventory: &Inventory) -> Look {
    let asked: Vec<_> = inventory
        .nodes
        .iter()
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

async fn rehearse(
    inventory: &Inventory,
    options: &RollOptions,
    kept: Option<Journal>,
    say: &Say,
) -> Result<ExitCode, Failure> {
    let look = look(inventory).await;
    let unfinished = kept.as_ref().filter(|journal| journal.current().is_some());
    let journal = match unfinished {
        Some(journal) => {
            fits(inventory, options, journal)?;
            journal.clone()
        }
        None => {
            let nodes = plan::plan(inventory, &look).map_err(|faults| unplanned(&faults))?;
            Journal::new(asked(options)?, nodes)
        }
    };
    say.plan(&journal, &look, kept.as_ref().and_then(plan::mean), true);
    if unfinished.is_some() {
        say.note(None, &format!("a roll is not finished: {}; --resume goes on", journal.stands()));
        return Ok(ExitCode::SUCCESS);
    }
    let reasons = machine::in_the_way(&journal, &look);
    if reasons.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Failure::Refused(format!("it would not begin:\n  {}", reasons.join("\n  "))))
}

/// A roll that goes on.
#[derive(Debug)]
struct Roll {
    inventory: Inventory,
    file: PathBuf,
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
        options: &RollOptions,
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
        let file = options.inventory.clone();
        Ok(Self { inventory, file, path, journal, say, stops, counted: Instant::now(), said: None })
    }

    async fn run(mut self, last: Option<Duration>) -> Result<ExitCode, Failure> {
        self.journal.stopped = None;
        self.save()?;
        let look = look(&self.inventory).await;
        self.say.plan(&self.journal, &look, last, false);
        self.wait_for_what_runs().await?;
        let mut since = Instant::now();
        let mut shown = None;
        while let Some(entry) = self.journal.current() {
            let (node, step) = (entry.node.clone(), entry.step);
            if self.is_stopped() {
                return self.stop("it was asked to stop").await;
            }
            if shown != Some((node.clone(), step)) {
                self.say.step(&node, self.journal.done(), self.journal.nodes.len(), step);
                shown = Some((node.clone(), step));
                since = Instant::now();
                self.said = None;
            }
            let look = if looks(step) { self.look().await } else { Look::new() };
            match machine::next(&self.journal, &look, since.elapsed()) {
                Next::Done => break,
                Next::Advance(note) => self.advance(note, last)?,
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
            look = look(&self.inventory) => look,
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
            self.say.changed(&self.journal, node.as_deref(), last);
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
        self.say.stopped(&self.journal, &why, &self.file);
        Ok(ExitCode::FAILURE)
    }
}

/// All groups that are known.
fn groups(look: &Look) -> usize {
    let groups = look.values().flatten().flat_map(|report| &report.groups);
    groups.map(|group| group.name.as_str()).collect::<BTreeSet<_>>().len()
}
