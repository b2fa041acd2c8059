//! Nodes of an earlier version beside those of this one. `make versions EARLIER=...` builds the earlier one and runs this.

#![allow(clippy::disallowed_methods, reason = "starts the daemon of another binary")]

use fulcrum_tests::lab::{Anew, Cluster, Fulcrum, GROUP, Lab, Linked, Machine, wait_settled};
use fulcrum_tests::probe::{Crowd, Options, Probe};
use fulcrum_tests::{LabError, Result};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(240);
const SECOND: Duration = Duration::from_secs(1);
const CONNECTIONS: usize = 20;

/// The binary of the earlier version.
fn earlier() -> Result<PathBuf> {
    let path = std::env::var_os("FULCRUM_EARLIER_BIN");
    path.map(PathBuf::from).ok_or_else(|| LabError::new("FULCRUM_EARLIER_BIN names no binary: make versions"))
}

fn start(machine: &Machine, file: &str) -> Result<Fulcrum> {
    let earlier = earlier()?;
    // Keys that came later, and are said here for other tests alone.
    let file: Vec<&str> = file.lines().filter(|line| !line.contains("held_after_crashes")).collect();
    Fulcrum::start_with(machine, &file.join("\n"), |command| {
        let mut other = Command::new(earlier);
        other.args(command.get_args());
        *command = other;
    })
}

fn probe(client: &Machine, service: SocketAddr) -> Result<Probe> {
    let options =
        Options { interval: Duration::from_millis(5), timeout: Duration::from_secs(3), ..Options::default() };
    Probe::start_answered(client, service, options, LONG)
}

/// Rolls to this version while the connections are open; nothing fails, and none ends.
fn roll(scene: &Anew, client: &Machine, service: SocketAddr) -> Result<()> {
    let probe = probe(client, service)?;
    let crowd =
        Crowd::open(client, service, CONNECTIONS, Duration::from_millis(200), Duration::from_secs(15))?;
    let (output, said) = scene.finish(&["roll", "--exec", &scene.exec("{node}"), "--no-preflight"])?;
    assert!(output.status.success(), "{said}");
    let stall = crowd.wait_answered()?;
    let timeline = probe.finish();
    let (failed, gap) = (timeline.failed(), timeline.longest_gap());
    println!("{failed} failed, longest gap {gap:?}, {:?}; the longest stall {stall:?}", timeline.outcomes());
    assert!(failed == 0 && gap < SECOND);
    Ok(())
}

#[test]
#[ignore = "needs the binary of an earlier version: make versions"]
fn a_pair_is_rolled_from_an_earlier_version_and_every_connection_lives() {
    Lab::run(|lab| {
        let linked = Linked::new(lab, |pair| pair.plan.service = vec!["mode: fullnat".to_owned()], start)?;
        let machines = [&linked.pair.lb1, &linked.pair.lb2];
        let scene = Anew::upgrading(lab, &machines, &earlier()?)?;
        roll(&scene, &linked.pair.client, linked.pair.service())?;
        linked.wait_agreement()?;
        let roles = [linked.node(0)?.status()?, linked.node(1)?.status()?];
        assert_eq!(roles.iter().filter(|status| status.role(GROUP) == Some("leader")).count(), 1);
        Ok(())
    });
}

#[test]
#[ignore = "needs the binary of an earlier version: make versions"]
fn three_nodes_are_rolled_from_an_earlier_version_and_every_connection_lives() {
    Lab::run(|lab| {
        let mut cluster = Cluster::new(lab, 3, 3)?;
        cluster.mode = "fullnat".to_owned();
        let nodes: Vec<Fulcrum> =
            cluster.nodes.iter().map(|node| start(node, &cluster.file(node))).collect::<Result<_>>()?;
        let all: Vec<&Fulcrum> = nodes.iter().collect();
        wait_settled(&all)?;
        let scene = Anew::upgrading(lab, &cluster.nodes.iter().collect::<Vec<_>>(), &earlier()?)?;
        roll(&scene, &cluster.client, cluster.service(0))?;
        wait_settled(&all)?;
        Ok(())
    });
}
