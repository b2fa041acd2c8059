//! The unit that is shipped, run by a real systemd with its sandbox.
#![allow(clippy::indexing_slicing, clippy::disallowed_methods, reason = "nothing but a test")]

use fulcrum_tests::lab::{Fulcrum, GROUP, Lab, Pair, Systemd, fulcrum_binary};
use fulcrum_tests::probe::{Options, Probe, Session};
use fulcrum_tests::wait::{run_for, wait_until};
use fulcrum_tests::{LabError, Result};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(40);
/// Where an upgrade is put.
const NEW_BINARY: &str = "/usr/bin/fulcrum-new";
/// What runs in the unit.
const PROCESSES: &str = "/sys/fs/cgroup/system.slice/fulcrum.service/cgroup.procs";

/// A pair of which the first node is systemd's, and leads.
struct Scene {
    pair: Pair,
    first: Systemd,
    second: Fulcrum,
}

impl Scene {
    fn new(lab: &Lab) -> Result<Self> {
        let mut pair = Pair::new(lab)?;
        pair.plan = pair.plan.with_keys()?;
        let first = Systemd::boot(&pair.lb1, &pair.plan.file(&pair.lb1))?;
        first.run("systemctl", &["start", "fulcrum"])?;
        // The unit is started when the node is ready: it answers at once.
        first.status()?;
        first.wait_role(GROUP, "leader")?;
        let second = Fulcrum::start(&pair.lb2, &pair.plan.file(&pair.lb2))?;
        second.wait_hears_leader(GROUP)?;
        wait_until("the nodes to agree", LONG, || second.status().is_ok_and(|it| it.agrees_with("lb1")))?;
        Ok(Self { pair, first, second })
    }

    fn probe(&self) -> Result<Probe> {
        let options =
            Options { timeout: Duration::from_secs(3), interval: Duration::from_millis(2), at_once: 1 };
        Probe::start_answered(&self.pair.client, self.pair.service(), options, LONG)
    }

    fn leads_first(&self) -> bool {
        self.first.status().is_ok_and(|it| it.role(GROUP) == Some("leader"))
    }

    /// Until systemd has started it so many times again, and it runs.
    fn wait_restarted(&self, times: &str) -> Result<()> {
        wait_until(&format!("systemd's restart {times}"), LONG, || {
            self.first.show("NRestarts").is_ok_and(|it| it == times)
                && self.first.show("ActiveState").is_ok_and(|it| it == "active")
        })
    }
}

fn assert_nothing_failed(probe: Probe) {
    let timeline = probe.finish();
    assert_eq!(timeline.failed(), 0, "{:?}", timeline.outcomes());
}

#[test]
fn it_is_ready_when_it_is_started_reloads_and_hands_over_when_it_is_stopped() {
    Lab::run(|lab| {
        let mut scene = Scene::new(lab)?;
        let probe = scene.probe()?;
        scene.pair.plan.service.push("balance: source".to_owned());
        let better = scene.pair.plan.file(&scene.pair.lb1);
        scene.first.write(&better)?;
        scene.first.run("systemctl", &["reload", "fulcrum"])?;
        let again = scene.first.run("fulcrum", &["reload"])?;
        assert!(again.contains("nothing changed"), "{again}");
        scene.first.write(&better.replace("port: 80", "port: eighty"))?;
        let refused = scene.first.run("systemctl", &["reload", "fulcrum"]);
        assert!(refused.is_err(), "a bad file is a reload that failed");
        assert_eq!(scene.first.show("ActiveState")?, "active", "and nothing else");
        scene.first.write(&better)?;

        scene.first.run("systemctl", &["restart", "fulcrum"])?;
        scene.first.wait_role(GROUP, "standby")?;
        scene.second.wait_leader(GROUP)?;
        wait_until("the nodes to agree", LONG, || {
            scene.second.status().is_ok_and(|it| it.agrees_with("lb1"))
        })?;
        scene.second.command(&["handover", GROUP])?;
        scene.first.wait_role(GROUP, "leader")?;
        scene.first.run("systemctl", &["stop", "fulcrum"])?;
        scene.second.wait_leader(GROUP)?;
        assert_eq!(scene.first.show("Result")?, "success");
        run_for(Duration::from_millis(300));
        assert_nothing_failed(probe);
        Ok(())
    });
}

