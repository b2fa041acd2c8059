//! Three nodes that elect their leaders, and somebody who must not have a say.
#![allow(clippy::indexing_slicing, reason = "a test stops at what it did not expect")]

use fulcrum_tests::Result;
use fulcrum_tests::frames::inject;
use fulcrum_tests::lab::{Cluster, Fulcrum, Lab, Plan, leaders, make_key};
use fulcrum_tests::probe::Probe;
use fulcrum_tests::wait::{run_for, wait_for, wait_until};
use std::collections::BTreeMap;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(40);
/// Of the peer link.
const PORT: [u8; 2] = 4747u16.to_be_bytes();
const ROGUE: [u8; 6] = [2, 0, 0, 0, 0, 0x66];

/// The one leader of each group, once each has one.
fn wait_settled(nodes: &[&Fulcrum]) -> Result<BTreeMap<String, Vec<String>>> {
    wait_for("one leader of each group", LONG, || {
        leaders(nodes).ok().filter(|leaders| leaders.values().all(|of_group| of_group.len() == 1))
    })
}

fn probes(cluster: &Cluster) -> Result<Vec<Probe>> {
    (0..cluster.groups).map(|group| cluster.probe(group)).collect()
}

fn assert_none_failed(probes: Vec<Probe>) {
    for probe in probes {
        let timeline = probe.finish();
        assert_eq!(timeline.failed(), 0, "{:?}", timeline.outcomes());
    }
}

#[test]
fn what_the_nodes_said_and_a_stranger_says_again_moves_nothing() {
    Lab::run(|lab| {
        let cluster = Cluster::new(lab, 3, 3)?;
        let rogue = lab.machine("rogue", 66)?;
        let nodes = cluster.start_all()?;
        let all: Vec<&Fulcrum> = nodes.iter().collect();
        wait_settled(&all)?;
        // To the first node: Ethernet, an IPv4 header without options, UDP to the port of the link.
        let capture = lab.switch().watch(&cluster.nodes[0], |frame| {
            frame.get(12..14) == Some(&[8, 0])
                && frame.get(23) == Some(&17)
                && frame.get(36..38) == Some(&PORT)
        })?;
        run_for(Duration::from_secs(1));
        // One dies, so that what was said of it before is wrong now.
        nodes[2].kill()?;
        let rest = [all[0], all[1]];
        let before = wait_settled(&rest)?;
        let probes = probes(&cluster)?;
        let said = capture.frames();
        assert!(said.len() > 20, "{}", said.len());
        let again = |frame: &fulcrum_tests::frames::Frame| {
            // Not the source's MAC, or the switch would send everything for it to the rogue.
            [&frame.bytes[..6], &ROGUE, &frame.bytes[12..]].concat()
        };
        let said: Vec<Vec<u8>> = said.iter().map(again).collect();
        for _ in 0..3 {
            inject(&rogue, &said)?;
            run_for(Duration::from_millis(500));
            assert_eq!(leaders(&rest)?, before);
        }
        assert_none_failed(probes);
        for node in rest {
            assert!(node.status()?.agrees_with(if node.machine.name() == "lb1" { "lb2" } else { "lb1" }));
        }
        Ok(())
    });
}

#[test]
fn a_node_whose_key_is_wrong_has_no_say_and_answers_for_nothing() {
    Lab::run(|lab| {
        let cluster = Cluster::new(lab, 3, 3)?;
        let wrong = Plan::key_of(&cluster.nodes[2]);
        std::fs::remove_file(&wrong).ok();
        make_key(&wrong)?;
        let nodes = [cluster.start(&cluster.nodes[0])?, cluster.start(&cluster.nodes[1])?];
        let good = [&nodes[0], &nodes[1]];
        let before = wait_settled(&good)?;
        let probes = probes(&cluster)?;
        let stranger = cluster.start(&cluster.nodes[2])?;
        wait_until("the refusal", LONG, || {
            let is_refused = |status: fulcrum_tests::lab::Status| {
                status.peer("lb3").is_some_and(|peer| peer["state"] == "refused")
            };
            nodes[0].status().is_ok_and(is_refused)
        })?;
        wait_until("the stranger to find that others have the VIPs", LONG, || {
            stranger.status().is_ok_and(|status| {
                let groups = status.0["groups"].as_array().cloned().unwrap_or_default();
                let is_conflict = |group: &serde_json::Value| group["addresses"][0]["state"] == "conflict";
                groups.iter().all(is_conflict)
            })
        })?;
        run_for(Duration::from_secs(2));
        assert_eq!(leaders(&good)?, before);
        assert_none_failed(probes);
        Ok(())
    });
}
