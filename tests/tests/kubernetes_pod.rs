//! Fulcrum on nodes of the cluster that it serves, as packaging/kubernetes/daemonset.yaml runs it: the objects are what a real
//! kube-apiserver accepts, and the daemon does its work with what they give it. No container is run.

use fulcrum_tests::lab::kubernetes::{KubeProxy, KubernetesApi, Pod, RBAC};
use fulcrum_tests::lab::{
    Cluster, Family, Fulcrum, GROUP, Lab, Mode, Pair, forwarding_pair, fulcrum_binary, output, wait_settled,
};
use fulcrum_tests::probe::request;
use fulcrum_tests::wait::{run_for, wait_for, wait_until};
use fulcrum_tests::{LabError, Result};
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(40);
const DAEMONSET: &str = include_str!("../../packaging/kubernetes/daemonset.yaml");
const USER: &str = "system:serviceaccount:fulcrum-system:fulcrum";
const SERVICE: &str = "{apiVersion: v1, kind: Service, metadata: {name: web, namespace: default}, spec: {\
    type: LoadBalancer, loadBalancerClass: fulcrum.dev/lb, selector: {app: web},\
    ports: [{name: http, port: 80, nodePort: 30080}]}}";

/// What the pod's container is allowed.
fn capabilities() -> Result<Vec<String>> {
    let line = DAEMONSET.lines().find_map(|line| line.trim().strip_prefix("add: ["));
    let list = line.and_then(|line| line.strip_suffix(']'));
    let list = list.ok_or_else(|| LabError::new("the DaemonSet names no capabilities"))?;
    Ok(list.split(", ").map(str::to_owned).collect())
}

#[test]
fn the_daemonset_is_accepted_as_it_is_written_and_its_file_is_good() {
    Lab::run(|lab| {
        let api = KubernetesApi::start(&lab.machine("k8s", 31)?)?;
        api.apply(RBAC)?;
        let admin = api.admin()?;
        let strict = ["apply", "--server-side", "--validate=strict", "--filename=-"];
        admin.run_reading(&strict, DAEMONSET)?;
        let set = api.get(&["daemonset", "fulcrum", "--namespace=fulcrum-system"])?;
        let container = set.pointer("/spec/template/spec/containers/0").cloned().unwrap_or_default();
        let added = container.pointer("/securityContext/capabilities/add").cloned().unwrap_or_default();
        assert_eq!(added, json!(capabilities()?), "what is tried below");

        // As the controller would make it: whatever looks at pods accepts it, too.
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "fulcrum-1", "namespace": "fulcrum-system"}});
        let spec = set.pointer("/spec/template/spec").cloned().unwrap_or_default();
        pod.as_object_mut().map(|pod| pod.insert("spec".to_owned(), spec));
        admin.run_reading(&["create", "--filename=-"], &pod.to_string())?;
        let pod = api.get(&["pod", "fulcrum-1", "--namespace=fulcrum-system"])?;
        assert_eq!(pod.pointer("/spec/priority"), Some(&json!(2_000_001_000)), "system-node-critical");
        let mounts = pod.pointer("/spec/containers/0/volumeMounts").and_then(Value::as_array);
        let account = mounts.into_iter().flatten().filter_map(|mount| mount.get("mountPath")?.as_str());
        let account = account.filter(|path| *path == "/var/run/secrets/kubernetes.io/serviceaccount").count();
        assert_eq!(account, 1, "the files of its account");

        let map = api.get(&["configmap", "fulcrum", "--namespace=fulcrum-system"])?;
        let file = map.pointer("/data/fulcrum.yaml").and_then(Value::as_str).unwrap_or_default();
        for node in ["lb-1", "lb-2"] {
            let path = lab.directory().join(format!("{node}.yaml"));
            std::fs::write(&path, format!("node: {node}\n{file}"))?;
            let checked =
                output(&fulcrum_binary()?.display().to_string(), &["check", &path.display().to_string()])?;
            assert!(!checked.contains("warning"), "{checked}");
        }
        Ok(())
    });
}

/// Both nodes of a pair, each in a pod: the second one stands by.
fn in_pods(pair: &Pair) -> Result<Vec<Fulcrum>> {
    let start = |machine| Pod::on(machine, &capabilities()?)?.start(&pair.plan.file(machine));
    let first = start(&pair.lb1)?;
    first.wait_leader(GROUP)?;
    let second = start(&pair.lb2)?;
    second.wait_hears_leader(GROUP)?;
    Ok(vec![first, second])
}