#[test]
fn what_dies_or_hangs_is_started_again_and_the_other_leads_meanwhile() {
    Lab::run(|lab| {
        let scene = Scene::new(lab)?;
        for (times, signal) in [("1", "KILL"), ("2", "STOP")] {
            // It goes to the node that is ready.
            wait_until("a handover", LONG, || {
                scene.second.command(&["handover", GROUP]).is_ok() || scene.leads_first()
            })?;
            scene.first.wait_role(GROUP, "leader")?;
            scene.first.run("systemctl", &["kill", "--kill-who=main", "--signal", signal, "fulcrum"])?;
            scene.second.wait_leader(GROUP)?;
            scene.wait_restarted(times)?;
            scene.first.wait_role(GROUP, "standby")?;
            let processes = scene.first.run("cat", &[PROCESSES])?.lines().count();
            assert_eq!(processes, 2, "the daemon and its guard, and nothing of the process before");
        }
        Ok(())
    });
}

#[test]
fn of_an_upgrade_in_place_systemd_follows_the_new_process() {
    Lab::run(|lab| {
        let scene = Scene::new(lab)?;
        let probe = scene.probe()?;
        let mut session = Session::open(&scene.pair.client, scene.pair.service(), LONG)?;
        let before = scene.first.show("MainPID")?;
        scene.first.put(&fulcrum_binary()?, NEW_BINARY)?;
        let said = scene.first.run("fulcrum", &["upgrade-binary", NEW_BINARY, "--in-place"])?;
        wait_until("systemd to follow", LONG, || scene.first.show("MainPID").is_ok_and(|it| it != before))
            .map_err(|error| LabError::new(format!("{error}: {said}")))?;
        // Longer than the watchdog waits.
        run_for(Duration::from_secs(12));
        session.ask()?;
        assert_eq!(scene.first.show("ActiveState")?, "active");
        assert_eq!(scene.first.show("NRestarts")?, "0");
        assert_eq!(scene.first.status()?.role(GROUP), Some("leader"));

        scene.first.run("systemctl", &["stop", "fulcrum"])?;
        scene.second.wait_leader(GROUP)?;
        run_for(Duration::from_millis(300));
        assert_nothing_failed(probe);
        assert_eq!(scene.first.show("Result")?, "success");
        Ok(())
    });
}

#[test]
fn an_upgrade_by_way_of_the_other_node_restarts_the_unit() {
    Lab::run(|lab| {
        let scene = Scene::new(lab)?;
        let probe = scene.probe()?;
        let before = scene.first.show("MainPID")?;
        scene.first.put(&fulcrum_binary()?, NEW_BINARY)?;
        scene.first.run("fulcrum", &["upgrade-binary", NEW_BINARY, "--deadline", "10s"])?;
        assert_ne!(scene.first.show("MainPID")?, before);
        assert_eq!(scene.first.show("NRestarts")?, "0", "nothing but what was asked for");
        scene.second.wait_leader(GROUP)?;
        assert_nothing_failed(probe);
        Ok(())
    });
}

#[test]
fn a_machine_that_is_shut_down_hands_over_first() {
    Lab::run(|lab| {
        let scene = Scene::new(lab)?;
        let probe = scene.probe()?;
        scene.first.run("systemctl", &["poweroff", "--no-wall"])?;
        scene.first.wait_off()?;
        scene.second.wait_leader(GROUP)?;
        assert_nothing_failed(probe);
        Ok(())
    });
}
