//! A cluster whose Services two nodes of ours serve.

use super::{KubeProxy, Kubectl, KubernetesApi};
use crate::LabError;
use crate::error::Result;
use crate::lab::{Cluster, Fulcrum, Lab, Machine, wait_settled};
use crate::probe::{Sample, request};
use crate::wait::{wait_for, wait_until};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// How long what needs a watch, an agreement and a check may take on a busy machine.
pub const LONG: Duration = Duration::from_secs(30);
/// Who Fulcrum is to the apiserver.
pub const USER: &str = "system:serviceaccount:fulcrum-system:fulcrum";
/// What the kubeconfig stands for in the text of clusters.
const KUBECONFIG: &str = "KUBECONFIG";

/// An apiserver, two Kubernetes nodes (the web machines of the lab), and nodes of ours before them.
#[derive(Debug)]
pub struct Scene {
    /// The client, the Kubernetes nodes, and the machines and file of our nodes.
    pub cluster: Cluster,
    /// Our nodes.
    pub nodes: Vec<Fulcrum>,
    /// The API.
    pub api: KubernetesApi,
    /// Our account.
    pub account: Kubectl,
    /// What kube-proxy does on each Kubernetes node.
    pub proxies: Vec<KubeProxy>,
}

impl Scene {
    /// With one cluster, `prod`, as it is by default.
    ///
    /// # Errors
    /// It does not come up.
    pub fn new(lab: &Lab) -> Result<Self> {
        Self::with(lab, "prod: {kubeconfig: KUBECONFIG}", |_| Ok(()))
    }

    /// With these lines under `kubernetes:`, of which each may name the same API by `KUBECONFIG`.
    ///
    /// # Errors
    /// It does not come up.
    pub fn with(lab: &Lab, clusters: &str, prepare: impl FnOnce(&mut Cluster) -> Result<()>) -> Result<Self> {
        let mut cluster = Cluster::new(lab, 2, 1)?;
        cluster.of_pool = true;
        prepare(&mut cluster)?;
        let (api, account) = KubernetesApi::with_account(lab)?;
        for web in &cluster.web {
            api.add_node(&web.machine)?;
        }
        let proxies = cluster.web.iter().map(|web| KubeProxy::on(&web.machine)).collect();
        cluster.sections.push_str("kubernetes:\n");
        // Writing to a String does not fail.
        for line in clusters.lines() {
            let line = line.replace(KUBECONFIG, &account.kubeconfig().display().to_string());
            writeln!(cluster.sections, "  {line}").ok();
        }
        let nodes = cluster.start_all()?;
        let scene = Self { cluster, nodes, api, account, proxies };
        wait_settled(&scene.nodes.iter().collect::<Vec<_>>())?;
        scene.wait_clusters("the API to answer", is_reached)?;
        Ok(scene)
    }

