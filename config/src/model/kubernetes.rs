//! Kubernetes clusters whose Services are served.

use super::pool::matches;
use super::{ClusterName, Mode};
use std::fmt;
use std::path::PathBuf;

/// A cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Its name: what comes from it is called `NAME/namespace/service`.
    pub name: ClusterName,
    /// How its API is reached.
    pub access: ClusterAccess,
    /// Services with this `spec.loadBalancerClass` are served.
    pub class: String,
    /// Services without a class, too.
    pub unclassed: bool,
    /// MetalLB's objects say which addresses Services may have.
    pub metallb: bool,
    /// How bytes move.
    pub mode: Mode,
    /// How they do where the client's address is to be kept; none means that such Services are not served.
    pub mode_local: Option<Mode>,
    /// Where connections go.
    pub backends: ClusterBackends,
    /// The check of all backends, or `none`; by default what suits each Service.
    pub check: Option<String>,
    /// Whether this node runs on one of its nodes, and hands over before that goes.
    pub own_node: bool,
    /// The labels of its nodes that say which failure domain each is in; the first that is there counts.
    pub domain_labels: Vec<String>,
    /// The Machines of Cluster API that our nodes run on, if they wait for us.
    pub machines: Option<Machines>,
    /// Which annotations are read and written.
    pub annotations: Annotations,
}

impl Cluster {
    /// The class that is served unless the file says otherwise.
    pub const CLASS: &str = "fulcrum.dev/lb";
    /// The labels that say which failure domain a node is in, unless the file says otherwise.
    pub const DOMAIN_LABELS: [&str; 2] = ["onprem.gke.io/failure-domain-name", "topology.kubernetes.io/zone"];
}

/// Where Machines of Cluster API are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machines {
    /// How the API of their management cluster is reached.
    pub access: ClusterAccess,
    /// Their namespace, if it is one.
    pub namespace: Option<String>,
    /// The name of their cluster in the management cluster, if only those of one count.
    pub cluster: Option<String>,
}

impl fmt::Display for Machines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "of {}", self.access)?;
        for (what, name) in [("namespace", &self.namespace), ("cluster", &self.cluster)] {
            if let Some(name) = name {
                write!(f, ", {what} {name}")?;
            }
        }
        Ok(())
    }
}

/// Which annotations of Services are wishes, and which are reports. Others are never touched.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Annotations {
    /// Patterns of those that are read; none means all.
    pub wishes: Option<Vec<String>>,
    /// Those that are written, of [`Annotations::REPORTS`].
    pub reports: Vec<&'static str>,
}

impl Annotations {
    /// The addresses that a Service has.
    pub const ADDRESSES: &str = "fulcrum.dev/addresses";
    /// The pools that they are of.
    pub const POOL: &str = "fulcrum.dev/pool";
    /// The same, as `MetalLB` writes it.
    pub const POOL_OF_METALLB: &str = "metallb.io/ip-allocated-from-pool";
    /// All that can be written.
    pub const REPORTS: [&str; 3] = [Self::ADDRESSES, Self::POOL, Self::POOL_OF_METALLB];

    /// Whether the annotation `key` is read, if it means anything.
    #[must_use]
    pub fn reads(&self, key: &str) -> bool {
        self.wishes.as_ref().is_none_or(|wishes| wishes.iter().any(|pattern| matches(pattern, key)))
    }

    /// Those that can be written and fit `pattern`.
    pub(crate) fn reports_of(pattern: &str) -> impl Iterator<Item = &'static str> {
        Self::REPORTS.into_iter().filter(move |key| matches(pattern, key))
    }
}

/// How the API of a cluster is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterAccess {
    /// As this file says.
    Kubeconfig(PathBuf),
    /// With the service account of the pod that this process is in.
    InCluster,
}

impl fmt::Display for ClusterAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kubeconfig(path) => write!(f, "{}", path.display()),
            Self::InCluster => f.write_str("in-cluster"),
        }
    }
}

/// Where connections to a cluster's Services go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClusterBackends {
    /// To the node ports of its nodes (in mode dsr to the port itself, at its nodes).
    #[default]
    NodePorts,
    /// To its pods.
    Pods,
}

impl fmt::Display for ClusterBackends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NodePorts => "node-ports",
            Self::Pods => "pods",
        })
    }
}
