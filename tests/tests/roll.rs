//! `fulcrum roll`: nodes that are really destroyed and made anew, one after another, while requests go on.

#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    reason = "a test stops at what it did not expect, and starts processes"
)]

use fulcrum_tests::Result;
use fulcrum_tests::lab::{Anew, Cluster, Fulcrum, GROUP, Lab, Linked, Machine, Pair, ipv4, wait_settled};
use fulcrum_tests::probe::{Crowd, Options, Probe, Session, request};
use fulcrum_tests::wait::{now, run_for, wait_until};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(240);
const SECOND: Duration = Duration::from_secs(1);
const CONNECTIONS: usize = 60;

/// When its daemon was started, roughly: grows with each time it is made anew.
fn uptime(node: &Fulcrum) -> Result<u64> {
    Ok(node.status()?.0["uptime_seconds"].as_u64().unwrap_or_default())
}

/// Of one group, at most, while five nodes are changed: each leads it once, and takes it back for an even spread.
const HANDOVERS: usize = 10;
/// What fails at most where a leader of proxied services hands over once. Nothing fails for any other reason.
const IN_A_HANDOVER: usize = 2;
/// A request that takes longer has lost a packet, which its client sends again after a second.
const LATE: Duration = Duration::from_millis(300);

/// Requests that have time to send a lost packet again, as those of a client have.
fn probe(client: &Machine, service: SocketAddr, interval: u64) -> Result<Probe> {
    let options =
        Options { interval: Duration::from_millis(interval), timeout: 3 * SECOND, ..Options::default() };
    Probe::start_answered(client, service, options, LONG)
}

fn assert_served(what: &str, probe: Probe, handovers: usize) {
    let timeline = probe.finish();
    let (failed, gap) = (timeline.failed(), timeline.longest_gap());
    let late = timeline.samples().iter().filter(|sample| sample.is_answer() && sample.took > LATE).count();
    println!("{what}: {failed} failed, {late} late, longest gap {gap:?}, {:?}", timeline.outcomes());
    assert!(failed <= handovers * IN_A_HANDOVER && gap < SECOND, "{what}");
}

#[test]
fn both_nodes_of_a_pair_are_destroyed_and_made_anew_while_requests_go_on() {
    Lab::run(|lab| {
        let Linked { pair, nodes } = Linked::new(lab, |_| {}, Fulcrum::start)?;
        let [first, second] = &nodes[..] else { unreachable!("two nodes") };
        let scene = Anew::new(lab, &[&pair.lb1, &pair.lb2])?;
        let exec = scene.exec("{node}");
        let (output, plan) = scene.finish(&["roll", "--exec", &exec, "--dry-run"])?;
        assert!(output.status.success() && plan.contains("1 of 2: lb2, which leads 0 of 1 group"), "{plan}");
        assert!(scene.at("roll").is_none(), "a dry run keeps nothing");

        let probe = probe(&pair.client, pair.service(), 2)?;
        let begun = now();
        let mut running = scene.start(&["roll", "--exec", &exec])?;
        wait_until("it to begin", LONG, || scene.at("roll").is_some_and(|(node, _)| node == "lb2"))?;
        let (refused, said) = scene.finish(&["roll", "--exec", &exec])?;
        assert_eq!(refused.status.code(), Some(1));
        assert!(said.contains("a roll, a replacement or a drill of this inventory is going on"), "{said}");
        let mut ended = None;
        wait_until("its end", LONG, || {
            ended = running.try_wait().ok().flatten();
            ended.is_some()
        })?;
        let said = fs::read_to_string(scene.log())?;
        println!("{said}");
        assert_eq!(ended.and_then(|ended| ended.code()), Some(0));
        assert!(said.contains("all nodes are changed"), "{said}");
        run_for(SECOND);
        assert_served("pair", probe, 1);
        println!("in {:?}", begun.elapsed());
        for node in [first, second] {
            assert!(uptime(node)? <= begun.elapsed().as_secs(), "{} was not made anew", node.machine.name());
        }
        wait_settled(&[first, second])?;
        Ok(())
    });
}

