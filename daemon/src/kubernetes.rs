//! The clusters whose Services are served: one driver for each, on a thread of their own.
#![allow(clippy::disallowed_methods, reason = "a driver: it looks now and then")]

use crate::node::Node;
use fulcrum_config::{Cluster, ClusterAccess, ClusterName, Config, GroupName, NodeName};
use fulcrum_k8s::driver::{Door, Inputs, run};
use fulcrum_k8s::{OwnNode, State, report};
use fulcrum_lifecycle::{Alarm, Kubernetes, Severity};
use fulcrum_peer::PeerState;
use futures_util::future::BoxFuture;
use own_node::Fate;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

mod own_node;
pub(crate) use own_node::name as own_node;
#[cfg(test)]
mod tests;

/// Between two looks at the configuration and at who leads.
const PACE: Duration = Duration::from_millis(100);
/// The same while there is no cluster.
const IDLE: Duration = Duration::from_secs(1);

/// How it stands with each cluster.
#[derive(Debug, Default)]
pub(crate) struct Clusters {
    known: Mutex<BTreeMap<ClusterName, Known>>,
    /// Why this node is not drained, although its Kubernetes node is about to go.
    held: Mutex<Option<String>>,
}

/// What it was told, and how it stands.
type Known = (Arc<Cluster>, watch::Receiver<State>);

impl Clusters {
    /// Clusters with which something does not work.
    pub(crate) fn alarms(&self) -> Vec<Alarm> {
        let alarm = |cluster: Kubernetes| {
            let why = cluster.error?;
            Some(Alarm {
                severity: Severity::Warning,
                what: format!("Kubernetes cluster {}: {why}", cluster.cluster),
                affected: "what changes in that cluster: new Services, nodes and endpoints; what was applied last stays in \
                           force, and neither traffic nor VIPs need it"
                    .to_owned(),
                remedy: "remove the cause that is named; it is tried again by itself".to_owned(),
            })
        };
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        self.status()
            .into_iter()
            .filter_map(alarm)
            .chain(own_node::alarms(&self.fates(), held.as_deref()))
            .collect()
    }

    /// What each cluster that has nodes of ours on its nodes has in mind with this one.
    fn fates(&self) -> Vec<Fate> {
        let clusters = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let of_own = clusters.iter().filter(|(_, (cluster, _))| cluster.own_node);
        let fate = |(name, (_, state)): (&ClusterName, &Known)| Fate {
            cluster: name.to_string(),
            seen: state.borrow().own_node.clone(),
        };
        of_own.map(fate).collect()
    }

    /// Notes why what its Kubernetes node asks for is not done. Says whether that is news.
    fn hold(&self, why: Option<String>) -> bool {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *held, why.clone()) != why
    }

    /// For the status.
    pub(crate) fn status(&self) -> Vec<Kubernetes> {
        let clusters = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        clusters.iter().map(|(name, (cluster, state))| status(name, cluster, &state.borrow())).collect()
    }
}

fn status(name: &ClusterName, cluster: &Cluster, state: &State) -> Kubernetes {
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    Kubernetes {
        cluster: name.to_string(),
        access: match &cluster.access {
            ClusterAccess::Kubeconfig(path) => path.display().to_string(),
            ClusterAccess::InCluster => "in-cluster".to_owned(),
        },
        class: cluster.class.clone(),
        reached_since: state.reached_since.map(|since| since.0),
        stale_since: state.stale_since.map(|since| since.0),
        error: state.error.clone(),
        metallb: state.metallb.clone(),
        writes: state.writes,
        services: count(state.services),
        not_served: count(state.not_served),
        nodes: count(state.nodes),
        domains: state.domains.iter().map(|(name, size)| (name.clone(), count(*size))).collect(),
        endpoint_slices: count(state.slices),
        writes_total: state.writes_total,
        write_errors: state.write_errors,
        events_left_out: state.events_left_out,
        own_node_leaves: match &state.own_node {
            Some(OwnNode::Leaves(why)) => Some(why.clone()),
            Some(OwnNode::Stays | OwnNode::Missing(_)) | None => None,
        },
    }
}

/// What is put in force is so on all nodes.
struct ToNode(Arc<Node>);

impl Door for ToNode {
    fn apply<'a>(
        &'a self,
        source: &'a str,
        text: Arc<str>,
    ) -> BoxFuture<'a, Result<report::Applied, String>> {
        Box::pin(async move {
            let applied = self.0.apply(source, text).await?;
            Ok(report::Applied { set_aside: applied.set_aside, addresses: applied.addresses })
        })
    }
}

/// Serves them for as long as the node runs.
pub(crate) fn start(node: &Arc<Node>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let node = Arc::clone(node);
    std::thread::Builder::new().name("kubernetes".to_owned()).spawn(move || {
        runtime.block_on(serve(&node));
        runtime.shutdown_background();
    })?;
    Ok(())
}

/// Begins with each cluster that comes, and ends with each that goes.
async fn serve(node: &Arc<Node>) {
    let (config, configs) = watch::channel(node.handle().config());
    let (leads, led) = watch::channel(false);
    let mut running: BTreeMap<ClusterName, JoinHandle<()>> = BTreeMap::new();
    tokio::spawn(own_node::tend(Arc::clone(node)));
    loop {
        let now = node.handle().config();
        config.send_if_modified(|config| {
            let is_another = !Arc::ptr_eq(config, &now);
            *config = Arc::clone(&now);
            is_another
        });
        let writes = {
            let (vip, peer) = (node.handle().vip(), node.handle().peer());
            let (vip, peer) = (vip.borrow(), peer.borrow());
            let hears = |name: &NodeName| peer.peers.get(name).is_some_and(|it| it.state == PeerState::Up);
            is_writer(&now, |group| vip.leads(group), hears)
        };
        leads.send_if_modified(|leads| std::mem::replace(leads, writes) != writes);
        let clusters = node.clusters();
        for (name, task) in &running {
            if !now.kubernetes.contains_key(name) {
                task.abort();
            }
        }
        running.retain(|name, _| now.kubernetes.contains_key(name));
        clusters
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|name, _| running.contains_key(name));
        for (name, cluster) in &now.kubernetes {
            let mut known = clusters.known.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((known, _)) = known.get_mut(name) {
                *known = Arc::clone(cluster);
                continue;
            }
            let (state, seen) = watch::channel(State::default());
            known.insert(name.clone(), (Arc::clone(cluster), seen));
            let own_node = own_node::name(&now.node);
            let inputs = Inputs { config: configs.clone(), leads: led.clone(), own_node };
            let door = Arc::new(ToNode(Arc::clone(node)));
            running.insert(name.clone(), tokio::spawn(run(name.clone(), inputs, door, state)));
        }
        // Another process of this node goes on with them.
        if node.handle().is_stopping() || node.estate().is_left() {
            return;
        }
        sleep(if now.kubernetes.is_empty() { IDLE } else { PACE }).await;
    }
}

/// Whether this node applies what comes from clusters, and writes to them: the leader of the first group. Where there is
/// no group yet, the first of the nodes that hear each other.
fn is_writer(
    config: &Config,
    leads: impl Fn(&GroupName) -> bool,
    hears: impl FnMut(&NodeName) -> bool,
) -> bool {
    match config.groups.keys().next() {
        Some(group) => leads(group),
        None => !config.nodes.keys().take_while(|name| **name < config.node).any(hears),
    }
}
