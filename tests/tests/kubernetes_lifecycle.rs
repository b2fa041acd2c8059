//! Nodes of ours that run on Kubernetes nodes: each hands over before its own one goes. With a real kube-apiserver.

use fulcrum_tests::lab::kubernetes::KubernetesApi;
use fulcrum_tests::lab::{Cluster, Fulcrum, Lab, Machine, Status, settled, wait_settled};
use fulcrum_tests::probe::{Options, Probe};
use fulcrum_tests::wait::{now, run_for, wait_until};
use fulcrum_tests::{LabError, Result};
use serde_json::Value;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(40);
const TAINT: &str = "ToBeDeletedByClusterAutoscaler=5:NoSchedule";

/// Two nodes of ours, on Kubernetes nodes that are called as they are, with two groups of their own.
struct Scene {
    cluster: Cluster,
    nodes: Vec<Fulcrum>,
    api: KubernetesApi,
}

impl Scene {
    fn new(lab: &Lab) -> Result<Self> {
        let mut cluster = Cluster::new(lab, 2, 2)?;
        let (api, account) = KubernetesApi::with_account(lab)?;
        for machine in &cluster.nodes {
            api.add_node(machine)?;
        }
        let kubeconfig = account.kubeconfig().display();
        cluster.sections = format!("kubernetes:\n  prod: {{kubeconfig: {kubeconfig}, own_node: true}}\n");
        let nodes = cluster.start_all()?;
        let scene = Self { cluster, nodes, api };
        scene.wait_spread()?;
        Ok(scene)
    }

    fn all(&self) -> Vec<&Fulcrum> {
        self.nodes.iter().collect()
    }

    /// Each leads a group.
    fn wait_spread(&self) -> Result<()> {
        wait_until("each node to lead a group", LONG, || {
            settled(&self.all()).is_some_and(|leaders| {
                let leads = |node: &Machine| leaders.values().any(|leader| leader == node.name());
                self.cluster.nodes.iter().all(leads)
            })
        })
    }

    fn leads_nothing(&self, machine: &Machine) -> bool {
        settled(&self.all()).is_some_and(|leaders| !leaders.values().any(|leader| leader == machine.name()))
    }

    /// Until a node knows that its Kubernetes node is about to go, or stays.
    fn wait_leaves(&self, machine: &Machine, leaves: bool) -> Result<()> {
        let node = self.nodes.iter().find(|node| node.machine.name() == machine.name());
        wait_until(&format!("{} to know whether its node goes", machine.name()), LONG, || {
            let status = node.and_then(|node| node.status().ok());
            status.is_some_and(|it| it.0.pointer("/kubernetes/0/own_node_leaves").is_some() == leaves)
        })
    }

    /// Until it is so on each node.
    fn wait_all(&self, what: &str, is_so: impl Fn(&Status) -> bool) -> Result<()> {
        wait_until(what, LONG, || self.nodes.iter().all(|node| node.status().is_ok_and(|it| is_so(&it))))
    }
}

/// The drain of a node, as a node tells it.
fn of_drain<'a>(status: &'a Status, machine: &Machine) -> Option<&'a Value> {
    let overrides = status.0.get("overrides")?.as_array()?;
    let of = format!("lb-node {}", machine.name());
    overrides.iter().find(|it| it.get("of").is_some_and(|it| *it == of))
}

/// Who had it drained.
fn drained_by(status: &Status, machine: &Machine) -> Option<String> {
    of_drain(status, machine)?.get("by").and_then(Value::as_str).map(str::to_owned)
}