#[test]
fn a_node_that_does_not_come_back_stops_the_roll_and_all_is_served() {
    Lab::run(|lab| {
        let Linked { pair, nodes } = Linked::new(lab, |_| {}, Fulcrum::start)?;
        let [first, second] = &nodes[..] else { unreachable!("two nodes") };
        let scene = Anew::new(lab, &[&pair.lb1, &pair.lb2])?;
        let exec = scene.exec("{node}");
        let probe = probe(&pair.client, pair.service(), 2)?;
        fs::write(&scene.broken, "")?;
        let quick = ["roll", "--exec", &exec, "--no-preflight", "--ready-deadline", "3s"];
        let (output, said) = scene.finish(&quick)?;
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("stopped at lb2") && said.contains("lb2 does not answer"), "{said}");
        assert!(said.contains("to come: lb1"), "{said}");
        assert!(first.status()?.role(GROUP) == Some("leader"));

        let (again, said) = scene.finish(&quick)?;
        assert_eq!(again.status.code(), Some(1));
        assert!(said.contains("a roll is not finished") && said.contains("--resume"), "{said}");
        let (other, said) = scene.finish(&["roll", "--exec", "./other {node}", "--resume"])?;
        assert_eq!(other.status.code(), Some(1));
        assert!(said.contains("leave --exec out"), "{said}");

        // Mended by hand: it goes on with what is left, and does not destroy it once more.
        fs::remove_file(&scene.broken)?;
        let _mended = pair.start(&pair.lb2)?;
        second.wait_hears_leader(GROUP)?;
        let (output, said) = scene.finish(&["roll", "--resume"])?;
        assert!(output.status.success(), "{said}");
        assert!(!said.contains("destroys lb2") && said.contains("destroys lb1"), "{said}");
        assert_served("pair", probe, 1);
        let (done, said) = scene.finish(&["roll", "--resume"])?;
        assert!(!done.status.success() && said.contains("no roll is unfinished"), "{said}");
        Ok(())
    });
}

#[test]
fn a_roll_that_is_killed_at_each_of_its_steps_goes_on_where_it_was() {
    Lab::run(|lab| {
        let Linked { pair, nodes } = Linked::new(lab, |_| {}, Fulcrum::start)?;
        let [first, second] = &nodes[..] else { unreachable!("two nodes") };
        let scene = Anew::new(lab, &[&pair.lb1, &pair.lb2])?;
        let exec = scene.exec("{node}");
        let probe = probe(&pair.client, pair.service(), 2)?;
        let killed = scene.kill_at_each_step(&["roll", "--exec", &exec], &["roll", "--resume"])?;
        println!("killed at {killed:?}");
        for step in ["others", "preflight", "change", "return"] {
            for node in ["lb1", "lb2"] {
                assert!(killed.contains(&(node.to_owned(), step.to_owned())), "{node}, {step}: {killed:?}");
            }
        }
        wait_settled(&[first, second])?;
        assert_served("pair", probe, 1);
        Ok(())
    });
}

/// Nothing that the kernel forwards ends with a node: of connections that are open all the while, each lives, on its backend.
fn connections_live(mode: &str, prepare: impl Fn(&mut Pair) -> Result<String>) {
    Lab::run(|lab| {
        let mut further = Ok(String::new());
        let prepared = |pair: &mut Pair| {
            pair.plan.service = vec![format!("mode: {mode}")];
            further = prepare(pair);
        };
        let Linked { pair, nodes } = Linked::new(lab, prepared, Fulcrum::start)?;
        let (further, nodes) = (further?, nodes.iter().collect::<Vec<_>>());
        let probe = probe(&pair.client, pair.service(), 2)?;
        let crowd = Crowd::open(&pair.client, pair.service(), CONNECTIONS, SECOND / 5, 15 * SECOND)?;
        let scene = Anew::with(lab, &[&pair.lb1, &pair.lb2], &further)?;
        let (output, said) = scene.finish(&["roll", "--exec", &scene.exec("{node}")])?;
        assert!(output.status.success(), "{said}");
        let stall = crowd.wait_answered()?;
        println!("{mode}: {CONNECTIONS} connections live, the longest stall {stall:?}");
        assert_served(mode, probe, 0);
        wait_settled(&nodes)?;
        Ok(())
    });
}

