//! A Lease of a real cluster as the witness of two nodes with groups that are to have no leader rather than two.
#![allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "nothing but a test")]

use fulcrum_tests::lab::kubernetes::KubernetesApi;
use fulcrum_tests::lab::{Cluster, Fulcrum, Lab, leaders, wait_settled};
use fulcrum_tests::probe::request;
use fulcrum_tests::wait::{now, run_for, wait_until};
use fulcrum_tests::{LabError, Result};
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(40);
const SECOND: Duration = Duration::from_secs(1);
const RIGHTS: &str = include_str!("../../packaging/kubernetes/witness.yaml");
const USER: &str = "system:serviceaccount:fulcrum-system:fulcrum-witness";
const LEASE: &[&str] = &["lease", "fulcrum-witness", "--namespace=fulcrum-system"];

struct Scene {
    cluster: Cluster,
    nodes: Vec<Fulcrum>,
    api: KubernetesApi,
}

impl Scene {
    fn new(lab: &Lab) -> Result<Self> {
        let api = KubernetesApi::start(&lab.machine("k8s", 31)?)?;
        api.apply(RIGHTS)?;
        let account = api.service_account("fulcrum-system", "fulcrum-witness", "1h")?;
        let mut cluster = Cluster::new(lab, 2, 3)?;
        cluster.of_groups = ", on_split: one".to_owned();
        cluster.sections =
            format!("witness: {{kubernetes: {{kubeconfig: {}, ttl: 5s}}}}\n", account.kubeconfig().display());
        let nodes = cluster.start_all()?;
        wait_settled(&nodes.iter().collect::<Vec<_>>())?;
        let scene = Self { cluster, nodes, api };
        scene.wait_witness(true)?;
        Ok(scene)
    }

    fn all(&self) -> Vec<&Fulcrum> {
        self.nodes.iter().collect()
    }

    fn of(&self, name: &str) -> Result<&Fulcrum> {
        let node = self.nodes.iter().find(|node| node.machine.name() == name);
        node.ok_or_else(|| LabError::new(format!("there is no node {name}")))
    }

    /// Who leads anything at all.
    fn leading(&self) -> Result<BTreeSet<String>> {
        Ok(leaders(&self.all())?.into_values().flatten().collect())
    }

    fn wait_led_by(&self, nodes: &[&Fulcrum], expected: &[&str]) -> Result<()> {
        let expected: BTreeSet<String> = expected.iter().map(|name| (*name).to_owned()).collect();
        wait_until(&format!("groups led by {expected:?} alone"), LONG, || {
            leaders(nodes).is_ok_and(|led| led.into_values().flatten().collect::<BTreeSet<_>>() == expected)
        })
    }

    fn holder(&self) -> String {
        let lease = self.api.get(LEASE).unwrap_or_default();
        lease.pointer("/spec/holderIdentity").and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    /// Until all nodes reach it, or none.
    fn wait_witness(&self, reached: bool) -> Result<()> {
        wait_until("whether the witness is reached", LONG, || {
            self.nodes
                .iter()
                .all(|node| node.status().is_ok_and(|it| it.0["votes"]["witness_error"].is_null() == reached))
        })
    }
}

#[test]
fn two_nodes_apart_have_one_leader_by_a_lease_and_its_loss_moves_nothing() {
    Lab::run(|lab| {
        let mut scene = Scene::new(lab)?;
        let before = wait_settled(&scene.all())?;
        assert!(scene.api.written_by(USER).is_empty(), "the lock is not needed");

        scene.api.server()?.kill()?;
        scene.wait_witness(false)?;
        run_for(2 * SECOND);
        assert_eq!(wait_settled(&scene.all())?, before);
        scene.api.server()?.restart()?;
        scene.wait_witness(true)?;

        // Both reach it and the clients, and not each other.
        lab.switch().part(&scene.nodes[0].machine, &scene.nodes[1].machine)?;
        wait_until("one to lead all", LONG, || scene.leading().is_ok_and(|found| found.len() == 1))?;
        run_for(7 * SECOND);
        let name = scene.leading()?.pop_first().unwrap_or_default();
        assert_eq!(scene.holder(), name, "it keeps what it needs, longer than it lasts");
        wait_settled(&scene.all())?;
        let sample = request(&scene.cluster.client, scene.cluster.service(0), 3 * SECOND)?;
        assert!(sample.is_answer(), "{sample:?}");
        let shown = scene.of(&name)?.command(&["status"])?;
        assert!(shown.contains(&format!("its lock is held by {name}")), "{shown}");

        // It is given back, and then the other one can have it at once.
        lab.switch().heal()?;
        wait_until("the lock to be free", LONG, || scene.holder().is_empty())?;
        let other = scene.nodes.iter().find(|node| node.machine.name() != name);
        let other = other.ok_or_else(|| LabError::new("there is no other node"))?;
        let other_name = other.machine.name().to_owned();
        let begun = now();
        scene.of(&name)?.kill()?;
        scene.wait_led_by(&[other], &[&other_name])?;
        println!("taken over with the lock after {:?}", begun.elapsed());

        // Without the witness none leads, rather than perhaps two.
        scene.api.server()?.kill()?;
        let other = scene.of(&other_name)?;
        scene.wait_led_by(&[other], &[])?;
        scene.api.server()?.restart()?;
        let other = scene.of(&other_name)?;
        scene.wait_led_by(&[other], &[&other_name])
    });
}

#[test]
fn a_lease_that_a_dead_node_held_is_free_when_its_time_is_over() {
    Lab::run(|lab| {
        let scene = Scene::new(lab)?;
        lab.switch().part(&scene.nodes[0].machine, &scene.nodes[1].machine)?;
        wait_until("one to lead all", LONG, || scene.leading().is_ok_and(|found| found.len() == 1))?;
        let name = scene.leading()?.pop_first().unwrap_or_default();
        wait_until("it to be held", LONG, || scene.holder() == name)?;
        scene.of(&name)?.process().kill_with_children()?;
        let other = scene.nodes.iter().find(|node| node.machine.name() != name);
        let other = other.ok_or_else(|| LabError::new("there is no other node"))?;
        scene.wait_led_by(&[other], &[other.machine.name()])?;
        assert_eq!(scene.holder(), other.machine.name());
        Ok(())
    });
}
