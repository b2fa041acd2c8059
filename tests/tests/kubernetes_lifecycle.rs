//! Nodes of ours that run on Kubernetes nodes: each hands over before its own one goes, and `fulcrum preflight` says what stands in
//! the way of one that is to go. With a real kube-apiserver.
#![allow(clippy::disallowed_methods, reason = "runs the command")]

use fulcrum_tests::lab::kubernetes::{Endpoint, KubernetesApi, RBAC};
use fulcrum_tests::lab::{
    Cluster, Fulcrum, Lab, Machine, Status, fulcrum_binary, settled, spread, wait_settled,
};
use fulcrum_tests::probe::{Options, Probe};
use fulcrum_tests::wait::{now, run_for, wait_until};
use fulcrum_tests::{LabError, Result};
use serde_json::{Value, json};
use std::process::Command;
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
        wait_until("each node to lead a group", LONG, || spread(&self.all()))
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
        let probe = Probe::start_answered(&scene.cluster.client, scene.cluster.service(0), patient, LONG)?;
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

/// What the disruption controller would say of a budget, and a kubelet of itself.
fn budget(api: &KubernetesApi, name: &str, [allowed, healthy, desired, expected]: [i32; 4]) -> Result<()> {
    api.apply(&format!(
        "{{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {{name: {name}, namespace: default}}, \
         spec: {{minAvailable: {desired}, selector: {{matchLabels: {{app: {name}}}}}}}}}\n"
    ))?;
    let status = json!({"status": {
        "disruptionsAllowed": allowed, "currentHealthy": healthy, "desiredHealthy": desired,
        "expectedPods": expected, "observedGeneration": 1,
    }});
    api.patch("pdb", name, &["--subresource=status", "--type=merge"], &status)
}

fn kubelet(api: &KubernetesApi, node: &Machine, version: &str) -> Result<()> {
    let status = json!({"status": {"nodeInfo": {
        "kubeletVersion": version, "architecture": "", "bootID": "", "containerRuntimeVersion": "", "kernelVersion": "",
        "kubeProxyVersion": "", "machineID": "", "operatingSystem": "", "osImage": "", "systemUUID": "",
    }}});
    api.patch("node", node.name(), &["--subresource=status"], &status)
}

/// What `fulcrum preflight` says on a node.
fn preflight(scene: &Scene, node: &Machine) -> Result<Vec<Value>> {
    let path = node.write("preflight.yaml", &scene.cluster.file(node))?;
    let mut command = Command::new(fulcrum_binary()?);
    command.args(["preflight", "--json"]).arg(path);
    let output = node.namespace().enter(move || command.output())??;
    let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    Ok(said.get("lines").and_then(Value::as_array).cloned().unwrap_or_default())
}

/// The only line of a check: how it stands, and what was found.
fn line(lines: &[Value], check: &str) -> Result<(String, String)> {
    let text = |line: &Value, key: &str| line.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let of_check: Vec<_> = lines.iter().filter(|line| text(line, "check") == check).collect();
    let [line] = of_check[..] else { return Err(LabError::new(format!("{check}: {of_check:?}"))) };
    Ok((text(line, "state"), text(line, "found")))
}

