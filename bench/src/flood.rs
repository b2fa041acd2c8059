//! New connections to a control plane while workloads behind the same node are flooded by all that one core can send.

use crate::failover::PATIENCE;
use fulcrum_tests::Result;
use fulcrum_tests::flood::Flood;
use fulcrum_tests::lab::{Attack, Carrier, Classes, Fulcrum, LIMIT, Lab, attacked, moves};
use fulcrum_tests::probe::{Options, Probe, Timeline};
use fulcrum_tests::wait::{now, run_for, wait_until};
use rustix::process::setpriority_process;
use std::fmt::Write;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

const CARRIERS: [Carrier; 4] = [Carrier::Proxy, Carrier::Nat, Carrier::Dsr, Carrier::Fullnat];
const LOADS: [Load; 4] =
    [Load::Busy, Load::Flood(Attack::Syns), Load::Flood(Attack::Connections), Load::Flood(Attack::Datagrams)];
/// The client and the control plane's own machine stand for others than the node, and so wait for nobody.
const URGENT: i32 = -15;
/// The client's pace, and what it waits for an answer: a lost SYN is sent again after a second.
const ASKS: Options =
    Options { interval: Duration::from_millis(2), timeout: Duration::from_millis(900), at_once: 1 };
/// What is under way when a flood begins or ends belongs to neither side.
const MARGIN: Duration = Duration::from_millis(200);

/// What goes on beside the control plane.
#[derive(Debug, Clone, Copy)]
enum Load {
    /// Nothing is sent; a core computes. So much of what a flood costs is that its sender is on the same machine.
    Busy,
    Flood(Attack),
}

impl Load {
    fn words(self) -> &'static str {
        match self {
            Self::Busy => "none, a core is busy",
            Self::Flood(Attack::Syns) => "SYNs, forged",
            Self::Flood(Attack::Connections) => "connections",
            Self::Flood(Attack::Datagrams) => "UDP, forged",
        }
    }

    fn start(self, scene: &Classes) -> Result<Running> {
        match self {
            Self::Busy => Ok(Running::Busy(Busy::start())),
            Self::Flood(attack) => scene.flood(attack, &scene.pair.lb1).map(Running::Flood),
        }
    }

    /// What the service that it meets has refused.
    fn refused(self, node: &Fulcrum) -> Result<u64> {
        let Self::Flood(attack) = self else { return Ok(0) };
        let status = node.status()?;
        let stats = status.service(attacked(attack)).and_then(|service| service.get("stats"));
        Ok(stats.and_then(|stats| stats.get("refused_rate")?.as_u64()).unwrap_or_default())
    }
}

/// Ends when it is dropped.
enum Running {
    Busy(#[expect(dead_code, reason = "only its end matters")] Busy),
    Flood(Flood),
}

impl Running {
    fn sent(&self) -> u64 {
        match self {
            Self::Busy(_) => 0,
            Self::Flood(flood) => flood.sent(),
        }
    }
}

/// A thread that computes.
struct Busy {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Busy {
    fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let compute = move || {
            while !stopped.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        };
        Self { stop, thread: Some(std::thread::spawn(compute)) }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().and_then(|thread| thread.join().ok());
    }
}

/// What was seen of one flood in all rounds.
#[derive(Default)]
struct Seen {
    quiet: Asked,
    flooded: Asked,
    sent: u64,
    lasted: Duration,
    refused: u64,
    moves: u64,
}

/// Requests: how many, and how long the answered ones took, in milliseconds.
#[derive(Default)]
struct Asked {
    count: usize,
    took: Vec<f64>,
}

impl Asked {
    fn add(&mut self, timeline: &Timeline) {
        self.count += timeline.samples().len();
        let answered = timeline.samples().iter().filter(|sample| sample.is_answer());
        self.took.extend(answered.map(|sample| sample.took.as_secs_f64() * 1e3));
        self.took.sort_by(f64::total_cmp);
    }

    fn percent(&self) -> f64 {
        self.took.len() as f64 * 100.0 / self.count as f64
    }

