//! Two nodes that see their backends differently, or come at different times, and choose alike all the same.
#![allow(clippy::indexing_slicing, reason = "what is not in JSON is null")]

use crate::scene::{Family, LONG, Mode, assert_all_live, forwarding_pair, sessions};
use fulcrum_tests::Result;
use fulcrum_tests::lab::{Fulcrum, GROUP, Lab, Machine, Pair, Plan};
use fulcrum_tests::probe::{Session, request};
use fulcrum_tests::wait::{run_for, wait_for, wait_until};
use serde_json::Value;
use std::time::Duration;

const OLD_FLOWS: usize = 40;

/// A pair with a peer link, whose verdicts are kept for 4 s.
fn linked_pair(lab: &Lab) -> Result<Pair> {
    let mut pair = forwarding_pair(lab, Mode::Nat, Family::Ipv4)?;
    pair.plan = pair.plan.with_keys()?;
    let check =
        "check: {type: http, path: /, interval: 2s, fast_interval: 50ms, timeout: 200ms, rise: 1, fall: 2}";
    pair.plan.service.push(check.to_owned());
    Ok(pair)
}

fn forwarded(node: &Fulcrum) -> Option<Value> {
    node.status().ok()?.service("web")?.get("forwarded").cloned()
}

fn is_in_sync(node: &Fulcrum) -> bool {
    let tables = forwarded(node).and_then(|forwarded| forwarded["tables"].as_array().cloned());
    tables.is_some_and(|tables| !tables.is_empty() && tables.iter().all(|tables| tables["in_sync"] == true))
}

fn wait_in_sync(nodes: [&Fulcrum; 2]) -> Result<()> {
    wait_until("tables in sync, as both say", LONG, || nodes.iter().all(|node| is_in_sync(node)))
}

fn backend(node: &Fulcrum, name: &str) -> Option<Value> {
    let status = node.status().ok()?;
    let backends = status.service("web")?.get("backends")?.as_array()?.clone();
    backends.into_iter().find(|backend| backend["name"] == name)
}

/// Drops what comes in to this machine, as long as it lives.
fn drop_input(machine: &Machine, what: &str) -> Result<()> {
    machine.run("nft", &["add", "table", "inet", "fault"])?;
    machine
        .run("nft", &["add", "chain", "inet", "fault", "in", "{ type filter hook input priority 0 ; }"])?;
    let rule: Vec<&str> = ["add", "rule", "inet", "fault", "in"].into_iter().chain(what.split(' ')).collect();
    machine.run("nft", &rule).map(|_| ())
}

fn heal(machine: &Machine) -> Result<()> {
    machine.run("nft", &["delete", "table", "inet", "fault"]).map(|_| ())
}

/// The second node can't check the first web server; its packets get there. Connections are open on all servers.
fn dispute(pair: &Pair) -> Result<(Fulcrum, Fulcrum, Vec<Session>)> {
    let (first, second) = pair.start_both()?;
    wait_in_sync([&first, &second])?;
    for web1 in pair.web.iter().take(1) {
        drop_input(&web1.machine, &format!("ip saddr {} tcp dport 80 drop", pair.lb2.ipv4()))?;
    }
    wait_until("web1 to be down for the second node, and used by it", LONG, || {
        backend(&second, "web1").is_some_and(|web1| web1["state"] == "down" && web1["served_as"] == "live")
    })?;
    wait_in_sync([&first, &second])?;
    assert!(backend(&first, "web1").is_some_and(|web1| web1["state"] == "up"));
    let sessions = sessions(pair)?;
    Ok((first, second, sessions))
}

#[test]
fn with_different_verdicts_connections_live_through_the_leaders_death() {
    Lab::run(|lab| {
        let pair = linked_pair(lab)?;
        let (first, second, mut sessions) = dispute(&pair)?;
        wait_until("the dispute to be shown", LONG, || {
            forwarded(&second).is_some_and(|forwarded| forwarded["disputed"] == serde_json::json!(["web1"]))
        })?;
        let page = second.command(&["status"])?;
        assert!(page.contains("tables in sync"), "{page}");
        let said = format!("by the verdicts of {}; web1 is live by them, down by", pair.lb1.name());
        assert!(page.contains(&said), "{page}");
        wait_until("the alarm", LONG, || {
            let what = "this node's checks of web1 say something else";
            second.status().is_ok_and(|status| status.alarms().iter().any(|alarm| alarm.contains(what)))
        })?;
        first.kill()?;
        second.wait_leader(GROUP)?;
        assert_all_live(&mut sessions);
        let kept = forwarded(&second).unwrap_or_default();
        assert_eq!(kept["verdicts_of"], pair.lb1.name(), "{kept}");
        assert!(kept["kept_seconds"].is_number(), "{kept}");
        // Then its own count, and nobody else moves.
        wait_until("its own verdicts", LONG, || {
            forwarded(&second).is_some_and(|forwarded| forwarded["verdicts_of"] == "own")
        })?;
        wait_until("nothing new on web1", LONG, || {
            (0..10).all(|_| {
                let sample = request(&pair.client, pair.service(), Duration::from_secs(1));
                sample.is_ok_and(|sample| sample.is_answer() && sample.backend() != Some("web1"))
            })
        })?;
        sessions.retain(|session| session.backend() != "web1");
        assert_all_live(&mut sessions);
        Ok(())
    });
}

