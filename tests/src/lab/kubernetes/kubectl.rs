//! A real kubectl, as somebody.

use super::authority::{Credentials, kubeconfig};
use crate::error::{Context, Result};
use crate::lab::process::run_reading;
use crate::lab::{Machine, Process};
use serde_json::Value;
use std::io::{Seek, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Seconds after which a command is ended.
const BOUND: u32 = 60;

/// Somebody's `kubectl`: from a machine, to a server, with a kubeconfig that others may use too.
#[derive(Debug, Clone)]
pub struct Kubectl {
    program: PathBuf,
    machine: Machine,
    ca: PathBuf,
    name: String,
    credentials: Credentials,
    kubeconfig: PathBuf,
}

impl Kubectl {
    pub(super) fn new(
        programs: &Path,
        machine: &Machine,
        ca: &Path,
        name: &str,
        credentials: Credentials,
    ) -> Result<Self> {
        let (program, machine, ca, name) =
            (programs.join("kubectl"), machine.clone(), ca.to_owned(), name.to_owned());
        Ok(Self { program, machine, ca, name, credentials, kubeconfig: PathBuf::new() })
    }

    /// The same, to another address of the API: a VIP, another apiserver.
    ///
    /// # Errors
    /// The kubeconfig can't be written.
    pub fn at(mut self, server: SocketAddr) -> Result<Self> {
        let text = kubeconfig(&format!("https://{server}"), &self.ca, &self.name, &self.credentials);
        let place = server.ip().to_string().replace(':', ".");
        // Beside the other files of its cluster, and one for each place: somebody may use both.
        let directory = self.ca.with_file_name(format!("{}-at-{place}.kubeconfig", self.prefix()));
        std::fs::write(&directory, text).context("write a kubeconfig")?;
        self.kubeconfig = directory;
        Ok(self)
    }

    /// What the names of its files begin with.
    fn prefix(&self) -> String {
        let file = self.ca.file_name().unwrap_or_default().to_string_lossy().into_owned();
        format!("{}-user-{}", file.trim_end_matches("-ca.pem"), self.name)
    }

    /// The same, from another machine.
    #[must_use]
    pub fn from(mut self, machine: &Machine) -> Self {
        self.machine = machine.clone();
        self
    }

    /// Its kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The file of its token, of a service account.
    #[must_use]
    pub fn token(&self) -> Option<&Path> {
        match &self.credentials {
            Credentials::Token(path) => Some(path),
            Credentials::Certificate(..) => None,
        }
    }

    fn command(&self, mut command: Command, arguments: &[&str]) -> Command {
        command.arg(format!("--kubeconfig={}", self.kubeconfig.display())).args(arguments);
        let path = std::env::var_os("PATH").unwrap_or_default();
        // What it caches is the lab's.
        command.env_clear().env("PATH", path).env("HOME", self.machine.file("home"));
        command
    }

    /// What it prints.
    ///
    /// # Errors
    /// It fails, or takes longer than a minute: says what it printed.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        self.run_reading(arguments, "")
    }

    /// What it prints when it is given `input`.
    ///
    /// # Errors
    /// It fails, or takes longer than a minute: says what it printed.
    pub fn run_reading(&self, arguments: &[&str], input: &str) -> Result<String> {
        let mut file = tempfile::tempfile().context("a file for kubectl's input")?;
        file.write_all(input.as_bytes())?;
        file.rewind()?;
        let mut bounded = Command::new("timeout");
        bounded.arg("--kill-after=5").arg(BOUND.to_string()).arg(&self.program);
        let command = self.command(bounded, arguments);
        self.machine.namespace().enter(move || run_reading(command, Stdio::from(file)))?
    }

    /// The JSON that it prints with `--output=json`.
    ///
    /// # Errors
    /// It fails, or takes longer than a minute: says what it printed.
    pub fn get(&self, arguments: &[&str]) -> Result<Value> {
        let arguments = [&["get", "--output=json"], arguments].concat();
        Ok(serde_json::from_str(&self.run(&arguments)?)?)
    }

    /// Applies objects, YAML or JSON. Server-side: it asks once for each, and keeps no annotation of its own.
    ///
    /// # Errors
    /// One is refused: says why.
    pub fn apply(&self, objects: &str) -> Result<String> {
        self.run_reading(&["apply", "--server-side", "--force-conflicts", "--filename=-"], objects)
    }

    /// Starts it, for a `--watch`; what it prints goes to the log `<machine>-<name>.log`.
    ///
    /// # Errors
    /// It can't be started.
    pub fn spawn(&self, name: &str, arguments: &[&str]) -> Result<Process> {
        self.machine.spawn(name, self.command(Command::new(&self.program), arguments))
    }
}
