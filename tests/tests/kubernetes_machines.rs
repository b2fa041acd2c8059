//! Nodes of ours on Machines of Cluster API: each is drained before its Machine goes, which waits for that. With a real
//! kube-apiserver; the test does what Cluster API's controllers would.

use fulcrum_tests::lab::kubernetes::{KubernetesApi, USER};
use fulcrum_tests::lab::{Cluster, Fulcrum, Lab, Machine, Status, settled, spread};
use fulcrum_tests::probe::{Options, Probe};
use fulcrum_tests::wait::{now, run_for, wait_until};
use fulcrum_tests::{LabError, Result};
use serde_json::{Value, json};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);
const MACHINES: &str = include_str!("../../packaging/kubernetes/machines.yaml");
const HOOK: &str = "pre-terminate.delete.hook.machine.cluster.x-k8s.io/fulcrum";
/// Others wait, too: theirs is not touched.
const OTHERS: &str = "pre-terminate.delete.hook.machine.cluster.x-k8s.io/storage";
const CRD: &str = "\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: machines.cluster.x-k8s.io}
spec:
  group: cluster.x-k8s.io
  scope: Namespaced
  names: {kind: Machine, listKind: MachineList, plural: machines, singular: machine}
  versions:
    - name: v1beta2
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
";

struct Scene {
    cluster: Cluster,
    nodes: Vec<Fulcrum>,
    api: KubernetesApi,
}

impl Scene {
    fn new(lab: &Lab) -> Result<Self> {
        let mut cluster = Cluster::new(lab, 2, 2)?;
        let (api, account) = KubernetesApi::with_account(lab)?;
        api.apply(&[MACHINES, "---\n", CRD].concat())?;
        api.kubectl(&["wait", "--for=condition=Established", "crd/machines.cluster.x-k8s.io"])?;
        let kubeconfig = account.kubeconfig().display();
        cluster.sections = format!(
            "kubernetes:\n  prod: {{kubeconfig: {kubeconfig}, machines: {{namespace: default, cluster: prod}}}}\n"
        );
        let nodes = cluster.start_all()?;
        let scene = Self { cluster, nodes, api };
        for machine in &scene.cluster.nodes {
            scene.add_machine(machine, "prod")?;
        }
        wait_until("each node to lead a group", LONG, || spread(&scene.nodes.iter().collect::<Vec<_>>()))?;
        Ok(scene)
    }

    /// The Machine of a node of ours, as Cluster API has it.
    fn add_machine(&self, machine: &Machine, cluster: &str) -> Result<()> {
        let object = json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
            "metadata": {
                "name": name_of(machine, cluster), "namespace": "default", "finalizers": ["machine.cluster.x-k8s.io/test"],
                "annotations": {HOOK: "fulcrum", OTHERS: "storage"},
            },
            "spec": {"clusterName": cluster},
            "status": {"nodeRef": {"name": machine.name()}},
        });
        self.api.apply(&object.to_string()).map(drop)
    }

    fn delete(&self, machine: &Machine, cluster: &str) -> Result<()> {
        self.api.kubectl(&["delete", "machine", &name_of(machine, cluster), "--wait=false"]).map(drop)
    }

    /// The annotations of a Machine, as long as it is there.
    fn annotations(&self, machine: &Machine, cluster: &str) -> Option<Value> {
        self.api.get(&["machine", &name_of(machine, cluster)]).ok()?.pointer("/metadata/annotations").cloned()
    }

    fn waits(&self, machine: &Machine, cluster: &str) -> bool {
        self.annotations(machine, cluster).is_none_or(|all| all.get(HOOK).is_some())
    }

    /// What Cluster API does when nobody of ours waits any more: the machine is switched off, and its object goes.
    fn terminate(&self, machine: &Machine) -> Result<()> {
        let patch = "{\"metadata\": {\"finalizers\": null}}";
        let arguments = ["patch", "machine", &name_of(machine, "prod"), "--type=merge", "--patch", patch];
        self.api.kubectl(&arguments)?;
        wait_until("the Machine to be gone", LONG, || self.annotations(machine, "prod").is_none())
    }

    fn stop(&mut self, machine: &Machine) -> Result<()> {
        let place = self.nodes.iter().position(|node| node.machine.name() == machine.name());
        let place = place.ok_or_else(|| LabError::new("it does not run"))?;
        self.nodes.remove(place).process().kill_with_children()
    }

    fn leads_all(&self, machine: &Machine) -> bool {
        let leaders = settled(&self.nodes.iter().collect::<Vec<_>>());
        leaders.is_some_and(|leaders| leaders.values().all(|leader| leader == machine.name()))
    }
}

