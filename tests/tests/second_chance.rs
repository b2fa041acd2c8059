//! A handover under proxied connections: the node that led before finishes them, the new leader passes their packets
//! on to it.
#![allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "nothing but a test")]

use fulcrum_tests::Result;
use fulcrum_tests::lab::{
    Cluster, Fulcrum, GROUP, Lab, Machine, Pair, ipv4, ipv6, wait_served_by, wait_settled,
};
use fulcrum_tests::probe::{Probe, Session};
use fulcrum_tests::wait::{now, run_for, wait_until};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(15);
/// A peer that is gone is found in this time.
const KEEPALIVE: Duration = Duration::from_secs(100);

/// A pair with a link, both families, a client, and a connection to each VIP.
struct Scene {
    pair: Pair,
    first: Fulcrum,
    second: Fulcrum,
    probe: Probe,
    sessions: Vec<Session>,
}

impl Scene {
    fn new(lab: &Lab, change: impl FnOnce(&mut Pair), fence: &'static str) -> Result<Self> {
        let mut pair = Pair::new(lab)?;
        pair.plan = pair.plan.dual_stack().with_keys()?;
        change(&mut pair);
        let start = |node: &Machine| {
            Fulcrum::start_with(node, &pair.plan.file(node), |command| {
                command.env("FULCRUM_FENCE", fence);
            })
        };
        let first = start(&pair.lb1)?;
        first.wait_leader(GROUP)?;
        let second = start(&pair.lb2)?;
        second.wait_hears_leader(GROUP)?;
        let probe = pair.probe()?;
        wait_served_by(&probe, &pair.lb1)?;
        let mut scene = Self { pair, first, second, probe, sessions: Vec::new() };
        for node in [&scene.first, &scene.second] {
            wait_until("a link", LONG, || is_linked(node))?;
        }
        for vip in [ipv4(100), ipv6(100)] {
            scene.sessions.push(scene.open(vip)?);
        }
        Ok(scene)
    }

    fn open(&self, vip: IpAddr) -> Result<Session> {
        Session::open(&self.pair.client, SocketAddr::new(vip, 80), LONG)
    }

    /// Each connection carries a request and its answer.
    fn ask_all(&mut self) -> Result<()> {
        self.sessions.iter_mut().try_for_each(|session| session.ask().map(drop))
    }

