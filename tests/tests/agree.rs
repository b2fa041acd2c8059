//! Changes of the configuration that both nodes share: on both, or on neither.
#![allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "there are two nodes, 0 and 1")]

use fulcrum_tests::Result;
use fulcrum_tests::lab::{Fulcrum, GROUP, Lab, Linked, Machine, Plan, Status};
use fulcrum_tests::wait::{run_for, wait_until};
use std::net::TcpListener;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(25);

/// A pair whose link stands.
fn scene(lab: &Lab) -> Result<Linked> {
    Linked::new(lab, |_| {}, Fulcrum::start)
}

fn has(scene: &Linked, side: usize, service: &str) -> Result<bool> {
    Ok(scene.nodes[side].status()?.service(service).is_some())
}

fn serial(scene: &Linked, side: usize) -> Result<u64> {
    Ok(scene.nodes[side].status()?.0["config"]["serial"].as_u64().unwrap_or_default())
}

fn wait_down(scene: &Linked) -> Result<()> {
    scene.wait_down(0)?;
    scene.wait_down(1)
}

/// The plan with a service more.
fn with(plan: &Plan, name: &str, port: u16) -> Plan {
    let mut plan = plan.clone();
    plan.services
        .push(format!("{name}: {{vip: 10.77.0.100, port: {port}, backends: [10.77.0.21:80], check: none}}"));
    plan
}

/// A socket of somebody else's on `machine`.
fn occupy(machine: &Machine, port: u16) -> Result<TcpListener> {
    machine.namespace().enter(move || Ok(TcpListener::bind(("0.0.0.0", port))?))?
}

#[test]
fn a_reload_on_one_node_applies_on_both_and_a_restart_keeps_it() {
    Lab::run(|lab| {
        let mut scene = scene(lab)?;
        let plan = with(&scene.pair.plan, "more", 81);
        let answer = scene.reload(0, &plan, &[])?;
        let told = format!("applied on {}, too", scene.name(1));
        assert!(answer.contains(&told), "{answer}");
        assert!(has(&scene, 0, "more")? && has(&scene, 1, "more")?);
        assert_eq!((serial(&scene, 0)?, serial(&scene, 1)?), (2, 2));
        scene.wait_agreement()?;
        // Nobody moved, and the other's own settings are its own.
        assert_eq!(scene.nodes[0].status()?.role(GROUP), Some("leader"));
        let status = scene.nodes[1].status()?;
        assert_eq!(status.0["node"], scene.name(1));
        assert_eq!(status.0["config"]["received_from"], scene.name(0));

        // To reload there changes nothing: its file is only older.
        let answer = scene.nodes[1].command(&["reload"])?;
        assert!(answer.contains("was not edited since"), "{answer}");
        assert!(has(&scene, 0, "more")? && has(&scene, 1, "more")?);

        // Nor does a restart, until the file is edited.
        let file = std::fs::read_to_string(scene.nodes[1].config())?;
        assert!(!file.contains("more:"), "the own file is left alone");
        scene.nodes[1].process().terminate(LONG)?;
        scene.nodes[1] = Fulcrum::start(&scene.pair.lb2, &file)?;
        scene.wait_agreement()?;
        assert!(has(&scene, 1, "more")?);
        assert_eq!(serial(&scene, 1)?, 2);
        let answer = scene.reload(1, &with(&plan, "most", 82), &[])?;
        assert!(answer.contains(&format!("applied on {}, too", scene.name(0))), "{answer}");
        assert!(has(&scene, 0, "most")? && has(&scene, 1, "most")?);
        let status = scene.nodes[1].status()?;
        assert!(status.0["config"]["received_from"].is_null(), "its own file is in force");
        Ok(())
    });
}

