//! A machine whose first process is a real systemd, with the unit that is shipped and nothing else.

use super::{Fulcrum, Machine, Plan, Process, Status, fulcrum_binary, memory, run};
use crate::error::{Context, Result};
use crate::wait::{wait_for, wait_until};
use rustix::process::Pid;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const UNIT: &str = include_str!("../../../daemon/fulcrum.service");
const BOOT: &str = include_str!("systemd.sh");
const PATIENCE: Duration = Duration::from_secs(20);

/// A machine that systemd runs. It ends with all that runs on it when this is dropped.
#[derive(Debug)]
pub struct Systemd {
    machine: Machine,
    process: Process,
    init: Pid,
}

impl Systemd {
    /// Boots it, with a node's file and key, and the binary under test, where the unit expects them. The unit is not started.
    ///
    /// # Errors
    /// There is no systemd, there are no control groups of version 2, or it does not boot.
    pub fn boot(machine: &Machine, config: &str) -> Result<Self> {
        let place = machine.file("root");
        std::fs::create_dir_all(&place).context("make a directory")?;
        let group = memory::control_group(machine.namespace().name())?;
        let enter = format!(
            "echo $$ > {}/cgroup.procs && exec unshare --mount --propagation private --pid --fork --kill-child --uts \
             --ipc --cgroup sh -c \"$0\"",
            group.display()
        );
        let mut command = Command::new("sh");
        command.args(["-c", &enter, BOOT]).env("LAB_PLACE", place).env("LAB_BINARY", fulcrum_binary()?);
        command
            .env("LAB_LOG", machine.write("fulcrum.log", "")?)
            .env("LAB_UNIT", machine.write("unit", UNIT)?);
        command.env("LAB_KEY", Plan::key_of(machine));
        command.env("LAB_CONFIG", machine.write("fulcrum.yaml", &at_home(machine, config))?);
        let process = machine.spawn("systemd", command)?;
        let init = wait_for("a first process", PATIENCE, || process.children().first().copied())?;
        let booted = Self { machine: machine.clone(), process, init };
        wait_until("systemd to have booted", PATIENCE, || {
            booted.run("systemctl", &["is-active", "lab.target"]).is_ok()
        })?;
        Ok(booted)
    }

    /// Runs a program there to its end and gives what it printed.
    ///
    /// # Errors
    /// It can't be started, or ends with an error: says what it printed.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.init.as_raw_nonzero()));
        command.args([
            "--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup", "--root", "--wd=/", "--", program,
        ]);
        run({
            command.args(arguments);
            command
        })
    }

    /// Replaces the node's file.
    ///
    /// # Errors
    /// It can't be written.
    pub fn write(&self, config: &str) -> Result<()> {
        self.put(
            &self.machine.write("fulcrum.yaml", &at_home(&self.machine, config))?,
            "/etc/fulcrum/fulcrum.yaml",
        )
    }

    /// Copies a file to the machine.
    ///
    /// # Errors
    /// It can't be copied.
    pub fn put(&self, from: &Path, to: &str) -> Result<()> {
        let root = format!("/proc/{}/root{to}", self.init.as_raw_nonzero());
        let mut command = Command::new("cp");
        command.arg(from).arg(root);
        run(command).map(drop)
    }

    /// Waits until it is switched off.
    ///
    /// # Errors
    /// It still runs.
    pub fn wait_off(&self) -> Result<()> {
        self.process.wait(PATIENCE).map(drop)
    }

    /// A property of the unit, as `systemctl show` has it.
    ///
    /// # Errors
    /// systemd does not answer.
    pub fn show(&self, property: &str) -> Result<String> {
        let said = self.run("systemctl", &["show", "--value", "--property", property, "fulcrum.service"])?;
        Ok(said.trim().to_owned())
    }

    /// What the node says of itself, at the place where it is asked by default.
    ///
    /// # Errors
    /// It does not answer.
    pub fn status(&self) -> Result<Status> {
        Ok(Status(serde_json::from_str(&self.run("fulcrum", &["status", "--json"])?)?))
    }

    /// Waits until it is `role` in `group`.
    ///
    /// # Errors
    /// It does not become it.
    pub fn wait_role(&self, group: &str, role: &str) -> Result<()> {
        wait_until(&format!("{} to be {role} of {group}", self.machine.name()), PATIENCE, || {
            self.status().is_ok_and(|status| status.role(group) == Some(role))
        })
    }
}

/// The file with everything where it is on a machine of its own.
fn at_home(machine: &Machine, config: &str) -> String {
    let files = [
        (Fulcrum::socket_of(machine), "/run/fulcrum/admin.sock"),
        (machine.file("state"), "/var/lib/fulcrum"),
        (Plan::key_of(machine), "/etc/fulcrum/peer.key"),
    ];
    files.iter().fold(config.to_owned(), |text, (file, home)| text.replace(&file.display().to_string(), home))
}
