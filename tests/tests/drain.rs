//! What operators ask for over the file: on all nodes, for as long as it is not taken back.
#![allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "there are two nodes, 0 and 1")]

use fulcrum_tests::Result;
use fulcrum_tests::lab::{Cluster, Fulcrum, GROUP, Lab, Linked, Machine, Status};
use fulcrum_tests::probe::{Options, Probe, Session, request};
use fulcrum_tests::wait::{now, run_for, wait_until};
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(25);
/// Enough for both of two equal backends to be chosen, but for one time in a million.
const REQUESTS: usize = 20;

/// The backends that answer clients.
fn backends(scene: &Linked) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for _ in 0..REQUESTS {
        let sample = request(&scene.pair.client, scene.pair.service(), Duration::from_secs(3))?;
        assert!(sample.is_answer(), "{sample:?}");
        names.extend(sample.backend().map(ToOwned::to_owned));
    }
    Ok(names)
}

/// A pair whose link stands, and that balances round robin.
fn scene(lab: &Lab) -> Result<Linked> {
    started_by(lab, Fulcrum::start)
}

fn started_by(lab: &Lab, start: impl Fn(&Machine, &str) -> Result<Fulcrum>) -> Result<Linked> {
    Linked::new(lab, |pair| pair.plan.service.push("balance: round-robin".to_owned()), start)
}

fn overrides(status: &Status) -> Vec<Value> {
    status.0["overrides"].as_array().cloned().unwrap_or_default()
}

fn only<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.into_iter().map(ToOwned::to_owned).collect()
}

#[test]
fn a_drained_backend_stays_so_across_reload_restart_and_takeover() {
    Lab::run(|lab| {
        let mut scene = scene(lab)?;
        assert_eq!(backends(&scene)?, only(["web1", "web2", "web3"]));
        let address = scene.pair.web[0].machine.ipv4().to_string();
        // Asked of the standby, and in force on both.
        let answer = scene.nodes[1].command(&["drain", "backend", &address])?;
        assert!(answer.contains("drain: false is now true"), "{answer}");
        assert!(answer.contains(&format!("applied on {}, too", scene.name(0))), "{answer}");
        assert_eq!(backends(&scene)?, only(["web2", "web3"]));
        for side in [0, 1] {
            let asked = overrides(&scene.nodes[side].status()?);
            assert_eq!(asked.len(), 1, "{asked:?}");
            assert_eq!(asked[0]["what"], "drained");
            assert!(asked[0]["by"].as_str().is_some_and(|by| by.starts_with("uid ")), "{asked:?}");
            assert!(asked[0]["since"].as_u64().is_some_and(|since| since > 1_700_000_000), "{asked:?}");
        }
        // A reload of a file that says nothing of it.
        let mut plan = scene.pair.plan.clone();
        plan.services
            .push("more: {vip: 10.77.0.100, port: 81, backends: [10.77.0.21:80], check: none}".to_owned());
        scene.reload(0, &plan, &[])?;
        assert_eq!(backends(&scene)?, only(["web2", "web3"]));
        // Both daemons anew, one after the other: the second start is a takeover, too.
        scene.restart(0)?;
        scene.restart(1)?;
        assert_eq!(backends(&scene)?, only(["web2", "web3"]));
        assert_eq!(overrides(&scene.nodes[1].status()?).len(), 1);

        let answer = scene.nodes[0].command(&["undrain", "backend", "web/web1"])?;
        assert!(answer.contains("drain: true is now false"), "{answer}");
        assert_eq!(backends(&scene)?, only(["web1", "web2", "web3"]));
        scene.wait(1, "nothing to be asked for", |status| overrides(status).is_empty())?;
        let refused = scene.refused(0, &["undrain", "backend", &address]);
        assert!(refused.contains("is not drained by an operator"), "{refused}");
        Ok(())
    });
}

