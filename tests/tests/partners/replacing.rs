//! A live pair of keepalived is replaced node by node, as docs/replacing-keepalived.md says.
#![allow(clippy::disallowed_methods, reason = "runs a command and looks at what it said")]

use super::scene::LONG;
use fulcrum_tests::Result;
use fulcrum_tests::frames::NeighbourProbe;
use fulcrum_tests::lab::{
    Fulcrum, GROUP, Keepalived, Lab, Machine, Nginx, Pair, Plan, PlannedNode, VirtualRouter, fulcrum_binary,
    wait_served_by,
};
use fulcrum_tests::wait::{now, run_for, wait_until};
use std::process::Command;
use std::time::Duration;

struct Scene {
    pair: Pair,
    neighbours: NeighbourProbe,
    /// What listens beside keepalived, as HAProxy does.
    proxies: Vec<Nginx>,
}

impl Scene {
    fn new(lab: &Lab) -> Result<Self> {
        let pair = Pair::new(lab)?;
        let proxies = vec![Nginx::start(&pair.lb1)?, Nginx::start(&pair.lb2)?];
        let neighbours = NeighbourProbe::start(&pair.client, pair.service().ip(), Duration::from_millis(10))?;
        Ok(Self { pair, neighbours, proxies })
    }

    fn router(&self, priority: u8, advert_centiseconds: u16) -> VirtualRouter {
        let (vrid, vips) = (self.pair.plan.vrid, self.pair.plan.vips.clone());
        VirtualRouter { vrid, priority, advert_centiseconds, vips, unicast_peer: None, preempt: true }
    }

    /// Ours, beside a keepalived on the other machine.
    fn beside(&mut self, node: &Machine) -> Result<Fulcrum> {
        self.proxies.retain(|proxy| proxy.machine.name() != node.name());
        self.pair.plan = self.plan_beside(node);
        self.pair.start(node)
    }

    fn plan_beside(&self, node: &Machine) -> Plan {
        let of = |machine: &Machine, priority| PlannedNode {
            foreign: machine.name() != node.name(),
            ..PlannedNode::new(machine, priority)
        };
        let nodes = vec![of(&self.pair.lb1, 150), of(&self.pair.lb2, 100)];
        Plan { nodes, ..self.pair.plan.clone() }
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
        let probe = scene.pair.probe()?;
        leader.process().terminate(LONG)?;
        second.wait_leader(GROUP)?;
        scene.wait_alone(&lb2)?;
        wait_served_by(&probe, &lb2)?;
        let longest = probe.finish().longest_outage().map(|outage| outage.gap());
        println!("the leader was replaced: {longest:?} without an answer");
        scene.proxies.clear();

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

/// keepalived's default. The two would not hear each other and both lead: it is said before one starts, and if one did, the
/// address has one answer all the same.
#[test]
fn vrrp_version_2_is_recognised_and_no_second_leader_answers() {
    Lab::run(|lab| {
        let mut scene = Scene::new(lab)?;
        let (lb1, lb2) = (scene.pair.lb1.clone(), scene.pair.lb2.clone());
        // Whole seconds, as that version has them.
        scene.pair.plan.advert_milliseconds = 1000;
        let leader = Keepalived::start_as(&lb1, &scene.router(150, 100), 2)?;
        scene.wait_alone(&lb1)?;
        let file = lb2.write("fulcrum.yaml", &scene.plan_beside(&lb2).file(&lb2))?;
        let say = |command: &[&str]| -> Result<String> {
            let mut asked = Command::new(fulcrum_binary()?);
            asked.args(command).arg(&file);
            let output = lb2.namespace().enter(move || asked.output())??;
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let said = say(&["preflight"])?;
        assert!(said.contains("10.77.0.11 speaks VRRPv2") && said.contains("`vrrp_version 3`"), "{said}");

        let second = scene.beside(&lb2)?;
        wait_until("the message", LONG, || {
            let log = second.process().log();
            log.contains("it speaks VRRPv2; with keepalived, set `vrrp_version 3` on the sender")
        })?;
        wait_until("the diagnosis", LONG, || {
            say(&["diagnose", "--no-archive", "--config"])
                .is_ok_and(|said| said.contains("adverts of VRRPv2") && said.contains("`vrrp_version 3`"))
        })?;
        run_for(Duration::from_secs(4));
        assert_eq!(scene.macs(Duration::from_secs(2)), [lb1.mac()], "one machine answers");

        // Once it speaks version 3 they hear each other.
        leader.reload_as(&scene.router(150, 100), 3)?;
        second.wait_hears_leader(GROUP)?;
        scene.wait_alone(&lb1)?;
        assert_eq!(second.status()?.role(GROUP), Some("standby"));
        Ok(())
    });
}