/// With the capabilities of the DaemonSet and no more: a node serves, nothing is wrong with it, and its partner goes on.
fn serves(pair: &Pair) -> Result<()> {
    let mut nodes = in_pods(pair)?;
    let _answered = pair.probe()?;
    for node in &nodes {
        let status = node.status()?;
        let fence = status.0.pointer("/fence/state").cloned();
        assert_eq!(status.alarms(), Vec::<&str>::new(), "{fence:?}");
        let said = node.process().log();
        assert!(!said.contains("Operation not permitted") && !said.contains("WARN"), "{said}");
    }
    nodes.remove(0).process().kill_with_children()?;
    let second = nodes.first().ok_or_else(|| LabError::new("no second node"))?;
    second.wait_leader(GROUP)?;
    let ask = || request(&pair.client, pair.service(), Duration::from_secs(1)).ok();
    wait_until("an answer of the second", LONG, || ask().is_some_and(|it| it.is_answer()))
}

#[test]
fn with_the_capabilities_of_the_daemonset_a_node_proxies() {
    Lab::run(|lab| serves(&Pair::new(lab)?));
}

#[test]
fn with_the_capabilities_of_the_daemonset_a_node_forwards() {
    Lab::run(|lab| serves(&forwarding_pair(lab, Mode::Nat, Family::Ipv4)?));
}

#[test]
fn in_a_pod_services_are_served_by_its_account_whose_token_is_replaced() {
    Lab::run(|lab| {
        let mut cluster = Cluster::new(lab, 2, 1)?;
        cluster.of_pool = true;
        cluster.sections = "kubernetes:\n  prod: {in_cluster: true}\n".to_owned();
        let (api, account) = KubernetesApi::with_account(lab)?;
        let mut proxies = Vec::new();
        for web in &cluster.web {
            api.add_node(&web.machine)?;
            let mut proxy = KubeProxy::on(&web.machine);
            proxy.node_port("tcp", 30080, 80)?;
            proxies.push(proxy);
        }
        let allowed = capabilities()?;
        let pods: Vec<Pod> = cluster
            .nodes
            .iter()
            .map(|machine| {
                api.add_node(machine)?;
                Pod::on(machine, &allowed)?.account(&api, &account)
            })
            .collect::<Result<_>>()?;
        let nodes = pods.iter().zip(&cluster.nodes).map(|(pod, machine)| pod.start(&cluster.file(machine)));
        let nodes = nodes.collect::<Result<Vec<Fulcrum>>>()?;
        wait_settled(&nodes.iter().collect::<Vec<_>>())?;
        api.apply(SERVICE)?;
        let address: IpAddr = wait_for("an address in the Service's status", LONG, || {
            let service = api.get(&["service", "web"]).ok()?;
            service.pointer("/status/loadBalancer/ingress/0/ip")?.as_str()?.parse().ok()
        })?;
        let ask = || request(&cluster.client, SocketAddr::new(address, 80), Duration::from_secs(1)).ok();
        wait_until("an answer", LONG, || ask().is_some_and(|it| it.is_answer()))?;

        // A new token takes the place of the old one, which is good for an hour yet.
        let id = |event: &Value| {
            let id = event.pointer("/user/extra/authentication.kubernetes.io~1credential-id/0")?;
            id.as_str().map(str::to_owned)
        };
        let last = || api.asked_by(USER).iter().filter_map(id).next_back();
        let before = last().ok_or_else(|| LabError::new("nobody asked with a token"))?;
        let account = api.service_account("fulcrum-system", "fulcrum", "1h")?;
        pods.iter().try_for_each(|pod| pod.rotate(&account))?;
        wait_until("the new token to be used", LONG, || last().is_some_and(|id| id != before))?;

        // The account's old tokens are no good any more; those of the new one come into the same files.
        api.kubectl(&["delete", "serviceaccount", "fulcrum", "--namespace=fulcrum-system"])?;
        let error = |node: &Fulcrum| {
            let error = node.status().ok()?.0.pointer("/kubernetes/0/error")?.as_str()?.to_owned();
            error.contains("Unauthorized").then_some(())
        };
        wait_until("the token to be refused", LONG, || nodes.iter().all(|node| error(node).is_some()))?;
        let account = api.service_account("fulcrum-system", "fulcrum", "1h")?;
        pods.iter().try_for_each(|pod| pod.rotate(&account))?;
        wait_until("the new account to be used", LONG, || {
            let reached =
                |node: &Fulcrum| node.status().ok()?.0.pointer("/kubernetes/0/reached_since").cloned();
            nodes.iter().all(|node| reached(node).is_some_and(|it| it.is_number()))
        })?;
        run_for(Duration::from_millis(100));
        assert!(ask().is_some_and(|it| it.is_answer()), "{address} does not answer any more");
        Ok(())
    });
}