#[test]
fn connections_are_left_alone_until_the_deadline_and_closed_then() {
    Lab::run(|lab| {
        let mut scene = scene(lab)?;
        // Connections of a backend that is down are not closed here, those that an operator ends are.
        scene.pair.plan.service.push("on_down: drain".to_owned());
        scene.reload(0, &scene.pair.plan, &[])?;
        let mut session = Session::open(&scene.pair.client, scene.pair.service(), Duration::from_secs(3))?;
        let backend = session.ask()?;
        let machine = scene.pair.web.iter().map(|web| &web.machine).find(|it| it.name() == backend);
        let address = machine.map(|it| it.ipv4().to_string()).unwrap_or_default();
        let begun = now();
        scene.nodes[0].command(&["drain", "backend", &address, "--deadline", "4s"])?;
        assert_eq!(session.ask()?, backend, "it goes on");
        scene.wait(0, "one connection to be left", |status| {
            overrides(status).iter().any(|it| it["connections"] == 1 && it["until"].is_u64())
        })?;
        while begun.elapsed() < Duration::from_millis(2500) {
            assert_eq!(session.ask()?, backend, "it goes on");
            run_for(Duration::from_millis(200));
        }
        session.wait_end(Duration::from_secs(15))?;
        scene.wait(0, "the backend to be out of use", |status| status.backends("web", "disabled") == 1)?;
        scene.wait(1, "the same on the standby", |status| status.backends("web", "disabled") == 1)?;
        let listed = scene.nodes[0].command(&["overrides"])?;
        assert!(listed.contains("drained") && listed.contains("over"), "{listed}");

        // At once, without a deadline.
        let mut session = Session::open(&scene.pair.client, scene.pair.service(), Duration::from_secs(3))?;
        let other = session.ask()?;
        assert_ne!(other, backend);
        scene.nodes[0].command(&["undrain", "backend", &address])?;
        scene.nodes[0].command(&["disable", "backend", &other, "--wait"])?;
        session.wait_end(Duration::from_secs(15))?;
        let left = backends(&scene)?;
        assert!(left.contains(&backend) && !left.contains(&other), "{left:?}");
        Ok(())
    });
}

#[test]
fn a_drained_node_leads_only_when_it_is_alone() {
    Lab::run(|lab| {
        let mut scene = scene(lab)?;
        scene.nodes[0].wait_leader(GROUP)?;
        let name = scene.name(0).to_owned();
        let probe = Probe::start(
            &scene.pair.client,
            scene.pair.service(),
            Options {
                timeout: Duration::from_secs(2),
                interval: Duration::from_millis(5),
                ..Options::default()
            },
        )?;
        // Asked of the other node.
        scene.nodes[1].command(&["drain", "lb-node", &name, "--wait"])?;
        assert_eq!(scene.nodes[0].status()?.role(GROUP), Some("standby"), "it was waited for");
        scene.nodes[1].wait_leader(GROUP)?;
        // It has the higher priority, and does not come back.
        run_for(Duration::from_secs(3));
        assert_eq!(scene.nodes[1].status()?.role(GROUP), Some("leader"));
        let timeline = probe.finish();
        assert_eq!(timeline.failed(), 0, "{:?}", timeline.outcomes());

        // Nor when it is started anew.
        scene.restart(0)?;
        run_for(Duration::from_secs(2));
        assert_eq!(scene.nodes[1].status()?.role(GROUP), Some("leader"));

        // But when nobody else is there.
        let file = std::fs::read_to_string(scene.nodes[1].config())?;
        scene.nodes[1].kill()?;
        scene.nodes[0].wait_leader(GROUP)?;
        scene.nodes[1] = Fulcrum::start(&scene.pair.lb2, &file)?;
        scene.nodes[1].wait_leader(GROUP)?;
        scene.wait_agreement()?;
        let left = scene.nodes[0].status()?;
        assert_eq!(overrides(&left)[0]["of"], format!("lb-node {name}"));

        // Nobody preempts by default; but from now on it may be asked to.
        scene.nodes[0].command(&["undrain", "lb-node", &name])?;
        scene.wait(1, "nothing to be asked for", |status| overrides(status).is_empty())?;
        scene.nodes[1].command(&["handover", GROUP])?;
        scene.nodes[0].wait_leader(GROUP)?;
        Ok(())
    });
}

#[test]
fn a_node_that_was_away_hears_of_it_and_keeps_a_file_that_is_being_edited() {
    Lab::run(|lab| {
        let mut scene = scene(lab)?;
        let file = std::fs::read_to_string(scene.nodes[1].config())?;
        scene.nodes[1].process().terminate(LONG)?;
        scene.wait_down(0)?;
        let address = scene.pair.web[0].machine.ipv4().to_string();
        let answer = scene.nodes[0].command(&["drain", "backend", &address])?;
        assert!(answer.contains("it catches up when there is"), "{answer}");
        scene.nodes[1] = Fulcrum::start(&scene.pair.lb2, &file)?;
        scene.wait_agreement()?;
        assert_eq!(overrides(&scene.nodes[1].status()?).len(), 1);

        // What stands in a file and was not loaded yet is neither applied nor lost by somebody else's drain.
        let mut plan = scene.pair.plan.clone();
        plan.services
            .push("more: {vip: 10.77.0.100, port: 81, backends: [10.77.0.21:80], check: none}".to_owned());
        std::fs::write(scene.nodes[1].config(), plan.file(&scene.nodes[1].machine))?;
        scene.nodes[0].command(&["undrain", "backend", &address])?;
        scene.wait_agreement()?;
        scene.wait(1, "nothing to be asked for", |status| overrides(status).is_empty())?;
        assert!(scene.nodes[1].status()?.service("more").is_none());
        scene.nodes[1].command(&["weight", "backend", &address, "7"])?;
        scene.wait(0, "the weight", |status| overrides(status).iter().any(|it| it["what"] == "weight 7"))?;
        assert!(scene.nodes[1].status()?.service("more").is_none());
        scene.nodes[1].command(&["reload"])?;
        assert!(scene.nodes[0].status()?.service("more").is_some());
        Ok(())
    });
}

