//! Kubernetes clusters.

use super::{Row, row};
use crate::{Annotations, Cluster, ClusterAccess, ClusterBackends, ClusterName, Machines, Mode};

const FROM: &str = "checks:\n";

macro_rules! cluster {
    ($cluster:literal, $field:literal, $message:literal, $help:literal) => {
        row(FROM, concat!("kubernetes:\n  ", $cluster, "\nchecks:\n"), $field, $message, $help)
    };
}

pub(super) const KUBERNETES: &[Row] = &[
    cluster!("«prod: {}", "kubernetes.prod", "nothing says how the cluster is reached", "in_cluster: true"),
    cluster!("«prod: {kubeconfig: /k, in_cluster: true}", "kubernetes.prod", "both", "delete one of them"),
    cluster!("prod: {kubeconfig: «k}", "kubernetes.prod.kubeconfig", "not an absolute path", "from `/` on"),
    cluster!("prod: {kubeconfig: /k, class: «a b}", "kubernetes.prod.class", "`a b` is not", "letters"),
    cluster!(
        "prod: {kubeconfig: /k, mode: «natt}",
        "kubernetes.prod.mode",
        "`natt` is not a mode",
        "did you mean `nat`?"
    ),
    cluster!(
        "prod: {kubeconfig: /k, backends: «pots}",
        "kubernetes.prod.backends",
        "`pots` is not",
        "did you mean `pods`?"
    ),
    cluster!(
        "prod: {kubeconfig: /k, backends: pods, mode: «dsr}",
        "kubernetes.prod.mode",
        "which pods do not have",
        "fullnat"
    ),
    cluster!(
        "prod: {kubeconfig: /k, backends: pods, mode_local: «dsr}",
        "kubernetes.prod.mode_local",
        "which pods do not have",
        "node-ports"
    ),
    cluster!(
        "prod: {kubeconfig: /k, check: «tpc}",
        "kubernetes.prod.check",
        "there is no check named `tpc`",
        "did you mean `tcp`?"
    ),
    cluster!(
        "prod: {kubeconfig: /k, annotations: {reports: [«fulcrum.dev/pol]}}",
        "kubernetes.prod.annotations.reports[0]",
        "no annotation that is written is called so",
        "fulcrum.dev/pool"
    ),
    cluster!("«a/b: {kubeconfig: /k}", "kubernetes.a/b", "`a/b` is not a name", "1 to 63 letters"),
];

fn cluster(text: &str) -> Cluster {
    let base = super::BASE.replace("checks:\n", &format!("kubernetes: {{prod: {text}}}\nchecks:\n"));
    let config = super::super::good(&base);
    Cluster::clone(&config.kubernetes[&ClusterName::new("prod")])
}

#[test]
fn what_is_not_said_of_a_cluster_has_its_default() {
    let expected = Cluster {
        name: ClusterName::new("prod"),
        access: ClusterAccess::InCluster,
        class: "fulcrum.dev/lb".to_owned(),
        unclassed: false,
        metallb: false,
        mode: Mode::Auto,
        mode_local: None,
        backends: ClusterBackends::NodePorts,
        check: None,
        own_node: true,
        machines: None,
        domain_labels: Cluster::DOMAIN_LABELS.map(str::to_owned).to_vec(),
        annotations: Annotations::default(),
    };
    assert_eq!(cluster("{in_cluster: true}"), expected);
    assert!(!cluster("{kubeconfig: /k}").own_node);
    assert!(!cluster("{in_cluster: true, own_node: false}").own_node);
}

#[test]
fn a_mode_that_keeps_addresses_is_that_of_local_services_unless_another_is_named() {
    assert_eq!(cluster("{kubeconfig: /k, mode: nat}").mode_local, Some(Mode::Nat));
    assert_eq!(cluster("{kubeconfig: /k, mode: fullnat}").mode_local, None);
    assert_eq!(cluster("{kubeconfig: /k, mode: nat, mode_local: dsr}").mode_local, Some(Mode::Dsr));
    assert_eq!(cluster("{kubeconfig: /k, check: none}").check.as_deref(), Some("none"));
}

#[test]
fn a_policy_of_annotations_has_patterns() {
    let policy = cluster(
        "{kubeconfig: /k, annotations: {wishes: [\"metallb.io/*\"], reports: [\"*/pool\", \"*/pool\"]}}",
    )
    .annotations;
    assert_eq!(policy.reports, ["fulcrum.dev/pool"]);
    assert!(policy.reads("metallb.io/address-pool") && !policy.reads("kube-vip.io/loadbalancerIPs"));
    assert!(
        Annotations::default().reads("kube-vip.io/loadbalancerIPs")
            && Annotations::default().reports.is_empty()
    );
}

#[test]
fn machines_are_at_the_api_of_the_cluster_unless_another_one_is_named() {
    let machines = |text: &str| cluster(&format!("{{kubeconfig: /k, machines: {text}}}")).machines;
    let at = |path: &str| ClusterAccess::Kubeconfig(path.into());
    let own = Machines { access: at("/k"), namespace: None, cluster: None };
    assert_eq!(machines("{}"), Some(own));
    let named =
        Machines { access: at("/m"), namespace: Some("fleet".to_owned()), cluster: Some("prod".to_owned()) };
    assert_eq!(machines("{kubeconfig: /m, namespace: fleet, cluster: prod}"), Some(named));
}