#[test]
fn what_one_node_can_not_apply_is_applied_on_neither() {
    Lab::run(|lab| {
        let scene = scene(lab)?;
        // Somebody else listens there on the other node: only that one can know.
        let occupied = occupy(&scene.pair.lb2, 81)?;
        let refused =
            scene.reload(0, &with(&scene.pair.plan, "more", 81), &[]).expect_err("the other node can't");
        let refused = refused.to_string();
        assert!(refused.contains(&format!("{}: ", scene.name(1))) && refused.contains(":81"), "{refused}");
        assert!(refused.contains("nothing was applied on any node"), "{refused}");
        assert!(!has(&scene, 0, "more")? && !has(&scene, 1, "more")?);
        assert_eq!((serial(&scene, 0)?, serial(&scene, 1)?), (1, 1));
        // Nor is what this node can't apply, although the other could.
        drop(occupied);
        let occupied = occupy(&scene.pair.lb1, 81)?;
        scene.reload(0, &with(&scene.pair.plan, "more", 81), &[]).expect_err("this node can't");
        run_for(Duration::from_secs(1));
        assert!(!has(&scene, 0, "more")? && !has(&scene, 1, "more")?);
        assert_eq!((serial(&scene, 0)?, serial(&scene, 1)?), (1, 1));
        drop(occupied);
        scene.nodes[0].command(&["reload"])?;
        assert!(has(&scene, 0, "more")? && has(&scene, 1, "more")?);
        Ok(())
    });
}

#[test]
fn a_node_that_was_cut_off_catches_up() {
    Lab::run(|lab| {
        let scene = scene(lab)?;
        lab.switch().part(&scene.pair.lb1, &scene.pair.lb2)?;
        wait_down(&scene)?;
        let answer = scene.reload(0, &with(&scene.pair.plan, "more", 81), &[])?;
        assert!(answer.contains("applied on this node alone: there is no link"), "{answer}");
        assert!(has(&scene, 0, "more")? && !has(&scene, 1, "more")?);
        run_for(Duration::from_secs(1));
        assert!(!has(&scene, 1, "more")?);
        lab.switch().heal()?;
        scene.wait(1, "to catch up", |status| status.service("more").is_some())?;
        scene.wait_agreement()?;
        assert_eq!((serial(&scene, 0)?, serial(&scene, 1)?), (2, 2));
        Ok(())
    });
}

#[test]
fn a_node_that_can_not_catch_up_says_why_and_does_once_it_can() {
    Lab::run(|lab| {
        let scene = scene(lab)?;
        lab.switch().part(&scene.pair.lb1, &scene.pair.lb2)?;
        wait_down(&scene)?;
        let occupied = occupy(&scene.pair.lb2, 81)?;
        scene.reload(0, &with(&scene.pair.plan, "more", 81), &[])?;
        lab.switch().heal()?;
        scene.wait(1, "the alarm", |status| {
            status.alarms().iter().any(|what| what.contains("stays behind") && what.contains(":81"))
        })?;
        scene.wait(1, "the other alarm", |status| {
            status.alarms().iter().any(|what| what.contains("which is behind (serial 1, there 2)"))
        })?;
        scene.wait(1, "to stand by", |status| status.role(GROUP) == Some("standby"))?;
        drop(occupied);
        wait_until("to catch up", Duration::from_secs(60), || has(&scene, 1, "more").unwrap_or(false))?;
        scene.wait_agreement()
    });
}

#[test]
fn a_node_stays_behind_no_more_once_its_operator_reloads_it() {
    Lab::run(|lab| {
        let scene = scene(lab)?;
        lab.switch().part(&scene.pair.lb1, &scene.pair.lb2)?;
        wait_down(&scene)?;
        let _occupied = occupy(&scene.pair.lb2, 81)?;
        scene.reload(0, &with(&scene.pair.plan, "more", 81), &[])?;
        lab.switch().heal()?;
        let is_behind = |status: &Status| status.alarms().iter().any(|what| what.contains("stays behind"));
        scene.wait(1, "the alarm", is_behind)?;
        scene.reload(1, &with(&scene.pair.plan, "most", 82), &[])?;
        scene.wait_agreement()?;
        assert_eq!((serial(&scene, 0)?, serial(&scene, 1)?), (3, 3));
        assert!(!is_behind(&scene.nodes[1].status()?), "it leads the way");
        Ok(())
    });
}

