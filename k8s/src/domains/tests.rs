use super::*;
use fulcrum_config::ClusterName;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value as Json, json};
use std::sync::Arc;

const FILE: &str = "nodes: {lb-1: {addresses: [10.0.0.11]}}\ninterfaces: {eth0: {networks: [10.0.0.0/24]}}\nkubernetes: {prod: {kubeconfig: /k}}\n";

fn cluster(file: &str) -> Arc<Cluster> {
    let parsed = fulcrum_config::parse(file, "fulcrum.yaml", "lb-1").unwrap_or_else(|why| panic!("{why}"));
    Arc::clone(&parsed.config.kubernetes[&ClusterName::new("prod")])
}

fn node(labels: &Json) -> Node {
    serde_json::from_value(json!({"metadata": {"name": "w", "labels": labels}})).unwrap()
}

#[test]
fn the_first_label_that_a_node_has_says_its_domain() {
    const RACK: &str = "onprem.gke.io/failure-domain-name";
    const ZONE: &str = "topology.kubernetes.io/zone";
    let default = cluster(FILE);
    let own = cluster(&FILE.replace("/k}", "/k, domain_label: example.com/rack}"));
    let rows = [
        (&default, json!({RACK: "r1", ZONE: "z1"}), Some("r1")),
        (&default, json!({ZONE: "z1"}), Some("z1")),
        (&default, json!({RACK: ""}), None),
        (&default, json!({"example.com/rack": "r2"}), None),
        (&own, json!({"example.com/rack": "r2", RACK: "r1"}), Some("r2")),
        (&own, json!({ZONE: "z1"}), None),
        (&own, Json::Null, None),
    ];
    for (cluster, labels, expected) in rows {
        assert_eq!(domain(cluster, &node(&labels)), expected, "{labels}");
    }
}

/// Nodes with their domains, and the nodes of a Service's pods; `-` before one that is not ready.
fn note(nodes: &[(&str, Option<&str>)], pods: &[&str]) -> Option<String> {
    let mut objects = Objects::default();
    for (name, domain) in nodes {
        let labels = json!({"topology.kubernetes.io/zone": domain.unwrap_or_default()});
        let node = json!({"metadata": {"name": name, "labels": labels}});
        objects.put_node(serde_json::from_value(node).unwrap());
    }
    // Each pod has both families.
    for (family, network) in [("IPv4", "10.0.0."), ("IPv6", "2001:db8::")] {
        let endpoint = |(place, pod): (usize, &&str)| {
            let (ready, node) = (!pod.starts_with('-'), pod.trim_start_matches('-'));
            let address = format!("{network}{place}");
            json!({"addresses": [address], "conditions": {"ready": ready}, "nodeName": node})
        };
        let endpoints: Vec<Json> = pods.iter().enumerate().map(endpoint).collect();
        let labels = json!({"kubernetes.io/service-name": "web"});
        let slice = json!({
            "metadata": {"name": format!("web-{family}"), "namespace": "shop", "labels": labels},
            "addressType": family, "endpoints": endpoints, "ports": [],
        });
        objects.put_slice(&serde_json::from_value::<EndpointSlice>(slice).unwrap());
    }
    let web = ObjectName { namespace: "shop".to_owned(), name: "web".to_owned() };
    Domains::of(&cluster(FILE), &objects).note(&objects, &web)
}

#[test]
fn a_service_whose_pods_are_all_in_one_domain_of_several_is_told() {
    let nodes = [("a1", Some("a")), ("a2", Some("a")), ("b1", Some("b")), ("x", None)];
    let said = note(&nodes, &["a1", "a2"]).unwrap();
    assert!(said.starts_with("all of its 2 ready pods are in failure domain a:"), "{said}");
    assert!(note(&nodes, &["a1", "a1", "-b1"]).is_some(), "what is not ready does not count");
    for pods in [&["a1", "b1"][..], &["a1"], &[], &["a1", "x"], &["a1", "gone"], &["-a1", "-a2"]] {
        assert_eq!(note(&nodes, pods), None, "{pods:?}");
    }
    // A cluster of one domain, or of none, has no choice.
    assert_eq!(note(&nodes[..2], &["a1", "a2"]), None);
    assert_eq!(note(&[("a1", None), ("a2", None)], &["a1", "a2"]), None);
}
