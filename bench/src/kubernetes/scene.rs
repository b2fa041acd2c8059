//! A cluster with many Services, and two nodes before it.

use super::api::Api;
use fulcrum_tests::lab::kubernetes::{KubeProxy, KubernetesApi};
use fulcrum_tests::lab::{Cluster, Fulcrum, Lab, Machine, wait_settled};
use fulcrum_tests::wait::{now, wait_until};
use fulcrum_tests::{LabError, Result};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Who Fulcrum is to the API server.
pub(super) const USER: &str = "system:serviceaccount:fulcrum-system:fulcrum";
pub(super) const SERVICES: &str = "/api/v1/namespaces/default/services";
pub(super) const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
pub(super) const PATIENCE: Duration = Duration::from_secs(120);
/// The first node port.
const NODE_PORT: u32 = 20_000;
/// Connections under way while many services are asked.
const AT_ONCE: usize = 24;

/// How the nodes are told to reach the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reached {
    /// By node ports, with one question per node as its check.
    NodePorts,
    /// Its pods, whose readiness the cluster itself says.
    Pods,
}

pub(super) struct Scene {
    pub(super) cluster: Cluster,
    pub(super) nodes: Vec<Fulcrum>,
    pub(super) kube: KubernetesApi,
    pub(super) api: Api,
    _proxies: Vec<KubeProxy>,
}

impl Scene {
    /// The cluster; no node of ours runs yet.
    pub(super) fn new(lab: &Lab, reached: Reached, mode: &str) -> Result<Self> {
        let mut cluster = Cluster::new(lab, 2, 1)?;
        cluster.of_pool = true;
        let (kube, account) = KubernetesApi::with_account(lab)?;
        let mut proxies = Vec::new();
        for web in &cluster.web {
            kube.add_node(&web.machine)?;
            let mut proxy = KubeProxy::on(&web.machine);
            proxy.node_ports("tcp", 20_000..=39_999, 80)?;
            proxy.node_port("tcp", 10256, 80)?;
            proxies.push(proxy);
            web.machine.run("ip", &["route", "add", "local", "10.79.0.0/16", "dev", "lo"])?;
        }
        cluster.client.run("ip", &["route", "add", "10.78.0.0/16", "dev", "eth0"])?;
        // Half of the pods are on each machine.
        for (web, half) in cluster.web.iter().zip(["10.79.0.0/17", "10.79.128.0/17"]) {
            let via = web.machine.ipv4().to_string();
            cluster
                .nodes
                .iter()
                .try_for_each(|node| node.run("ip", &["route", "add", half, "via", &via]).map(drop))?;
        }
        let (check, backends) = match reached {
            Reached::NodePorts => ("kube-proxy", "node-ports"),
            Reached::Pods => ("none", "pods"),
        };
        cluster.sections = format!(
            "checks:\n  kube-proxy: {{type: http, port: 10256, path: /}}\nkubernetes:\n  prod: {{kubeconfig: {}, \
             mode: {mode}, mode_local: {mode}, check: {check}, backends: {backends}}}\n",
            account.kubeconfig().display()
        );
        let api = Api::start(&kube)?;
        Ok(Self { cluster, nodes: Vec::new(), kube, api, _proxies: proxies })
    }

    fn file(&self, node: &Machine) -> String {
        let text = self.cluster.file(node);
        let text = text.replace("10.77.0.100-10.77.0.149", "10.78.0.0/18");
        text.replace("networks: [10.77.0.0/24]", "networks: [10.77.0.0/24, 10.78.0.0/16]")
    }

    /// Starts both nodes; returns at once.
    pub(super) fn start(&mut self) -> Result<()> {
        let start = |node| Fulcrum::start(node, &self.file(node));
        self.nodes = self.cluster.nodes.iter().map(start).collect::<Result<_>>()?;
        Ok(())
    }

    /// Stops both; with `forget`, they start with nothing on their disks.
    pub(super) fn stop(&mut self, forget: bool) -> Result<()> {
        self.nodes.iter().try_for_each(|node| node.process().terminate(PATIENCE).map(drop))?;
        self.nodes.clear();
        if forget {
            for node in &self.cluster.nodes {
                std::fs::remove_dir_all(node.file("state"))?;
            }
        }
        Ok(())
    }

    pub(super) fn wait_settled(&self) -> Result<()> {
        wait_settled(&self.nodes.iter().collect::<Vec<_>>()).map(drop)
    }