fn name_of(machine: &Machine, cluster: &str) -> String {
    format!("{cluster}-{}", machine.name())
}

fn is_drained(status: &Status, machine: &Machine) -> bool {
    let of = format!("lb-node {}", machine.name());
    let overrides = status.0.get("overrides").and_then(Value::as_array);
    overrides.into_iter().flatten().any(|it| {
        let by = it.get("by").and_then(Value::as_str).unwrap_or_default();
        it.get("of").is_some_and(|it| *it == of) && by.contains("Machine default/prod-")
    })
}

#[test]
fn a_machine_that_is_deleted_goes_when_its_node_is_empty_and_the_last_one_stays() {
    Lab::run(|lab| {
        let mut scene = Scene::new(lab)?;
        let [first, second] =
            [0, 1].map(|place| scene.cluster.nodes.get(place).unwrap_or(&scene.cluster.client).clone());
        let patient = Options {
            interval: Duration::from_millis(5),
            timeout: Duration::from_secs(2),
            ..Options::default()
        };
        let probe = Probe::start_answered(&scene.cluster.client, scene.cluster.service(0), patient, LONG)?;
        let begun = now();

        // One of another cluster, whose node is called so, is none of ours.
        scene.add_machine(&first, "other")?;
        scene.delete(&first, "other")?;
        scene.delete(&first, "prod")?;
        wait_until("the Machine not to wait for us any more", LONG, || !scene.waits(&first, "prod"))?;
        eprintln!("its Machine may go {:?} after it was deleted", begun.elapsed());
        assert!(scene.leads_all(&second), "it was let go while its node led something");
        assert!(scene.nodes.iter().all(|node| node.status().is_ok_and(|it| is_drained(&it, &first))));
        let left = scene.annotations(&first, "prod");
        assert_eq!(left, Some(json!({OTHERS: "storage"})), "nothing else is touched");
        scene.stop(&first)?;
        scene.terminate(&first)?;

        // The last one that is ready stays, and says why.
        scene.delete(&second, "prod")?;
        wait_until("it to be told", LONG, || {
            let alarms = |node: &Fulcrum| {
                node.status()
                    .is_ok_and(|it| it.alarms().iter().any(|it| it.contains("this node is not drained")))
            };
            scene.nodes.iter().all(alarms)
        })?;
        run_for(Duration::from_secs(3));
        assert!(
            scene.waits(&second, "prod") && scene.waits(&first, "other"),
            "one that is not to go was let go"
        );
        assert!(scene.leads_all(&second));
        let seen = probe.finish().since(begun);
        assert_eq!(seen.failed(), 0, "{:?}", seen.outcomes());

        // Another one comes in place of the first, and the second may go.
        scene.nodes.push(scene.cluster.start(&first)?);
        wait_until("the first to be drained no more", LONG, || {
            scene.nodes.iter().all(|node| node.status().is_ok_and(|it| !is_drained(&it, &first)))
        })?;
        wait_until("the second Machine not to wait any more", LONG, || !scene.waits(&second, "prod"))?;
        assert!(scene.leads_all(&first), "it was let go while its node led something");
        let written = scene.api.written_by(USER);
        assert_eq!(written.len(), 2, "one patch of each: {written:?}");
        Ok(())
    });
}

#[test]
fn the_machine_of_a_node_that_is_dead_already_is_let_go_by_another_one() {
    Lab::run(|lab| {
        let mut scene = Scene::new(lab)?;
        let [first, second] =
            [0, 1].map(|place| scene.cluster.nodes.get(place).unwrap_or(&scene.cluster.client).clone());
        scene.stop(&first)?;
        scene.delete(&first, "prod")?;
        wait_until("the other one to lead all", LONG, || scene.leads_all(&second))?;
        wait_until("the Machine not to wait for us any more", LONG, || !scene.waits(&first, "prod"))?;
        scene.terminate(&first)
    });
}
