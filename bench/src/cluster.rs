//! N nodes that elect the leader of each group: what a lost node costs, many VIPs of a lost node, and what it costs to be one
//! of N while nothing happens.

use crate::report::median;
use fulcrum_tests::lab::{Cluster, Fulcrum, Lab, Machine, Process, settled, wait_settled};
use fulcrum_tests::wait::{now, run_for, wait_until};
use fulcrum_tests::{LabError, Result};
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
    /// Many groups over five nodes, of which one dies and comes back.
    Spread,
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
            Part::Spread => tell_spread(&mut text)?,
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

fn tell_spread(text: &mut String) -> Result<()> {
    let Spread { fullest, of_others, back, back_fullest } = spread(5, 500)?;
    text.push_str("\n### 500 groups over 5 nodes, of which one dies and comes back\n\n");
    text.push_str(
        "| fullest, of the mean | a death moves of others' groups | its return moves | fullest then |\n",
    );
    text.push_str("|---:|---:|---:|---:|\n");
    writeln!(text, "| {fullest:.2} | {of_others} | {:.1} % | {back_fullest:.2} |", back * 100.0).ok();
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
pub(crate) fn cpu_seconds(process: &Process) -> f64 {
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
    let file = |node: &_| listing(&cluster.file(node), groups);
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

/// How even it is, and what moves.
struct Spread {
    fullest: f64,
    of_others: usize,
    back: f64,
    back_fullest: f64,
}

/// So many groups; the node that leads the first of them dies and comes back.
fn spread(nodes: u8, groups: u16) -> Result<Spread> {
    eprintln!("{groups} groups over {nodes} nodes");
    let lab = Lab::new()?;
    let cluster = Cluster::new(&lab, nodes, 1)?;
    let file = |machine: &_| listing(&cluster.file(machine), groups);
    let start = |machine| Ok((Machine::name(machine).to_owned(), Fulcrum::start(machine, &file(machine))?));
    let mut running: BTreeMap<String, Fulcrum> = cluster.nodes.iter().map(start).collect::<Result<_>>()?;
    let even = |running: &BTreeMap<String, Fulcrum>| -> Result<BTreeMap<String, String>> {
        let all: Vec<&Fulcrum> = running.values().collect();
        let most = usize::from(groups).div_ceil(running.len()) * 11 / 10 + 1;
        wait_until("an even spread", PATIENCE, || {
            settled(&all).is_some_and(|leaders| loads(&leaders).into_values().all(|load| load <= most))
        })?;
        // Moves for an even spread go on.
        run_for(Duration::from_secs(20));
        wait_settled(&all)
    };
    let fullest = |leaders: &BTreeMap<String, String>, nodes: usize| {
        let most = loads(leaders).into_values().max().unwrap_or_default();
        most as f64 * nodes as f64 / leaders.len() as f64
    };
    let before = even(&running)?;
    let dead = before["many-0"].clone();
    let Some(node) = running.remove(&dead) else { return Err(LabError::new("nobody leads the first group")) };
    node.process().kill_with_children()?;
    drop(node);
    let during = even(&running)?;
    let moved = |from: &BTreeMap<String, String>, to: &BTreeMap<String, String>| {
        from.iter().filter(|(group, leader)| **leader != dead && to.get(*group) != Some(leader)).count()
    };
    let of_others = moved(&before, &during);
    let Some(machine) = cluster.nodes.iter().find(|node| node.name() == dead) else {
        return Err(LabError::new("the dead node has no machine"));
    };
    running.insert(dead.clone(), Fulcrum::start(machine, &file(machine))?);
    let after = even(&running)?;
    let back = moved(&during, &after) as f64 / after.len() as f64;
    Ok(Spread {
        fullest: fullest(&before, running.len()),
        of_others,
        back,
        back_fullest: fullest(&after, running.len()),
    })
}

fn loads(leaders: &BTreeMap<String, String>) -> BTreeMap<&str, usize> {
    let mut loads = BTreeMap::new();
    for leader in leaders.values() {
        *loads.entry(leader.as_str()).or_default() += 1;
    }
    loads
}

/// A file with so many groups more, of one VIP each.
fn listing(file: &str, groups: u16) -> String {
    let mut listed = String::from("groups:\n");
    for number in 0..groups {
        writeln!(listed, "  many-{number}: {{vips: [{}]}}", vip(number)).ok();
    }
    let text = file.replace("groups:\n", &listed);
    text.replace("networks: [10.77.0.0/24]", "networks: [10.77.0.0/24, 10.78.0.0/16]")
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
