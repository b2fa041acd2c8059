//! The nodes of a cluster.

use super::*;

const SECOND: &str = "metadata: {name: worker-2}\nspec: {}";
const ALL: [&str; 3] = ["10.0.0.21:30080 worker-1", "10.0.0.22:30080 worker-2", "10.0.0.23:30080 worker-3"];
const WITHOUT_SECOND: [&str; 2] = [ALL[0], ALL[2]];
const SECOND_DRAINS: [&str; 3] = [ALL[0], "10.0.0.22:30080 worker-2 drain", ALL[2]];

fn second(metadata: &str, spec: &str) -> World {
    World::new().object(SECOND, &format!("metadata: {{name: worker-2{metadata}}}\nspec: {{{spec}}}"))
}

#[test]
fn nodes_that_are_about_to_go_drain_and_a_cordon_alone_changes_nothing() {
    let taint = |key: &str| second("", &format!("taints: [{{key: {key}, effect: NoSchedule}}]"));
    assert_eq!(taint("node.kubernetes.io/unschedulable").backends(), ALL);
    assert_eq!(second("", "unschedulable: true").backends(), ALL);
    assert_eq!(taint("node.cluster.x-k8s.io/outdated-revision").backends(), ALL);
    for key in
        ["ToBeDeletedByClusterAutoscaler", "karpenter.sh/disrupted", "node.kubernetes.io/out-of-service"]
    {
        assert_eq!(taint(key).backends(), SECOND_DRAINS, "{key}");
    }
    assert_eq!(second(", deletionTimestamp: \"2026-11-21T00:00:00Z\"", "").backends(), SECOND_DRAINS);
    assert_eq!(taint("node.cluster.x-k8s.io/uninitialized").backends(), WITHOUT_SECOND);
}

#[test]
fn excluded_nodes_are_left_out_whatever_the_label_says() {
    for value in ["\"\"", "\"true\"", "\"false\""] {
        let label = format!(", labels: {{node.kubernetes.io/exclude-from-external-load-balancers: {value}}}");
        assert_eq!(second(&label, "").backends(), WITHOUT_SECOND, "{value}");
    }
}

const SECOND_STATUS: &str =
    "{type: InternalIP, address: \"2001:db8::22\"}]\n  conditions: [{type: Ready, status: \"True\"}]";

#[test]
fn a_node_that_is_not_ready_drains_unless_none_is() {
    let unknown = SECOND_STATUS.replace("\"True\"", "Unknown");
    assert_eq!(World::new().object(SECOND_STATUS, &unknown).backends(), SECOND_DRAINS);
    let mut world = World::new();
    world.objects =
        world.objects.replace("{type: Ready, status: \"True\"}", "{type: Ready, status: Unknown}");
    assert_eq!(world.backends(), ALL);
}

#[test]
fn addresses_that_a_node_can_t_have_are_not_believed() {
    // Its own, a pool's, a VIP, another node's, one of IPv4 in IPv6 clothes, which would set aside all Services.
    let own = ["127.0.0.1", "169.254.0.1", "0.0.0.0", "\"::1\"", "\"fe80::1\"", "\"::ffff:127.0.0.1\""];
    let others = ["10.0.1.5", "10.0.0.99", "10.0.0.21", "\"::ffff:10.0.1.5\"", "\"::ffff:10.0.0.22\""];
    for address in own.into_iter().chain(others).chain(["nonsense"]) {
        let status = "addresses: [{type: InternalIP, address: 10.0.0.22}, {type: InternalIP, address: \"2001:db8::22\"}]";
        let world =
            World::new().object(status, &format!("addresses: [{{type: InternalIP, address: {address}}}]"));
        assert_eq!(world.backends(), WITHOUT_SECOND, "{address}");
    }
}

#[test]
fn who_was_there_first_keeps_an_address_that_two_nodes_claim() {
    let world = second(", creationTimestamp: \"2026-03-01T00:00:00Z\"", "")
        .object("address: 10.0.0.23}", "address: 10.0.0.22}");
    let backends = world.backends();
    assert!(backends.contains(&"10.0.0.22:30080 worker-3".to_owned()), "{backends:?}");
}

/// A node that joined later, at the address of `of`.
fn renamed(of: u8) -> String {
    format!(
        "apiVersion: v1\nkind: Node\nmetadata: {{name: renamed-{of}, creationTimestamp: \"2026-03-01T00:00:00Z\"}}\nstatus:\n  \
         addresses: [{{type: InternalIP, address: 10.0.0.2{of}}}, {{type: InternalIP, address: \"2001:db8::2{of}\"}}]\n  conditions: [{{type: Ready, status: \"True\"}}]\n"
    )
}

#[test]
fn a_machine_that_joined_again_under_another_name_takes_connections_under_that() {
    let unknown = SECOND_STATUS.replace("\"True\"", "Unknown");
    let created =
        |name: &str| format!("metadata: {{name: {name}, creationTimestamp: \"2026-01-01T00:00:00Z\"}}");
    let one = second(", creationTimestamp: \"2026-01-01T00:00:00Z\"", "")
        .object(SECOND_STATUS, &unknown)
        .with(&renamed(2));
    assert_eq!(one.backends(), ["10.0.0.22:30080 renamed-2", ALL[0], ALL[2]]);

    let mut all = World::new().object("metadata: {name: worker-3}", &created("worker-3"));
    all = all.object("metadata: {name: worker-2}", &created("worker-2"));
    all.objects = all.objects.replace("{type: Ready, status: \"True\"}", "{type: Ready, status: Unknown}");
    let all = all.with(&renamed(1)).with(&renamed(2)).with(&renamed(3));
    let renamed = ["10.0.0.21:30080 renamed-1", "10.0.0.22:30080 renamed-2", "10.0.0.23:30080 renamed-3"];
    assert_eq!(all.backends(), renamed);
}

#[test]
fn a_node_of_the_other_family_is_reached_by_a_proxy_alone() {
    let only_v6 = "addresses: [{type: InternalIP, address: 10.0.0.22}, ";
    let world = || World::new().object(only_v6, "addresses: [");
    assert_eq!(world().backends(), [ALL[0], "2001:db8::22:30080 worker-2", ALL[2]]);
    assert_eq!(world().cluster("mode: fullnat").backends(), WITHOUT_SECOND);
}

#[test]
fn a_long_name_is_left_out() {
    let long = "n".repeat(80);
    let world = World::new().object("name: worker-2}", &format!("name: {long}}}"));
    assert!(world.backends().contains(&"10.0.0.22:30080".to_owned()), "{:?}", world.backends());
}
