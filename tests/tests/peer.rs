//! The link between two real nodes.
#![allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "there are two nodes, 0 and 1")]

use fulcrum_tests::Result;
use fulcrum_tests::lab::{Fulcrum, GROUP, Lab, Pair, Plan, Status, make_key, wait_served_by};
use fulcrum_tests::wait::{now, run_for, wait_until};
use serde_json::Value;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(20);

struct Scene {
    pair: Pair,
    nodes: [Fulcrum; 2],
}

impl Scene {
    /// A pair whose link stands.
    fn new(lab: &Lab) -> Result<Self> {
        let mut pair = Pair::new(lab)?;
        pair.plan = pair.plan.with_keys()?;
        let (first, second) = pair.start_both()?;
        let scene = Self { pair, nodes: [first, second] };
        scene.wait_both("a link", |peer| peer["state"] == "up" && peer["round_trip_ms"].is_number())?;
        Ok(scene)
    }

    fn peer_name(&self, side: usize) -> &str {
        self.nodes[1 - side].machine.name()
    }

    fn wait(&self, side: usize, what: &str, is_so: impl Fn(&Status) -> bool) -> Result<()> {
        wait_until(what, LONG, || self.nodes[side].status().is_ok_and(|status| is_so(&status)))
    }

    fn wait_peer(&self, side: usize, what: &str, is_so: impl Fn(&Value) -> bool) -> Result<()> {
        self.wait(side, what, |status| status.peer(self.peer_name(side)).is_some_and(&is_so))
    }

