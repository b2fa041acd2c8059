//! Nodes that elect the leader of each group over the peer link.

#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test stops at what it did not expect"
)]

use fulcrum_tests::Result;
use fulcrum_tests::lab::{Cluster, Fulcrum, Lab, settled, wait_settled};
use fulcrum_tests::probe::{Crowd, Options, Probe, request};
use fulcrum_tests::wait::{now, run_for, wait_until};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(40);
const SECOND: Duration = Duration::from_secs(1);

/// How many groups each node leads.
fn loads(leaders: &BTreeMap<String, String>) -> BTreeMap<&str, usize> {
    let mut loads = BTreeMap::new();
    leaders.values().for_each(|leader| *loads.entry(leader.as_str()).or_default() += 1);
    loads
}

fn wait_even(nodes: &[&Fulcrum], most: usize) -> Result<BTreeMap<String, String>> {
    wait_until("an even spread", LONG, || {
        settled(nodes).is_some_and(|leaders| loads(&leaders).into_values().all(|load| load <= most))
    })?;
    wait_settled(nodes)
}

/// The node of this name, and the others.
fn apart<'a>(nodes: &[&'a Fulcrum], name: &str) -> (&'a Fulcrum, Vec<&'a Fulcrum>) {
    let (one, others): (Vec<&Fulcrum>, Vec<&Fulcrum>) =
        nodes.iter().partition(|node| node.machine.name() == name);
    (one[0], others)
}

fn assert_answered(cluster: &Cluster) -> Result<()> {
    for group in 0..cluster.groups {
        let sample = request(&cluster.client, cluster.service(group), 3 * SECOND)?;
        assert!(sample.is_answer(), "group {group}: {sample:?}");
    }
    Ok(())
}

fn probes(cluster: &Cluster) -> Result<Vec<Probe>> {
    (0..cluster.groups).map(|group| cluster.probe(group)).collect()
}

/// The longest time without an answer of each group.
fn gaps(cluster: &Cluster, probes: Vec<Probe>) -> BTreeMap<String, Duration> {
    let gap = |(name, probe): (String, Probe)| (name, probe.finish().longest_gap());
    cluster.names().zip(probes).map(gap).collect()
}

#[test]
fn five_nodes_share_the_groups_and_a_death_moves_only_those_of_the_dead() {
    Lab::run(|lab| {
        let cluster = Cluster::new(lab, 5, 10)?;
        let nodes = cluster.start_all()?;
        let all: Vec<&Fulcrum> = nodes.iter().collect();
        let before = wait_even(&all, 2)?;
        assert_answered(&cluster)?;
        // Everybody knows who takes over.
        wait_until("an order of each group", LONG, || {
            all[0].status().is_ok_and(|status| {
                before.iter().all(|(group, leader)| {
                    let Some(group) = status.group(group) else { return false };
                    let standbys = group["standbys"].as_array().cloned().unwrap_or_default();
                    let is_other = |node: &serde_json::Value| node != leader.as_str();
                    group["vrid"].is_null() && standbys.len() == 4 && standbys.iter().all(is_other)
                })
            })
        })?;
        let probes = probes(&cluster)?;
        let dead = before["web-1"].clone();
        let (killed, rest) = apart(&all, &dead);
        killed.kill()?;
        run_for(SECOND);
        let after = wait_settled(&rest)?;
        println!("moved: {:?}", gaps(&cluster, probes));
        for (group, leader) in &before {
            assert!(*leader == dead || after[group] == *leader, "{group} moved from {leader}");
        }
        assert!(loads(&after).into_values().all(|load| load <= 3), "{after:?}");
        assert_answered(&cluster)?;
        Ok(())
    });
}

