//! `kubernetes`.

use crate::model::{ClusterBackends, Mode};
use crate::scalar::{AbsolutePath, Label, Name, NamePattern};
use crate::table::{List, section};

section! {
    /// A Kubernetes cluster whose Services of type LoadBalancer are served.
    KubernetesSection {
        /// The file that says how its API is reached, and with which rights. It and what it names are read again when they change.
        kubeconfig: optional AbsolutePath,
        /// In place of `kubeconfig`: this node runs in a pod of the cluster, with its service account. Default: false.
        in_cluster: optional bool,
        /// Services with this `spec.loadBalancerClass` are served. Default: fulcrum.dev/lb.
        class: optional Label,
        /// Whether Services without a class are served, too; nobody else may do so then. Default: false.
        unclassed: optional bool,
        /// Whether MetalLB's IPAddressPools and L2Advertisements say which addresses of `pools` each Service may have. Default: false.
        metallb: optional bool,
        /// How their bytes move: as `mode` of a service. Default: auto.
        mode: optional Mode,
        /// The same for Services with `externalTrafficPolicy: Local`, which keep the client's address in `nat` and `dsr`; `proxy` and `fullnat` give that up. Default: `mode`, if it is `nat` or `dsr`; otherwise such Services are not served, and told why.
        mode_local: optional Mode,
        /// Where connections go: `node-ports` of the cluster's nodes, or `pods`, where their addresses can be reached from here. Default: node-ports.
        backends: optional ClusterBackends,
        /// What backends are asked: the name of a check, or `none`. Default: whether the port takes connections; with `externalTrafficPolicy: Local` what kube-proxy says at `healthCheckNodePort`.
        check: optional Name,
        /// Whether the nodes of the load balancer run on nodes of this cluster: each is drained while its own Kubernetes node (`NODE_NAME` in its environment, or else called as it is itself) is deleted, cordoned, has a taint of those that are about to go, or the label `fulcrum.dev/drain`. Default: `in_cluster`.
        own_node: optional bool,
        /// The label of the cluster's nodes that says what of them fails at once. Default: onprem.gke.io/failure-domain-name, and where a node has none, topology.kubernetes.io/zone.
        domain_label: optional Label,
        /// Machines of Cluster API that the nodes of the load balancer run on: each node is drained before its Machine goes, which waits for that by the hook `pre-terminate.delete.hook.machine.cluster.x-k8s.io/fulcrum`.
        machines: optional MachinesSection,
        /// Which annotations of Services are wishes that are read, and which are reports that are written; all others are let alone.
        annotations: optional AnnotationsSection,
    }
}

section! {
    /// Where Machines of Cluster API are.
    MachinesSection {
        /// The file that says how the API of their management cluster is reached. Default: that of the cluster itself.
        kubeconfig: optional AbsolutePath,
        /// Their namespace. Default: all.
        namespace: optional Label,
        /// The `spec.clusterName` that they have. Default: any.
        cluster: optional Label,
    }
}

section! {
    /// Which annotations of Services concern Fulcrum.
    AnnotationsSection {
        /// Those that are read, of all that can be; `*` stands for any text. Default: all.
        wishes: optional List<NamePattern>,
        /// Those that are written, of fulcrum.dev/addresses, fulcrum.dev/pool and metallb.io/ip-allocated-from-pool. Default: none.
        reports: optional List<NamePattern>,
    }
}