    fn wait_both(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Result<()> {
        self.wait_peer(0, what, &is_so)?;
        self.wait_peer(1, what, &is_so)
    }

    fn peer(&self, side: usize) -> Result<Value> {
        Ok(self.nodes[side].status()?.peer(self.peer_name(side)).cloned().unwrap_or_default())
    }

    fn reload_both(&self, plan: &Plan) -> Result<()> {
        for node in &self.nodes {
            node.reload(&plan.file(&node.machine))?;
        }
        Ok(())
    }
}

#[test]
fn each_node_shows_the_other_and_metrics_do_too() {
    Lab::run(|lab| {
        let scene = Scene::new(lab)?;
        for side in [0, 1] {
            let peer = scene.peer(side)?;
            let address = format!("{}:4747", scene.nodes[1 - side].machine.ipv4());
            assert_eq!(peer["address"], address.as_str());
            assert_eq!(peer["config_agrees"], true, "{peer}");
            assert!(peer["version"].is_string(), "{peer}");
            let status = scene.nodes[side].status()?;
            assert!(!status.alarms().iter().any(|alarm| alarm.contains("peer")), "{:?}", status.alarms());
            let page = scene.nodes[side].command(&["status"])?;
            let line = format!("peer {}: link up for ", scene.peer_name(side));
            assert!(page.contains(&line) && page.contains("same configuration"), "{page}");
            // Nothing is forwarded, so that nothing of the forwarding plane is in the kernel.
            assert!(status.0["plane"].is_null(), "{}", status.0["plane"]);
        }
        Ok(())
    });
}

#[test]
fn without_keys_the_pair_works_as_before_and_says_how_to_get_a_link() {
    Lab::run(|lab| {
        let pair = Pair::new(lab)?;
        let (first, _second) = pair.start_both()?;
        let probe = pair.probe()?;
        wait_served_by(&probe, &pair.lb1)?;
        assert_eq!(first.status()?.0["peer_link"]["state"], "no-keys");
        let page = first.command(&["status"])?;
        assert!(page.contains("no peer link: no keys configured"), "{page}");
        assert!(page.contains("fulcrum peer-key"), "{page}");
        Ok(())
    });
}

#[test]
fn a_cut_is_an_alarm_and_heals_by_itself() {
    Lab::run(|lab| {
        let scene = Scene::new(lab)?;
        lab.switch().cut(&scene.pair.lb2)?;
        scene.wait_both("the link to go down", |peer| peer["state"] == "down")?;
        let alarm = format!("the peer link to {} is down", scene.peer_name(0));
        scene.wait(0, "the alarm", |status| status.alarms().iter().any(|what| what.contains(&alarm)))?;
        lab.switch().heal()?;
        scene.wait_both("the link to come back", |peer| peer["state"] == "up")?;
        scene.wait(0, "the end of the alarm", |status| {
            !status.alarms().iter().any(|what| what.contains("peer link"))
        })
    });
}

#[test]
fn another_configuration_on_the_peer_is_an_alarm_until_both_have_it() {
    Lab::run(|lab| {
        let scene = Scene::new(lab)?;
        let mut changed = scene.pair.plan.clone();
        changed
            .services
            .push("more: {vip: 10.77.0.100, port: 81, backends: [10.77.0.21:80], check: none}".into());
        std::fs::write(scene.nodes[0].config(), changed.file(&scene.nodes[0].machine))?;
        let answer = scene.nodes[0].command(&["reload", "--local"])?;
        assert!(answer.contains("on this node alone, as asked"), "{answer}");
        for side in [0, 1] {
            let alarm = format!("{} runs another configuration", scene.peer_name(side));
            scene
                .wait(side, "the alarm", |status| status.alarms().iter().any(|what| what.contains(&alarm)))?;
        }
        let answer = scene.nodes[1].reload(&changed.file(&scene.nodes[1].machine))?;
        assert!(!answer.contains("another configuration"), "{answer}");
        scene.wait_both("agreement", |peer| peer["config_agrees"] == true)
    });
}

#[test]
fn a_key_is_replaced_without_the_link_going_down() {
    Lab::run(|lab| {
        let scene = Scene::new(lab)?;
        let mut plan = scene.pair.plan.clone();
        let path = Plan::key_of(&scene.pair.lb2);
        let new = scene.pair.lb2.file("peer.key.new");
        plan.nodes[1].keys.push(make_key(&new)?);
        scene.reload_both(&plan)?;
        std::fs::rename(&new, &path)?;
        scene.nodes[1].command(&["reload"])?;
        scene.wait_both("the new key", |peer| peer["counters"]["replaced"].as_u64() >= Some(1))?;
        plan.nodes[1].keys.remove(0);
        scene.reload_both(&plan)?;
        run_for(Duration::from_secs(2));
        for side in [0, 1] {
            let peer = scene.peer(side)?;
            assert_eq!((&peer["state"], &peer["counters"]["down"]), (&"up".into(), &0.into()), "{peer}");
        }
        Ok(())
    });
}

#[test]
fn a_node_with_a_wrong_key_is_refused_and_named_and_the_pair_works_on() {
    Lab::run(|lab| {
        let scene = Scene::new(lab)?;
        let path = Plan::key_of(&scene.pair.lb2);
        std::fs::remove_file(&path)?;
        make_key(&path)?;
        scene.nodes[1].command(&["reload"])?;
        scene.wait(1, "the alarm", |status| {
            status.alarms().iter().any(|what| what.contains("peers refuse it"))
        })?;
        // What stood goes on as long as it is valid: the old key was shown on it.
        assert_eq!(scene.peer(0)?["counters"]["down"], 0);
        scene.nodes[0].kill()?;
        scene.nodes[1].wait_leader(GROUP)?;
        let probe = scene.pair.probe()?;
        wait_served_by(&probe, &scene.pair.lb2)?;
        let first = scene.pair.start(&scene.pair.lb1)?;
        let name = scene.pair.lb2.name();
        wait_until("the refusal", LONG, || {
            first
                .status()
                .is_ok_and(|status| status.peer(name).is_some_and(|peer| peer["state"] == "refused"))
        })?;
        first.wait_hears_leader(GROUP)
    });
}

#[test]
fn a_link_changes_nothing_about_how_long_a_takeover_takes() {
    Lab::run(|lab| {
        let scene = Scene::new(lab)?;
        let probe = scene.pair.probe()?;
        wait_served_by(&probe, &scene.pair.lb1)?;
        let killed = now();
        scene.nodes[0].kill()?;
        wait_served_by(&probe, &scene.pair.lb2)?;
        scene.wait_peer(1, "the peer to be gone", |peer| peer["state"] == "down")?;
        let gap = probe.finish().since(killed).longest_gap();
        println!("the leader's process killed, with a peer link: longest gap {gap:?}");
        assert!(gap < Duration::from_secs(5), "{gap:?}");
        Ok(())
    });
}
