//! The API of a Kubernetes cluster: real kube-apiservers with a real etcd, on machines of the lab.
//!
//! Nothing else of Kubernetes runs: no kubelet, no kube-proxy, no controller. Nodes and endpoints are what the test says
//! (`objects`), node ports are redirected to the lab's real backends ([`KubeProxy`]), no namespace gets a service account
//! unasked, and a namespace that is deleted stays.

mod apiserver;
mod authority;
mod kubectl;
mod objects;
mod pod;
mod proxy;
mod scene;

pub use apiserver::Apiserver;
pub use kubectl::Kubectl;
pub use objects::Endpoint;
pub use pod::Pod;
pub use proxy::KubeProxy;
pub use scene::{LONG, Scene, USER};

use super::{Etcd, Lab, Machine};
use crate::LabError;
use crate::error::{Context, Result};
use authority::{Authority, Credentials};
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The port of an apiserver.
pub const API_PORT: u16 = 6443;
/// The rights of our account, as they are shipped.
pub const RBAC: &str = include_str!("../../../packaging/kubernetes/rbac.yaml");

/// A Service of our class, as it is applied.
#[must_use]
pub fn service(name: &str, node_port: u16) -> String {
    format!(
        "---\n{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: default}}, spec: {{type: LoadBalancer, \
         loadBalancerClass: fulcrum.dev/lb, selector: {{app: web}}, ports: [{{name: http, port: 80, nodePort: {node_port}}}]}}}}\n"
    )
}

/// A cluster's API. Several in one lab are each on machines of their own.
#[derive(Debug)]
pub struct KubernetesApi {
    /// The apiservers; one, unless more were asked for.
    pub servers: Vec<Apiserver>,
    /// What they keep their objects in; it ends after them.
    pub etcd: Etcd,
    authority: Authority,
    programs: PathBuf,
}

impl KubernetesApi {
    /// One apiserver and its etcd on a machine, ready.
    ///
    /// # Errors
    /// There is no kube-apiserver, or it does not become ready: says why.
    pub fn start(machine: &Machine) -> Result<Self> {
        let mut api = Self::prepare(machine, std::slice::from_ref(machine), &[])?;
        api.start_servers()?;
        Ok(api)
    }

    /// One apiserver on a machine of its own, and our account there, with the rights that are shipped.
    ///
    /// # Errors
    /// There is no kube-apiserver, or it does not become ready: says why.
    pub fn with_account(lab: &Lab) -> Result<(Self, Kubectl)> {
        let api = Self::start(&lab.machine("k8s", 31)?)?;
        api.apply(RBAC)?;
        let account = api.service_account("fulcrum-system", "fulcrum", "1h")?;
        Ok((api, account))
    }

    /// etcd, and all that apiservers on these machines need to be started, one or all. Their certificates are also good for
    /// `further` addresses: the VIP before them.
    ///
    /// # Errors
    /// There is no kube-apiserver, or etcd does not start.
    pub fn prepare(etcd: &Machine, machines: &[Machine], further: &[IpAddr]) -> Result<Self> {
        let programs = programs()?;
        let authority = Authority::new(etcd, machines, further)?;
        let etcd = Etcd::start(etcd)?;
        let prepare = |machine| Apiserver::prepare(machine, &etcd.machine, &authority, &programs);
        let servers = machines.iter().map(prepare).collect::<Result<_>>()?;
        Ok(Self { servers, etcd, authority, programs })
    }

    /// Starts every apiserver and waits until all are ready.
    ///
    /// # Errors
    /// One does not become ready.
    pub fn start_servers(&mut self) -> Result<()> {
        for server in &mut self.servers {
            server.start()?;
        }
        self.servers.iter().try_for_each(Apiserver::wait_ready)
    }

    /// The first apiserver.
    ///
    /// # Errors
    /// There is none.
    pub fn server(&mut self) -> Result<&mut Apiserver> {
        self.servers.first_mut().ok_or_else(|| LabError::new("a cluster without an apiserver"))
    }

