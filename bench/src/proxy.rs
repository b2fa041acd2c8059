//! The proxy beside HAProxy, nginx stream and the kernel's own paths.

use crate::cgroup::{Cgroup, softirq_threads_us};
use crate::load::{Kind, Outcome};
use crate::serve::{ECHO, SOURCE};
use crate::subject::Subject;
use crate::topology::{BACKENDS, Place, Running, Topology};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::process::Stdio;
use std::time::Duration;

/// One kind of load as it is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cell {
    Connections,
    Requests,
    Latency,
    Bulk,
    Datagrams,
}

impl Cell {
    pub(crate) const ALL: [Self; 5] =
        [Self::Connections, Self::Requests, Self::Latency, Self::Bulk, Self::Datagrams];

    fn load(self) -> (Kind, u16, usize) {
        match self {
            Self::Connections => (Kind::Connect, ECHO, 64),
            Self::Requests => (Kind::Request, ECHO, 64),
            Self::Latency => (Kind::Request, ECHO, 1),
            Self::Bulk => (Kind::Bulk, SOURCE, 4),
            Self::Datagrams => (Kind::Udp, ECHO, 64),
        }
    }

    pub(crate) fn subjects(self) -> impl Iterator<Item = Subject> {
        Subject::ALL.into_iter().filter(move |subject| self != Self::Datagrams || subject.does_udp())
    }
}

/// One run of one subject in one cell.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) outcome: Outcome,
    /// CPU of everybody: clients, subject, backends and the kernel's work for them.
    pub(crate) cpu_us: u64,
}

impl Sample {
    /// Operations a second; for bulk, Gbit/s.
    pub(crate) fn rate(&self, cell: Cell) -> f64 {
        let count = if cell == Cell::Bulk {
            self.outcome.bytes as f64 * 8e-9
        } else {
            self.outcome.operations as f64
        };
        count / self.outcome.seconds
    }

    /// CPU microseconds for an operation; for bulk, CPU seconds for a GB.
    pub(crate) fn cost(&self, cell: Cell) -> f64 {
        if cell == Cell::Bulk {
            self.cpu_us as f64 * 1e-6 / (self.outcome.bytes as f64 * 1e-9)
        } else {
            self.cpu_us as f64 / self.outcome.operations as f64
        }
    }
}

/// All samples of a run, by cell and subject, in order of rounds.
#[derive(Default)]
pub(crate) struct Samples {
    pub(crate) cells: BTreeMap<(Cell, Subject), Vec<Sample>>,
    pub(crate) idle: BTreeMap<Subject, Vec<Idle>>,
}

/// Memory for one idle proxied connection in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Idle {
    /// Of the subject's processes.
    pub(crate) process: f64,
    /// Of the kernel, both ends' sockets included.
    pub(crate) kernel: f64,
}

/// What to measure.
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    pub(crate) seconds: f64,
    pub(crate) cells: Vec<Cell>,
    pub(crate) subjects: Vec<Subject>,
    pub(crate) idle_connections: usize,
}

/// Runs every subject in turn, round after round.
///
/// # Errors
/// A subject does not start or does not answer.
pub(crate) fn run(plan: &Plan) -> io::Result<Samples> {
    let directory = tempfile::tempdir()?;
    let all = Cgroup::top(&format!("fulcrum-bench-{}", std::process::id()))?;
    let home = all.home()?;
    let rest = all.inside("rest")?;
    let topology = Topology::new()?;
    let me = std::env::current_exe()?.to_string_lossy().into_owned();
    let serve = [&["serve"], &BACKENDS[..]].concat();
    let _backend = rest.spawn_in(&home, || topology.start(Place::Backends, &me, &serve))?;
    let mut samples = Samples::default();
    for round in 0..plan.rounds {
        for subject in plan.subjects.iter().copied() {
            eprintln!("round {}/{}: {}", round + 1, plan.rounds, subject.name());
            let group = all.inside("subject")?;
            let running = group.spawn_in(&home, || subject.start(&topology, directory.path()))?;
            let bench = Bench { topology: &topology, me: &me, all: &all, rest: &rest, home: &home };
            bench.wait(subject)?;
            for cell in plan.cells.iter().filter(|cell| cell.subjects().any(|known| known == subject)) {
                samples.cells.entry((*cell, subject)).or_default().push(bench.load(
                    subject,
                    *cell,
                    plan.seconds,
                )?);
            }
            if plan.idle_connections > 0 && subject != Subject::Nftables {
                let idle = bench.idle(subject, &group, plan.idle_connections)?;
                samples.idle.entry(subject).or_default().push(idle);
            }
            running.map(Running::stop).transpose()?;
            subject.clear(&topology);
        }
    }
    Ok(samples)
}

