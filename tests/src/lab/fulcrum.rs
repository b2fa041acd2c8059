//! A real `fulcrum run`.

use super::{Machine, Process, run};
use crate::LabError;
use crate::error::{Context, Result};
use crate::wait::wait_until;
use rustix::process::Signal;
use serde_json::Value;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The binary under test: `FULCRUM_BIN`, or the one built beside the running program.
///
/// # Errors
/// There is none: says how to make one.
pub fn fulcrum_binary() -> Result<PathBuf> {
    let candidates: Vec<PathBuf> = if let Some(path) = std::env::var_os("FULCRUM_BIN") {
        vec![path.into()]
    } else {
        let program = std::env::current_exe().context("find this program")?;
        program.ancestors().skip(1).take(3).map(|directory| directory.join("fulcrum")).collect()
    };
    candidates.iter().find(|path| path.is_file()).cloned().ok_or_else(|| {
        LabError::new(format!("no fulcrum binary at {candidates:?}: run `make build`, or set FULCRUM_BIN"))
    })
}

/// A running node.
#[derive(Debug)]
pub struct Fulcrum {
    /// Where it runs.
    pub machine: Machine,
    process: Process,
    config: PathBuf,
    socket: PathBuf,
}

impl Fulcrum {
    /// Starts it with this configuration, whose `admin.socket` is [`Fulcrum::socket_of`] its machine.
    ///
    /// # Errors
    /// It can't be started.
    pub fn start(machine: &Machine, config: &str) -> Result<Self> {
        Self::start_with(machine, config, |_| {})
    }

    /// The same, after `prepare` has changed the command (its environment, say).
    ///
    /// # Errors
    /// It can't be started.
    pub fn start_with(machine: &Machine, config: &str, prepare: impl FnOnce(&mut Command)) -> Result<Self> {
        let path = machine.write("fulcrum.yaml", config)?;
        let mut command = Command::new(fulcrum_binary()?);
        command.arg("run").arg(&path);
        prepare(&mut command);
        let process = machine.spawn("fulcrum", command)?;
        Ok(Self { machine: machine.clone(), process, config: path, socket: Self::socket_of(machine) })
    }

    /// The same, allowed only so many file descriptors.
    ///
    /// # Errors
    /// It can't be started.
    pub fn start_with_files(machine: &Machine, config: &str, files: u32) -> Result<Self> {
        Self::start_with(machine, config, |command| {
            let mut limited = Command::new("sh");
            limited.arg("-c").arg(format!("ulimit -n {files} && exec \"$0\" \"$@\""));
            limited.arg(command.get_program()).args(command.get_args());
            *command = limited;
        })
    }

    /// The same, with its state on a small file system of its own, that ends with it.
    ///
    /// # Errors
    /// It can't be started.
    pub fn start_on_small_disk(machine: &Machine, config: &str) -> Result<Self> {
        let state = machine.file("state");
        std::fs::create_dir_all(&state).context("make the state directory")?;
        Self::start_with(machine, config, |command| {
            let mut small = Command::new("unshare");
            small.args(["--mount", "--propagation", "private", "sh", "-c"]);
            small.arg(format!("mount -t tmpfs -o size=256k small {} && exec \"$0\" \"$@\"", state.display()));
            small.arg(command.get_program()).args(command.get_args());
            *command = small;
        })
    }

    /// Fills that file system, and gives the file that does it.
    ///
    /// # Errors
    /// There is none.
    pub fn fill_disk(&self) -> Result<PathBuf> {
        let state = self.machine.file("state");
        let root = PathBuf::from(format!("/proc/{}/root", self.process.pid().as_raw_nonzero()));
        let ballast = root.join(state.strip_prefix("/").unwrap_or(&state)).join("ballast");
        // It ends with the error that is asked for.
        let _ = std::fs::write(&ballast, vec![0; 1 << 20]);
        Ok(ballast)
    }

    /// Where the admin socket of a node on this machine is.
    #[must_use]
    pub fn socket_of(machine: &Machine) -> PathBuf {
        machine.file("run").join("admin.sock")
    }

    /// Its process; the guard is its child.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Its configuration file.
    #[must_use]
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Runs a `fulcrum` command against it and gives what that printed.
    ///
    /// # Errors
    /// The command failed: says what it printed.
    pub fn command(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(fulcrum_binary()?);
        command.args(arguments).env("FULCRUM_SOCKET", &self.socket);
        self.machine.namespace().enter(move || run(command))?
    }

