//! What it costs to know flows one by one: the memory of a million of them, on both nodes, and the processor's time for telling
//! the other node of those that begin.

use crate::cluster::cpu_seconds;
use crate::failover::PATIENCE;
use crate::report::median;
use fulcrum_tests::flood::{forged_ack, forged_syn};
use fulcrum_tests::frames::inject;
use fulcrum_tests::lab::{Fulcrum, GROUP, Lab, Machine, MemoryLimit, Pair, add_to_loopback, ipv4};
use fulcrum_tests::wait::{now, run_for, wait_until};
use fulcrum_tests::{LabError, Result};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

const PORT: u16 = 8000;
/// A limit that is never met: the group is there to be read.
const PLENTY: u64 = 4 << 30;
/// How often all are begun, at most.
const PASSES: u32 = 3;
/// Flows that are begun at a time.
const BURST: u32 = 200;
const MIB: f64 = 1_048_576.0;
const BALANCES: [(&str, &str); 3] =
    [("none", ""), ("by hash", "maglev"), ("in turn, each told", "round-robin")];

/// What is measured of how fast flows begin.
pub(crate) struct Plan {
    pub(crate) flows: u32,
    pub(crate) rate: u32,
    pub(crate) seconds: f64,
    pub(crate) rounds: usize,
}

/// Both measurements; gives tables.
///
/// # Errors
/// A lab can't be built, or a pair does not come into service.
pub(crate) fn run(plan: &Plan) -> Result<String> {
    let mut text = String::new();
    if plan.flows > 0 {
        memory(&mut text, plan.flows)?;
    }
    if plan.rounds > 0 {
        telling(&mut text, plan)?;
    }
    Ok(text)
}

/// A pair in mode dsr. What backends say gets to nobody: there is no way to the clients, who are forged.
struct Scene {
    pair: Pair,
    rogue: Machine,
    /// Of the first node.
    group: MemoryLimit,
}

impl Scene {
    fn new(lab: &Lab, balance: &str, room: u32) -> Result<Self> {
        let mut pair = Pair::new(lab)?;
        let rogue = lab.machine("rogue", 66)?;
        for web in &pair.web {
            web.machine.set("net/ipv4/conf/all/arp_ignore", "1")?;
            web.machine.set("net/ipv4/conf/all/arp_announce", "2")?;
            add_to_loopback(&web.machine, &ipv4(100).to_string(), "32")?;
        }
        let backends: Vec<String> =
            pair.web.iter().map(|web| format!("'{}:{PORT}'", web.machine.ipv4())).collect();
        let mut plan = pair.plan.clone().with_keys()?;
        plan.services.push(format!(
            "many: {{vip: {}, port: {PORT}, mode: dsr, balance: {balance}, check: none, backends: [{}]}}",
            ipv4(100),
            backends.join(", ")
        ));
        plan.top.push(format!("flows: {room}"));
        pair.plan = plan;
        Ok(Self { pair, rogue, group: lab.memory_limit(PLENTY)? })
    }

    fn start(&self) -> Result<[Fulcrum; 2]> {
        let file = self.pair.plan.file(&self.pair.lb1);
        let first = Fulcrum::start_with(&self.pair.lb1, &file, |command| self.group.hold(command))?;
        first.wait_leader(GROUP)?;
        let second = self.pair.start(&self.pair.lb2)?;
        second.wait_hears_leader(GROUP)?;
        wait_until("the link", PATIENCE, || {
            [&first, &second].iter().all(|node| plane(node, "flows_in_sync").is_ok_and(|it| it == true))
        })?;
        Ok([first, second])
    }

    /// These connections begin, each with two segments: the first alone may be anybody's.
    fn begin(&self, from: u32, count: u32) -> Result<()> {
        let (to, mac) = (SocketAddr::new(ipv4(100), PORT), self.pair.lb1.mac());
        let frames: Vec<Vec<u8>> = (from..from + count)
            .flat_map(|number| [forged_syn, forged_ack].map(|forge| forge(&self.rogue, number, to, &mac)))
            .collect();
        inject(&self.rogue, &frames)
    }
}

fn plane(node: &Fulcrum, key: &str) -> Result<serde_json::Value> {
    let status = node.status()?;
    let value = status.0.get("plane").and_then(|plane| plane.get(key)).cloned();
    value.ok_or_else(|| LabError::new(format!("the status has no plane.{key}")))
}

fn noted(node: &Fulcrum) -> u64 {
    plane(node, "noted_flows").ok().and_then(|noted| noted.as_u64()).unwrap_or_default()
}

/// Of one node, in MiB.
struct Used {
    tables: f64,
    process: f64,
    peak: f64,
}

fn used(node: &Fulcrum) -> Result<Used> {
    let pid = node.process().pid().as_raw_nonzero();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let of = |key: &str| -> f64 {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1024.0
    };
    Ok(Used { tables: tables(pid)? / MIB, process: of("VmRSS:"), peak: of("VmHWM:") })
}

