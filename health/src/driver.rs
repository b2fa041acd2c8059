//! The loop: takes from the table what is due, starts it, and gives back how it ended.

use crate::border::{Desired, Observed, Options};
use crate::error::StartError;
use crate::probe::{Outcome, Tools, probe};
use crate::table::{Table, TargetId};
use fulcrum_config::Target;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;

#[cfg(test)]
mod tests;

/// Probes use at most so many files unless told otherwise, whatever the process's limit.
const FILES: u32 = 4096;
/// How often at least the loop turns, and so beats.
const BEAT: Duration = Duration::from_millis(500);

/// Starts the engine on a thread of its own. It ends when the sender of `desired` is dropped.
///
/// # Errors
/// No thread or no event loop can be had.
pub fn start(
    desired: watch::Receiver<Desired>,
    options: Options,
) -> Result<watch::Receiver<Observed>, StartError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Runtime)?;
    let (sender, receiver) = watch::channel(Observed::default());
    let files = options.files.unwrap_or_else(quarter_of_files);
    std::thread::Builder::new()
        .name("health".into())
        .spawn(move || runtime.block_on(run(desired, &sender, files)))
        .map_err(StartError::Thread)?;
    Ok(receiver)
}

/// The proxy needs the rest.
fn quarter_of_files() -> u32 {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.and_then(|limit| u32::try_from(limit / 4).ok()).unwrap_or(FILES).clamp(1, FILES)
}

async fn run(mut desired: watch::Receiver<Desired>, observed: &watch::Sender<Observed>, files: u32) {
    let tools = Arc::new(Tools::default());
    let mut table = Table::new(files, clock());
    let mut probes = JoinSet::new();
    desired.mark_changed();
    loop {
        let now = clock();
        // What is known goes out before thousands of probes are started.
        if let Some(snapshot) = table.poll_observed(now) {
            observed.send_modify(|told| *told = Observed { beat: told.beat, ..snapshot });
        }
        observed.send_if_modified(|told| {
            told.beat = told.beat.wrapping_add(1);
            false
        });
        while let Some((id, target)) = table.poll_probe(now) {
            probes.spawn(run_probe(id, target, Arc::clone(&tools)));
        }
        let beat = now.checked_add(BEAT).unwrap_or(now);
        let next = table.poll_timeout().map_or(beat, |next| next.min(beat));
        tokio::select! {
            biased;
            changed = desired.changed() => {
                if changed.is_err() {
                    return;
                }
                let wanted = desired.borrow_and_update().clone();
                table.handle_tick(clock());
                table.handle_desired(&wanted, clock());
                tools.forget();
            }
            Some(ended) = probes.join_next() => {
                table.handle_tick(clock());
                handle_ended(&mut table, ended);
                // Whatever else has ended is told in the same snapshot.
                while let Some(ended) = probes.try_join_next() {
                    handle_ended(&mut table, ended);
                }
            }
            () = tokio::time::sleep_until(next.into()) => table.handle_tick(clock()),
        }
    }
}

type Ended = Result<(TargetId, Outcome), tokio::task::JoinError>;

fn handle_ended(table: &mut Table, ended: Ended) {
    match ended {
        Ok((id, outcome)) => table.handle_outcome(id, &outcome, fastrand::u32(..), clock()),
        Err(error) => tracing::error!(%error, "a health probe ended without an outcome"),
    }
}

async fn run_probe(id: TargetId, target: Target, tools: Arc<Tools>) -> (TargetId, Outcome) {
    let outcome = probe(&target, &tools).await;
    (id, outcome)
}

/// The only clock of this room.
#[allow(clippy::disallowed_methods)] // The table takes the time as an argument; it comes from here.
fn clock() -> Instant {
    Instant::now()
}
