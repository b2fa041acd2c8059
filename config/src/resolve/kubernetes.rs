//! The Kubernetes clusters: how each is reached, and modes that can work.

use super::checks::Checks;
use super::nodes::Nodes;
use crate::document::NodeId;
use crate::file::{File, KubernetesSection, MachinesSection};
use crate::model::{
    Annotations, Cluster, ClusterAccess, ClusterBackends, ClusterName, Machines, Mode, NodeKind, PeerLink,
};
use crate::reader::{At, Field, Reader};
use crate::scalar::AbsolutePath;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Each has three watches and a connection of its own.
const CLUSTERS_AT_MOST: usize = 64;

pub(super) fn resolve(
    reader: &mut Reader<'_>,
    file: &File,
    checks: &Checks,
) -> BTreeMap<ClusterName, Arc<Cluster>> {
    let Some(field) = &file.kubernetes else { return BTreeMap::new() };
    let written = field.value.0.as_slice();
    if written.len() > CLUSTERS_AT_MOST {
        let message = format!("there are {} clusters; at most {CLUSTERS_AT_MOST} are served", written.len());
        reader.error(field.node, message, "split them over several sets of nodes");
    }
    let mut clusters = BTreeMap::new();
    for (name, section) in written {
        let Some(section) = section else { continue };
        let name = ClusterName::new(&name.value.0);
        if let Some(cluster) = cluster(reader, name.clone(), section, checks) {
            clusters.insert(name, Arc::new(cluster));
        }
    }
    clusters
}

/// One node applies what comes from a cluster, and the others are told of it over the peer link.
pub(super) fn warn_untold(reader: &mut Reader<'_>, file: &File, nodes: &Nodes, link: &PeerLink) {
    let Some(field) = &file.kubernetes else { return };
    let mut others = nodes.all.iter().filter(|(_, node)| node.kind == NodeKind::Fulcrum);
    if nodes.all.len() > 1 && !others.all(|(name, _)| link.pins.contains_key(name)) {
        let message = "without the peer link what comes from clusters reaches one node alone, and its addresses end with it";
        reader.warn(field.node, message, "list `keys` of every node");
    }
}

fn cluster(
    reader: &mut Reader<'_>,
    name: ClusterName,
    section: &KubernetesSection,
    checks: &Checks,
) -> Option<Cluster> {
    let access = access(reader, section.at, section.kubeconfig.get(), section.in_cluster.get())?;
    let mode = section.mode.get().copied().unwrap_or(Mode::Auto);
    let backends = section.backends.get().copied().unwrap_or_default();
    refuse_dsr_to_pods(reader, section, backends);
    if let Some(check) = &section.check
        && check.value.0 != "none"
        && !checks.contains_key(&check.value.0)
    {
        reader.dangling(check.node, "check", &check.value.0, checks.keys().map(String::as_str));
    }
    let machines = section.machines.get().map(|machines| machines_of(machines, &access));
    let keeps_addresses = |mode: &Mode| matches!(mode, Mode::Nat | Mode::Dsr);
    Some(Cluster {
        name,
        class: section.class.get().map_or_else(|| Cluster::CLASS.to_owned(), |class| class.0.clone()),
        unclassed: section.unclassed.get().copied().unwrap_or(false),
        metallb: section.metallb.get().copied().unwrap_or(false),
        mode,
        mode_local: section.mode_local.get().copied().or(Some(mode).filter(keeps_addresses)),
        backends,
        check: section.check.get().map(|check| check.0.clone()),
        own_node: section.own_node.get().copied().unwrap_or(access == ClusterAccess::InCluster),
        access,
        domain_labels: section.domain_label.get().map_or_else(
            || Cluster::DOMAIN_LABELS.map(str::to_owned).to_vec(),
            |label| vec![label.0.clone()],
        ),
        machines,
        annotations: annotations(reader, section),
    })
}

/// How the API of a cluster is reached, of a section at this place.
pub(super) fn access(
    reader: &mut Reader<'_>,
    at: NodeId,
    kubeconfig: Option<&AbsolutePath>,
    in_cluster: Option<&bool>,
) -> Option<ClusterAccess> {
    match (kubeconfig, in_cluster.copied().unwrap_or(false)) {
        (Some(path), false) => return Some(ClusterAccess::Kubeconfig(path.0.clone())),
        (None, true) => return Some(ClusterAccess::InCluster),
        _ if reader.refused_within(at) => {}
        (Some(_), true) => {
            let message = "both `kubeconfig` and `in_cluster` say how the cluster is reached";
            reader.error(at, message, "delete one of them");
        }
        (None, false) => {
            let help = "write `kubeconfig: /etc/fulcrum/cluster.kubeconfig`, or `in_cluster: true`";
            reader.error(at, "nothing says how the cluster is reached", help);
        }
    }
    None
}

fn machines_of(section: &MachinesSection, access: &ClusterAccess) -> Machines {
    let kubeconfig = section.kubeconfig.get().map(|path| ClusterAccess::Kubeconfig(path.0.clone()));
    Machines {
        access: kubeconfig.unwrap_or_else(|| access.clone()),
        namespace: section.namespace.get().map(|name| name.0.clone()),
        cluster: section.cluster.get().map(|name| name.0.clone()),
    }
}

fn annotations(reader: &mut Reader<'_>, section: &KubernetesSection) -> Annotations {
    let Some(policy) = section.annotations.get() else { return Annotations::default() };
    let wishes = policy.wishes.get().map(|list| list.0.iter().map(|it| it.value.0.clone()).collect());
    let mut reports = BTreeSet::new();
    for pattern in policy.reports.get().iter().flat_map(|list| &list.0) {
        reports.extend(Annotations::reports_of(&pattern.value.0));
        if Annotations::reports_of(&pattern.value.0).next().is_none() {
            let help = format!("what can be written is {}", Annotations::REPORTS.join(", "));
            reader.error(pattern.node, "no annotation that is written is called so", help);
        }
    }
    Annotations { wishes, reports: reports.into_iter().collect() }
}

/// Packets that arrive as they are find the VIP on nodes, by kube-proxy, and nowhere else.
fn refuse_dsr_to_pods(reader: &mut Reader<'_>, section: &KubernetesSection, backends: ClusterBackends) {
    if backends != ClusterBackends::Pods {
        return;
    }
    let is_dsr = |field: &&At<Mode>| field.value == Mode::Dsr;
    let modes = [section.mode.as_ref(), section.mode_local.as_ref()];
    if let Some(mode) = modes.into_iter().flatten().find(is_dsr) {
        let message =
            "in mode dsr packets reach a backend with the VIP as their destination, which pods do not have";
        reader.error(mode.node, message, "write `nat` or `fullnat`, or `backends: node-ports`");
    }
}
