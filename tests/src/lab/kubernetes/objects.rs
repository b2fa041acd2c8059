//! What kubelets and controllers would write: nodes and endpoints.

use super::KubernetesApi;
use crate::error::Result;
use crate::lab::Machine;
use serde_json::{Value, json};
use std::net::IpAddr;

/// How many objects one kubectl is given; it makes some 100 a second.
const AT_ONCE: usize = 1000;

/// An endpoint of a service.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Of the pod.
    pub address: IpAddr,
    /// The Kubernetes node that it runs on.
    pub node: String,
    /// Whether it takes new connections.
    pub ready: bool,
    /// Whether it is on its way out; it may still serve.
    pub terminating: bool,
}

impl Endpoint {
    /// A ready one, whose pod has the address of its node.
    #[must_use]
    pub fn on(machine: &Machine) -> Self {
        Self { address: machine.ipv4(), node: machine.name().to_owned(), ready: true, terminating: false }
    }
}

impl KubernetesApi {
    /// Makes many new objects, some 100 a second.
    ///
    /// # Errors
    /// One is refused, or is there already.
    pub fn create_all(&self, objects: &[Value]) -> Result<()> {
        let admin = self.admin()?;
        for items in objects.chunks(AT_ONCE) {
            let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
            admin.run_reading(&["create", "--filename=-"], &list.to_string())?;
        }
        Ok(())
    }

    /// Makes a machine a Kubernetes node that is ready, with its addresses as internal ones.
    ///
    /// # Errors
    /// The apiserver refuses.
    pub fn add_node(&self, machine: &Machine) -> Result<()> {
        let addresses = [machine.ipv4(), machine.ipv6()];
        self.add_node_at(machine.name(), &addresses)
    }

    /// The same for a node of which there is no machine.
    ///
    /// # Errors
    /// The apiserver refuses.
    pub fn add_node_at(&self, name: &str, addresses: &[IpAddr]) -> Result<()> {
        // Names may be longer than labels.
        let host = name.split('.').next();
        let labels = json!({"kubernetes.io/hostname": host, "kubernetes.io/os": "linux"});
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}});
        self.apply(&node.to_string())?;
        // A new node is tainted until a controller, which is not there, has seen it.
        self.patch("node", name, &[], &json!({"spec": {"taints": null}}))?;
        let internal = addresses.iter().map(|address| json!({"type": "InternalIP", "address": address}));
        let mut addresses: Vec<Value> = internal.collect();
        addresses.push(json!({"type": "Hostname", "address": name}));
        self.patch_status(name, &json!({"addresses": addresses}))?;
        self.set_node_ready(name, true)
    }

    /// Says of a node whether it is ready, as its kubelet would.
    ///
    /// # Errors
    /// There is none.
    pub fn set_node_ready(&self, name: &str, ready: bool) -> Result<()> {
        let (status, reason) = if ready { ("True", "KubeletReady") } else { ("False", "KubeletNotReady") };
        let condition =
            json!({"type": "Ready", "status": status, "reason": reason, "message": "a test said so"});
        self.patch_status(name, &json!({"conditions": [condition]}))
    }

    fn patch_status(&self, node: &str, status: &Value) -> Result<()> {
        self.patch("node", node, &["--subresource=status"], &json!({"status": status}))
    }

    /// A strategic merge patch.
    ///
    /// # Errors
    /// The apiserver refuses.
    pub fn patch(&self, kind: &str, name: &str, further: &[&str], patch: &Value) -> Result<()> {
        let patch = patch.to_string();
        let arguments = [&["patch", kind, name, "--patch", &patch], further].concat();
        self.kubectl(&arguments).map(drop)
    }

    /// Says what the endpoints of a service are, as the endpoint slice controller would: one slice for each family, whose ports
    /// (name, protocol, port of the pod) are all the service's. Those that were there before are replaced.
    ///
    /// # Errors
    /// The apiserver refuses.
    pub fn set_endpoints(
        &self,
        namespace: &str,
        service: &str,
        ports: &[(&str, &str, u16)],
        endpoints: &[Endpoint],
    ) -> Result<()> {
        let ports: Vec<Value> = ports
            .iter()
            .map(|(name, protocol, port)| json!({"name": name, "protocol": protocol, "port": port}))
            .collect();
        let slices = ["IPv4", "IPv6"].map(|family| {
            let of_family = endpoints.iter().filter(|it| it.address.is_ipv4() == (family == "IPv4"));
            json!({
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    "name": format!("{service}-{}", family.to_lowercase()),
                    "namespace": namespace,
                    "labels": {
                        "kubernetes.io/service-name": service,
                        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
                    },
                },
                "addressType": family,
                "ports": ports,
                "endpoints": of_family.map(Endpoint::to_json).collect::<Vec<_>>(),
            })
        });
        let list = json!({"apiVersion": "v1", "kind": "List", "items": slices});
        self.apply(&list.to_string()).map(drop)
    }
}

impl Endpoint {
    fn to_json(&self) -> Value {
        json!({
            "addresses": [self.address],
            "nodeName": self.node,
            "conditions": {
                "ready": self.ready && !self.terminating,
                "serving": self.ready,
                "terminating": self.terminating,
            },
        })
    }
}
