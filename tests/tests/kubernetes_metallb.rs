//! A cluster that MetalLB served: Fulcrum takes its Services over without a change of address, and goes by its pools.
#![allow(clippy::indexing_slicing, reason = "JSON, and nodes that there are")]

use fulcrum_tests::Result;
use fulcrum_tests::lab::kubernetes::{KubeProxy, KubernetesApi};
use fulcrum_tests::lab::{Cluster, Fulcrum, Lab, wait_settled};
use fulcrum_tests::probe::request;
use fulcrum_tests::wait::{now, run_for, wait_for, wait_until};
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(30);
/// A kind that the cluster does not know is looked for twice a minute, and is gone when it was not there twice.
const KNOWN: Duration = Duration::from_secs(150);
const USER: &str = "system:serviceaccount:fulcrum-system:fulcrum";
const CRDS: &str = include_str!("kubernetes_metallb/crds.yaml");
const NAMESPACES: &str = "\
{apiVersion: v1, kind: Namespace, metadata: {name: metallb-system}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: team-a, labels: {team: a}}}
";
const OBJECTS: &str = "\
{apiVersion: metallb.io/v1beta1, kind: IPAddressPool, metadata: {name: main, namespace: metallb-system},
 spec: {addresses: [10.77.0.110-10.77.0.119]}}
---
{apiVersion: metallb.io/v1beta1, kind: IPAddressPool, metadata: {name: team, namespace: metallb-system},
 spec: {addresses: [10.77.0.128/30], avoidBuggyIPs: true, serviceAllocation: {priority: 10, namespaceSelectors: [{matchLabels: {team: a}}]}}}
---
{apiVersion: metallb.io/v1beta1, kind: L2Advertisement, metadata: {name: all, namespace: metallb-system}, spec: {interfaces: [eth0]}}
";
/// What MetalLB gave to whom, none of it the lowest that is free; the last is in no pool of ours.
const GIVEN: [(&str, &str, &str); 4] = [
    ("default", "mail", "10.77.0.112"),
    ("default", "web", "10.77.0.117"),
    ("team-a", "shop", "10.77.0.130"),
    ("default", "outside", "10.77.0.200"),
];

struct Scene {
    cluster: Cluster,
    nodes: Vec<Fulcrum>,
    api: KubernetesApi,
    _proxy: KubeProxy,
}

fn section(kubeconfig: &str, more: &str) -> String {
    format!("kubernetes:\n  prod: {{kubeconfig: {kubeconfig}, metallb: true{more}}}\n")
}

fn service(namespace: &str, name: &str) -> String {
    let node_port = if name == "web" { ", nodePort: 30080" } else { "" };
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: {namespace}}}, spec: {{\
         type: LoadBalancer, selector: {{app: web}}, ports: [{{name: http, port: 80{node_port}}}]}}}}"
    )
}

impl Scene {
    fn new(lab: &Lab) -> Result<Self> {
        let mut cluster = Cluster::new(lab, 2, 1)?;
        cluster.of_pool = true;
        let (api, account) = KubernetesApi::with_account(lab)?;
        let web = &cluster.web[0].machine;
        api.add_node(web)?;
        let mut proxy = KubeProxy::on(web);
        proxy.node_port("tcp", 30080, 80)?;
        cluster.sections = section(&account.kubeconfig().display().to_string(), "");
        let nodes = cluster.start_all()?;
        wait_settled(&nodes.iter().collect::<Vec<_>>())?;
        Ok(Self { cluster, nodes, api, _proxy: proxy })
    }

    /// Until each node says this of MetalLB's objects, and that the API answers.
    fn wait_metallb(&self, words: &str) -> Result<()> {
        wait_until(&format!("'{words}' to be seen"), KNOWN, || {
            self.nodes.iter().all(|node| {
                let Ok(status) = node.status() else { return false };
                let seen = &status.0["kubernetes"][0];
                seen["metallb"].as_str().is_some_and(|it| it.contains(words))
                    && seen["reached_since"].is_number()
                    && seen["error"].is_null()
            })
        })
    }