    fn quantile(&self, thousandths: usize) -> f64 {
        let last = self.took.len().saturating_sub(1);
        self.took.get(last * thousandths / 1000).copied().unwrap_or(f64::NAN)
    }
}

/// Every flood in every mode, `rounds` times for `seconds`, each after as long a quiet time; gives a table.
///
/// # Errors
/// A lab can't be built, or a pair does not come into service.
pub(crate) fn run(rounds: usize, seconds: f64, modes: &[String]) -> Result<String> {
    let mut text = format!(
        "\n### A control plane beside a flood of workloads whose limit is {LIMIT} new connections a second\n\n\
         | mode | flood | sent a second | answered quiet, % | answered flooded, % | p50 quiet ms | p50 flooded ms \
         | p99 quiet ms | p99 flooded ms | p99 ratio | refused | leaders moved |\n\
         |---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n"
    );
    let wanted = |carrier: &Carrier| modes.is_empty() || modes.iter().any(|mode| mode == carrier.name());
    for carrier in CARRIERS.into_iter().filter(wanted) {
        let lab = Lab::new()?;
        let scene = Classes::new(&lab, carrier)?;
        let nodes = scene.start()?;
        let probe = urgently(&scene)?;
        let begun = now();
        wait_until("an answer", PATIENCE, || probe.answered_since(begun).is_some())?;
        let mut seen = LOADS.map(|_| Seen::default());
        for round in 1..=rounds {
            for (load, seen) in LOADS.into_iter().zip(&mut seen) {
                eprintln!("round {round}/{rounds}: {}, {}", carrier.name(), load.words());
                once(&scene, &nodes, load, &probe, Duration::from_secs_f64(seconds), seen)?;
            }
        }
        for (load, seen) in LOADS.into_iter().zip(&seen) {
            row(&mut text, carrier, load, seen);
        }
    }
    text.push_str(
        "\nDatagrams have no limit in the plane, which forwards them all. One machine is client, flood, nodes and backends; the client and the \
         control plane's backend stand for other machines and have the processor first.\n",
    );
    Ok(text)
}

fn once(
    scene: &Classes,
    nodes: &(Fulcrum, Fulcrum),
    load: Load,
    probe: &Probe,
    length: Duration,
    seen: &mut Seen,
) -> Result<()> {
    let before = (load.refused(&nodes.0)?, moved(nodes)?);
    run_for(MARGIN);
    let quiet = now();
    run_for(length);
    let calm = now();
    let flood = load.start(scene)?;
    run_for(MARGIN);
    let (begun, sent) = (now(), flood.sent());
    run_for(length);
    let ended = now();
    seen.sent += flood.sent() - sent;
    seen.lasted += ended - begun;
    // Until all that was asked meanwhile has its outcome, the flood goes on.
    run_for(ASKS.timeout);
    drop(flood);
    let timeline = probe.timeline();
    seen.quiet.add(&timeline.between(quiet, calm - MARGIN));
    seen.flooded.add(&timeline.between(begun, ended));
    // What is counted is told a few times a second.
    run_for(Duration::from_millis(600));
    seen.refused += load.refused(&nodes.0)? - before.0;
    seen.moves += moved(nodes)? - before.1;
    Ok(())
}

/// Starts the client. Its thread, as any, has the priority of the one that starts it.
fn urgently(scene: &Classes) -> Result<Probe> {
    for web in scene.pair.web.iter().take(1) {
        setpriority_process(Some(web.process().pid()), URGENT).map_err(io::Error::from)?;
    }
    setpriority_process(None, URGENT).map_err(io::Error::from)?;
    let probe = Probe::start(&scene.pair.client, scene.pair.service(), ASKS);
    setpriority_process(None, 0).map_err(io::Error::from)?;
    probe
}

fn moved((first, second): &(Fulcrum, Fulcrum)) -> Result<u64> {
    Ok(moves(&first.status()?) + moves(&second.status()?))
}

fn row(text: &mut String, carrier: Carrier, load: Load, seen: &Seen) {
    let Seen { quiet, flooded, .. } = seen;
    let _ = writeln!(
        text,
        "| {} | {} | {:.0} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {} | {} |",
        carrier.name(),
        load.words(),
        seen.sent as f64 / seen.lasted.as_secs_f64(),
        quiet.percent(),
        flooded.percent(),
        quiet.quantile(500),
        flooded.quantile(500),
        quiet.quantile(990),
        flooded.quantile(990),
        flooded.quantile(990) / quiet.quantile(990),
        seen.refused,
        seen.moves,
    );
}
