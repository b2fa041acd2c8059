//! Adverts that no node of ours sent, where the nodes have a link to each other.
#![allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "there are two nodes, 0 and 1")]

use fulcrum_tests::Result;
use fulcrum_tests::frames::inject;
use fulcrum_tests::lab::{Fulcrum, GROUP, Lab, Machine, Pair, wait_served_by};
use fulcrum_tests::wait::{run_for, wait_until};
use pnet::util::checksum;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(20);
const ROGUE_MAC: &str = "02:00:00:00:00:66";

/// A multicast advert of VRID 51 over IPv4, from the rogue's MAC; RFC 9568 section 5.1.
fn advert(from: u8, priority: u8) -> Vec<u8> {
    let summed = |before: &[u8], after: &[u8]| {
        let whole = [before, &[0, 0], after].concat();
        [before, &checksum(&whole, before.len() / 2).to_be_bytes(), after].concat()
    };
    let message = summed(&[0x31, 51, priority, 1, 0, 10], &[10, 77, 0, 100]);
    let header = summed(&[0x45, 0xc0, 0, 32, 0, 0, 0, 0, 255, 112], &[10, 77, 0, from, 224, 0, 0, 18]);
    let ethernet = [1, 0, 0x5e, 0, 0, 18, 2, 0, 0, 0, 0, 0x66, 8, 0];
    [&ethernet[..], &header, &message].concat()
}

struct Scene {
    pair: Pair,
    nodes: [Fulcrum; 2],
    rogue: Machine,
}

impl Scene {
    /// A pair whose link stands, the first leading, and a stranger on their network.
    fn new(lab: &Lab, group: &[&str]) -> Result<Self> {
        let mut pair = Pair::new(lab)?;
        pair.plan = pair.plan.with_keys()?;
        pair.plan.group.extend(group.iter().map(|&line| line.to_owned()));
        let rogue = lab.machine("rogue", 66)?;
        let (first, second) = pair.start_both()?;
        let scene = Self { pair, nodes: [first, second], rogue };
        scene.wait_link()?;
        Ok(scene)
    }

    fn wait_link(&self) -> Result<()> {
        for side in [0, 1] {
            let peer = self.nodes[1 - side].machine.name();
            wait_until("a link", LONG, || {
                self.nodes[side]
                    .status()
                    .is_ok_and(|status| status.peer(peer).is_some_and(|peer| peer["state"] == "up"))
            })?;
        }
        Ok(())
    }

    fn refused(&self, side: usize) -> Result<u64> {
        Ok(self.nodes[side].status()?.counter(GROUP, "refused_unclaimed"))
    }

    fn transitions(&self, side: usize) -> Result<u64> {
        let status = self.nodes[side].status()?;
        Ok(status.group(GROUP).and_then(|group| group["transitions"].as_u64()).unwrap_or_default())
    }

    /// Sends `frames` until `is_done`.
    fn talk(&self, frames: &[Vec<u8>], what: &str, is_done: impl Fn() -> bool) -> Result<()> {
        wait_until(what, LONG, || {
            inject(&self.rogue, frames).is_ok() && {
                run_for(Duration::from_millis(15));
                is_done()
            }
        })
    }
}

#[test]
fn adverts_that_no_node_claims_move_nothing_and_the_alarm_names_the_mac() {
    Lab::run(|lab| {
        let scene = Scene::new(lab, &[])?;
        let before = [scene.transitions(0)?, scene.transitions(1)?];
        // In the name of a stranger, and in that of the standby.
        let lies = [advert(66, 254), advert(66, 255), advert(12, 254), advert(66, 1)];
        for _ in 0..150 {
            inject(&scene.rogue, &lies)?;
            run_for(Duration::from_millis(20));
        }
        let status = scene.nodes[0].status()?;
        assert_eq!(status.role(GROUP), Some("leader"));
        assert_eq!([scene.transitions(0)?, scene.transitions(1)?], before, "nobody moved meanwhile");
        assert!(scene.refused(0)? >= 150, "{}", scene.refused(0)?);
        assert!(scene.refused(1)? > 0, "the standby follows no stranger either");
        let alarms = status.alarms();
        assert!(
            alarms.iter().any(|alarm| alarm.contains(ROGUE_MAC) && alarm.contains("group web")),
            "{alarms:?}"
        );
        Ok(())
    });
}

#[test]
fn the_pair_hands_over_and_takes_back_while_a_stranger_sends() {
    Lab::run(|lab| {
        let scene = Scene::new(lab, &["preempt: {delay: 1s}"])?;
        let probe = scene.pair.probe()?;
        let lies = [advert(66, 254)];
        let leads = |side: usize| {
            let node = &scene.nodes[side];
            move || node.status().is_ok_and(|status| status.role(GROUP) == Some("leader"))
        };
        let before = scene.refused(0)?;
        scene.talk(&lies, "refusals", || scene.refused(0).is_ok_and(|refused| refused > before + 5))?;
        let answer = scene.nodes[0].command(&["handover", GROUP])?;
        assert!(answer.contains(scene.pair.lb2.name()), "{answer}");
        wait_served_by(&probe, &scene.pair.lb2)?;
        scene.talk(&lies, "the better node to take the group back", leads(0))?;
        wait_served_by(&probe, &scene.pair.lb1)?;
        Ok(())
    });
}

#[test]
fn without_a_link_adverts_count_as_the_rfc_says() {
    Lab::run(|lab| {
        let pair = Pair::new(lab)?;
        let rogue = lab.machine("rogue", 66)?;
        let (first, _second) = pair.start_both()?;
        wait_until("the leader to give way", LONG, || {
            inject(&rogue, &[advert(66, 254)]).is_ok() && {
                run_for(Duration::from_millis(15));
                first.status().is_ok_and(|status| status.role(GROUP) != Some("leader"))
            }
        })?;
        let probe = pair.probe()?;
        wait_served_by(&probe, &pair.lb1).or_else(|_| wait_served_by(&probe, &pair.lb2))?;
        Ok(())
    });
}