#[test]
fn a_node_whose_kubernetes_node_is_tainted_hands_over_and_may_lead_again_afterwards() {
    Lab::run(|lab| {
        let mut scene = Scene::new(lab)?;
        // Patient: a machine that is busy is slow, and no request is to fail.
        let patient = Options {
            interval: Duration::from_millis(5),
            timeout: Duration::from_secs(2),
            ..Options::default()
        };
        let probe = Probe::start(&scene.cluster.client, scene.cluster.service(0), patient)?;
        wait_until("an answer", LONG, || probe.timeline().answered() > 0)?;
        let leaders = wait_settled(&scene.all())?;
        let begun = now();
        let leader = leaders.values().next().cloned().unwrap_or_default();
        let place = scene.nodes.iter().position(|node| node.machine.name() == leader);
        let place = place.ok_or_else(|| LabError::new("nobody leads the first group"))?;
        let node = scene.nodes.remove(place);
        let machine = node.machine.clone();
        scene.nodes.push(node);

        scene.api.kubectl(&["taint", "node", machine.name(), TAINT])?;
        wait_until("the other one to lead all", LONG, || scene.leads_nothing(&machine))?;
        scene.wait_all("both to know of the drain", |status| {
            drained_by(status, &machine)
                .is_some_and(|by| by.starts_with("Kubernetes cluster prod:") && by.contains("ToBeDeleted"))
        })?;
        let is_empty = |status: &Status| {
            let left = of_drain(status, &machine).and_then(|it| it.get("connections").cloned());
            left.is_some_and(|left| left == 0)
        };
        wait_until("its connections to have ended", LONG, || {
            scene.nodes.last().is_some_and(|node| node.status().is_ok_and(|status| is_empty(&status)))
        })?;
        // The machine goes, as by a power cut. It comes back while nothing has changed: it leads nothing.
        if let Some(node) = scene.nodes.pop() {
            node.process().kill_with_children()?;
        }
        run_for(Duration::from_secs(1));
        scene.nodes.push(scene.cluster.start(&machine)?);
        scene.wait_leaves(&machine, true)?;
        run_for(Duration::from_secs(1));
        assert!(scene.leads_nothing(&machine), "it leads although its node is about to go");

        scene.api.kubectl(&["taint", "node", machine.name(), &format!("{TAINT}-")])?;
        scene.wait_all("the drain to be over", |status| drained_by(status, &machine).is_none())?;
        scene.wait_spread()?;
        let seen = probe.finish().since(begun);
        assert_eq!(seen.failed(), 0, "{:?}", seen.outcomes());
        Ok(())
    });
}

#[test]
fn what_a_person_drained_stays_so_and_of_two_cordoned_nodes_one_leads_on() {
    Lab::run(|lab| {
        let scene = Scene::new(lab)?;
        let [first, second] =
            [0, 1].map(|place| scene.cluster.nodes.get(place).unwrap_or(&scene.cluster.client));
        let fulcrum = scene.nodes.first().ok_or_else(|| LabError::new("no node"))?;
        let is_persons = |by: String| by.starts_with("uid ");

        fulcrum.command(&["drain", "lb-node", first.name()])?;
        scene.api.kubectl(&["cordon", first.name()])?;
        scene.wait_leaves(first, true)?;
        scene.api.kubectl(&["uncordon", first.name()])?;
        scene.wait_leaves(first, false)?;
        run_for(Duration::from_secs(1));
        scene.wait_all("a person's drain", |status| drained_by(status, first).is_some_and(is_persons))?;
        fulcrum.command(&["undrain", "lb-node", first.name()])?;
        scene.wait_spread()?;

        scene.api.kubectl(&["cordon", first.name(), second.name()])?;
        scene.wait_leaves(first, true)?;
        scene.wait_leaves(second, true)?;
        let drained = |status: &Status| [first, second].map(|it| drained_by(status, it).is_some());
        scene.wait_all("one to be drained", |status| drained(status).contains(&true))?;
        wait_until("the other one to say why it is not", LONG, || {
            let alarms = |node: &Fulcrum| {
                node.status()
                    .is_ok_and(|it| it.alarms().iter().any(|what| what.contains("this node is not drained")))
            };
            scene.nodes.iter().any(alarms)
        })?;
        wait_settled(&scene.all())?;
        scene.api.kubectl(&["uncordon", first.name(), second.name()])?;
        scene.wait_all("none to be drained", |status| drained(status) == [false, false])?;
        scene.wait_spread()
    });
}
