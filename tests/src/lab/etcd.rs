//! A real etcd of one member, as a witness or as the store of apiservers.

use super::{Machine, Process};
use crate::error::Result;
use crate::wait::wait_until;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

/// An etcd on port 2379 of a machine.
#[derive(Debug)]
pub struct Etcd {
    /// Where it runs.
    pub machine: Machine,
    process: Process,
}

impl Etcd {
    /// Starts it and waits until it accepts. What it kept in an earlier life it still has.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(machine: &Machine) -> Result<Self> {
        let client = format!("http://{}", SocketAddr::new(machine.ipv4(), 2379));
        let peer = "http://127.0.0.1:2380";
        let mut command = Command::new("etcd");
        command.arg("--name=witness").arg("--data-dir").arg(machine.file("etcd"));
        command.arg("--listen-client-urls").arg(&client).arg("--advertise-client-urls").arg(&client);
        command.arg("--listen-peer-urls").arg(peer).arg("--initial-advertise-peer-urls").arg(peer);
        command.arg(format!("--initial-cluster=witness={peer}"));
        // It is looked for by what it is told here alone.
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        let process = machine.spawn("etcd", command)?;
        let address = SocketAddr::new(machine.ipv4(), 2379);
        wait_until(&format!("etcd on {}", machine.name()), Duration::from_secs(20), || {
            machine.namespace().enter(|| TcpStream::connect(address).is_ok()).unwrap_or(false)
        })?;
        Ok(Self { machine: machine.clone(), process })
    }

    /// Takes its quorum away: a second member that does not exist is made, and of two one is none.
    ///
    /// # Errors
    /// It does not answer.
    pub fn lose_quorum(&self) -> Result<()> {
        let url = format!("http://{}:2379/v3/cluster/member/add", self.machine.ipv4());
        let arguments = ["--silent", "--show-error", "--fail", "--max-time", "5", "--data"];
        let member = "{\"peerURLs\": [\"http://127.0.0.1:9\"]}";
        self.machine.run("curl", &[&arguments[..], &[member, &url]].concat()).map(drop)
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }
}
