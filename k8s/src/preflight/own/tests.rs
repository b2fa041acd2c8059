use super::*;
use fulcrum_config::ClusterName;
use fulcrum_config::preflight::State;
use serde_json::json;

/// What is said where the file has `nodes`, and Kubernetes nodes have these zones. This node is lb-1, on `machine-1`.
fn said(nodes: &str, zones: &[(&str, &str)]) -> Vec<(State, String)> {
    let file = format!(
        "nodes: {nodes}\ninterfaces: {{eth0: {{networks: [10.0.0.0/24]}}}}\nkubernetes: {{prod: {{kubeconfig: /k}}}}\n"
    );
    let parsed = fulcrum_config::parse(&file, "fulcrum.yaml", "lb-1").unwrap_or_else(|why| panic!("{why}"));
    let config = parsed.config;
    let cluster = &config.kubernetes[&ClusterName::new("prod")];
    let zones = zones.iter().map(|(name, zone)| {
        let labels = json!({"topology.kubernetes.io/zone": zone});
        serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}})).unwrap()
    });
    let lines = lines("cluster prod", cluster, &config, "machine-1", &zones.collect::<Vec<Node>>());
    lines.into_iter().map(|line| (line.state, line.found)).collect()
}

#[test]
fn domains_that_differ_from_the_file_or_are_shared_are_told() {
    let plain = "{lb-1: {addresses: [10.0.0.11]}, lb-2: {addresses: [10.0.0.12]}}";
    let good = said(
        "{lb-1: {addresses: [10.0.0.11], domain: a}, lb-2: {addresses: [10.0.0.12]}}",
        &[("machine-1", "a"), ("lb-2", "b")],
    );
    assert!(matches!(&good[..], [(State::Ok, _)]), "{good:?}");
    let shared = said(plain, &[("machine-1", "a"), ("lb-2", "a"), ("worker", "b")]);
    assert!(
        matches!(&shared[..], [(State::Warning, it)] if it.starts_with("lb-1 and lb-2 run on")),
        "{shared:?}"
    );
    let other = said(
        "{lb-1: {addresses: [10.0.0.11], domain: a}, lb-2: {addresses: [10.0.0.12]}}",
        &[("machine-1", "c")],
    );
    let words = "lb-1 has `domain: a` in the file, and its Kubernetes node machine-1 is in c";
    assert!(matches!(&other[..], [(State::Warning, it)] if it == words), "{other:?}");
    // Nothing is known of either: what is called lb-1 is not where this node runs.
    assert_eq!(said(plain, &[("lb-1", "a"), ("worker", "b")]), []);
}
