//! What a container of a pod finds around itself, for a process of the lab that uses its machine's network: the files of its
//! service account, few capabilities, settings that it can't write to, and the directories that it is given.

use super::{Kubectl, KubernetesApi};
use crate::LabError;
use crate::error::{Context, Result};
use crate::lab::{Fulcrum, Machine};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

/// Where a pod finds its account.
const ACCOUNT: &str = "/run/secrets/kubernetes.io/serviceaccount";
/// Where it is given the settings of its node's network.
const SETTINGS: &str = "/run/host/proc/sys/net";

/// The container of a pod on a machine.
#[derive(Debug)]
pub struct Pod {
    machine: Machine,
    /// Its account's files.
    account: PathBuf,
    capabilities: Vec<String>,
    server: SocketAddr,
}

impl Pod {
    /// With these capabilities, as a container names them (`NET_ADMIN`), and nothing of an account but the directory.
    ///
    /// # Errors
    /// Its files can't be made.
    pub fn on(machine: &Machine, capabilities: &[String]) -> Result<Self> {
        let account = machine.file("account");
        std::fs::create_dir_all(&account).context("make the directory of an account")?;
        let capabilities = capabilities.iter().map(|it| it.to_lowercase()).collect();
        Ok(Self {
            machine: machine.clone(),
            account,
            capabilities,
            server: SocketAddr::from(([127, 0, 0, 1], 1)),
        })
    }

    /// The account of the pod, at this API.
    ///
    /// # Errors
    /// Its files can't be written, or it has no token.
    pub fn account(mut self, api: &KubernetesApi, account: &Kubectl) -> Result<Self> {
        self.server = api.address();
        std::fs::copy(api.ca(), self.account.join("ca.crt")).context("copy the authority")?;
        std::fs::write(self.account.join("namespace"), "fulcrum-system").context("write the namespace")?;
        self.rotate(account)?;
        Ok(self)
    }

    /// Puts the account's token, which is another one by now, in place of the last, at once as a kubelet does.
    ///
    /// # Errors
    /// There is none, or the file can't be written.
    pub fn rotate(&self, account: &Kubectl) -> Result<()> {
        let token = account.token().ok_or_else(|| LabError::new("an account without a token"))?;
        let new = self.account.join("..new");
        std::fs::copy(token, &new).context("copy a token")?;
        std::fs::rename(new, self.account.join("token")).context("replace a token")
    }

    /// Starts a node in it.
    ///
    /// # Errors
    /// It can't be started.
    pub fn start(&self, config: &str) -> Result<Fulcrum> {
        Fulcrum::start_with(&self.machine, config, |command| self.enclose(command))
    }

    fn enclose(&self, command: &mut Command) {
        let add: Vec<String> = self.capabilities.iter().map(|it| format!(",+{it}")).collect();
        let script = format!(
            "mount -t tmpfs run /run && mkdir -p {ACCOUNT} {SETTINGS} && mount --bind {} {ACCOUNT} && \
             mount --bind /proc/sys/net {SETTINGS} && \
             mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && \
             mount -t bpf bpf /sys/fs/bpf && \
             exec setpriv --bounding-set=-all{} --no-new-privs -- \"$0\" \"$@\"",
            self.account.display(),
            add.concat()
        );
        let mut enclosed = Command::new("unshare");
        enclosed.args(["--mount", "--propagation", "private", "sh", "-c", &script]);
        enclosed.arg(command.get_program()).args(command.get_args());
        enclosed.env("KUBERNETES_SERVICE_HOST", self.server.ip().to_string());
        enclosed.env("KUBERNETES_SERVICE_PORT", self.server.port().to_string());
        enclosed.env("NODE_NAME", self.machine.name());
        *command = enclosed;
    }
}
