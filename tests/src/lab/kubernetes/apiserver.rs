//! One kube-apiserver.

use super::API_PORT;
use super::authority::Authority;
use crate::LabError;
use crate::error::Result;
use crate::lab::{Machine, Process, run};
use crate::wait::wait_for;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// What is kept of requests: who asked for what, except for what the admin and the apiserver itself ask for.
const AUDIT: &str = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n\
    - {level: None, users: [\"system:apiserver\", \"system:anonymous\"]}\n\
    - {level: None, userGroups: [\"system:masters\"]}\n\
    - {level: Metadata}\n";
/// One that starts on a busy machine; it takes some seconds by itself.
const READY: Duration = Duration::from_secs(90);

/// A kube-apiserver on port 6443 of a machine: started, and gone, as often as a test wants. What it knows is in etcd.
#[derive(Debug)]
pub struct Apiserver {
    /// Where it runs.
    pub machine: Machine,
    program: PathBuf,
    arguments: Vec<String>,
    ca: PathBuf,
    process: Option<Process>,
}

impl Apiserver {
    pub(super) fn prepare(
        machine: &Machine,
        etcd: &Machine,
        authority: &Authority,
        programs: &Path,
    ) -> Result<Self> {
        let ((certificate, key), (public, signing)) = (authority.of_servers(), authority.of_accounts());
        let policy = machine.write("audit-policy.yaml", AUDIT)?;
        let paths = [
            ("tls-cert-file", certificate),
            ("tls-private-key-file", key),
            ("client-ca-file", authority.ca()),
            ("service-account-signing-key-file", signing),
            ("service-account-key-file", public),
            ("audit-policy-file", policy),
            ("audit-log-path", machine.file("audit.json")),
        ];
        let mut arguments: Vec<String> =
            paths.iter().map(|(name, path)| format!("--{name}={}", path.display())).collect();
        arguments.extend([
            format!("--etcd-servers=http://{}", SocketAddr::new(etcd.ipv4(), 2379)),
            format!("--advertise-address={}", machine.ipv4()),
            format!("--secure-port={API_PORT}"),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
            "--service-cluster-ip-range=10.96.0.0/16,fd96::/112".to_owned(),
            // The usual range has ports for 2,768 services.
            "--service-node-port-range=20000-39999".to_owned(),
        ]);
        let (program, ca) = (programs.join("kube-apiserver"), authority.ca());
        Ok(Self { machine: machine.clone(), program, arguments, ca, process: None })
    }

    /// A further argument, such as `--shutdown-delay-duration=5s`, from the next start on.
    pub fn add_argument(&mut self, argument: &str) {
        self.arguments.push(argument.to_owned());
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.machine.ipv4(), API_PORT)
    }

    /// Starts it, without waiting.
    ///
    /// # Errors
    /// It can't be started.
    pub fn start(&mut self) -> Result<()> {
        // What is left of the last one ends first: it has the port.
        self.process = None;
        // Each has a host name of its own, by which several of one cluster know each other.
        let mut command = Command::new("unshare");
        command.args(["--uts", "sh", "-c", "hostname \"$0\" && exec \"$@\"", self.machine.name()]);
        command.arg(&self.program).args(&self.arguments);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        self.process = Some(self.machine.spawn("apiserver", command)?);
        Ok(())
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// It does not become ready.
    pub fn restart(&mut self) -> Result<()> {
        self.start()?;
        self.wait_ready()
    }

    /// Waits until it says that it is ready.
    ///
    /// # Errors
    /// It ends, or does not get there.
    pub fn wait_ready(&self) -> Result<()> {
        let what = format!("the kube-apiserver on {} to be ready", self.machine.name());
        wait_for(&what, READY, || {
            if let Some(status) = self.process.as_ref().and_then(Process::ended) {
                return Some(Err(LabError::new(format!("{what}: it ended: {status}"))));
            }
            let ready = self.is_ready();
            if !ready {
                crate::wait::run_for(Duration::from_millis(100));
            }
            ready.then_some(Ok(()))
        })?
    }

    /// Whether it says that it is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--fail", "--max-time", "2", "--cacert"]).arg(&self.ca);
        command.arg(format!("https://{}/readyz", self.address()));
        self.machine.namespace().enter(move || run(command)).is_ok_and(|answer| answer.is_ok())
    }

    /// Its process.
    ///
    /// # Errors
    /// It was not started.
    pub fn process(&self) -> Result<&Process> {
        let name = self.machine.name();
        self.process
            .as_ref()
            .ok_or_else(|| LabError::new(format!("the kube-apiserver on {name} does not run")))
    }

    /// Kills it, as a power cut would.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&mut self) -> Result<()> {
        self.process()?.kill_with_children()?;
        self.process = None;
        Ok(())
    }

    /// Asks it to end, and waits: requests under way are finished, watches are ended.
    ///
    /// # Errors
    /// It does not run, or not end.
    pub fn stop(&mut self) -> Result<()> {
        self.process()?.terminate(READY)?;
        self.process = None;
        Ok(())
    }

    /// Where it writes what it was asked.
    pub(super) fn audit_log(&self) -> PathBuf {
        self.machine.file("audit.json")
    }
}
