//! What clients see of handovers: requests that fail, connections that break, and the longest stall.

use crate::failover::PATIENCE;
use crate::report::median;
use fulcrum_tests::lab::{Family, Fulcrum, GROUP, Lab, Mode, Pair, forwarding_pair};
use fulcrum_tests::probe::{Crowd, Options, Probe, Session};
use fulcrum_tests::wait::{now, run_for, wait_until};
use fulcrum_tests::{LabError, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fmt::Write;
use std::time::{Duration, Instant};

pub(crate) const MODES: [(&str, Option<Mode>); 4] =
    [("proxy", None), ("nat", Some(Mode::Nat)), ("dsr", Some(Mode::Dsr)), ("fullnat", Some(Mode::Fullnat))];
/// How often each active connection asks.
const EVERY: Duration = Duration::from_millis(500);
/// New connections: a lost SYN is sent again after one and three seconds.
const ASKS: Options =
    Options { interval: Duration::from_millis(5), timeout: Duration::from_secs(5), at_once: 1 };
/// What is looked at of each handover, and of as much time in which there is none.
const WINDOW: Duration = Duration::from_millis(800);

/// What was seen in one mode.
#[derive(Debug, Default)]
struct Seen {
    requests: usize,
    failed: usize,
    flows: usize,
    broken: usize,
    /// Milliseconds: of the active connections, with a handover and without, and of new ones likewise.
    stalls: [Vec<f64>; 4],
    took: Vec<f64>,
    refused: usize,
}

/// Runs all of it, and gives a table.
///
/// # Errors
/// A lab can't be built, or a pair does not come into service.
pub(crate) fn run(count: usize, flows: usize, modes: &[String]) -> Result<String> {
    let mut text = format!(
        "\n### {count} handovers to and fro, {flows} active and {flows} idle connections, 200 new ones a second\n\n\
         Stalls are milliseconds, median / worst: the longest that an answer took in the {} ms from the request for the \
         handover, and in as much time without one.\n\n\
         | mode | requests failed | connections broken | stall of active ones | without | stall of new ones | without | handover took |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|\n",
        WINDOW.as_millis()
    );
    for (name, mode) in
        MODES.into_iter().filter(|(name, _)| modes.is_empty() || modes.iter().any(|it| it == name))
    {
        let seen = once(name, mode, count, flows)?;
        let [active, active_calm, fresh, fresh_calm] = seen.stalls.each_ref().map(|it| both(it));
        let refused = if seen.refused > 0 { format!(" ({} refused)", seen.refused) } else { String::new() };
        let _ = writeln!(
            text,
            "| {name} | {} of {} | {} of {} | {active} | {active_calm} | {fresh} | {fresh_calm} | {}{refused} |",
            seen.failed,
            seen.requests,
            seen.broken,
            seen.flows,
            both(&seen.took)
        );
    }
    Ok(text)
}

fn both(values: &[f64]) -> String {
    let worst = values.iter().copied().fold(f64::NAN, f64::max);
    format!("{:.1} / {worst:.1}", median(values.iter().copied()))
}

fn once(name: &str, mode: Option<Mode>, count: usize, flows: usize) -> Result<Seen> {
    allow_files(4 * flows as u64 + 2_000)?;
    let lab = Lab::new()?;
    let mut pair = match mode {
        Some(mode) => forwarding_pair(&lab, mode, Family::Ipv4)?,
        None => Pair::new(&lab)?,
    };
    pair.plan = pair.plan.with_keys()?;
    let (first, second) = pair.start_both()?;
    drop(pair.probe()?);
    let open = |_| Session::open(&pair.client, pair.service(), PATIENCE);
    let mut idle = (0..flows).map(open).collect::<Result<Vec<_>>>()?;
    let crowd = Crowd::open(&pair.client, pair.service(), flows, EVERY, PATIENCE)?;
    let probe = Probe::start(&pair.client, pair.service(), ASKS)?;
    run_for(Duration::from_secs(3));
    let mut seen = Seen { flows: 2 * flows, ..Seen::default() };
    for number in 0..count {
        eprintln!("{name}: {}/{count}", number + 1);
        let (from, to) = if number % 2 == 0 { (&first, &second) } else { (&second, &first) };
        watch(&crowd, &probe, &mut seen, 1, || Ok(()))?;
        let mut took = None;
        watch(&crowd, &probe, &mut seen, 0, || {
            took = hand_over(from);
            Ok(())
        })?;
        match took {
            Some(took) => seen.took.push(took),
            None => seen.refused += 1,
        }
        to.wait_leader(GROUP)?;
    }
    seen.broken = crowd.lost();
    drop(crowd);
    seen.broken += idle.iter_mut().filter_map(|session| session.ask().err()).count();
    let timeline = probe.finish();
    (seen.requests, seen.failed) = (timeline.samples().len(), timeline.failed());
    Ok(seen)
}

/// Milliseconds that it took, or none if it was refused.
fn hand_over(from: &Fulcrum) -> Option<f64> {
    let told = from.command(&["handover", GROUP, "--json"]).inspect_err(|error| eprintln!("{error}")).ok()?;
    let told: serde_json::Value = serde_json::from_str(&told).ok()?;
    told.get("moved")?.get(0)?.get("took_ms")?.as_f64()
}

/// Notes the longest stalls while something is done, in the places of it and of the next but one.
fn watch(
    crowd: &Crowd,
    probe: &Probe,
    seen: &mut Seen,
    place: usize,
    work: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let begun = now();
    crowd.mark();
    work()?;
    run_for(WINDOW.saturating_sub(begun.elapsed()));
    let lost = crowd.lost();
    let stall = match crowd.wait_answered() {
        Ok(stall) => stall,
        Err(_) if lost > 0 => Duration::ZERO,
        Err(error) => return Err(error),
    };
    seen.stalls[place].push(milliseconds(stall));
    seen.stalls[place + 2].push(milliseconds(slowest(probe, begun)?));
    Ok(())
}

/// The longest that a request took that began in the window.
fn slowest(probe: &Probe, begun: Instant) -> Result<Duration> {
    let end = begun + WINDOW;
    wait_until("requests to be answered", PATIENCE, || probe.answered_since(end).is_some())
        .map_err(|error| LabError::new(format!("no request is answered any more: {error}")))?;
    let timeline = probe.timeline().between(begun, end);
    Ok(timeline.samples().iter().map(|sample| sample.took).max().unwrap_or_default())
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

pub(crate) fn allow_files(count: u64) -> Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let count = maximum.map_or(count, |maximum| maximum.min(count));
    if current.is_some_and(|current| current < count) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(count), maximum })
            .map_err(std::io::Error::from)?;
    }
    Ok(())
}