    /// Writes another configuration and reloads it.
    ///
    /// # Errors
    /// It was refused: says why.
    pub fn reload(&self, config: &str) -> Result<String> {
        self.machine.write("fulcrum.yaml", config)?;
        self.command(&["reload"])
    }

    /// What it says of itself.
    ///
    /// # Errors
    /// It does not answer.
    pub fn status(&self) -> Result<Status> {
        Ok(Status(serde_json::from_str(&self.command(&["status", "--json"])?)?))
    }

    /// Waits until it leads `group` and answers for all its addresses that no one else has.
    ///
    /// # Errors
    /// It does not.
    pub fn wait_leader(&self, group: &str) -> Result<()> {
        self.wait_role(group, "leader")
    }

    /// Waits until it is `role` in `group`.
    ///
    /// # Errors
    /// It does not become it.
    pub fn wait_role(&self, group: &str, role: &str) -> Result<()> {
        let what = format!("{} to be {role} of {group}", self.machine.name());
        wait_until(&what, Duration::from_secs(15), || {
            self.status().is_ok_and(|status| status.role(group) == Some(role))
        })
    }

    /// Waits until it stands by and has heard the leader of `group`.
    ///
    /// # Errors
    /// It does not.
    pub fn wait_hears_leader(&self, group: &str) -> Result<()> {
        let what = format!("{} to stand by and hear the leader of {group}", self.machine.name());
        wait_until(&what, Duration::from_secs(15), || {
            self.status().is_ok_and(|status| {
                let leader = status.group(group).and_then(|group| group.get("leader"));
                status.role(group) == Some("standby") && leader.is_some_and(|leader| !leader.is_null())
            })
        })
    }

    /// Kills the daemon alone, with SIGKILL; its guard notices.
    ///
    /// # Errors
    /// It is gone already.
    pub fn kill(&self) -> Result<()> {
        self.process.signal(Signal::KILL)
    }
}

/// The JSON of `fulcrum status --json`.
#[derive(Debug, Clone)]
pub struct Status(pub Value);

impl Status {
    fn named<'a>(&'a self, list: &str, name: &str) -> Option<&'a Value> {
        self.0.get(list)?.as_array()?.iter().find(|item| item.get("name").is_some_and(|it| it == name))
    }

    /// A group.
    #[must_use]
    pub fn group(&self, name: &str) -> Option<&Value> {
        self.named("groups", name)
    }

    /// A service.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<&Value> {
        self.named("services", name)
    }

    /// A peer, as the link to it is seen.
    #[must_use]
    pub fn peer(&self, name: &str) -> Option<&Value> {
        let peers = self.0.get("peer_link")?.get("peers")?.as_array()?;
        peers.iter().find(|peer| peer.get("name").is_some_and(|it| it == name))
    }

    /// Whether there is a link to that peer, and both run the same.
    #[must_use]
    pub fn agrees_with(&self, peer: &str) -> bool {
        self.peer(peer).is_some_and(|peer| {
            peer.get("state").is_some_and(|it| it == "up")
                && peer.get("config_agrees").is_some_and(|it| it == true)
        })
    }

    /// What is alarming, each in a sentence.
    #[must_use]
    pub fn alarms(&self) -> Vec<&str> {
        let alarms = self.0.get("alarms").and_then(Value::as_array);
        alarms.into_iter().flatten().filter_map(|alarm| alarm.get("what")?.as_str()).collect()
    }

    /// What the node is in a group.
    #[must_use]
    pub fn role(&self, group: &str) -> Option<&str> {
        self.group(group)?.get("role")?.as_str()
    }

    /// A VIP.
    #[must_use]
    pub fn address(&self, group: &str, address: IpAddr) -> Option<&Value> {
        let address = address.to_string();
        let addresses = self.group(group)?.get("addresses")?.as_array()?;
        addresses.iter().find(|item| item.get("address").is_some_and(|it| *it == address))
    }

    /// How many backends of a service are in `state`.
    #[must_use]
    pub fn backends(&self, service: &str, state: &str) -> usize {
        let backends = self.service(service).and_then(|service| service.get("backends")?.as_array());
        backends.into_iter().flatten().filter(|item| item.get("state").is_some_and(|it| it == state)).count()
    }

    /// The sum of one of a group's counters over its links.
    #[must_use]
    pub fn counter(&self, group: &str, name: &str) -> u64 {
        let links = self.group(group).and_then(|group| group.get("links")?.as_array());
        links
            .into_iter()
            .flatten()
            .filter_map(|link| link.get("counters")?.get(name)?.as_u64())
            .fold(0, u64::saturating_add)
    }
}
