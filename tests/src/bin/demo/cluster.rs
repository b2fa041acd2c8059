//! N nodes that lead a part of the groups each: which groups move when a node dies, comes back, freezes, is cut off or stops.

use fulcrum_tests::lab::{Cluster, Fulcrum, Lab, Machine, settled, wait_settled};
use fulcrum_tests::probe::{Probe, Timeline};
use fulcrum_tests::wait::{now, run_for, wait_until};
use fulcrum_tests::{LabError, Result};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(40);
const SECOND: Duration = Duration::from_secs(1);
/// How long a node is frozen, or cut off.
const AWAY: Duration = Duration::from_secs(2);
/// Groups for each node.
const SHARE: u8 = 2;

/// Who leads each group.
type Leaders = BTreeMap<String, String>;

struct Stage<'a> {
    lab: &'a Lab,
    cluster: Cluster,
    running: BTreeMap<String, Fulcrum>,
    probes: Vec<Probe>,
    leaders: Leaders,
    /// A line of the table for each chapter.
    rows: Vec<String>,
}

/// Plays the story, and prints it.
pub(crate) fn tell(lab: &Lab, nodes: u8) -> Result<()> {
    let cluster = Cluster::new(lab, nodes, nodes.saturating_mul(SHARE))?;
    let mut stage = Stage {
        lab,
        cluster,
        running: BTreeMap::new(),
        probes: Vec::new(),
        leaders: Leaders::new(),
        rows: Vec::new(),
    };
    println!("{nodes} nodes are switched on; {} groups, each with a VIP and a service", stage.cluster.groups);
    for machine in stage.cluster.nodes.clone() {
        stage.start(&machine)?;
    }
    stage.leaders = stage.wait_even()?;
    print!("{}", picture(&stage.leaders, &stage.names(), &BTreeMap::new()));
    for group in 0..stage.cluster.groups {
        stage.probes.push(stage.cluster.probe(group)?);
    }

    let first = stage.machine(0);
    stage.play("loses power", &first, |stage| {
        let node = stage.running.remove(first.name());
        node.map_or(Ok(()), |node| node.process().kill_with_children())
    })?;
    stage.play("is switched on again", &first, |stage| stage.start(&first))?;
    let second = stage.machine(1);
    stage.play("freezes for two seconds", &second, |stage| {
        stage.node(&second)?.process().freeze()?;
        run_for(AWAY);
        stage.node(&second)?.process().thaw()
    })?;
    let third = stage.machine(2);
    stage.play("is cut off for two seconds", &third, |stage| {
        stage.lab.switch().cut(&third)?;
        run_for(AWAY);
        stage.lab.switch().heal()
    })?;
    stage.play("stops in good order", &third, |stage| {
        let node = stage.running.remove(third.name());
        node.map_or(Ok(()), |node| node.process().terminate(LONG).map(drop))
    })?;
    println!("\n what                                   moved   longest gap   requests failed");
    stage.rows.iter().for_each(|row| println!("{row}"));
    Ok(())
}

impl Stage<'_> {
    /// A machine by its place; the last if there are fewer.
    fn machine(&self, place: usize) -> Machine {
        let nodes = &self.cluster.nodes;
        nodes.get(place).or(nodes.last()).cloned().unwrap_or_else(|| self.cluster.client.clone())
    }

    fn names(&self) -> Vec<String> {
        self.cluster.nodes.iter().map(|node| node.name().to_owned()).collect()
    }

    fn node(&self, machine: &Machine) -> Result<&Fulcrum> {
        let node = self.running.get(machine.name());
        node.ok_or_else(|| LabError::new(format!("{} does not run", machine.name())))
    }

    fn start(&mut self, machine: &Machine) -> Result<()> {
        let node = self.cluster.start(machine)?;
        self.running.insert(machine.name().to_owned(), node);
        Ok(())
    }

    /// One leader of each group, and the groups spread evenly.
    fn wait_even(&self) -> Result<Leaders> {
        let all: Vec<&Fulcrum> = self.running.values().collect();
        let share = usize::from(self.cluster.groups).div_ceil(all.len().max(1));
        wait_until("an even spread", LONG, || {
            settled(&all).is_some_and(|leaders| {
                let load = |node: &str| leaders.values().filter(|leader| *leader == node).count();
                self.running.keys().all(|node| load(node) <= share)
            })
        })?;
        wait_settled(&all)
    }

    /// Something happens to a node; waits until the groups are led and spread again, and says what that cost.
    fn play(&mut self, what: &str, whom: &Machine, act: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        println!("\n{} {what}", whom.name());
        let begun = now();
        act(self)?;
        run_for(SECOND);
        let after = self.wait_even()?;
        run_for(SECOND);
        let before = std::mem::replace(&mut self.leaders, after);
        print!("{}", picture(&self.leaders, &self.names(), &before));
        let (gap, failed) = self.seen(begun);
        let moved = self.leaders.iter().filter(|(group, leader)| before.get(*group) != Some(leader)).count();
        let row = format!("{} {what}", whom.name());
        self.rows.push(format!(" {row:<38} {moved:>5} {:>10} ms {failed:>17}", gap.as_millis()));
        Ok(())
    }

    /// The longest gap of any group, and how many requests failed, since a moment.
    fn seen(&self, since: Instant) -> (Duration, usize) {
        let seen: Vec<Timeline> = self.probes.iter().map(|probe| probe.recent(since)).collect();
        let gap = seen.iter().map(Timeline::longest_gap).max().unwrap_or_default();
        (gap, seen.iter().map(Timeline::failed).sum())
    }
}

/// A line for each node with the groups that it leads; those that it did not lead before are marked.
fn picture(leaders: &Leaders, nodes: &[String], before: &Leaders) -> String {
    let mut picture = String::new();
    for node in nodes {
        write!(picture, "  {node:<5}").ok();
        for (group, _) in leaders.iter().filter(|(_, leader)| *leader == node) {
            let came = before.get(group).is_some_and(|former| former != node);
            let from = before.get(group).filter(|_| came).map(|former| format!(" from {former}"));
            write!(picture, " [{group}{}]", from.unwrap_or_default()).ok();
        }
        picture.push('\n');
    }
    picture
}
