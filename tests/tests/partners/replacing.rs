//! A live pair of keepalived is replaced node by node, as docs/replacing-keepalived.md says.
#![allow(clippy::disallowed_methods, reason = "runs a command and looks at what it said")]

use super::scene::LONG;
use fulcrum_tests::Result;
use fulcrum_tests::frames::NeighbourProbe;
use fulcrum_tests::lab::{
    Fulcrum, GROUP, Keepalived, Lab, Machine, Nginx, Pair, PlannedNode, VirtualRouter, fulcrum_binary,
};
use fulcrum_tests::wait::{now, run_for, wait_until};
use std::process::Command;
use std::time::Duration;

struct Scene {
    pair: Pair,
    neighbours: NeighbourProbe,
    _web: [Nginx; 2],
}

impl Scene {
    fn new(lab: &Lab) -> Result<Self> {
        let pair = Pair::new(lab)?;
        let web = [Nginx::start(&pair.lb1)?, Nginx::start(&pair.lb2)?];
        let neighbours = NeighbourProbe::start(&pair.client, pair.service().ip(), Duration::from_millis(10))?;
        Ok(Self { pair, neighbours, _web: web })
    }

    fn router(&self, priority: u8, advert_centiseconds: u16) -> VirtualRouter {
        let (vrid, vips) = (self.pair.plan.vrid, self.pair.plan.vips.clone());
        VirtualRouter { vrid, priority, advert_centiseconds, vips, unicast_peer: None, preempt: true }
    }

    /// Ours, beside a keepalived on the other machine.
    fn beside(&mut self, node: &Machine) -> Result<Fulcrum> {
        let of = |machine: &Machine, priority| PlannedNode {
            foreign: machine.name() != node.name(),
            ..PlannedNode::new(machine, priority)
        };
        self.pair.plan.nodes = vec![of(&self.pair.lb1, 150), of(&self.pair.lb2, 100)];
        self.pair.start(node)
    }

    fn macs(&self, wait: Duration) -> Vec<String> {
        let begun = now();
        run_for(wait);
        self.neighbours.macs_since(begun).iter().map(ToString::to_string).collect()
    }

    fn wait_alone(&self, machine: &Machine) -> Result<()> {
        wait_until(&format!("{} alone to answer", machine.name()), LONG, || {
            self.macs(Duration::from_millis(300)) == [machine.mac()]
        })
    }
}

#[test]
fn a_pair_of_keepalived_is_replaced_node_by_node() {
    Lab::run(|lab| {
        let mut scene = Scene::new(lab)?;
        let (lb1, lb2) = (scene.pair.lb1.clone(), scene.pair.lb2.clone());
        let leader = Keepalived::start(&lb1, &scene.router(150, 10))?;
        scene.wait_alone(&lb1)?;
        let standby = Keepalived::start(&lb2, &scene.router(100, 10))?;
        run_for(Duration::from_secs(1));
        scene.wait_alone(&lb1)?;

        // The standby first. Nobody notices.
        let probe = scene.pair.probe()?;
        standby.process().terminate(LONG)?;
        let second = scene.beside(&lb2)?;
        second.wait_hears_leader(GROUP)?;
        assert_eq!(second.status()?.role(GROUP), Some("standby"));
        assert_eq!(scene.macs(Duration::from_secs(1)), [lb1.mac()]);
        assert_eq!(probe.finish().failed(), 0);

        // Then the leader, which resigns.
        leader.process().terminate(LONG)?;
        second.wait_leader(GROUP)?;
        scene.wait_alone(&lb2)?;

        // With keys from here on: the file of both is the one that they have for good.
        scene.pair.plan.nodes = vec![PlannedNode::new(&lb1, 150), PlannedNode::new(&lb2, 100)];
        scene.pair.plan = scene.pair.plan.clone().with_keys()?;
        second.reload(&scene.pair.plan.file(&lb2))?;
        let first = scene.pair.start(&lb1)?;
        first.wait_hears_leader(GROUP)?;
        wait_until("agreement", LONG, || first.status().is_ok_and(|status| status.agrees_with("lb2")))?;
        assert_eq!(scene.macs(Duration::from_secs(1)), [lb2.mac()]);
        assert_eq!(second.status()?.role(GROUP), Some("leader"));
        Ok(())
    });
}

/// keepalived's default: the two would not hear each other, and both lead.
#[test]
fn vrrp_version_2_is_recognised_and_no_second_leader_answers() {
    Lab::run(|lab| {
        let mut scene = Scene::new(lab)?;
        let (lb1, lb2) = (scene.pair.lb1.clone(), scene.pair.lb2.clone());
        // Whole seconds, as that version has them.
        let leader = Keepalived::start_as(&lb1, &scene.router(150, 100), 2)?;
        scene.wait_alone(&lb1)?;
        let second = scene.beside(&lb2)?;
        wait_until("the message", LONG, || {
            second
                .process()
                .log()
                .contains("it speaks VRRPv2; with keepalived, set `vrrp_version 3` on the sender")
        })?;
        let diagnosed = || -> Result<String> {
            let mut command = Command::new(fulcrum_binary()?);
            command.args(["diagnose", "--no-archive", "--config"]).arg(second.config());
            let output = lb2.namespace().enter(move || command.output())??;
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        };
        wait_until("the diagnosis", LONG, || {
            diagnosed()
                .is_ok_and(|said| said.contains("adverts of VRRPv2") && said.contains("`vrrp_version 3`"))
        })?;
        assert_eq!(scene.macs(Duration::from_secs(2)), [lb1.mac()], "one machine answers");

        // Once it speaks version 3 they hear each other.
        leader.reload_as(&scene.router(150, 10), 3)?;
        second.wait_hears_leader(GROUP)?;
        scene.wait_alone(&lb1)?;
        assert_eq!(second.status()?.role(GROUP), Some("standby"));
        Ok(())
    });
}