#[test]
fn addresses_of_a_pool_without_a_group_are_spread_over_all_nodes() {
    Lab::run(|lab| {
        let mut cluster = Cluster::new(lab, 3, 12)?;
        cluster.of_pool = true;
        let nodes = cluster.start_all()?;
        let all: Vec<&Fulcrum> = nodes.iter().collect();
        let before = wait_even(&all, 4)?;
        assert!(before.keys().eq(&cluster.names().collect::<BTreeSet<_>>()), "{before:?}");
        assert_answered(&cluster)?;

        let probes = probes(&cluster)?;
        let dead = before["10.77.0.100"].clone();
        let (killed, rest) = apart(&all, &dead);
        killed.kill()?;
        run_for(SECOND);
        let after = wait_settled(&rest)?;
        for (group, gap) in gaps(&cluster, probes) {
            println!("{group}: {gap:?}");
            let stays = after[&group] == before[&group];
            assert_eq!(stays, before[&group] != dead, "{group} was led by {}", before[&group]);
        }
        assert!(loads(&after).into_values().all(|load| load <= 7), "{after:?}");
        assert_answered(&cluster)?;

        // With its last service a group is gone, and nothing else moves.
        cluster.groups = 11;
        let answer = rest[0].reload(&cluster.file(&rest[0].machine))?;
        assert!(answer.contains("group 10.77.0.103: removed"), "{answer}");
        let mut fewer = wait_settled(&rest)?;
        fewer.insert("10.77.0.103".to_owned(), after["10.77.0.103"].clone());
        assert_eq!(fewer, after);
        Ok(())
    });
}

#[test]
fn an_address_of_its_own_group_moves_into_a_listed_one_and_is_answered_again() {
    Lab::run(|lab| {
        let mut cluster = Cluster::new(lab, 3, 6)?;
        cluster.of_pool = true;
        let nodes = cluster.start_all()?;
        let all: Vec<&Fulcrum> = nodes.iter().collect();
        wait_even(&all, 2)?;
        let probes = probes(&cluster)?;
        let file = cluster.file(&all[0].machine);
        let grouped = file.replace("pools: {public: {", "groups: {all: {}}\npools: {public: {group: all, ");
        let answer = all[0].reload(&grouped)?;
        assert!(
            answer.contains("address 10.77.0.105: moves from group 10.77.0.105 to group all"),
            "{answer}"
        );
        wait_until("one leader of all", LONG, || {
            settled(&all).is_some_and(|leaders| leaders.keys().eq(["all"]))
        })?;
        run_for(SECOND);
        println!("gaps: {:?}", gaps(&cluster, probes));
        assert_answered(&cluster)?;
        Ok(())
    });
}

#[test]
fn a_node_that_joins_takes_its_share_without_a_failed_request() {
    Lab::run(|lab| {
        let cluster = Cluster::new(lab, 3, 6)?;
        let first = [cluster.start(&cluster.nodes[0])?, cluster.start(&cluster.nodes[1])?];
        wait_even(&first.iter().collect::<Vec<_>>(), 3)?;
        let probes = probes(&cluster)?;
        let third = cluster.start(&cluster.nodes[2])?;
        let all = [&first[0], &first[1], &third];
        let after = wait_even(&all, 2)?;
        run_for(SECOND);
        assert_eq!(loads(&after), BTreeMap::from([("lb1", 2), ("lb2", 2), ("lb3", 2)]));
        for (name, probe) in cluster.names().zip(probes) {
            let timeline = probe.finish();
            assert_eq!(timeline.failed(), 0, "{name}: {:?}", timeline.outcomes());
        }
        // And gives it back as it stops, in good order.
        third.process().terminate(LONG)?;
        wait_settled(&[&first[0], &first[1]])?;
        assert_answered(&cluster)?;
        Ok(())
    });
}

#[test]
fn a_node_joins_by_the_address_and_the_key_of_one_other() {
    Lab::run(|lab| {
        let mut cluster = Cluster::new(lab, 3, 6)?;
        let Some(machine) = cluster.nodes.pop() else { return Ok(()) };
        let first = cluster.start_all()?;
        wait_even(&first.iter().collect::<Vec<_>>(), 3)?;
        // It is in the file of the others, and knows one of them.
        cluster.nodes.push(machine);
        let (joins, seed) = (&cluster.nodes[2], &cluster.nodes[0]);
        println!("{}", first[0].reload(&cluster.file(seed))?);
        let third = Fulcrum::start(joins, &cluster.seed_file(joins, seed))?;
        wait_even(&[&first[0], &first[1], &third], 2)?;
        assert_answered(&cluster)?;
        // What it got it still has when it is started anew, alone.
        for node in first.iter().chain([&third]) {
            node.process().terminate(LONG)?;
        }
        let third = Fulcrum::start(joins, &cluster.seed_file(joins, seed))?;
        assert_eq!(wait_settled(&[&third])?.len(), 6);
        Ok(())
    });
}

