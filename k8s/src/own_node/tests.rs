use super::*;

fn fate(node: &str) -> OwnNode {
    let node: Node = serde_json::from_str(node).unwrap();
    let mut objects = Objects::default();
    objects.put_node(node);
    own_node(&objects, "lb-1")
}

fn leaves(why: &str) -> OwnNode {
    OwnNode::Leaves(format!("node lb-1 {why}"))
}

#[test]
fn each_sign_that_a_node_is_about_to_go_counts() {
    let rows = [
        (r#", "deletionTimestamp": "2026-11-21T00:00:00Z""#, "", "is being deleted"),
        (
            "",
            r#""taints": [{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}]"#,
            "has the taint ToBeDeletedByClusterAutoscaler",
        ),
        (
            "",
            r#""taints": [{"key": "other", "effect": "NoSchedule"}, {"key": "karpenter.sh/disrupted", "effect": "NoSchedule"}]"#,
            "has the taint karpenter.sh/disrupted",
        ),
        (r#", "labels": {"fulcrum.dev/drain": ""}"#, "", "has the label fulcrum.dev/drain"),
        ("", r#""unschedulable": true"#, "is cordoned"),
    ];
    for (metadata, spec, why) in rows {
        let node = format!(r#"{{"metadata": {{"name": "lb-1"{metadata}}}, "spec": {{{spec}}}}}"#);
        assert_eq!(fate(&node), leaves(why), "{node}");
    }
}

#[test]
fn others_do_not() {
    for node in [
        r#"{"metadata": {"name": "lb-1"}}"#,
        r#"{"metadata": {"name": "lb-1", "labels": {"fulcrum.dev/drain": "false"}}, "spec": {"unschedulable": false}}"#,
        r#"{"metadata": {"name": "lb-1", "labels": {"node.kubernetes.io/exclude-from-external-load-balancers": ""}},
            "spec": {"taints": [{"key": "fulcrum.dev/lb", "effect": "NoSchedule"}]}}"#,
        r#"{"metadata": {"name": "lb-1"}, "status": {"conditions": [{"type": "Ready", "status": "False"}]}}"#,
    ] {
        assert_eq!(fate(node), OwnNode::Stays, "{node}");
    }
}

#[test]
fn a_node_that_is_not_there_is_no_node_that_leaves() {
    assert_eq!(
        fate(r#"{"metadata": {"name": "lb-2", "deletionTimestamp": "2026-11-21T00:00:00Z"}}"#),
        OwnNode::Missing("lb-1".to_owned())
    );
}