#[test]
fn budgets_that_cannot_be_met_and_kubelets_that_are_too_new_are_named_before_a_node_is_drained() {
    Lab::run(|lab| {
        let scene = Scene::new(lab)?;
        let machine = &scene.cluster.nodes.first().unwrap_or(&scene.cluster.client);
        let lines = preflight(&scene, machine)?;
        assert_eq!(line(&lines, "kubernetes")?.0, "ok", "{lines:?}");
        assert_eq!(line(&lines, "kubelets")?.0, "not-applicable", "{lines:?}");
        assert_eq!(line(&lines, "disruption-budgets")?.0, "ok", "{lines:?}");

        budget(&scene.api, "well", [1, 3, 2, 3])?;
        budget(&scene.api, "strict", [0, 2, 2, 2])?;
        kubelet(&scene.api, machine, "v1.99.0")?;
        let lines = preflight(&scene, machine)?;
        let (state, found) = line(&lines, "disruption-budgets")?;
        assert!(state == "warning" && found.ends_with(": default/strict (needs 2 of 2 pods)"), "{found}");
        let (state, found) = line(&lines, "kubelets")?;
        let newer = format!("{} (v1.99.0)", machine.name());
        assert!(state == "warning" && found.contains("newer") && found.ends_with(&newer), "{found}");

        // It may list no budgets: that is said, and fails nothing.
        let without: String = RBAC.replace("resources: [poddisruptionbudgets]", "resources: [none]");
        scene.api.apply(&without)?;
        wait_until("the missing right to be told", LONG, || {
            preflight(&scene, machine).is_ok_and(|lines| {
                let (state, found) = line(&lines, "disruption-budgets").unwrap_or_default();
                state == "not-applicable"
                    && found.contains("forbidden")
                    && found.contains("packaging/kubernetes")
            })
        })
    });
}

#[test]
fn a_service_whose_pods_share_a_failure_domain_is_told_and_so_are_our_nodes_by_preflight() {
    Lab::run(|lab| {
        let scene = Scene::new(lab)?;
        let [first, second] =
            [0, 1].map(|place| scene.cluster.nodes.get(place).unwrap_or(&scene.cluster.client));
        let domain = |node: &Machine, domain: &str| {
            let label = format!("onprem.gke.io/failure-domain-name={domain}");
            scene.api.kubectl(&["label", "node", node.name(), &label, "--overwrite"])
        };
        domain(first, "rack-a")?;
        domain(second, "rack-b")?;
        scene.api.apply(
            "{apiVersion: v1, kind: Service, metadata: {name: web, namespace: default}, spec: {type: LoadBalancer, \
             loadBalancerClass: fulcrum.dev/lb, loadBalancerIP: 192.0.2.1, ports: [{port: 80}]}}",
        )?;
        let pods = |nodes: [&Machine; 2]| {
            let pods = nodes.map(Endpoint::on);
            let [one, mut other] = pods;
            other.address = scene.cluster.client.ipv4();
            scene.api.set_endpoints("default", "web", &[("", "TCP", 80)], &[one, other])
        };
        let note = "all of its 2 ready pods are in failure domain rack-a";
        let is_told = || {
            let service = scene.api.get(&["service", "web"]).unwrap_or_default();
            service
                .pointer("/status/conditions/0/message")
                .and_then(Value::as_str)
                .map(|it| it.contains(note))
        };
        pods([first, first])?;
        wait_until("the note", LONG, || is_told() == Some(true))?;
        pods([first, second])?;
        wait_until("the note to be gone", LONG, || is_told() == Some(false))?;
        let sizes = json!({"rack-a": 1, "rack-b": 1});
        scene.wait_all("both domains", |status| status.0.pointer("/kubernetes/0/domains") == Some(&sizes))?;

        // Beside the check of the file itself, which knows no domains.
        let of_cluster = || -> Result<Vec<(String, String)>> {
            let lines = preflight(&scene, first)?;
            let text = |line: &Value, key: &str| {
                line.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
            };
            let lines = lines
                .iter()
                .filter(|it| text(it, "check") == "failure-domain" && text(it, "about") == "cluster prod");
            Ok(lines.map(|line| (text(line, "state"), text(line, "found"))).collect())
        };
        let good = of_cluster()?;
        assert!(matches!(&good[..], [(state, _)] if state == "ok"), "{good:?}");
        domain(second, "rack-a")?;
        let shared = of_cluster()?;
        let words = format!("{} and {} run on", first.name(), second.name());
        assert!(
            matches!(&shared[..], [(state, found)] if state == "warning" && found.starts_with(&words)),
            "{shared:?}"
        );
        Ok(())
    });
}