#[test]
fn connections_of_fullnat_live_through_a_roll_of_both_nodes() {
    connections_live("fullnat", |_| Ok(String::new()));
}

#[test]
fn connections_of_dsr_live_through_a_roll_of_both_nodes() {
    connections_live("dsr", |pair| {
        for web in &pair.web {
            web.machine.set("net/ipv4/conf/all/arp_ignore", "1")?;
            web.machine.set("net/ipv4/conf/all/arp_announce", "2")?;
            web.machine.run("ip", &["address", "add", "10.77.0.100/32", "dev", "lo"])?;
        }
        Ok(String::new())
    });
}

#[test]
fn connections_of_nat_live_through_a_roll_of_both_nodes() {
    connections_live("nat", |pair| {
        // The client is behind a network of its own, and replies come through whoever leads.
        let route = format!("route add 192.0.2.0/24 via {}", pair.client.ipv4());
        pair.client.run("ip", &["address", "add", "192.0.2.50/32", "dev", "lo"])?;
        pair.client.run("ip", &["route", "add", "10.77.0.100/32", "dev", "eth0", "src", "192.0.2.50"])?;
        for node in [&pair.lb1, &pair.lb2] {
            node.set("net/ipv4/ip_forward", "1")?;
            node.run("ip", &route.split(' ').collect::<Vec<_>>())?;
        }
        for web in &pair.web {
            web.machine.run("ip", &["route", "add", "192.0.2.0/24", "via", "10.77.0.101"])?;
        }
        pair.plan.gateways = vec![ipv4(101)];
        Ok(format!("echo 1 > /proc/sys/net/ipv4/ip_forward; ip {route}"))
    });
}

#[test]
fn proxied_connections_that_do_not_finish_are_cut_at_the_deadline_and_counted() {
    Lab::run(|lab| {
        let mut pair = Pair::new(lab)?;
        pair.plan = pair.plan.clone().with_keys()?;
        let (first, _second) = pair.start_both()?;
        wait_until("both to agree", LONG, || first.status().is_ok_and(|status| status.agrees_with("lb2")))?;
        let mut sessions: Vec<Session> =
            (0..3).map(|_| Session::open(&pair.client, pair.service(), LONG)).collect::<Result<_>>()?;
        let scene = Anew::new(lab, &[&pair.lb1, &pair.lb2])?;
        let (output, said) =
            scene.finish(&["roll", "--exec", &scene.exec("{node}"), "--no-preflight", "--deadline", "3s"])?;
        assert!(output.status.success(), "{said}");
        assert!(said.contains("3 connections to finish"), "{said}");
        assert!(said.contains("3 connections had not finished at the deadline and are cut"), "{said}");
        for session in &mut sessions {
            assert!(session.ask().is_err(), "it ended with its node");
        }
        Ok(())
    });
}

#[test]
fn five_nodes_are_destroyed_and_made_anew_one_after_another_while_requests_go_on() {
    Lab::run(|lab| {
        let cluster = Cluster::new(lab, 5, 5)?;
        let nodes = cluster.start_all()?;
        let all: Vec<&Fulcrum> = nodes.iter().collect();
        wait_settled(&all)?;
        let machines: Vec<&Machine> = cluster.nodes.iter().collect();
        let scene = Anew::new(lab, &machines)?;
        let probes: Vec<Probe> = (0..cluster.groups)
            .map(|group| probe(&cluster.client, cluster.service(group), 5))
            .collect::<Result<_>>()?;
        let begun = now();
        let (output, said) =
            scene.finish(&["roll", "--exec", &scene.exec("{node}"), "--json", "--no-preflight"])?;
        assert!(output.status.success(), "{said}");
        let events: Vec<Value> =
            said.lines().map(serde_json::from_str).collect::<std::result::Result<_, _>>()?;
        let changed = events.iter().filter(|event| event["event"] == "changed");
        let changed: BTreeSet<&str> = changed.filter_map(|event| event["node"].as_str()).collect();
        assert_eq!(changed.len(), 5, "{changed:?}");
        run_for(SECOND);
        println!("five nodes in {:?}", begun.elapsed());
        for (name, probe) in cluster.names().zip(probes) {
            assert_served(&name, probe, HANDOVERS);
        }
        for node in &all {
            assert!(uptime(node)? <= begun.elapsed().as_secs(), "{} was not made anew", node.machine.name());
        }
        wait_settled(&all)?;
        for group in 0..cluster.groups {
            assert!(request(&cluster.client, cluster.service(group), 3 * SECOND)?.is_answer());
        }
        Ok(())
    });
}

