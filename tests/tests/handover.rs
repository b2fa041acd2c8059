//! `fulcrum handover`: refused before anything moves if the other node is not ready, and not seen by clients if it is.

#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test stops at what it did not expect"
)]

use fulcrum_tests::lab::{Cluster, Fulcrum, GROUP, Lab, Linked, Machine, Pair, wait_settled};
use fulcrum_tests::probe::{Crowd, Options, Probe};
use fulcrum_tests::wait::{run_for, wait_until};
use fulcrum_tests::{LabError, Result};
use serde_json::Value;
use std::net::TcpListener;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(15);
const SECOND: Duration = Duration::from_secs(1);

/// Two nodes with a peer link, of which the first leads.
fn scene(lab: &Lab, prepare: impl FnOnce(&mut Pair)) -> Result<Linked> {
    Linked::new(lab, prepare, Fulcrum::start)
}

/// What the first node says when it refuses something.
fn refused(scene: &Linked, arguments: &[&str]) -> Result<String> {
    let first = &scene.nodes[0];
    let transitions = || Ok::<_, LabError>(first.status()?.group(GROUP).map(|it| it["transitions"].clone()));
    let before = transitions()?;
    let told = first.command(arguments);
    assert!(told.is_err(), "it is to be refused: {told:?}");
    assert_eq!(transitions()?, before, "nothing moved");
    assert_eq!(first.status()?.role(GROUP), Some("leader"), "{told:?}");
    Ok(told.err().map(|error| error.to_string()).unwrap_or_default())
}

fn json(node: &Fulcrum, arguments: &[&str]) -> Result<Value> {
    Ok(serde_json::from_str(&node.command(&[&["handover", "--json"], arguments].concat())?)?)
}

/// A firewall on the second node.
fn filter(pair: &Pair, rule: &str) -> Result<()> {
    let rules = format!(
        "add table inet cut; add chain inet cut in {{ type filter hook input priority 0; }}; add rule inet cut in {rule} drop"
    );
    pair.lb2.run("nft", &[&rules]).map(|_| ())
}

fn unfilter(pair: &Pair) -> Result<()> {
    pair.lb2.run("nft", &["delete table inet cut"]).map(|_| ())
}

#[test]
fn a_node_that_is_not_ready_is_named_with_the_reason_and_nothing_moves() {
    Lab::run(|lab| {
        let scene = scene(lab, |_| {})?;
        let (pair, first, second) = (&scene.pair, &scene.nodes[0], &scene.nodes[1]);
        let to_web = ["handover", GROUP];

        // The link is cut, and adverts still come.
        filter(pair, "udp dport 4747")?;
        filter(pair, "udp sport 4747")?;
        wait_until("a broken link", LONG, || {
            first.status().is_ok_and(|it| it.peer("lb2").is_some_and(|peer| peer["state"] != "up"))
        })?;
        let told = refused(&scene, &to_web)?;
        assert!(told.contains("lb2: the link to it is down"), "{told}");
        assert!(told.contains("'fulcrum handover web --force web'"), "{told}");
        unfilter(pair)?;
        scene.wait_agreement()?;

        // It runs another configuration.
        let file = pair.plan.file(&pair.lb2);
        pair.lb2
            .write("fulcrum.yaml", &file.replace("port: 80\n", "port: 80\n    timeouts: {idle: 5m}\n"))?;
        second.command(&["reload", "--local"])?;
        let told = refused(&scene, &to_web)?;
        assert!(told.contains("lb2 runs another configuration than this node"), "{told}");
        wait_until("it to catch up, or to be brought back", LONG, || {
            pair.lb2.write("fulcrum.yaml", &file).is_ok()
                && second.command(&["reload", "--local"]).is_ok()
                && first.status().is_ok_and(|status| status.agrees_with("lb2"))
        })?;

        // A backend passes its check here, and fails it there.
        pair.lb2.run("ip", &["route", "add", "blackhole", "10.77.0.21/32"])?;
        wait_until("a backend to fail there", LONG, || {
            second.status().is_ok_and(|status| status.backends("web", "down") == 1)
        })?;
        // It takes a moment until the other node is told.
        run_for(SECOND);
        let told = refused(&scene, &to_web)?;
        assert!(
            told.contains("lb2: service web: web1 fails the checks there, and passes them here"),
            "{told}"
        );
        pair.lb2.run("ip", &["route", "delete", "blackhole", "10.77.0.21/32"])?;
        wait_until("all backends", LONG, || {
            second.status().is_ok_and(|status| status.backends("web", "up") == 3)
        })?;

        // All is well: it goes, and is confirmed.
        let told = json(first, &[GROUP])?;
        let moved = &told["moved"][0];
        assert_eq!(
            (moved["leader"].as_str(), moved["unled_ms"].as_f64()),
            (Some("lb2"), Some(0.0)),
            "{told}"
        );
        assert_eq!(moved["from_outside"]["confirmed"], true, "{told}");
        assert!(told["refused"].is_null(), "{told}");
        Ok(())
    });
}