    fn service(&self, namespace: &str, name: &str) -> Result<Value> {
        self.api.get(&["service", name, "--namespace", namespace])
    }

    fn addresses(&self, namespace: &str, name: &str) -> Result<Vec<String>> {
        let service = self.service(namespace, name)?;
        let ingress = service["status"]["loadBalancer"]["ingress"].as_array().cloned().unwrap_or_default();
        Ok(ingress.iter().map(|it| it["ip"].as_str().unwrap_or_default().to_owned()).collect())
    }

    /// The condition's message, once its reason is this.
    fn told(&self, namespace: &str, name: &str, reason: &str) -> Result<String> {
        wait_for(&format!("{reason} of {namespace}/{name}"), LONG, || {
            let service = self.service(namespace, name).ok()?;
            let conditions = service["status"]["conditions"].as_array()?;
            let condition = conditions.iter().find(|it| it["type"] == "fulcrum.dev/Served")?;
            (condition["reason"] == reason).then(|| condition["message"].as_str().map(str::to_owned))?
        })
    }

    /// Makes a Service, which is to get this address.
    fn gets(&self, namespace: &str, name: &str, address: &str) -> Result<()> {
        self.api.apply(&service(namespace, name))?;
        self.told(namespace, name, "Served")?;
        assert_eq!(self.addresses(namespace, name)?, [address], "{namespace}/{name}");
        Ok(())
    }

    /// Those that MetalLB gave addresses which we can give, too, have them still.
    fn all_as_before(&self) -> Result<()> {
        for (namespace, name, address) in &GIVEN[..3] {
            let message = self.told(namespace, name, "Served")?;
            assert!(message.contains(&format!("answers at {address}")), "{message}");
            assert_eq!(self.addresses(namespace, name)?, [*address], "{namespace}/{name}");
        }
        Ok(())
    }

    fn answers(&self, last: u8) -> Result<()> {
        let address = SocketAddr::new(IpAddr::from([10, 77, 0, last]), 80);
        let ask = || request(&self.cluster.client, address, Duration::from_secs(1)).ok();
        wait_until(&format!("an answer at {address}"), LONG, || ask().is_some_and(|it| it.is_answer()))
    }

    fn reload(&mut self, from: &str, to: &str) -> Result<()> {
        assert!(self.cluster.sections.contains(from), "{from}");
        self.cluster.sections = self.cluster.sections.replace(from, to);
        let file = self.cluster.file(&self.nodes[0].machine);
        self.nodes[0].reload(&file).map(drop)
    }
}

