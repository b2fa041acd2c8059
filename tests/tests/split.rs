//! Groups that are to have no leader rather than two (`on_split: one`), with and without a witness.

#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test stops at what it did not expect"
)]

use fulcrum_tests::Result;
use fulcrum_tests::lab::{Cluster, Etcd, Fulcrum, Lab, leaders, wait_settled};
use fulcrum_tests::probe::request;
use fulcrum_tests::wait::{now, run_for, wait_until};
use std::collections::BTreeSet;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(40);
const SECOND: Duration = Duration::from_secs(1);

fn cluster(lab: &Lab, nodes: u8, witness: &str) -> Result<Cluster> {
    let mut cluster = Cluster::new(lab, nodes, 3)?;
    cluster.of_groups = ", on_split: one".to_owned();
    cluster.sections = witness.to_owned();
    Ok(cluster)
}

/// Who leads anything at all.
fn leading(nodes: &[&Fulcrum]) -> Result<BTreeSet<String>> {
    Ok(leaders(nodes)?.into_values().flatten().collect())
}

fn wait_led_by(nodes: &[&Fulcrum], expected: &[&str]) -> Result<()> {
    let expected: BTreeSet<String> = expected.iter().map(|name| (*name).to_owned()).collect();
    wait_until(&format!("groups led by {expected:?} alone"), LONG, || {
        leading(nodes).is_ok_and(|found| found == expected)
    })
}

fn is_alarmed(node: &Fulcrum, what: &str) -> bool {
    node.status().is_ok_and(|status| status.alarms().iter().any(|alarm| alarm.contains(what)))
}

#[test]
fn of_three_nodes_the_one_that_is_cut_off_leads_nothing_and_the_others_lead_all() {
    Lab::run(|lab| {
        let cluster = cluster(lab, 3, "")?;
        let nodes = cluster.start_all()?;
        let all: Vec<&Fulcrum> = nodes.iter().collect();
        let name = wait_settled(&all)?["web-1"].clone();
        let (cut, rest): (Vec<&Fulcrum>, Vec<&Fulcrum>) =
            all.iter().partition(|node| node.machine.name() == name);
        let probe = cluster.probe(0)?;
        lab.switch().cut(&cut[0].machine)?;
        wait_led_by(&cut, &[])?;
        wait_settled(&rest)?;
        assert!(is_alarmed(cut[0], "it may not lead it: 1 of 3 nodes hear this one"));
        let status = cut[0].command(&["status"])?;
        assert!(status.contains("votes: 1 of 3 nodes, TOO FEW"), "{status}");
        lab.switch().heal()?;
        wait_settled(&all)?;
        println!("gap: {:?}", probe.finish().longest_gap());
        wait_until("no alarm", LONG, || !is_alarmed(cut[0], "may not lead"))
    });
}

/// Two nodes with an etcd as their witness.
fn two_with_etcd(lab: &Lab) -> Result<(Etcd, Cluster)> {
    let machine = lab.machine("etcd", 91)?;
    let etcd = Etcd::start(&machine)?;
    let endpoint = format!("http://{}:2379", machine.ipv4());
    let witness = format!("witness: {{etcd: {{endpoints: [\"{endpoint}\"], ttl: 5s}}}}\n");
    Ok((etcd, cluster(lab, 2, &witness)?))
}

#[test]
fn two_nodes_apart_have_one_leader_by_the_lock_in_etcd_and_its_loss_moves_nothing() {
    Lab::run(|lab| {
        let (etcd, cluster) = two_with_etcd(lab)?;
        let nodes = cluster.start_all()?;
        let all: Vec<&Fulcrum> = nodes.iter().collect();
        let before = wait_settled(&all)?;

        // Neither slow nor dead does the witness move anything.
        etcd.process().freeze()?;
        wait_until("an alarm", LONG, || is_alarmed(all[0], "the witness (etcd at"))?;
        run_for(2 * SECOND);
        assert_eq!(wait_settled(&all)?, before);
        etcd.process().thaw()?;
        wait_until("the witness", LONG, || !is_alarmed(all[0], "the witness"))?;

        // Both reach it and the clients, and not each other.
        lab.switch().part(&all[0].machine, &all[1].machine)?;
        wait_until("one to lead all", LONG, || leading(&all).is_ok_and(|found| found.len() == 1))?;
        run_for(SECOND);
        let name = leading(&all)?.pop_first().unwrap_or_default();
        wait_settled(&all)?;
        let holder = &all.iter().find(|node| node.machine.name() == name).unwrap().status()?.0["votes"];
        assert_eq!(holder["lock_holder"], name, "{holder}");
        let sample = request(&cluster.client, cluster.service(0), 3 * SECOND)?;
        assert!(sample.is_answer(), "{sample:?}");

        // It is given back, and then the other one can have it.
        lab.switch().heal()?;
        wait_until("the lock to be free", LONG, || {
            all.iter()
                .all(|node| node.status().is_ok_and(|status| status.0["votes"]["lock_holder"].is_null()))
        })?;
        let (holder, other): (Vec<&Fulcrum>, Vec<&Fulcrum>) =
            all.iter().partition(|node| node.machine.name() == name);
        let begun = now();
        holder[0].kill()?;
        wait_led_by(&other, &[other[0].machine.name()])?;
        wait_settled(&other)?;
        println!("taken over with the lock after {:?}", begun.elapsed());

        // Without the witness none leads, rather than perhaps two.
        etcd.process().freeze()?;
        wait_led_by(&other, &[])?;
        etcd.process().thaw()?;
        wait_led_by(&other, &[other[0].machine.name()])
    });
}

#[test]
fn an_etcd_without_quorum_moves_nothing_and_grants_nothing() {
    Lab::run(|lab| {
        let (etcd, cluster) = two_with_etcd(lab)?;
        let nodes = cluster.start_all()?;
        let all: Vec<&Fulcrum> = nodes.iter().collect();
        let before = wait_settled(&all)?;
        etcd.lose_quorum()?;
        wait_until("an alarm", LONG, || all.iter().all(|node| is_alarmed(node, "the witness (etcd at")))?;
        run_for(2 * SECOND);
        assert_eq!(wait_settled(&all)?, before);
        lab.switch().part(&all[0].machine, &all[1].machine)?;
        wait_led_by(&all, &[])?;
        lab.switch().heal()?;
        wait_settled(&all).map(drop)
    });
}

#[test]
fn a_gateway_lets_leaders_go_on_and_nobody_take_over() {
    Lab::run(|lab| {
        let cluster = cluster(lab, 2, "witness: {gateway: 10.77.0.50}\n")?;
        let nodes = cluster.start_all()?;
        let all: Vec<&Fulcrum> = nodes.iter().collect();
        let before = wait_settled(&all)?;
        lab.switch().part(&all[0].machine, &all[1].machine)?;
        run_for(2 * SECOND);
        assert_eq!(wait_settled(&all)?, before, "nothing moves");
        lab.switch().heal()?;
        let name = &before["web-1"];
        let (cut, rest): (Vec<&Fulcrum>, Vec<&Fulcrum>) =
            all.iter().partition(|node| node.machine.name() == *name);
        lab.switch().cut(&cut[0].machine)?;
        wait_led_by(&cut, &[])?;
        assert!(leaders(&rest)?["web-1"].is_empty(), "nobody knows whether it leads on");
        lab.switch().heal()?;
        wait_settled(&all).map(drop)
    });
}