#[test]
fn a_node_whose_listener_does_not_stand_is_not_handed_anything_unless_it_is_forced() {
    Lab::run(|lab| {
        let taken = std::cell::RefCell::new(None);
        let start = |machine: &Machine, file: &str| {
            if machine.name() == "lb2" {
                taken.replace(Some(machine.namespace().enter(|| TcpListener::bind("0.0.0.0:80"))??));
            }
            Fulcrum::start(machine, file)
        };
        let scene = Linked::new(lab, |_| {}, start)?;
        let told = refused(&scene, &["handover", GROUP])?;
        assert!(told.contains("lb2: it is not ready for it: "), "{told}");
        // Names that are wrong move nothing either.
        let told = refused(&scene, &["handover", GROUP, "--force", "other"])?;
        assert!(told.contains("--force names other, not web"), "{told}");
        let told = refused(&scene, &["handover", GROUP, "--to", "lb9"])?;
        assert!(told.contains("lb9 is no other node of group web; there are: lb2"), "{told}");
        drop(taken);
        Ok(())
    });
}

#[test]
fn all_groups_go_one_after_the_other_and_it_stops_at_the_first_that_is_refused() {
    Lab::run(|lab| {
        let scene = scene(lab, |pair| {
            let group = |name: &str, number: u8, class: &str| {
                format!("{name}: {{vrid: {number}, vips: [10.77.0.{number}], class: {class}}}")
            };
            pair.plan.groups = vec![group("api", 110, "control-plane"), group("zoo", 111, "workload")];
        })?;
        for group in ["api", "zoo"] {
            scene.nodes[0].wait_leader(group)?;
        }
        wait_until("both to be ready", LONG, || {
            let both = serde_json::json!(["lb1", "lb2"]);
            scene.nodes[0]
                .status()
                .is_ok_and(|it| it.group("api").is_some_and(|it| it["ready_nodes"] == both))
        })?;
        let told = json(&scene.nodes[0], &["--all"])?;
        let moved: Vec<_> = told["moved"].as_array().into_iter().flatten().map(|it| &it["group"]).collect();
        assert_eq!(moved, ["web", "zoo", "api"], "the control plane comes last");
        let told = scene.nodes[0].command(&["handover", "--all"])?;
        assert!(told.contains("leads no group"), "{told}");

        // The first that is refused ends it: the other node has nobody left.
        scene.nodes[0].kill()?;
        let told = scene.nodes[1].command(&["handover", "--all"]).expect_err("nobody is there").to_string();
        assert!(told.contains("stopped at group web: moved none; not tried zoo, api"), "{told}");
        Ok(())
    });
}

#[test]
fn an_elected_group_goes_to_the_node_that_is_named() {
    Lab::run(|lab| {
        let cluster = Cluster::new(lab, 3, 1)?;
        let nodes = cluster.start_all()?;
        let all: Vec<&Fulcrum> = nodes.iter().collect();
        let name = "web-1";
        for _ in 0..3 {
            let leaders = wait_settled(&all)?;
            let leader = nodes.iter().find(|it| it.machine.name() == leaders[name]).expect("a node");
            let status = leader.status()?;
            // The last that would take over.
            let standbys = status.group(name).map(|it| it["standbys"].clone()).unwrap_or_default();
            let last = standbys[1].as_str().unwrap_or_default().to_owned();
            let told = json(leader, &[name, "--to", &last])?;
            assert_eq!(told["moved"][0]["leader"], last.as_str(), "{told}");
            run_for(SECOND);
            assert_eq!(wait_settled(&all)?[name], last, "it stays where it was moved to");
        }
        Ok(())
    });
}