#[test]
fn a_cluster_that_metallb_served_is_taken_over_without_a_change_of_address_and_by_its_pools() {
    Lab::run(|lab| {
        let mut scene = Scene::new(lab)?;
        // A cluster that knows no such objects is none that is away.
        scene.wait_metallb("knows no IPAddressPools")?;
        assert!(scene.nodes[0].status()?.alarms().iter().all(|it| !it.contains("Kubernetes")));

        scene.api.apply(CRDS)?;
        let established = ["crd/ipaddresspools.metallb.io", "crd/l2advertisements.metallb.io"];
        scene.api.kubectl(&["wait", "--for=condition=Established", established[0], established[1]])?;
        scene.api.apply(NAMESPACES)?;
        scene.api.apply(OBJECTS)?;
        for (namespace, name, address) in GIVEN {
            scene.api.apply(&service(namespace, name))?;
            let status = json!({ "status": { "loadBalancer": { "ingress": [{ "ip": address }] } } });
            let patch = ["patch", "service", name, "--namespace", namespace, "--subresource=status"];
            scene.api.kubectl(&[&patch[..], &["--type=merge", "--patch", &status.to_string()]].concat())?;
        }
        scene.wait_metallb("IPAddressPools: 2, L2Advertisements: 1")?;
        // As long as MetalLB serves those without a class, they are none of ours.
        run_for(Duration::from_secs(2));
        assert_eq!(scene.api.written_by(USER), Vec::<Value>::new());

        let asked = now();
        scene.reload("metallb: true", "metallb: true, unclassed: true")?;
        scene.answers(117)?;
        println!("answers {:?} after the reload was asked for", asked.elapsed());
        scene.all_as_before()?;
        // What can't be had is not demanded: it has another, and an event says what it had.
        let told = wait_for("an event that says so", LONG, || {
            let events = scene.api.get(&["events.events.k8s.io"]).ok()?;
            let notes =
                events["items"].as_array()?.iter().filter_map(|it| it["note"].as_str().map(str::to_owned));
            notes.into_iter().find(|it| it.contains("it had 10.77.0.200 before"))
        })?;
        assert!(told.contains("no pool of fulcrum.yaml has it"), "{told}");

        // The pools hold for who comes: `outside` has the lowest of all by now.
        assert_eq!(scene.addresses("default", "outside")?, ["10.77.0.110"]);
        scene.gets("default", "second", "10.77.0.111")?;
        scene.gets("team-a", "cart", "10.77.0.128")?;

        // A pool is narrowed: who has an address keeps it and is told, who comes gets what is left.
        let narrow = "{\"spec\":{\"addresses\":[\"10.77.0.118-10.77.0.119\"]}}";
        let patch = ["patch", "ipaddresspool", "--namespace=metallb-system", "--type=merge", "--patch"];
        scene.api.kubectl(&[&patch[..], &[narrow, "main"]].concat())?;
        wait_until("the note", LONG, || {
            scene.told("default", "web", "Served").is_ok_and(|it| it.contains("it keeps 10.77.0.117"))
        })?;
        scene.all_as_before()?;
        scene.gets("default", "third", "10.77.0.118")?;

        // Its namespace is selected no more.
        scene.api.kubectl(&["label", "namespace", "team-a", "team=b", "--overwrite"])?;
        wait_until("the note", LONG, || {
            scene.told("team-a", "shop", "Served").is_ok_and(|it| it.contains("it keeps 10.77.0.130"))
        })?;
        scene.gets("team-a", "late", "10.77.0.119")?;

        // What nothing announces is not served, and has its address again as soon as something does.
        let of = |pools: &str| format!("{{\"spec\":{{\"ipAddressPools\":[{pools}]}}}}");
        let patch = ["patch", "l2advertisement", "--namespace=metallb-system", "--type=merge", "--patch"];
        scene.api.kubectl(&[&patch[..], &[&of("\"team\""), "all"]].concat())?;
        let told = scene.told("default", "third", "NotAdvertised")?;
        assert!(told.contains("the IPAddressPool `main`"), "{told}");
        scene.api.kubectl(&[&patch[..], &[&of("\"team\", \"main\""), "all"]].concat())?;
        scene.told("default", "third", "Served")?;
        assert_eq!(scene.addresses("default", "third")?, ["10.77.0.118"]);

        // MetalLB goes with all that it had: the file's pools hold alone, and nobody's address changes.
        scene.api.kubectl(&["delete", established[0], established[1]])?;
        scene.wait_metallb("knows no IPAddressPools")?;
        scene.all_as_before()?;
        scene.answers(117)?;
        scene.gets("default", "last", "10.77.0.101")?;

        // And back, as docs/kubernetes.md has it: what Services have stays written in them for MetalLB to find.
        for node in std::mem::take(&mut scene.nodes) {
            node.kill()?;
        }
        let off = "{\"metadata\":{\"$deleteFromPrimitiveList/finalizers\":[\"fulcrum.dev/lb\"]}}";
        for (namespace, name, _) in GIVEN {
            scene.api.kubectl(&["--namespace", namespace, "patch", "service", name, "--patch", off])?;
        }
        scene.cluster.sections = scene.cluster.sections.replace(", unclassed: true", "");
        scene.nodes = scene.cluster.start_all()?;
        scene.wait_metallb("knows no IPAddressPools")?;
        run_for(Duration::from_secs(2));
        for (namespace, name, address) in &GIVEN[..3] {
            assert_eq!(scene.addresses(namespace, name)?, [*address], "{namespace}/{name}");
        }
        Ok(())
    });
}
