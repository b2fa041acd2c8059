//! The clusters whose Services are served: one driver for each, on a thread of their own.
#![allow(clippy::disallowed_methods, reason = "a driver: it looks now and then")]

use crate::node::Node;
use crate::show::counted;
use fulcrum_config::{Cluster, ClusterAccess, ClusterName, Config, GroupName, NodeName};
use fulcrum_k8s::driver::{Door, FleetInputs, Inputs, run, run_fleet};
use fulcrum_k8s::{Fleet, ObjectName, OwnNode, State, report};
use fulcrum_lifecycle::{Alarm, Kubernetes, Severity};
use fulcrum_peer::PeerState;
use futures_util::future::BoxFuture;
use own_node::Fate;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

mod machines;
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
#[derive(Debug)]
struct Known {
    cluster: Arc<Cluster>,
    state: watch::Receiver<State>,
    fleet: watch::Receiver<Fleet>,
    /// Machines that need not wait for us any more.
    free: watch::Sender<BTreeSet<ObjectName>>,
}

impl Clusters {
    /// Clusters with which something does not work.
    pub(crate) fn alarms(&self) -> Vec<Alarm> {
        let alarm = |cluster: &Kubernetes| {
            let why = cluster.error.as_ref()?;
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
        let status = self.status();
        status
            .iter()
            .filter_map(alarm)
            .chain(own_node::alarms(&self.fates_of_nodes(), held.as_deref()))
            .chain(machines::alarms(&status))
            .collect()
    }

    /// What each cluster that has nodes of ours on its nodes has in mind with the one of this node.
    fn fates_of_nodes(&self) -> Vec<Fate> {
        let clusters = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let of_own = clusters.iter().filter(|(_, known)| known.cluster.own_node);
        let fate = |(name, known): (&ClusterName, &Known)| Fate {
            cluster: name.to_string(),
            seen: known.state.borrow().own_node.clone(),
        };
        of_own.map(fate).collect()
    }

    /// The same, and what becomes of the Machine of this node, `own`.
    fn fates(&self, own: &NodeName) -> Vec<Fate> {
        let mut fates = self.fates_of_nodes();
        let clusters = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let of_machines = clusters.iter().filter(|(_, known)| known.cluster.machines.is_some());
        fates.extend(of_machines.map(|(name, known)| Fate {
            cluster: name.to_string(),
            seen: machines::fate(&known.fleet.borrow(), own),
        }));
        fates
    }

    /// Lets Machines go of which `is_free` says so. Says whether any waits.
    fn release(&self, is_free: impl Fn(&NodeName) -> bool) -> bool {
        let clusters = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut waits = false;
        for known in clusters.values() {
            let fleet = known.fleet.borrow();
            let waiting = fleet.leaving.iter().flatten().filter(|(_, machine)| machine.waits);
            let waiting: Vec<_> = waiting.collect();
            waits |= !waiting.is_empty();
            let free = waiting.into_iter().filter(|(_, machine)| is_free(&machine.node));
            let free: BTreeSet<ObjectName> = free.map(|(name, _)| name.clone()).collect();
            known.free.send_if_modified(|before| std::mem::replace(before, free.clone()) != free);
        }
        waits
    }

    /// Notes why what its Kubernetes node asks for is not done. Says whether that is news.
    fn hold(&self, why: Option<String>) -> bool {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *held, why.clone()) != why
    }

    /// For the status.
    pub(crate) fn status(&self) -> Vec<Kubernetes> {
        let clusters = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let status = |(name, known): (&ClusterName, &Known)| status(name, known);
        clusters.iter().map(status).collect()
    }
}

/// What clusters said that the file has no more. It stays in force: an edit by mistake is to take nothing away.
pub(crate) fn left_behind(config: &Config) -> impl Iterator<Item = Alarm> {
    let fragments = config.sources.fragments.iter();
    // What is set by hand bears the name of who set it.
    let of_clusters = fragments.filter(|(source, text)| text.by == source.as_str());
    let gone =
        of_clusters.filter(|(source, _)| !config.kubernetes.keys().any(|it| it.as_str() == source.as_str()));
    gone.map(|(source, _)| Alarm {
        severity: Severity::Warning,
        what: format!(
            "Kubernetes cluster {source} is not in the file any more, and its Services stay in force"
        ),
        affected: format!(
            "{} of it: nobody keeps their backends in step with it",
            counted(config.services_of(source).count(), "service")
        ),
        remedy: format!(
            "fulcrum source remove {source}, which takes them away; or have it in the file again"
        ),
    })
}

fn status(name: &ClusterName, known: &Known) -> Kubernetes {
    let (cluster, state, fleet) = (&known.cluster, known.state.borrow(), known.fleet.borrow());
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
        machines_leaving: machines::leaving(&fleet),
        machines_error: fleet.error.clone(),
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
    let mut running: BTreeMap<ClusterName, [JoinHandle<()>; 2]> = BTreeMap::new();
    tokio::spawn(own_node::tend(Arc::clone(node)));
    tokio::spawn(machines::tend(Arc::clone(node)));
    loop {
        let now = node.handle().config();
        config.send_if_modified(|config| {
            let is_another = !Arc::ptr_eq(config, &now);
            *config = Arc::clone(&now);
            is_another
        });
        let writes = writes(node, &now);
        leads.send_if_modified(|leads| std::mem::replace(leads, writes) != writes);
        let clusters = node.clusters();
        for (name, tasks) in &running {
            if !now.kubernetes.contains_key(name) {
                tasks.iter().for_each(JoinHandle::abort);
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
            if let Some(known) = known.get_mut(name) {
                known.cluster = Arc::clone(cluster);
                continue;
            }
            let (state, seen) = watch::channel(State::default());
            let (fleet, machines) = watch::channel(Fleet::default());
            let (free, freed) = watch::channel(BTreeSet::new());
            known.insert(
                name.clone(),
                Known { cluster: Arc::clone(cluster), state: seen, fleet: machines, free },
            );
            let own_node = own_node::name(&now.node);
            let inputs = FleetInputs { config: configs.clone(), free: freed, own_node: own_node.clone() };
            let of_machines = tokio::spawn(run_fleet(name.clone(), inputs, fleet));
            let inputs = Inputs { config: configs.clone(), leads: led.clone(), own_node };
            let door = Arc::new(ToNode(Arc::clone(node)));
            let of_services = tokio::spawn(run(name.clone(), inputs, door, state));
            running.insert(name.clone(), [of_services, of_machines]);
        }
        // Another process of this node goes on with them.
        if node.handle().is_stopping() || node.estate().is_left() {
            return;
        }
        sleep(if now.kubernetes.is_empty() { IDLE } else { PACE }).await;
    }
}

fn writes(node: &Node, config: &Config) -> bool {
    let (vip, peer) = (node.handle().vip(), node.handle().peer());
    let (vip, peer) = (vip.borrow(), peer.borrow());
    let hears = |name: &NodeName| peer.peers.get(name).is_some_and(|it| it.state == PeerState::Up);
    is_writer(config, |group| vip.leads(group), hears)
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
