use super::*;
use fulcrum_config::ClusterName;
use serde_json::json;

const FILE: &str = "\
nodes:
  lb-1: {addresses: [10.0.0.11]}
  lb-2: {addresses: [10.0.0.12, \"2001:db8::12\"]}
  old: {addresses: [10.0.0.13], foreign: true}
interfaces: {eth0: {networks: [10.0.0.0/24, \"2001:db8::/64\"]}}
kubernetes: {prod: {kubeconfig: /k, machines: {cluster: prod}}}
";

fn machine(change: &dyn Fn(&mut Json)) -> DynamicObject {
    let mut value = json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
        "metadata": {
            "name": "prod-abc", "namespace": "fleet", "uid": "7d0c", "resourceVersion": "41",
            "deletionTimestamp": "2026-11-21T00:00:00Z", "annotations": {HOOK: "fulcrum"},
        },
        "spec": {"clusterName": "prod"},
        "status": {
            "nodeRef": {"name": "lb-2"},
            "addresses": [{"type": "Hostname", "address": "prod-abc"}, {"type": "InternalIP", "address": "10.0.0.99"}],
        },
    });
    change(&mut value);
    serde_json::from_value(value).unwrap()
}

/// The node of ours on it, that is to be drained for it. This node is lb-1, on the Kubernetes node `machine-1`.
fn node(change: &dyn Fn(&mut Json)) -> Option<String> {
    seen(change).map(|it| it.node.to_string())
}

fn seen(change: &dyn Fn(&mut Json)) -> Option<Leaving> {
    let parsed = fulcrum_config::parse(FILE, "fulcrum.yaml", "lb-1").unwrap_or_else(|why| panic!("{why}"));
    let machines = parsed.config.kubernetes[&ClusterName::new("prod")].machines.clone().unwrap();
    let of = Of { config: &parsed.config, machines: &machines, own_node: "machine-1" };
    leaving(&machine(change), of)
}

#[test]
fn only_one_that_is_being_deleted_and_has_a_node_of_ours_counts() {
    assert_eq!(node(&|_| ()).as_deref(), Some("lb-2"));
    let others: [&dyn Fn(&mut Json); 4] = [
        &|it| it["metadata"]["deletionTimestamp"] = Json::Null,
        &|it| it["spec"]["clusterName"] = json!("other"),
        &|it| it["status"] = Json::Null,
        &|it| it["status"]["nodeRef"] = json!({"name": "worker-1"}),
    ];
    for (place, other) in others.into_iter().enumerate() {
        assert_eq!(node(other), None, "{place}");
    }
}

#[test]
fn one_waits_as_long_as_it_has_our_hook_and_leaves_also_without_it() {
    let annotated = |annotations: Json| {
        seen(&move |it| it["metadata"]["annotations"] = annotations.clone()).map(|it| it.waits)
    };
    assert_eq!(annotated(json!({HOOK: ""})), Some(true));
    assert_eq!(annotated(json!({"pre-drain.delete.hook.machine.cluster.x-k8s.io/fulcrum": ""})), Some(false));
    assert_eq!(annotated(Json::Null), Some(false));
}

#[test]
fn a_machine_is_found_by_its_kubernetes_node_or_else_by_an_address() {
    let named = |name: &'static str, address: &'static str| {
        node(&|it| {
            // v1beta1 says more of it.
            it["status"]["nodeRef"] = json!({"apiVersion": "v1", "kind": "Node", "name": name, "uid": "1"});
            it["status"]["addresses"] = json!([{"type": "InternalIP", "address": address}, {"address": 7}]);
        })
    };
    let rows = [
        ("machine-1", "10.0.0.99", Some("lb-1")),
        // What is called as this node is not where it runs.
        ("lb-1", "10.0.0.99", None),
        ("worker", "10.0.0.11", Some("lb-1")),
        ("worker", "2001:db8::12", Some("lb-2")),
        ("old", "10.0.0.13", None),
    ];
    for (name, address, expected) in rows {
        assert_eq!(named(name, address).as_deref(), expected, "{name} {address}");
    }
}
