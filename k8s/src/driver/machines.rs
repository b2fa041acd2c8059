//! Keeps up with the Machines of Cluster API on which nodes of ours run, and lets those go that need not wait any more.

use super::client::{chain, client, fingerprint};
use super::watches::config;
use crate::machines::{Fleet, HOOK, Leaving, Of, is_leaving, leaving};
use crate::objects::ObjectName;
use fulcrum_config::{Cluster, ClusterName, Config, Machines};
use futures_util::StreamExt;
use kube::api::{Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

const GROUP: &str = "cluster.x-k8s.io";
/// The versions whose Machines are understood, the later one first.
const VERSIONS: [&str; 2] = ["v1beta2", "v1beta1"];
/// Between two looks at the files, and before what was not granted is asked for again.
const LOOK: Duration = Duration::from_secs(5);
/// After a failure; then twice that, and so on.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// The first failure is no trouble yet: watches end now and then.
const TROUBLE: u32 = 2;
/// How long one write may take.
const WRITE: Duration = Duration::from_secs(10);

/// What it is told.
#[derive(Debug, Clone)]
pub struct FleetInputs {
    /// What runs.
    pub config: watch::Receiver<Arc<Config>>,
    /// Machines that need not wait for us any more.
    pub free: watch::Receiver<BTreeSet<ObjectName>>,
    /// The Kubernetes node that this node runs on.
    pub own_node: String,
}

/// Keeps up with the Machines of a cluster for as long as the configuration has it.
pub async fn run_fleet(name: ClusterName, inputs: FleetInputs, fleet: watch::Sender<Fleet>) {
    let mut driver = Driver { name, inputs, fleet, known: BTreeMap::new(), failures: 0 };
    while let Some(cluster) = driver.cluster() {
        let Some(machines) = &cluster.machines else {
            driver.fleet.send_replace(Fleet::default());
            if driver.inputs.config.changed().await.is_err() {
                return;
            }
            continue;
        };
        match driver.session(machines).await {
            Ok(()) => driver.failures = 0,
            Err(why) => driver.failed(why),
        }
        sleep(pause(driver.failures)).await;
    }
}

fn pause(failures: u32) -> Duration {
    let times = 2_u32.saturating_pow(failures.saturating_sub(1));
    AGAIN.0.saturating_mul(times).min(AGAIN.1)
}

struct Driver {
    name: ClusterName,
    inputs: FleetInputs,
    fleet: watch::Sender<Fleet>,
    /// Machines that are being deleted, whoever is on them.
    known: BTreeMap<ObjectName, DynamicObject>,
    /// In a row.
    failures: u32,
}

impl Driver {
    fn cluster(&self) -> Option<Arc<Cluster>> {
        self.inputs.config.borrow().kubernetes.get(&self.name).cloned()
    }

    fn failed(&mut self, why: String) {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= TROUBLE {
            self.tell(Some(why));
        }
    }

    /// What does not work, or that all does.
    fn tell(&self, why: Option<String>) {
        let is_news = self.fleet.send_if_modified(|fleet| {
            let before = std::mem::replace(&mut fleet.error, why.clone());
            before != why
        });
        if let Some(why) = why.filter(|_| is_news) {
            tracing::warn!(target: "kubernetes", cluster = %self.name, "{why}; Machines that wait for us wait on");
        }
    }

    /// Until the way to the API is another, or an error.
    async fn session(&mut self, machines: &Machines) -> Result<(), String> {
        let files = fingerprint(&machines.access);
        let client = client(&machines.access).await?;
        let resource = resource(&client).await?;
        let all = match &machines.namespace {
            Some(namespace) => Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        let mut events = pin!(watcher(all, config()));
        let (mut coming, mut is_listed) = (BTreeMap::new(), false);
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = events.next() => {
                    is_listed |= self.see(event.ok_or("the watch of Machines has ended")?, &mut coming)?;
                }
                changed = self.inputs.config.changed() => {
                    let now = self.cluster().and_then(|cluster| cluster.machines.clone());
                    if changed.is_err() || now.as_ref() != Some(machines) {
                        self.known.clear();
                        self.fleet.send_replace(Fleet::default());
                        return Ok(());
                    }
                }
                Ok(()) = self.inputs.free.changed() => {}
                _ = look.tick() => {
                    if fingerprint(&machines.access) != files {
                        return Ok(());
                    }
                }
            }
            if is_listed {
                self.publish(machines);
                let refused = self.release(&client, &resource).await.err();
                self.tell(refused);
            }
        }
    }

    /// Takes what the watch says; says whether it was the end of a list.
    fn see(
        &mut self,
        event: watcher::Result<Event<DynamicObject>>,
        coming: &mut BTreeMap<ObjectName, DynamicObject>,
    ) -> Result<bool, String> {
        let event = event.map_err(|error| format!("Machines can't be watched: {}", chain(&error)))?;
        match event {
            Event::Init => coming.clear(),
            Event::InitApply(machine) => place(coming, machine),
            Event::InitDone => {
                self.known = std::mem::take(coming);
                self.failures = 0;
                return Ok(true);
            }
            Event::Apply(machine) => place(&mut self.known, machine),
            Event::Delete(machine) => {
                if let Some(name) = ObjectName::of(&machine.metadata) {
                    self.known.remove(&name);
                }
            }
        }
        Ok(false)
    }

    /// Says which of them are ours.
    fn publish(&self, machines: &Machines) {
        let config = Arc::clone(&self.inputs.config.borrow());
        let of = Of { config: &config, machines, own_node: &self.inputs.own_node };
        let known = self.known.iter();
        let ours = known.filter_map(|(name, machine)| Some((name.clone(), leaving(machine, of)?)));
        let ours: BTreeMap<ObjectName, Leaving> = ours.collect();
        self.fleet.send_if_modified(|fleet| {
            let is_news = fleet.leaving.as_ref() != Some(&ours);
            fleet.leaving = Some(ours);
            is_news
        });
    }

    /// Lets those go that need not wait any more.
    async fn release(&mut self, client: &Client, resource: &ApiResource) -> Result<(), String> {
        let free = self.inputs.free.borrow_and_update().clone();
        let leaving = self.fleet.borrow().leaving.clone().unwrap_or_default();
        for (name, machine) in
            leaving.into_iter().filter(|(name, machine)| machine.waits && free.contains(name))
        {
            let api = Api::<DynamicObject>::namespaced_with(client.clone(), &name.namespace, resource);
            let patch = Patch::Merge(without_hook(&machine));
            let params = PatchParams::default();
            let patched = timeout(WRITE, api.patch(&name.name, &params, &patch)).await;
            match patched {
                Ok(Ok(patched)) => {
                    tracing::info!(target: "kubernetes", cluster = %self.name, "Machine {name} of {} may go", machine.node);
                    place(&mut self.known, patched);
                }
                // It is another one by now, which the watch says in a moment, or is gone.
                Ok(Err(kube::Error::Api(error))) if matches!(error.code, 404 | 409) => {}
                Ok(Err(error)) => {
                    return Err(format!("the hook of Machine {name} can't be taken away: {}", chain(&error)));
                }
                Err(_) => {
                    return Err(format!(
                        "the hook of Machine {name} was not taken away within {} s",
                        WRITE.as_secs()
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Takes our annotation away and touches nothing else, and only of this Machine as it was seen.
fn without_hook(machine: &Leaving) -> serde_json::Value {
    json!({ "metadata": {
        "uid": machine.uid,
        "resourceVersion": machine.version,
        "annotations": { HOOK: null },
    } })
}

/// Keeps it if it is about to go.
fn place(machines: &mut BTreeMap<ObjectName, DynamicObject>, machine: DynamicObject) {
    let Some(name) = ObjectName::of(&machine.metadata) else { return };
    if is_leaving(&machine) {
        machines.insert(name, machine);
    } else {
        machines.remove(&name);
    }
}

/// Machines as the API server knows them.
async fn resource(client: &Client) -> Result<ApiResource, String> {
    let groups = client.list_api_groups().await.map_err(|error| chain(&error))?;
    let group = groups.groups.into_iter().find(|it| it.name == GROUP);
    let known: Vec<String> = group.into_iter().flat_map(|it| it.versions).map(|it| it.version).collect();
    let version = VERSIONS.into_iter().find(|version| known.iter().any(|it| it == version));
    let version = version.ok_or_else(|| {
        format!(
            "its API knows no Machines ({GROUP}, {}): name the kubeconfig of the management cluster in `machines`",
            VERSIONS.join(" or ")
        )
    })?;
    Ok(ApiResource::from_gvk(&GroupVersionKind::gvk(GROUP, version, "Machine")))
}
