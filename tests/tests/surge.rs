//! `fulcrum roll --surge`: as many nodes are ready while others are changed as before.

#![allow(clippy::disallowed_methods, reason = "asks nodes that it did not start itself")]

use fulcrum_tests::lab::{Anew, Cluster, Fulcrum, Lab, Machine, fulcrum_binary, leaders, wait_settled};
use fulcrum_tests::probe::{Options, Probe};
use fulcrum_tests::wait::{now, run_for};
use fulcrum_tests::{LabError, Result};
use serde_json::Value;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(240);
/// What fails at most of the requests to one group of proxied services, however often it is handed over. Nothing does for any other reason.
const IN_HANDOVERS: usize = 10;

/// Whether a node says that it is ready, and may lead.
fn is_ready(machine: &Machine) -> bool {
    let Ok(binary) = fulcrum_binary() else { return false };
    let mut command = Command::new(binary);
    command.args(["status", "--json"]).env("FULCRUM_SOCKET", Fulcrum::socket_of(machine));
    let said = command.output().ok().and_then(|output| serde_json::from_slice::<Value>(&output.stdout).ok());
    let Some(said) = said else { return false };
    let drained = format!("lb-node {}", machine.name());
    let overrides = said.get("overrides").and_then(Value::as_array);
    let is_drained =
        overrides.is_some_and(|list| list.iter().any(|it| it.get("of").is_some_and(|of| *of == *drained)));
    said.get("ready").and_then(Value::as_bool).unwrap_or_default() && !is_drained
}

/// Counts all the while how many nodes are ready: the fewest and the most, and how often it looked.
struct Count {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(usize, usize, usize)>,
}

impl Count {
    fn start(machines: &[Machine]) -> Self {
        let (stop, machines) = (Arc::new(AtomicBool::new(false)), machines.to_vec());
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let (mut fewest, mut most, mut looks) = (usize::MAX, 0, 0_usize);
            while !stopped.load(Ordering::Relaxed) {
                let ready = machines.iter().filter(|machine| is_ready(machine)).count();
                (fewest, most, looks) = (fewest.min(ready), most.max(ready), looks.saturating_add(1));
                thread::sleep(Duration::from_millis(50));
            }
            (fewest, most, looks)
        });
        Self { stop, thread }
    }

    fn finish(self) -> Result<(usize, usize, usize)> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| LabError::new("the count panicked"))
    }
}

/// So many nodes run, and one more stands in their file.
struct Scene {
    cluster: Cluster,
    nodes: Vec<Fulcrum>,
    anew: Anew,
}

impl Scene {
    fn new(lab: &Lab, nodes: u8) -> Result<Self> {
        let cluster = Cluster::new(lab, nodes.saturating_add(1), nodes)?;
        let Some((surge, lasting)) = cluster.nodes.split_last() else { unreachable!("there is one") };
        surge.write("fulcrum.yaml", &cluster.file(surge))?;
        let nodes: Vec<Fulcrum> = lasting.iter().map(|node| cluster.start(node)).collect::<Result<_>>()?;
        wait_settled(&nodes.iter().collect::<Vec<_>>())?;
        let anew = Anew::with_surge(lab, &lasting.iter().collect::<Vec<_>>(), &[surge])?;
        Ok(Self { cluster, nodes, anew })
    }

    fn probes(&self) -> Result<Vec<Probe>> {
        let options = Options {
            interval: Duration::from_millis(5),
            timeout: Duration::from_secs(3),
            ..Options::default()
        };
        let start =
            |group| Probe::start_answered(&self.cluster.client, self.cluster.service(group), options, LONG);
        (0..self.cluster.groups).map(start).collect()
    }

    /// The one that stood in is gone and forgotten, each group has a leader, and nearly nothing failed.
    fn assert_as_before(&self, probes: Vec<Probe>) -> Result<()> {
        let nodes: Vec<&Fulcrum> = self.nodes.iter().collect();
        wait_settled(&nodes)?;
        assert_eq!(leaders(&nodes)?.len(), usize::from(self.cluster.groups));
        let surge = self.cluster.nodes.last().map(Machine::name).unwrap_or_default();
        for node in &nodes {
            let status = node.status()?;
            let state = status.peer(surge).and_then(|peer| peer.get("state")).cloned();
            assert_eq!(state, Some(Value::from("down")), "{surge} is gone");
            let overrides = status.0.get("overrides").and_then(Value::as_array).map_or(0, Vec::len);
            assert_eq!(overrides, 0, "nothing is drained");
        }
        for (name, probe) in self.cluster.names().zip(probes) {
            let timeline = probe.finish();
            let (failed, gap) = (timeline.failed(), timeline.longest_gap());
            println!("{name}: {failed} failed, longest gap {gap:?}, {:?}", timeline.outcomes());
            assert!(failed <= IN_HANDOVERS && gap < SECOND, "{name}");
        }
        Ok(())
    }
}

#[test]
fn with_a_replacement_first_as_many_nodes_are_ready_all_the_while_as_before() {
    Lab::run(|lab| {
        let scene = Scene::new(lab, 3)?;
        let (probes, count) = (scene.probes()?, Count::start(&scene.cluster.nodes));
        let begun = now();
        let exec = scene.anew.exec("{node} {action}");
        // Preflight takes an address that two nodes answer for, while the machine stands still, for a fault.
        let (output, said) =
            scene.anew.finish(&["roll", "--exec", &exec, "--surge", "1", "--no-preflight"])?;
        let (fewest, most, looks) = count.finish()?;
        assert!(output.status.success(), "{said}");
        println!(
            "3 nodes with one more first in {:?}: {fewest} to {most} were ready ({looks} looks)",
            begun.elapsed()
        );
        assert_eq!((fewest, most), (3, 4));
        run_for(SECOND);
        scene.assert_as_before(probes)?;
        // The command would make the further node anew at the end instead of removing it.
        let (refused, said) =
            scene.anew.finish(&["roll", "--exec", &scene.anew.exec("{node}"), "--surge", "1"])?;
        assert!(!refused.status.success() && said.contains("write {action}"), "{said}");
        Ok(())
    });
}

#[test]
fn a_roll_with_a_replacement_first_goes_on_wherever_it_is_killed() {
    Lab::run(|lab| {
        let scene = Scene::new(lab, 2)?;
        let (probes, count) = (scene.probes()?, Count::start(&scene.cluster.nodes));
        let exec = scene.anew.exec("{node} {action}");
        let begin = ["roll", "--exec", exec.as_str(), "--surge", "1", "--no-preflight"];
        let killed = scene.anew.kill_at_each_step(&begin, &["roll", "--resume"])?;
        let (fewest, most, looks) = count.finish()?;
        println!("killed at {killed:?}; {fewest} to {most} were ready ({looks} looks)");
        for (node, step) in
            [("lb3, create", "change"), ("lb1", "change"), ("lb2", "return"), ("lb3, remove", "change")]
        {
            assert!(killed.contains(&(node.to_owned(), step.to_owned())), "{node}, {step}: {killed:?}");
        }
        assert_eq!((fewest, most), (2, 3));
        scene.assert_as_before(probes)
    });
}