#[test]
fn a_node_that_lost_what_was_asked_for_says_so_until_its_peer_tells_of_it() {
    Lab::run(|lab| {
        let mut scene = scene(lab)?;
        let address = scene.pair.web[0].machine.ipv4().to_string();
        scene.nodes[0].command(&["drain", "backend", &address])?;
        let is_drained = |status: &Status| status.0["overrides"].as_array().is_some_and(|it| !it.is_empty());
        scene.wait(1, "the drain", is_drained)?;
        lab.switch().part(&scene.pair.lb1, &scene.pair.lb2)?;
        wait_down(&scene)?;
        let files =
            std::fs::read_dir(scene.pair.lb2.file("state"))?.filter_map(|entry| Some(entry.ok()?.path()));
        let mut kept = files.filter(|path| path.to_string_lossy().contains("/shared-"));
        let path = kept.next().expect("it keeps what the nodes share");
        scene.nodes[1].process().terminate(LONG)?;
        std::fs::write(&path, "torn")?;
        scene.nodes[1] = Fulcrum::start(&scene.pair.lb2, &scene.pair.plan.file(&scene.pair.lb2))?;
        let is_lost = |status: &Status| {
            status.alarms().iter().any(|what| what.contains("shared-") && what.contains("is damaged"))
        };
        scene.wait(1, "the alarm", is_lost)?;
        assert!(!is_drained(&scene.nodes[1].status()?), "nobody told of it yet");
        lab.switch().heal()?;
        scene.wait_agreement()?;
        scene.wait(1, "the drain", is_drained)?;
        scene.wait(1, "the alarm's end", |status| !is_lost(status))
    });
}

#[test]
fn both_reload_at_once_and_end_with_one_configuration() {
    Lab::run(|lab| {
        let scene = scene(lab)?;
        let plans = [with(&scene.pair.plan, "one", 81), with(&scene.pair.plan, "two", 82)];
        let answers = std::thread::scope(|scope| {
            let reloads = [0, 1].map(|side| {
                let (scene, plan) = (&scene, &plans[side]);
                scope.spawn(move || scene.reload(side, plan, &[]).map_err(|error| error.to_string()))
            });
            reloads.map(|reload| reload.join().unwrap_or_else(|_| Err("it panicked".to_owned())))
        });
        assert!(answers.iter().any(std::result::Result::is_ok), "{answers:?}");
        scene.wait_agreement()?;
        assert_eq!(serial(&scene, 0)?, serial(&scene, 1)?);
        for service in ["one", "two"] {
            assert_eq!(has(&scene, 0, service)?, has(&scene, 1, service)?, "{service}: {answers:?}");
        }
        Ok(())
    });
}

#[test]
fn a_dry_run_tells_what_a_reload_would_do_and_changes_nothing() {
    Lab::run(|lab| {
        let scene = scene(lab)?;
        let node = &scene.nodes[0];
        let known = |side: usize| -> Result<String> {
            let mut status = scene.nodes[side].status()?.0;
            status["config"]["loaded_seconds_ago"] = 0.into();
            let names = |list: &str| {
                let items = status[list].as_array().into_iter().flatten();
                items.map(|item| item["name"].to_string()).collect::<Vec<_>>()
            };
            Ok(format!("{} {:?} {:?}", status["config"], names("services"), names("groups")))
        };
        let before = (known(0)?, known(1)?);
        let plan = with(&scene.pair.plan, "more", 81);
        let file = plan.file(&scene.pair.lb1).replace("vips: [\"10.77.0.100\"]", "vips: [\"10.77.0.101\"]");
        let file = file
            .replace("vip: 10.77.0.100", "vip: 10.77.0.101")
            .replace("advert_interval: 100ms", "advert_interval: 200ms");
        scene.pair.lb1.write("fulcrum.yaml", &file)?;
        let told = node.command(&["reload", "--dry-run"])?;
        for expected in [
            "timing: advert interval: 100ms is now 200ms",
            "group web: VIP 10.77.0.100 on eth0 removed",
            "service more: added",
            "touches: address 10.77.0.100 goes unanswered",
            "touches: address 10.77.0.101 is answered by whoever leads group web",
            "lb2 would be asked",
            "nothing was applied",
        ] {
            assert!(told.contains(expected), "{expected}: {told}");
        }
        let json = node.command(&["reload", "--dry-run", "--json"])?;
        assert!(json.contains("\"changes\"") && json.contains("\"touches\""), "{json}");
        // A bad file is refused as by a reload, and not held against the node.
        scene.pair.lb1.write("fulcrum.yaml", &file.replace("vrid: 51", "vrid: 0"))?;
        let refused = node.command(&["reload", "--dry-run"]).expect_err("the file is bad").to_string();
        assert!(refused.contains("vrid") && refused.contains("the running configuration stays"), "{refused}");
        run_for(Duration::from_secs(1));
        assert_eq!((known(0)?, known(1)?), before);
        Ok(())
    });
}
