//! N nodes that elect the leader of each group: what a lost node costs, many VIPs of a lost node, and what it costs to be one
//! of N while nothing happens.

use crate::report::median;
use fulcrum_tests::Result;
use fulcrum_tests::lab::{Cluster, Fulcrum, Lab, Process, settled, wait_settled};
use fulcrum_tests::wait::{now, run_for, wait_until};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);
const GROUPS: u8 = 10;

/// What happens to the node that leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// Its processes are killed at once, the guard too.
    Death,
    /// They stand still for a second.
    Freeze,
    /// It is cut off for a second.
    Cut,
}

impl Event {
    const ALL: [Self; 3] = [Self::Death, Self::Freeze, Self::Cut];

    fn words(self) -> &'static str {
        match self {
            Self::Death => "node dies",
            Self::Freeze => "frozen 1 s, resumed",
            Self::Cut => "cut off 1 s, healed",
        }
    }
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// How long nobody answers when the node that leads is lost.
    Gaps,
    /// The processor's time while nothing happens.
    Cost,
    /// Many VIPs of a node that dies.
    Many,
}

/// What is asked for, in tables.
///
/// # Errors
/// A lab can't be built, or its nodes come to nothing.
pub(crate) fn run(nodes: &[u8], parts: &[Part], rounds: usize) -> Result<String> {
    let mut text = String::new();
    for part in parts {
        match part {
            Part::Gaps => tell_gaps(&mut text, nodes, rounds)?,
            Part::Cost => tell_cost(&mut text, nodes)?,
            Part::Many => tell_many(&mut text, rounds)?,
        }
    }
    Ok(text)
}

fn tell_gaps(text: &mut String, nodes: &[u8], rounds: usize) -> Result<()> {
    text.push_str(
        "\n### Gap of new connections when the node that leads is lost, milliseconds: median / worst\n\n\
         | nodes | adverts | nothing (the floor) | node dies | frozen 1 s, resumed | cut off 1 s, healed |\n\
         |---:|---:|---:|---:|---:|---:|\n",
    );
    for (nodes, milliseconds) in nodes.iter().flat_map(|nodes| [(*nodes, 100), (*nodes, 10)]) {
        // So many heartbeats are too many for the few processors that all nodes share here.
        if nodes > 5 && milliseconds < 100 {
            continue;
        }
        let gaps = gaps(nodes, milliseconds, rounds)?;
        write!(text, "| {nodes} | {milliseconds} ms |").ok();
        for event in [None].into_iter().chain(Event::ALL.map(Some)) {
            let found = &gaps[&event];
            let worst = found.iter().copied().fold(f64::NAN, f64::max);
            write!(text, " {:.0} / {worst:.0} |", median(found.iter().copied())).ok();
        }
        text.push('\n');
    }
    Ok(())
}

fn tell_cost(text: &mut String, nodes: &[u8]) -> Result<()> {
    text.push_str("\n### CPU of a node while nothing happens, percent of a core, adverts every 100 ms\n\n");
    text.push_str("| nodes | each node | of that for its being one of so many |\n|---:|---:|---:|\n");
    let alone = cost(1)?;
    for nodes in nodes {
        let each = cost(*nodes)?;
        writeln!(text, "| {nodes} | {each:.2} | {:.2} |", each - alone).ok();
    }
    Ok(())
}

fn tell_many(text: &mut String, rounds: usize) -> Result<()> {
    text.push_str("\n### 1,000 groups of one VIP each on the node that dies\n\n");
    text.push_str("| announced by the other one | last after the first, ms | last after the death, ms |\n|---:|---:|---:|\n");
    for _ in 0..rounds {
        let (count, spread, last) = many(1000)?;
        writeln!(text, "| {count} | {:.0} | {:.0} |", spread.as_secs_f64() * 1e3, last.as_secs_f64() * 1e3)
            .ok();
    }
    Ok(())
}

fn gaps(nodes: u8, milliseconds: u32, rounds: usize) -> Result<BTreeMap<Option<Event>, Vec<f64>>> {
    let lab = Lab::new()?;
    let mut cluster = Cluster::new(&lab, nodes, GROUPS)?;
    cluster.milliseconds = milliseconds;
    let mut running: BTreeMap<String, Fulcrum> = BTreeMap::new();
    for (machine, node) in cluster.nodes.iter().zip(cluster.start_all()?) {
        running.insert(machine.name().to_owned(), node);
    }
    let mut gaps: BTreeMap<Option<Event>, Vec<f64>> = BTreeMap::new();
    for round in 0..rounds {
        for event in Event::ALL {
            eprintln!("round {}/{rounds}: {nodes} nodes, {milliseconds} ms, {}", round + 1, event.words());
            let leaders = wait_settled(&running.values().collect::<Vec<_>>())?;
            let leader = leaders.get("web-1").cloned().unwrap_or_default();
            let Some(machine) = cluster.nodes.iter().find(|node| node.name() == leader) else { continue };
            let probe = cluster.probe(0)?;
            run_for(Duration::from_millis(500));
            let calm = now();
            run_for(Duration::from_millis(1000) + Duration::from_micros(fastrand::u64(0..100_000)));
            let struck = now();
            let process = running[&leader].process();
            match event {
                Event::Death => process.kill_with_children()?,
                Event::Freeze => process.freeze()?,
                Event::Cut => lab.switch().cut(machine)?,
            }
            run_for(Duration::from_millis(1000));
            match event {
                Event::Death => drop(running.remove(&leader)),
                Event::Freeze => process.thaw()?,
                Event::Cut => lab.switch().heal()?,
            }
            run_for(Duration::from_millis(2000));
            let timeline = probe.finish();
            let milliseconds = |gap: Duration| gap.as_secs_f64() * 1e3;
            let floor = timeline.between(calm, struck).longest_gap();
            gaps.entry(None).or_default().push(milliseconds(floor));
            gaps.entry(Some(event)).or_default().push(milliseconds(timeline.since(struck).longest_gap()));
            if event == Event::Death {
                running.insert(leader, cluster.start(machine)?);
            }
        }
    }
    Ok(gaps)
}