    /// Where the first apiserver is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        let machine = self.servers.first().map_or(&self.etcd.machine, |server| &server.machine);
        SocketAddr::new(machine.ipv4(), API_PORT)
    }

    /// The certificate of the authority that signed the apiservers' certificates.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.authority.ca()
    }

    /// `kubectl` of who may do everything, at the first apiserver.
    ///
    /// # Errors
    /// Its files can't be written.
    pub fn admin(&self) -> Result<Kubectl> {
        self.user("admin", Some("system:masters"))
    }

    /// What the admin's `kubectl` prints.
    ///
    /// # Errors
    /// It fails, or takes longer than a minute.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.admin()?.run(arguments)
    }

    /// The JSON that the admin's `kubectl` prints with `--output=json`.
    ///
    /// # Errors
    /// It fails, or takes longer than a minute.
    pub fn get(&self, arguments: &[&str]) -> Result<Value> {
        self.admin()?.get(arguments)
    }

    /// Applies objects, YAML or JSON, as the admin.
    ///
    /// # Errors
    /// One is refused: says why.
    pub fn apply(&self, objects: &str) -> Result<String> {
        self.admin()?.apply(objects)
    }

    /// Somebody with a client certificate, who may do what RBAC allows this name or group: nothing, at first.
    ///
    /// # Errors
    /// The files can't be written.
    pub fn user(&self, name: &str, group: Option<&str>) -> Result<Kubectl> {
        let credentials = self.authority.client(name, group)?;
        self.account(name, credentials)
    }

    /// A service account, made if there is none (its namespace too), with a token of the apiserver's that lasts for `duration`
    /// (`10m`, the shortest that Kubernetes gives; `24h`). The token is in the file [`Kubectl::token`] and is no longer good once the
    /// account is deleted. Asked for again, the same files get a new one.
    ///
    /// # Errors
    /// The apiserver refuses.
    pub fn service_account(&self, namespace: &str, name: &str, duration: &str) -> Result<Kubectl> {
        self.apply(&format!(
            "{{apiVersion: v1, kind: Namespace, metadata: {{name: {namespace}}}}}\n---\n\
             {{apiVersion: v1, kind: ServiceAccount, metadata: {{name: {name}, namespace: {namespace}}}}}\n"
        ))?;
        let duration = format!("--duration={duration}");
        let token = self.kubectl(&["create", "token", name, "--namespace", namespace, &duration])?;
        let name = format!("{namespace}.{name}");
        let token = self.authority.token(&name, token.trim())?;
        self.account(&name, token)
    }

    fn account(&self, name: &str, credentials: Credentials) -> Result<Kubectl> {
        let machine = self.servers.first().map_or(&self.etcd.machine, |server| &server.machine);
        Kubectl::new(&self.programs, machine, &self.ca(), name, credentials)?.at(self.address())
    }

    /// What `user` asked of the apiservers (`system:serviceaccount:<namespace>:<name>`, or the name in a certificate): the events
    /// of their audit logs, level Metadata, in order for each. Those of the admin and of the apiservers themselves are not kept.
    #[must_use]
    pub fn asked_by(&self, user: &str) -> Vec<Value> {
        let mut events = Vec::new();
        for server in &self.servers {
            let text = std::fs::read_to_string(server.audit_log()).unwrap_or_default();
            // The last line may be half written.
            events.extend(text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()));
        }
        events.retain(|event| event.pointer("/user/username").is_some_and(|it| it == user));
        events
    }

    /// Those of them that change something.
    #[must_use]
    pub fn written_by(&self, user: &str) -> Vec<Value> {
        let reads = ["get", "list", "watch"];
        let mut events = self.asked_by(user);
        events.retain(|event| {
            event.get("verb").and_then(Value::as_str).is_some_and(|verb| !reads.contains(&verb))
        });
        events
    }
}

/// The directory of kube-apiserver and kubectl: `FULCRUM_KUBE_APISERVER`, or what was built.
fn programs() -> Result<PathBuf> {
    if let Some(directory) = std::env::var_os("FULCRUM_KUBE_APISERVER") {
        return Ok(directory.into());
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/kube-apiserver.sh");
    let mut command = Command::new(script);
    command.arg("--find");
    let found = super::run(command).context("find a kube-apiserver")?;
    Ok(PathBuf::from(found.trim()))
}