/// Requests, and connections that ask all the time, through handovers to and fro.
#[test]
fn no_request_fails_and_no_connection_breaks_in_handovers_to_and_fro() {
    Lab::run(|lab| {
        let scene = scene(lab, |_| {})?;
        let (client, service) = (&scene.pair.client, scene.pair.service());
        let probe = scene.pair.probe()?;
        let crowd = Crowd::open(client, service, 50, Duration::from_millis(100), LONG)?;
        let options = Options { interval: Duration::from_millis(5), timeout: LONG, ..Options::default() };
        let patient = Probe::start(client, service, options)?;
        for round in 0..8 {
            let from = if round % 2 == 0 { &scene.nodes[0] } else { &scene.nodes[1] };
            crowd.mark();
            let told = json(from, &[GROUP])?;
            assert_eq!(told["moved"][0]["from_outside"]["confirmed"], true, "{told}");
            let stall = crowd.wait_answered()?;
            println!("round {round}: {} ms, the longest stall {stall:?}", told["moved"][0]["took_ms"]);
        }
        let timeline = patient.finish();
        assert!(timeline.samples().len() > 500, "{}", timeline.samples().len());
        assert_eq!(timeline.failed(), 0, "{:?}", timeline.outcomes());
        println!(
            "without patience: {} of {} failed",
            probe.timeline().failed(),
            probe.timeline().samples().len()
        );
        Ok(())
    });
}

#[test]
fn who_waits_is_told_how_many_connections_were_finished_and_how_many_cut() {
    Lab::run(|lab| {
        let scene = scene(lab, |pair| pair.plan.group.push("drain: 3s".to_owned()))?;
        let (client, service) = (&scene.pair.client, scene.pair.service());
        let idle = Crowd::open(client, service, 3, Duration::from_millis(100), LONG)?;
        run_for(SECOND);
        let told = json(&scene.nodes[0], &[GROUP, "--wait"])?;
        assert_eq!(told["finished"], serde_json::json!({"connections": 3, "cut": 3}), "{told}");
        drop(idle);
        let brief = Crowd::open(client, service, 2, Duration::from_millis(100), LONG)?;
        run_for(SECOND);
        let told = std::thread::scope(|scope| {
            let told = scope.spawn(|| json(&scene.nodes[1], &[GROUP, "--wait"]));
            run_for(SECOND);
            drop(brief);
            told.join()
        });
        let told = told.expect("it ends")?;
        assert_eq!(told["finished"], serde_json::json!({"connections": 2, "cut": 0}), "{told}");
        Ok(())
    });
}

#[test]
fn whoever_dies_in_a_handover_somebody_leads() {
    Lab::run(|lab| {
        let scene = scene(lab, |_| {})?;
        let probe = scene.pair.probe()?;
        std::thread::scope(|scope| -> Result<()> {
            let told = scope.spawn(|| scene.nodes[0].command(&["handover", GROUP]));
            run_for(Duration::from_millis(20));
            scene.nodes[0].process().kill_with_children()?;
            let _ = told.join();
            scene.nodes[1].wait_leader(GROUP)
        })?;
        let begun = fulcrum_tests::wait::now();
        wait_until("an answer", LONG, || probe.answered_since(begun).is_some())?;
        // And the other way round: the one that is to take it dies first.
        let first = scene.pair.start(&scene.pair.lb1)?;
        first.wait_hears_leader(GROUP)?;
        wait_until("the link", LONG, || scene.nodes[1].status().is_ok_and(|it| it.agrees_with("lb1")))?;
        std::thread::scope(|scope| -> Result<()> {
            let told = scope.spawn(|| scene.nodes[1].command(&["handover", GROUP]));
            first.process().kill_with_children()?;
            let _ = told.join();
            scene.nodes[1].wait_leader(GROUP)
        })?;
        let begun = fulcrum_tests::wait::now();
        wait_until("an answer", LONG, || probe.answered_since(begun).is_some())
    });
}