#[test]
fn a_drained_node_leaves_control_planes_one_by_one_and_the_last_ready_one_is_not_drained() {
    Lab::run(|lab| {
        let mut cluster = Cluster::new(lab, 3, 3)?;
        cluster.of_groups = ", class: control-plane".to_owned();
        let nodes = cluster.start_all()?;
        let all = serde_json::json!(["lb1", "lb2", "lb3"]);
        let groups: Vec<String> = cluster.names().collect();
        let wait = |what: &str, node: &Fulcrum, is_so: &dyn Fn(&Status) -> bool| {
            wait_until(what, LONG * 2, || node.status().is_ok_and(|status| is_so(&status)))
        };
        for node in &nodes {
            wait("all to be ready", node, &|status| {
                groups.iter().all(|group| status.group(group).is_some_and(|it| it["ready_nodes"] == all))
            })?;
        }
        let leads = |status: &Status| groups.iter().filter(|it| status.role(it) == Some("leader")).count();
        nodes[0].command(&["drain", "lb-node", "lb2"])?;
        wait("lb2 to lead nothing", &nodes[1], &|status| leads(status) == 0)?;
        wait("lb1 to know", &nodes[0], &|status| {
            groups.iter().all(|it| {
                status.group(it).is_some_and(|it| it["ready_nodes"] == serde_json::json!(["lb1", "lb3"]))
            })
        })?;
        nodes[0].command(&["drain", "lb-node", "lb3"])?;
        wait("lb1 to lead everything", &nodes[0], &|status| leads(status) == groups.len())?;
        wait("lb1 to be the only one", &nodes[0], &|status| {
            groups
                .iter()
                .all(|it| status.group(it).is_some_and(|it| it["ready_nodes"] == serde_json::json!(["lb1"])))
        })?;
        let refused = match nodes[0].command(&["drain", "lb-node", "lb1"]) {
            Ok(done) => format!("DONE: {done}"),
            Err(refusal) => refusal.to_string(),
        };
        assert!(refused.contains("no other node is known to be ready for web-1, web-2, web-3"), "{refused}");
        // The last backend of a control plane is guarded, too.
        nodes[0].command(&["drain", "backend", "web1"])?;
        let refused = match nodes[0].command(&["drain", "backend", "web2"]) {
            Ok(done) => format!("DONE: {done}"),
            Err(refusal) => refusal.to_string(),
        };
        assert!(refused.contains("has no backend that takes new connections any more"), "{refused}");
        nodes[0].command(&["undrain", "lb-node", "lb3"])?;
        nodes[0].command(&["undrain", "lb-node", "lb2"])?;
        wait("all to be ready", &nodes[2], &|status| {
            groups.iter().all(|group| status.group(group).is_some_and(|it| it["ready_nodes"] == all))
        })?;
        Ok(())
    });
}

#[test]
fn what_one_node_can_not_keep_is_granted_on_neither() {
    Lab::run(|lab| {
        let scene = started_by(lab, Fulcrum::start_on_small_disk)?;
        for full in [0, 1] {
            let ballast = scene.nodes[full].fill_disk()?;
            for asked in [0, 1] {
                let refused = scene.refused(asked, &["drain", "backend", "web1"]);
                assert!(refused.contains("No space left on device"), "{refused}");
                assert_eq!(refused.contains(&format!("{}: ", scene.name(full))), asked != full, "{refused}");
            }
            for side in [0, 1] {
                assert!(overrides(&scene.nodes[side].status()?).is_empty());
            }
            std::fs::remove_file(ballast)?;
        }
        scene.nodes[0].command(&["drain", "backend", "web1"])?;
        assert_eq!(backends(&scene)?, only(["web2", "web3"]));
        Ok(())
    });
}