    /// Until every Service's status says its address. Some are asked, again and again: to read all of them costs the API
    /// server more than to write them.
    pub(super) fn wait_told(&self, count: u32) -> Result<()> {
        let is_told = |service: &Value| service["status"]["loadBalancer"]["ingress"].is_array();
        for number in (0..count).step_by((count as usize / 40).max(1)) {
            let path = format!("{SERVICES}/s{number}");
            wait_until(&format!("an address in the status of s{number}"), PATIENCE * 2, || {
                let told = self.api.get(&path).is_ok_and(|service| is_told(&service));
                crate::pause(Duration::from_millis(if told { 0 } else { 200 }));
                told
            })?;
        }
        wait_until("addresses in the status of all Services", PATIENCE, || {
            let services = self.api.get(SERVICES).unwrap_or_default();
            let told = services["items"].as_array().into_iter().flatten().filter(|it| is_told(it)).count();
            let all = told >= count as usize;
            crate::pause(Duration::from_millis(if all { 0 } else { 1_000 }));
            all
        })
    }

    /// Until each of `targets` has answered a new connection once, by `backend` if one is named. Gives when the last did.
    pub(super) fn wait_answers(&self, targets: &[SocketAddr], backend: Option<&str>) -> Result<Instant> {
        self.cluster.client.namespace().enter(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let asked = stream::iter(targets).map(|target| ask_until(*target, backend));
            let all = runtime.block_on(async {
                let asked = asked.buffer_unordered(AT_ONCE).collect::<Vec<Result<()>>>();
                tokio::time::timeout(PATIENCE, asked).await
            });
            let all = all.map_err(|_| LabError::new("not every service answered in time"))?;
            all.into_iter().collect::<Result<()>>()?;
            Ok(now())
        })?
    }
}

/// Asks until the answer is the right one.
async fn ask_until(target: SocketAddr, backend: Option<&str>) -> Result<()> {
    loop {
        let asked = tokio::time::timeout(Duration::from_millis(100), ask(target)).await;
        if let Ok(Ok(answer)) = asked
            && backend.is_none_or(|backend| answer.split_whitespace().any(|word| word == backend))
            && answer.starts_with("HTTP/1.1 200")
        {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn ask(target: SocketAddr) -> std::io::Result<String> {
    let mut stream = tokio::net::TcpStream::connect(target).await?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// What a node's metrics say.
pub(super) fn metrics(node: &Fulcrum) -> Result<String> {
    let mut stream = UnixStream::connect(Fulcrum::socket_of(&node.machine))?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// The value of one of them.
pub(super) fn metric(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or(f64::NAN)
}

/// What a node holds in memory now and held at most, in MiB.
pub(super) fn memory(node: &Fulcrum) -> Result<(f64, f64)> {
    let text = std::fs::read_to_string(format!("/proc/{}/status", node.process().pid().as_raw_nonzero()))?;
    let of = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name));
        value.and_then(|it| it.trim().trim_end_matches(" kB").parse::<f64>().ok()).unwrap_or(f64::NAN)
            / 1024.0
    };
    Ok((of("VmRSS:"), of("VmHWM:")))
}

/// The address of VIP `number`.
pub(super) fn vip(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 78, 1, 0)).saturating_add(number))
}

/// A Service that asks for the address `vip(number / share)`, which `share` of them have together.
pub(super) fn service(number: u32, share: u32, reached: Reached) -> (Value, SocketAddr) {
    let address = vip(number / share);
    let port = 80 + number % share;
    let ports = match reached {
        Reached::NodePorts => json!([{"name": "http", "port": port, "nodePort": NODE_PORT + number}]),
        Reached::Pods => json!([{"name": "http", "port": port}]),
    };
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": format!("s{number}"),
            "annotations": {
                "metallb.io/loadBalancerIPs": address,
                "metallb.io/allow-shared-ip": format!("key-{}", number / share),
            },
        },
        "spec": {
            "type": "LoadBalancer",
            "loadBalancerClass": "fulcrum.dev/lb",
            "allocateLoadBalancerNodePorts": reached == Reached::NodePorts,
            "ports": ports,
        },
    });
    (service, SocketAddr::new(IpAddr::V4(address), u16::try_from(port).unwrap_or(u16::MAX)))
}

/// Pods of Service `number`, of which each has `pods`: on one of the two machines, or on both in turn.
pub(super) fn slice(number: u32, pods: u32, on: Option<usize>) -> Value {
    let endpoint = |pod: u32| {
        let index = number * pods + pod;
        let half = on.unwrap_or((pod % 2) as usize);
        let base = u32::from(Ipv4Addr::new(10, 79, if half == 0 { 0 } else { 128 }, 0));
        // Each half of the network has 32,768 addresses; two pods of a Service follow each other in different ones.
        let address = Ipv4Addr::from(base + 1 + if on.is_some() { pod } else { index / 2 });
        json!({
            "addresses": [address],
            "nodeName": format!("web{}", half + 1),
            "conditions": {"ready": true, "serving": true, "terminating": false},
        })
    };
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": format!("s{number}-x"),
            "labels": {
                "kubernetes.io/service-name": format!("s{number}"),
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
            },
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "protocol": "TCP", "port": 80}],
        "endpoints": (0..pods).map(endpoint).collect::<Vec<_>>(),
    })
}