#[test]
fn who_is_cut_off_and_comes_back_leaves_one_leader_of_each_group() {
    Lab::run(|lab| {
        let cluster = Cluster::new(lab, 3, 6)?;
        let nodes = cluster.start_all()?;
        let all: Vec<&Fulcrum> = nodes.iter().collect();
        let before = wait_even(&all, 2)?;
        let probes = probes(&cluster)?;
        let (cut, rest) = apart(&all, &before["web-1"]);
        lab.switch().cut(&cut.machine)?;
        run_for(SECOND);
        let during = wait_settled(&rest)?;
        assert_eq!(during.len(), 6);
        lab.switch().heal()?;
        let begun = now();
        wait_settled(&all)?;
        println!("one leader of each {:?} after the cut was healed", begun.elapsed());
        println!("gaps: {:?}", gaps(&cluster, probes));
        assert_answered(&cluster)?;
        Ok(())
    });
}

#[test]
fn a_frozen_node_is_replaced_and_takes_nothing_when_it_wakes() {
    Lab::run(|lab| {
        let cluster = Cluster::new(lab, 3, 6)?;
        let nodes = cluster.start_all()?;
        let all: Vec<&Fulcrum> = nodes.iter().collect();
        let before = wait_even(&all, 2)?;
        let (frozen, rest) = apart(&all, &before["web-1"]);
        frozen.process().freeze()?;
        run_for(SECOND);
        let during = wait_settled(&rest)?;
        assert_answered(&cluster)?;
        frozen.process().thaw()?;
        let after = wait_settled(&all)?;
        assert_eq!(during, after);
        assert_answered(&cluster)?;
        Ok(())
    });
}

/// What is led moves from each that is drained, its connections are finished where they are, and nobody notices.
#[test]
fn each_of_three_nodes_is_drained_and_taken_back_and_no_request_or_connection_fails() {
    Lab::run(|lab| {
        let cluster = Cluster::new(lab, 3, 3)?;
        let nodes = cluster.start_all()?;
        let all: Vec<&Fulcrum> = nodes.iter().collect();
        wait_even(&all, 1)?;
        let patience = Duration::from_secs(20);
        let options =
            Options { interval: Duration::from_millis(20), timeout: 3 * SECOND, ..Options::default() };
        let probes =
            (0..cluster.groups).map(|group| Probe::start(&cluster.client, cluster.service(group), options));
        let probes = probes.collect::<Result<Vec<_>>>()?;
        let crowds = (0..cluster.groups).map(|group| {
            Crowd::open(&cluster.client, cluster.service(group), 5, Duration::from_millis(100), patience)
        });
        let crowds = crowds.collect::<Result<Vec<_>>>()?;
        for node in &all {
            let name = node.machine.name();
            let before = wait_settled(&all)?;
            node.command(&["drain", "lb-node", name])?;
            wait_until("another to lead what it led", Duration::from_secs(30), || {
                settled(&all).is_some_and(|leaders| leaders.values().all(|leader| leader != name))
            })?;
            let after = wait_settled(&all)?;
            println!("{name} drained: {before:?} -> {after:?}");
            for crowd in &crowds {
                crowd.wait_answered()?;
            }
            node.command(&["undrain", "lb-node", name])?;
            run_for(Duration::from_secs(1));
        }
        for (probe, crowd) in probes.into_iter().zip(&crowds) {
            let timeline = probe.finish();
            assert_eq!((timeline.failed(), crowd.lost()), (0, 0), "{:?}", timeline.outcomes());
        }
        Ok(())
    });
}