struct Bench<'a> {
    topology: &'a Topology,
    me: &'a str,
    all: &'a Cgroup,
    rest: &'a Cgroup,
    home: &'a std::path::Path,
}

impl Bench<'_> {
    fn wait(&self, subject: Subject) -> io::Result<()> {
        for _ in 0..100 {
            let outcome = self.clients(subject, Kind::Connect, ECHO, 1, 0.1)?;
            if outcome.errors == 0 && outcome.operations > 0 {
                return Ok(());
            }
            crate::pause(Duration::from_millis(100));
        }
        Err(io::Error::other(format!("{} does not answer", subject.name())))
    }

    fn load(&self, subject: Subject, cell: Cell, seconds: f64) -> io::Result<Sample> {
        let (kind, port, clients) = cell.load();
        let cpu = || Ok::<u64, io::Error>(self.all.cpu_us()? + softirq_threads_us()?);
        let before = cpu()?;
        let outcome = self.clients(subject, kind, port, clients, seconds)?;
        let cpu_us = cpu()?.saturating_sub(before);
        if outcome.errors > 0 {
            eprintln!("  {}: {:?}: {} errors", subject.name(), cell, outcome.errors);
        }
        Ok(Sample { outcome, cpu_us })
    }

    fn clients(
        &self,
        subject: Subject,
        kind: Kind,
        port: u16,
        clients: usize,
        seconds: f64,
    ) -> io::Result<Outcome> {
        let target = subject.target(port).to_string();
        let kind = format!("{kind:?}").to_lowercase();
        let mut command = self.topology.command(Place::Clients, self.me);
        command.args(["load", &kind, &target, &clients.to_string(), &seconds.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = self.rest.spawn_in(self.home, || command.spawn())?;
        let mut text = String::new();
        if let Some(output) = child.stdout.as_mut() {
            output.read_to_string(&mut text)?;
        }
        child.wait()?;
        Ok(serde_json::from_str(&text)?)
    }

    fn idle(&self, subject: Subject, group: &Cgroup, count: usize) -> io::Result<Idle> {
        let (before, kernel_before) = (group.memory()?, kernel_memory()?);
        let target = subject.target(ECHO).to_string();
        let mut command = self.topology.command(Place::Clients, self.me);
        command.args(["hold", &target, &count.to_string()]);
        let mut child = Running(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?);
        let mut line = [0_u8; 16];
        let read = child.0.stdout.as_mut().map_or(Ok(0), |output| output.read(&mut line))?;
        if read == 0 {
            return Err(io::Error::other(format!("{} did not hold {count} connections", subject.name())));
        }
        let (after, kernel_after) = (group.memory()?, kernel_memory()?);
        if let Some(input) = child.0.stdin.as_mut() {
            let _ = input.write_all(b"\n");
        }
        child.0.wait()?;
        let each = |before: u64, after: u64| after.saturating_sub(before) as f64 / count as f64;
        Ok(Idle { process: each(before, after), kernel: each(kernel_before, kernel_after) })
    }
}

fn kernel_memory() -> io::Result<u64> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let value = text.lines().find_map(|line| line.strip_prefix("Slab:"));
    let kilobytes = value.and_then(|text| text.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.map(|count| count * 1024).ok_or_else(|| io::Error::other("/proc/meminfo has no Slab"))
}