    /// A node port of every Kubernetes node leads to its web server, or another port of the machine.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn node_port(&mut self, protocol: &str, node_port: u16, port: u16) -> Result<()> {
        self.proxies.iter_mut().try_for_each(|proxy| proxy.node_port(protocol, node_port, port))
    }

    /// What a node says of its clusters.
    #[must_use]
    pub fn seen(node: &Fulcrum) -> Vec<Value> {
        let status = node.status().ok();
        status.and_then(|it| it.0.get("kubernetes")?.as_array().cloned()).unwrap_or_default()
    }

    /// Until it is so of each cluster on each node that lives.
    ///
    /// # Errors
    /// It does not become so.
    pub fn wait_clusters(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Result<()> {
        let holds = |node: &Fulcrum| {
            let clusters = Self::seen(node);
            !clusters.is_empty() && clusters.iter().all(&is_so)
        };
        let seen = || self.nodes.iter().map(Self::seen).collect::<Vec<_>>();
        wait_until(what, LONG, || self.nodes.iter().all(holds))
            .map_err(|error| LabError::new(format!("{error}: {:?}", seen())))
    }

    /// A Service of the namespace `default`, as it is now.
    ///
    /// # Errors
    /// There is none.
    pub fn service(&self, name: &str) -> Result<Value> {
        self.api.get(&["service", name])
    }

    /// The addresses that a Service has, once its status says some.
    ///
    /// # Errors
    /// It gets none: says what it is told.
    pub fn addresses(&self, name: &str) -> Result<Vec<IpAddr>> {
        let mut last = Value::Null;
        wait_for(&format!("an address of {name}"), LONG, || {
            last = self.service(name).ok()?.get("status")?.clone();
            let found = addresses_in(&last);
            (!found.is_empty()).then_some(found)
        })
        .map_err(|error| LabError::new(format!("{error}: {last}")))
    }

    /// The first of them.
    ///
    /// # Errors
    /// It gets none.
    pub fn address(&self, name: &str) -> Result<IpAddr> {
        let first = self.addresses(name)?.first().copied();
        first.ok_or_else(|| LabError::new(format!("{name} has no address")))
    }

    /// What a Service is told, once its condition has this reason.
    ///
    /// # Errors
    /// It does not get there.
    pub fn told(&self, name: &str, reason: &str) -> Result<String> {
        let mut last = None;
        wait_for(&format!("{name} to be told {reason}"), LONG, || {
            last = condition(&self.service(name).ok()?);
            last.clone().filter(|(it, _)| it == reason).map(|(_, message)| message)
        })
        .map_err(|error| LabError::new(format!("{error}: {last:?}")))
    }

    /// One request of the client's, at once.
    #[must_use]
    pub fn ask(&self, address: IpAddr, port: u16) -> Option<Sample> {
        self.ask_from(&self.cluster.client, address, port)
    }

    /// One request of a machine's, at once.
    #[must_use]
    pub fn ask_from(&self, machine: &Machine, address: IpAddr, port: u16) -> Option<Sample> {
        request(machine, SocketAddr::new(address, port), Duration::from_secs(1)).ok()
    }

    /// Until there is an answer.
    ///
    /// # Errors
    /// There is none.
    pub fn answers(&self, address: IpAddr, port: u16) -> Result<Sample> {
        let mut last = None;
        wait_for(&format!("an answer at {address} port {port}"), LONG, || {
            last = self.ask(address, port);
            last.clone().filter(Sample::is_answer)
        })
        .map_err(|error| LabError::new(format!("{error}: {last:?}")))
    }

    /// Who answers `count` requests, and how often. All must be answered.
    ///
    /// # Errors
    /// One is not.
    pub fn who(&self, address: IpAddr, port: u16, count: usize) -> Result<BTreeMap<String, usize>> {
        let mut found: BTreeMap<String, usize> = BTreeMap::new();
        for _ in 0..count {
            let sample = self.ask(address, port);
            let Some(backend) = sample.as_ref().and_then(Sample::backend) else {
                return Err(LabError::new(format!("no answer at {address} port {port}: {sample:?}")));
            };
            let times = found.entry(backend.to_owned()).or_default();
            *times = times.saturating_add(1);
        }
        Ok(found)
    }

    /// Until these, and nobody else, answer eight requests in a row.
    ///
    /// # Errors
    /// Others do.
    pub fn wait_who(&self, address: IpAddr, port: u16, expected: &[&str]) -> Result<()> {
        let mut last = None;
        wait_until(&format!("{expected:?} to answer at {address} port {port}"), LONG, || {
            let seen = self.who(address, port, 8);
            let is_so = seen.as_ref().is_ok_and(|seen| seen.keys().eq(expected.iter()));
            last = Some(seen);
            is_so
        })
        .map_err(|error| LabError::new(format!("{error}: {last:?}")))
    }

    /// What our account wrote, as `verb resource/subresource name`.
    #[must_use]
    pub fn written(&self) -> Vec<String> {
        self.api.written_by(USER).iter().map(audited).collect()
    }

    /// Which node leads the group of an address.
    ///
    /// # Errors
    /// None does.
    pub fn leader_of(&self, address: IpAddr) -> Result<usize> {
        let group = address.to_string();
        let leads = |node: &Fulcrum| node.status().is_ok_and(|status| status.role(&group) == Some("leader"));
        wait_for(&format!("a leader of {group}"), LONG, || self.nodes.iter().position(leads))
    }

    /// Which node applies and writes.
    ///
    /// # Errors
    /// None does.
    pub fn writer(&self) -> Result<usize> {
        let writes = |node: &Fulcrum| {
            let clusters = Self::seen(node);
            clusters.iter().any(|it| it.get("writes").is_some_and(|it| *it == true))
        };
        wait_for("a node that writes", LONG, || self.nodes.iter().position(writes))
    }
}

/// Whether the API answers, and nothing is wrong.
fn is_reached(seen: &Value) -> bool {
    seen.get("reached_since").is_some_and(Value::is_number) && seen.get("error").is_none_or(Value::is_null)
}

fn addresses_in(status: &Value) -> Vec<IpAddr> {
    let ingress = status.pointer("/loadBalancer/ingress").and_then(Value::as_array);
    let addresses = ingress.into_iter().flatten().filter_map(|it| it.get("ip")?.as_str()?.parse().ok());
    addresses.collect()
}

fn condition(service: &Value) -> Option<(String, String)> {
    let conditions = service.pointer("/status/conditions")?.as_array()?;
    let ours = conditions.iter().find(|it| it.get("type").is_some_and(|it| it == "fulcrum.dev/Served"))?;
    let word = |key| ours.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    Some((word("reason"), word("message")))
}

/// An event of an audit log, as `verb resource/subresource name`; of what is named by the apiserver without the name.
fn audited(event: &Value) -> String {
    let word = |at: &str| event.pointer(at).and_then(Value::as_str).unwrap_or_default();
    let (verb, resource) = (word("/verb"), word("/objectRef/resource"));
    let (part, name) = (word("/objectRef/subresource"), word("/objectRef/name"));
    let slash = if part.is_empty() { "" } else { "/" };
    let name = if verb == "create" { "" } else { name };
    format!("{verb} {resource}{slash}{part} {name}").trim().to_owned()
}