/// Nothing that the kernel forwards fails or ends while five nodes are destroyed and made anew.
fn five_nodes_forward(mode: &str, groups: u8, prepare: impl Fn(&mut Cluster) -> Result<String>) {
    Lab::run(|lab| {
        let mut cluster = Cluster::new(lab, 5, groups)?;
        cluster.mode = mode.to_owned();
        let further = prepare(&mut cluster)?;
        let nodes = cluster.start_all()?;
        let all: Vec<&Fulcrum> = nodes.iter().collect();
        wait_settled(&all)?;
        // Who leads first may have to give way to one that has asked no backend yet, and refuses.
        wait_until("every node to be ready", LONG, || {
            all.iter().all(|node| node.status().is_ok_and(|it| it.0["ready"] == true))
        })?;
        let scene = Anew::with(lab, &cluster.nodes.iter().collect::<Vec<_>>(), &further)?;
        let services: Vec<SocketAddr> = (0..groups).map(|group| cluster.service(group)).collect();
        let probes: Vec<Probe> =
            services.iter().map(|service| probe(&cluster.client, *service, 5)).collect::<Result<_>>()?;
        let open = |service: &SocketAddr| {
            Crowd::open(&cluster.client, *service, CONNECTIONS / services.len(), SECOND / 5, 15 * SECOND)
        };
        let crowds: Vec<Crowd> = services.iter().map(open).collect::<Result<_>>()?;
        let begun = now();
        let (output, said) = scene.finish(&["roll", "--exec", &scene.exec("{node}"), "--no-preflight"])?;
        assert!(output.status.success(), "{said}");
        println!("five nodes in {mode} in {:?}", begun.elapsed());
        for (name, (probe, crowd)) in cluster.names().zip(probes.into_iter().zip(crowds)) {
            println!(
                "{mode}, {name}: every connection lives, the longest stall {:?}",
                crowd.wait_answered()?
            );
            assert_served(&name, probe, 0);
        }
        for node in &all {
            assert!(uptime(node)? <= begun.elapsed().as_secs(), "{} was not made anew", node.machine.name());
        }
        wait_settled(&all)?;
        Ok(())
    });
}

#[test]
fn connections_of_dsr_live_through_a_roll_of_five_nodes() {
    five_nodes_forward("dsr", 2, |cluster| {
        for web in &cluster.web {
            web.machine.set("net/ipv4/conf/all/arp_ignore", "1")?;
            web.machine.set("net/ipv4/conf/all/arp_announce", "2")?;
            for group in 0..cluster.groups {
                let address = format!("{}/32", cluster.service(group).ip());
                web.machine.run("ip", &["address", "add", &address, "dev", "lo"])?;
            }
        }
        Ok(String::new())
    });
}

#[test]
fn connections_of_nat_live_through_a_roll_of_five_nodes() {
    // One group: the backends have one way back, through whoever leads it.
    five_nodes_forward("nat", 1, |cluster| {
        let route = format!("route add 192.0.2.0/24 via {}", cluster.client.ipv4());
        cluster.client.run("ip", &["address", "add", "192.0.2.50/32", "dev", "lo"])?;
        cluster.client.run("ip", &["route", "add", "10.77.0.100/32", "dev", "eth0", "src", "192.0.2.50"])?;
        for node in &cluster.nodes {
            node.set("net/ipv4/ip_forward", "1")?;
            node.run("ip", &route.split(' ').collect::<Vec<_>>())?;
        }
        for web in &cluster.web {
            web.machine.run("ip", &["route", "add", "192.0.2.0/24", "via", "10.77.0.120"])?;
        }
        cluster.gateways = vec![ipv4(120)];
        Ok(format!("echo 1 > /proc/sys/net/ipv4/ip_forward; ip {route}"))
    });
}