/// Bytes of the BPF maps that a process has open, each counted once, as the kernel says.
fn tables(pid: std::num::NonZeroI32) -> Result<f64> {
    let mut maps = BTreeMap::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fdinfo"))?.flatten() {
        let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
        let of = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse::<u64>().ok());
        if let (Some(id), Some(bytes)) = (of("map_id:"), of("memlock:")) {
            maps.insert(id, bytes);
        }
    }
    Ok(maps.values().sum::<u64>() as f64)
}

fn memory(text: &mut String, flows: u32) -> Result<()> {
    let lab = Lab::new()?;
    let scene = Scene::new(&lab, "round-robin", flows)?;
    let nodes = scene.start()?;
    let look = || nodes.iter().map(used).collect::<Result<Vec<_>>>();
    let whole = || Ok::<_, LabError>(scene.group.used()? as f64 / MIB);
    run_for(Duration::from_secs(3));
    let (before, rest) = (look()?, whole()?);
    begin_all(&scene, &nodes, flows)?;
    // All are told of again each minute.
    run_for(Duration::from_secs(65));
    let (after, all) = (look()?, whole()?);
    let _ = write!(
        text,
        "\n### Memory of {flows} flows that are known one by one, of each node, MiB\n\n\
         | node | flows | tables in the kernel | process at rest | with them | at its peak |\n\
         |---|---:|---:|---:|---:|---:|\n"
    );
    for (((name, node), before), after) in ["leader", "standby"].iter().zip(&nodes).zip(&before).zip(&after) {
        let _ = writeln!(
            text,
            "| {name} | {} | {:.0} | {:.0} | {:.0} | {:.0} |",
            noted(node),
            after.tables,
            before.process,
            after.process,
            after.peak
        );
    }
    let _ = writeln!(
        text,
        "\nThe leader's control group, with what else the kernel has for it: {rest:.0} MiB at rest, {all:.0} with them."
    );
    Ok(())
}

/// Until both nodes know nearly all of so many. Receive queues drop some where a core is busy: those begin once more.
fn begin_all(scene: &Scene, nodes: &[Fulcrum], flows: u32) -> Result<()> {
    let enough = u64::from(flows) * 98 / 100;
    for pass in 1..=PASSES {
        for from in (0..flows).step_by(BURST as usize) {
            if from % 100_000 == 0 {
                eprintln!("pass {pass}: {from}; known {:?}", nodes.iter().map(noted).collect::<Vec<_>>());
            }
            scene.begin(from, BURST)?;
        }
        let all = || nodes.iter().all(|node| noted(node) >= enough);
        if wait_until("both nodes to know them", Duration::from_secs(60), all).is_ok() {
            return Ok(());
        }
    }
    let known: Vec<u64> = nodes.iter().map(noted).collect();
    Err(LabError::new(format!("of {flows} flows the nodes know {known:?}")))
}

/// Percent of a core of both nodes' processes while flows begin, and what of it is there without.
fn telling(text: &mut String, plan: &Plan) -> Result<()> {
    let mut seen: BTreeMap<usize, Vec<[f64; 3]>> = BTreeMap::new();
    for round in 1..=plan.rounds {
        for (place, (name, balance)) in BALANCES.into_iter().enumerate() {
            eprintln!("round {round}/{}: {name}", plan.rounds);
            seen.entry(place).or_default().push(once(balance, plan)?);
        }
    }
    let _ = write!(
        text,
        "\n### Processor for telling of flows, {} new ones a second asked for, percent of a core\n\n\
         | how backends are chosen | began a second | leader | standby |\n|---|---:|---:|---:|\n",
        plan.rate
    );
    for (place, (name, _)) in BALANCES.into_iter().enumerate() {
        let of = |column: usize| {
            median(seen.get(&place).into_iter().flatten().filter_map(|row| row.get(column).copied()))
        };
        let _ = writeln!(text, "| {name} | {:.0} | {:.2} | {:.2} |", of(0), of(1), of(2));
    }
    Ok(())
}

fn once(balance: &str, plan: &Plan) -> Result<[f64; 3]> {
    let lab = Lab::new()?;
    let quiet = balance.is_empty();
    let scene = Scene::new(&lab, if quiet { "maglev" } else { balance }, 1_000_000)?;
    let nodes = scene.start()?;
    run_for(Duration::from_secs(3));
    let cpu = || nodes.each_ref().map(|node| cpu_seconds(node.process()));
    let (before, begun) = (cpu(), now());
    let mut sent = 0_u32;
    while begun.elapsed().as_secs_f64() < plan.seconds {
        let due = begun.elapsed().as_secs_f64() * f64::from(plan.rate);
        if !quiet && due > f64::from(sent + BURST) {
            scene.begin(sent, BURST)?;
            sent += BURST;
        } else {
            run_for(Duration::from_millis(2));
        }
    }
    let took = begun.elapsed().as_secs_f64();
    // What waits to be told belongs to it.
    run_for(Duration::from_millis(100));
    let after = cpu();
    let percent = |node: usize| (after[node] - before[node]) / took * 100.0;
    Ok([f64::from(sent) / took, percent(0), percent(1)])
}