    /// They do so for a while.
    fn ask_for(&mut self, time: Duration) -> Result<()> {
        let end = now() + time;
        while now() < end {
            self.ask_all()?;
            run_for(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Packets that `node` has passed on.
    fn passed_on(node: &Fulcrum) -> Result<u64> {
        let counters = node.status()?.0["counters"]["vip_manager"]["second_chance_passed_on"].clone();
        Ok(counters.as_u64().unwrap_or(0))
    }
}

fn is_linked(node: &Fulcrum) -> bool {
    let status = node.status().map(|status| status.0).unwrap_or_default();
    let peers = status["peer_link"]["peers"].as_array().cloned().unwrap_or_default();
    peers.iter().any(|peer| peer["state"] == "up")
}

fn is_draining(node: &Fulcrum) -> Result<bool> {
    Ok(node.status()?.group(GROUP).is_some_and(|group| group["draining_seconds"].is_u64()))
}

/// Whoever asks is told at once that there will be no answer, not left to wait.
fn ask_until_reset(session: &mut Session) {
    let end = loop {
        if let Err(error) = session.ask() {
            break error.to_string();
        }
    };
    assert!(end.contains("reset"), "{end}");
}

/// There and back again, and there: what the connections see of it is nothing.
fn connections_live_through_handovers(fence: &'static str) {
    Lab::run(|lab| {
        let mut scene = Scene::new(lab, |_| (), fence)?;
        scene.ask_for(Duration::from_millis(300))?;
        let told = scene.first.command(&["handover", GROUP])?;
        assert!(told.contains("finished by this node, for 300 s at most"), "{told}");
        wait_served_by(&scene.probe, &scene.pair.lb2)?;
        scene.ask_for(Duration::from_secs(1))?;
        assert!(is_draining(&scene.first)?);
        assert!(Scene::passed_on(&scene.second)? > 10);
        let page = scene.second.command(&["status"])?;
        assert!(page.contains("finishes its own connections"), "{page}");

        // Each node has connections of its own now.
        for vip in [ipv4(100), ipv6(100)] {
            let session = scene.open(vip)?;
            scene.sessions.push(session);
        }
        scene.ask_for(Duration::from_millis(500))?;
        scene.second.command(&["handover", GROUP])?;
        wait_served_by(&scene.probe, &scene.pair.lb1)?;
        scene.ask_for(Duration::from_secs(1))?;
        assert!(is_draining(&scene.second)? && !is_draining(&scene.first)?);

        // Once they have ended, nothing is drained, and the addresses go.
        scene.sessions.clear();
        // The reset with which a probe ends may be lost as the leader changes, and is not sent again: keepalive finds it out.
        wait_until("the end of the draining", KEEPALIVE, || !is_draining(&scene.second).unwrap_or(true))
            .inspect_err(|_| {
                println!("SECOND {}", scene.pair.lb2.run("ss", &["-tnoa"]).unwrap_or_default());
                println!("FIRST {}", scene.pair.lb1.run("ss", &["-tnoa"]).unwrap_or_default());
                println!("CLIENT {}", scene.pair.client.run("ss", &["-tnoai"]).unwrap_or_default());
                for node in [&scene.first, &scene.second] {
                    println!(
                        "STATUS {}",
                        node.status().map(|it| it.0["counters"].to_string()).unwrap_or_default()
                    );
                }
            })?;
        for vip in [ipv4(100), ipv6(100)] {
            wait_until("the addresses to go", LONG, || !scene.pair.lb2.has_address(vip).unwrap_or(true))?;
        }
        Ok(())
    });
}

#[test]
fn no_proxied_connection_breaks_in_a_handover() {
    connections_live_through_handovers("auto");
}

#[test]
fn no_proxied_connection_breaks_in_a_handover_where_there_is_no_tcx() {
    connections_live_through_handovers("clsact");
}

#[test]
fn new_connections_by_syn_cookies_are_the_new_leader_s() {
    Lab::run(|lab| {
        let mut scene = Scene::new(lab, |_| (), "auto")?;
        // Always: the acknowledgment of a handshake meets no trace of its beginning.
        for node in [&scene.pair.lb1, &scene.pair.lb2] {
            node.set("net/ipv4/tcp_syncookies", "2")?;
        }
        scene.first.command(&["handover", GROUP])?;
        wait_served_by(&scene.probe, &scene.pair.lb2)?;
        for _ in 0..10 {
            for vip in [ipv4(100), ipv6(100)] {
                let session = scene.open(vip)?;
                scene.sessions.push(session);
            }
            scene.ask_all()?;
        }
        assert!(is_draining(&scene.first)?);
        Ok(())
    });
}

#[test]
fn connections_end_in_rst_when_the_time_to_finish_them_is_over() {
    Lab::run(|lab| {
        let mut scene = Scene::new(lab, |pair| pair.plan.group.push("drain: 2s".into()), "auto")?;
        scene.first.command(&["handover", GROUP])?;
        let begun = now();
        scene.ask_for(Duration::from_secs(1))?;
        scene.sessions.iter_mut().for_each(ask_until_reset);
        assert!(now() - begun > Duration::from_millis(1500), "{:?}", now() - begun);
        wait_served_by(&scene.probe, &scene.pair.lb2)?;
        Ok(())
    });
}

#[test]
fn connections_of_a_node_that_dies_while_it_finishes_them_end_in_rst() {
    Lab::run(|lab| {
        let mut scene = Scene::new(lab, |_| (), "auto")?;
        scene.first.command(&["handover", GROUP])?;
        scene.ask_for(Duration::from_millis(500))?;
        scene.first.process().kill_with_children()?;
        scene.sessions.iter_mut().for_each(ask_until_reset);
        wait_served_by(&scene.probe, &scene.pair.lb2)?;
        Ok(())
    });
}

#[test]
fn each_of_three_nodes_finishes_its_connections_when_they_lead_one_after_the_other() {
    Lab::run(|lab| {
        let cluster = Cluster::new(lab, 3, 1)?;
        let nodes = cluster.start_all()?;
        let all: Vec<&Fulcrum> = nodes.iter().collect();
        let mut sessions = Vec::new();
        let mut led = Vec::new();
        // Round and on: who led first leads again while the others finish theirs.
        for turn in 0..5 {
            let leader = wait_settled(&all)?["web-1"].clone();
            for _ in 0..3 {
                sessions.push(Session::open(&cluster.client, cluster.service(0), LONG)?);
            }
            let end = now() + Duration::from_secs(2);
            while now() < end {
                for (place, session) in sessions.iter_mut().enumerate() {
                    let asked = session.ask();
                    assert!(
                        asked.is_ok(),
                        "turn {turn}, session {place}, led by {leader} after {led:?}: {asked:?}"
                    );
                }
                run_for(Duration::from_millis(20));
            }
            led.push(leader.clone());
            let node = all.iter().find(|node| node.machine.name() == leader).expect("a node");
            let next = all.iter().map(|node| node.machine.name()).filter(|name| *name != leader);
            // Whoever has not led for longest.
            let next = next.min_by_key(|name| led.iter().rposition(|it| it == name)).expect("another");
            node.command(&["handover", "web-1", "--to", next])?;
        }
        Ok(())
    });
}