/// What each of so many nodes takes of a processor, in percent.
fn cost(nodes: u8) -> Result<f64> {
    const TIME: Duration = Duration::from_secs(10);
    eprintln!("{nodes} nodes at rest");
    let lab = Lab::new()?;
    let cluster = Cluster::new(&lab, nodes, GROUPS)?;
    let running = cluster.start_all()?;
    wait_settled(&running.iter().collect::<Vec<_>>())?;
    run_for(Duration::from_secs(5));
    let used = || -> f64 { running.iter().map(|node| cpu_seconds(node.process())).sum() };
    let (before, begun) = (used(), now());
    run_for(TIME);
    Ok((used() - before) / begun.elapsed().as_secs_f64() / f64::from(nodes) * 100.0)
}

/// Of the process and its children, from `/proc/PID/schedstat` of each of their threads: nanoseconds on a processor.
fn cpu_seconds(process: &Process) -> f64 {
    let pids = process.children().into_iter().chain([process.pid()]);
    let of_thread = |path: std::path::PathBuf| {
        let text = std::fs::read_to_string(path.join("schedstat")).unwrap_or_default();
        text.split(' ').next().and_then(|nanoseconds| nanoseconds.parse::<f64>().ok()).unwrap_or_default()
    };
    let of_process = |pid: rustix::process::Pid| -> f64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero()));
        tasks.into_iter().flatten().flatten().map(|task| of_thread(task.path())).sum()
    };
    pids.map(of_process).sum::<f64>() / 1e9
}

/// A node that leads so many groups dies: how many the other one announces, how long after the first the last, and how
/// long after the death.
fn many(groups: u16) -> Result<(usize, Duration, Duration)> {
    eprintln!("a node with {groups} VIPs dies");
    let lab = Lab::new()?;
    let mut cluster = Cluster::new(&lab, 2, 1)?;
    cluster.of_nodes.insert("lb2".to_owned(), "weight: 0".to_owned());
    let vips: BTreeSet<Ipv4Addr> = (0..groups).map(vip).collect();
    let file = |node: &_| {
        let mut listed = String::from("groups:\n");
        for (number, vip) in vips.iter().enumerate() {
            writeln!(listed, "  many-{number}: {{vips: [{vip}]}}").ok();
        }
        let text = cluster.file(node).replace("groups:\n", &listed);
        text.replace("networks: [10.77.0.0/24]", "networks: [10.77.0.0/24, 10.78.0.0/16]")
    };
    let first = Fulcrum::start(&cluster.nodes[0], &file(&cluster.nodes[0]))?;
    let second = Fulcrum::start(&cluster.nodes[1], &file(&cluster.nodes[1]))?;
    let all_led = || settled(&[&first, &second]).is_some_and(|it| it.values().all(|leader| leader == "lb1"));
    wait_until("one leader of all groups", PATIENCE, all_led)?;
    run_for(Duration::from_secs(3));
    let wanted = vips.clone();
    let capture = lab.switch().watch(&cluster.nodes[1], move |frame| {
        announced(frame).is_some_and(|address| wanted.contains(&address))
    })?;
    run_for(Duration::from_millis(200));
    let died = now();
    first.process().kill_with_children()?;
    run_for(Duration::from_secs(3));
    let mut first_seen: BTreeMap<Ipv4Addr, Instant> = BTreeMap::new();
    for frame in capture.frames() {
        if let Some(address) = announced(&frame.bytes).filter(|_| frame.at >= died) {
            first_seen.entry(address).or_insert(frame.at);
        }
    }
    let (Some(begin), Some(end)) = (first_seen.values().min(), first_seen.values().max()) else {
        return Ok((0, PATIENCE, PATIENCE));
    };
    Ok((first_seen.len(), *end - *begin, *end - died))
}

fn vip(number: u16) -> Ipv4Addr {
    let [high, low] = (number + 256).to_be_bytes();
    Ipv4Addr::new(10, 78, high, low)
}

/// The address that a gratuitous ARP is of.
fn announced(frame: &[u8]) -> Option<Ipv4Addr> {
    let is_arp = frame.get(12..14)? == [8, 6];
    let sender: [u8; 4] = frame.get(28..32)?.try_into().ok()?;
    let target: [u8; 4] = frame.get(38..42)?.try_into().ok()?;
    (is_arp && sender == target).then(|| sender.into())
}