#[test]
fn with_the_peer_link_cut_connections_live_through_the_leaders_death() {
    Lab::run(|lab| {
        let pair = linked_pair(lab)?;
        let (first, second, mut sessions) = dispute(&pair)?;
        drop_input(&pair.lb2, "udp dport 4747 drop")?;
        wait_until("the link to be down", LONG, || {
            let status = second.status();
            status.is_ok_and(|status| status.peer(pair.lb1.name()).is_some_and(|peer| peer["state"] != "up"))
        })?;
        first.kill()?;
        second.wait_leader(GROUP)?;
        assert_all_live(&mut sessions);
        Ok(())
    });
}

/// Connections by the plan's first two servers, and then the third is there too. They are silent meanwhile.
fn grow(pair: &mut Pair, nodes: &[&Fulcrum]) -> Result<Vec<Session>> {
    wait_for("a first answer", LONG, || {
        request(&pair.client, pair.service(), Duration::from_secs(1)).ok().filter(|sample| sample.is_answer())
    })?;
    let open = |_| Session::open(&pair.client, pair.service(), LONG);
    let sessions = (0..OLD_FLOWS).map(open).collect::<Result<Vec<_>>>()?;
    pair.plan.web = pair.web.iter().map(|web| web.machine.clone()).collect();
    for node in nodes {
        node.reload(&pair.plan.file(&node.machine))?;
    }
    wait_until("web3 to be used", LONG, || {
        request(&pair.client, pair.service(), LONG).is_ok_and(|sample| sample.backend() == Some("web3"))
    })?;
    Ok(sessions)
}

fn two_servers(lab: &Lab) -> Result<Pair> {
    let mut pair = linked_pair(lab)?;
    pair.plan.web.truncate(2);
    Ok(pair)
}

#[test]
fn a_node_that_was_started_after_a_change_has_the_table_of_the_flows_before_it() {
    Lab::run(|lab| {
        let mut pair = two_servers(lab)?;
        let (first, second) = pair.start_both()?;
        wait_in_sync([&first, &second])?;
        let mut silent = grow(&mut pair, &[&first, &second])?;
        // In good order: nothing is left of its tables.
        second.process().terminate(LONG)?;
        let second = pair.start(&pair.lb2)?;
        second.wait_hears_leader(GROUP)?;
        wait_in_sync([&first, &second])?;
        first.kill()?;
        second.wait_leader(GROUP)?;
        assert_all_live(&mut silent);
        Ok(())
    });
}

fn waits(node: &Fulcrum) -> bool {
    let group = node.status().ok().and_then(|status| status.0["groups"].as_array()?.first().cloned());
    group.is_some_and(|group| group["role"] == "standby" && group["waits"].is_string())
}

#[test]
fn a_node_that_returns_takes_its_group_back_only_with_the_leaders_tables() {
    Lab::run(|lab| {
        let mut pair = two_servers(lab)?;
        pair.plan.group.push("preempt: true".to_owned());
        let (first, second) = pair.start_both()?;
        wait_in_sync([&first, &second])?;
        first.process().terminate(LONG)?;
        second.wait_leader(GROUP)?;
        let mut silent = grow(&mut pair, &[&second])?;
        drop_input(&pair.lb1, "udp dport 4747 drop")?;
        let first = pair.start(&pair.lb1)?;
        first.wait_hears_leader(GROUP)?;
        wait_until("the first node to say what it waits for", LONG, || waits(&first))?;
        run_for(Duration::from_secs(3));
        assert!(waits(&first), "it preempts without the leader's state");
        heal(&pair.lb1)?;
        first.wait_leader(GROUP)?;
        assert_all_live(&mut silent);
        wait_in_sync([&first, &second])
    });
}

/// What the file of one node says alone is seen, and heals when the other has it too.
#[test]
fn tables_that_differ_are_shown() {
    Lab::run(|lab| {
        let pair = linked_pair(lab)?;
        let (first, second) = pair.start_both()?;
        wait_in_sync([&first, &second])?;
        let plan = Plan { web: pair.plan.web.iter().take(2).cloned().collect(), ..pair.plan.clone() };
        std::fs::write(second.config(), plan.file(&pair.lb2))?;
        second.command(&["reload", "--local"])?;
        for (node, peer) in [(&first, &pair.lb2), (&second, &pair.lb1)] {
            wait_until("the difference", LONG, || {
                forwarded(node).is_some_and(|forwarded| {
                    let tables = &forwarded["tables"][0];
                    tables["in_sync"] == false && tables["peer"] == peer.name()
                })
            })?;
        }
        let page = first.command(&["status"])?;
        assert!(page.contains("TABLES NOT IN SYNC: web (new flows go to other backends there)"), "{page}");
        Ok(())
    });
}
