//! Nodes that are destroyed and made anew by `fulcrum roll` and `fulcrum replace`.

#![allow(clippy::disallowed_methods, reason = "starts the command under test")]

use super::{Fulcrum, Lab, Machine, fulcrum_binary};
use crate::error::{LabError, Result};
use crate::wait::wait_for;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// What anything takes at most.
const LONG: Duration = Duration::from_secs(240);

/// The inventory, and a program that destroys a node and makes it anew: its processes, its network namespace with its
/// link to the switch, and its state. Its file and its key are what a real one is made with.
#[derive(Debug)]
pub struct Anew {
    /// The nodes.
    pub inventory: PathBuf,
    script: PathBuf,
    /// While this file is there, what is made anew does not start.
    pub broken: PathBuf,
    /// What encrypts keys in backups.
    pub passphrase: PathBuf,
}

impl Anew {
    /// With these nodes.
    ///
    /// # Errors
    /// There is no room on the disk, or no binary.
    pub fn new(lab: &Lab, nodes: &[&Machine]) -> Result<Self> {
        Self::with(lab, nodes, "")
    }

    /// A node is made with these lines of a shell, too, run in its network namespace.
    ///
    /// # Errors
    /// There is no room on the disk, or no binary.
    pub fn with(lab: &Lab, nodes: &[&Machine], further: &str) -> Result<Self> {
        Self::of(lab, nodes, &[], further)
    }

    /// With nodes that run another binary until they are made anew.
    ///
    /// # Errors
    /// There is no room on the disk, or no binary.
    pub fn upgrading(lab: &Lab, nodes: &[&Machine], from: &Path) -> Result<Self> {
        let anew = Self::new(lab, nodes)?;
        for node in nodes {
            let link = Self::binary_of(node);
            fs::remove_file(&link)?;
            symlink(from, &link)?;
        }
        Ok(anew)
    }

    /// What is installed there.
    #[must_use]
    pub fn binary_of(node: &Machine) -> PathBuf {
        node.file("installed")
    }

    /// With nodes that stand in for a while.
    ///
    /// # Errors
    /// There is no room on the disk, or no binary.
    pub fn with_surge(lab: &Lab, nodes: &[&Machine], surge: &[&Machine]) -> Result<Self> {
        Self::of(lab, nodes, surge, "")
    }

    fn of(lab: &Lab, nodes: &[&Machine], surge: &[&Machine], further: &str) -> Result<Self> {
        let directory = lab.directory();
        let (inventory, script) = (directory.join("nodes.yaml"), directory.join("anew"));
        let (broken, binary) = (directory.join("broken"), fulcrum_binary()?);
        let (mut list, mut cases) = ("nodes:\n".to_owned(), String::new());
        let passphrase = directory.join("passphrase");
        fs::write(&passphrase, "correct horse battery\n")?;
        fs::set_permissions(&passphrase, fs::Permissions::from_mode(0o600))?;
        for node in nodes.iter().chain(surge) {
            let (name, space, socket) = (node.name(), node.namespace().name(), Fulcrum::socket_of(node));
            let switch = format!("{}switch", space.strip_suffix(name).unwrap_or_default());
            let installed = Self::binary_of(node);
            if !installed.exists() {
                symlink(&binary, &installed)?;
            }
            let (config, state) = (node.file("fulcrum.yaml"), node.file("state"));
            // Writing to a String does not fail.
            writeln!(
                list,
                "  - name: {name}\n    fulcrum: [nsenter, --net=/run/netns/{space}, env, FULCRUM_SOCKET={}, {}]\n    config: {}",
                socket.display(),
                installed.display(),
                config.display()
            )
            .ok();
            if surge.iter().any(|it| it.name() == name) {
                list.push_str("    surge: true\n");
            }
            writeln!(
                cases,
                "{name}) ns={space}; switch={switch}; port={}; mac={}; four={}; six={}; config={}; state={}; log={}; installed={} ;;",
                node.port(),
                node.mac(),
                node.ipv4(),
                node.ipv6(),
                config.display(),
                state.display(),
                node.file("fulcrum.log").display(),
                installed.display()
            )
            .ok();
        }
        fs::write(&inventory, list)?;
        let text = RECREATE
            .replace("CASES", &cases)
            .replace("FURTHER", further)
            .replace("PASSPHRASE", &passphrase.display().to_string())
            .replace("BROKEN", &broken.display().to_string())
            .replace("BINARY", &binary.display().to_string());
        fs::write(&script, text)?;
        Ok(Self { inventory, script, broken, passphrase })
    }

    /// `{node}`, `{action}` and the like in the command are what the script takes.
    #[must_use]
    pub fn exec(&self, arguments: &str) -> String {
        format!("sh {} {arguments}", self.script.display())
    }

    /// Runs the script, as the command would.
    ///
    /// # Errors
    /// It fails.
    pub fn run(&self, node: &Machine, action: &str) -> Result<()> {
        let script = self.script.display().to_string();
        super::output("sh", &[&script, node.name(), action]).map(drop)
    }

    fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(fulcrum_binary()?);
        command.args(arguments).arg("--inventory").arg(&self.inventory).stdin(Stdio::null());
        Ok(command)
    }

    /// Runs `fulcrum roll` or the like to its end, and shows what it said.
    ///
    /// # Errors
    /// It can't be started.
    pub fn finish(&self, arguments: &[&str]) -> Result<(Output, String)> {
        let output = self.command(arguments)?.output()?;
        let said = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        println!("{said}");
        Ok((output, said))
    }

    /// Starts it; what it says goes to a file.
    ///
    /// # Errors
    /// It can't be started.
    pub fn start(&self, arguments: &[&str]) -> Result<Child> {
        let log = fs::File::options().create(true).append(true).open(self.log())?;
        Ok(self.command(arguments)?.stdout(log.try_clone()?).stderr(log).spawn()?)
    }

    /// That file.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.inventory.with_extension("log")
    }

    /// Which node `fulcrum roll` is at, or the like, and which step; of one that stands in with what is done with it.
    #[must_use]
    pub fn at(&self, command: &str) -> Option<(String, String)> {
        let path = self.inventory.with_extension(format!("yaml.{command}"));
        let journal: Value = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
        let entry = journal
            .get("nodes")?
            .as_array()?
            .iter()
            .find(|entry| entry.get("step").is_some_and(|step| step != "done"))?;
        let word = |key: &str| entry.get(key).and_then(Value::as_str).map(str::to_owned);
        let node = match word("action")?.as_str() {
            "recreate" | "replace" => word("node")?,
            other => format!("{}, {other}", word("node")?),
        };
        Some((node, word("step")?))
    }

    /// Kills it at each of its steps, and goes on by `resume`, to its end. Gives the steps.
    ///
    /// # Errors
    /// It does not come to its end.
    pub fn kill_at_each_step(&self, begin: &[&str], resume: &[&str]) -> Result<BTreeSet<(String, String)>> {
        let name = begin.first().copied().unwrap_or_default();
        let mut killed = BTreeSet::new();
        let mut running = self.start(begin)?;
        loop {
            let mut ended = None;
            let at = wait_for("a step", LONG, || {
                ended = running.try_wait().ok().flatten();
                let new = self.at(name).filter(|at| !killed.contains(at));
                (ended.is_some() || new.is_some()).then_some(new)
            })?;
            if let Some(ended) = ended {
                if ended.success() {
                    return Ok(killed);
                }
                return Err(LabError::new(fs::read_to_string(self.log())?));
            }
            running.kill()?;
            running.wait()?;
            killed.extend(at);
            running = self.start(resume)?;
        }
    }
}

const RECREATE: &str = r#"set -eu
case "$1" in
CASES
*) echo "no such node: $1"; exit 1 ;;
esac
action=${2:-recreate}
echo "destroys $1"
if [ -e /run/netns/$ns ]; then
    for pid in $(ip netns pids $ns); do kill -9 $pid 2>/dev/null || true; done
    while [ -n "$(ip netns pids $ns)" ]; do sleep 0.05; done
    rm -rf /sys/fs/bpf/fulcrum/$(stat -Lc %i /run/netns/$ns)
    ip netns del $ns
fi
ip -n $switch link del $port 2>/dev/null || true
rm -rf $state
[ "$action" = remove ] && exit 0
echo "makes $1"
ln -sfn BINARY $installed
ip netns add $ns
for what in all default; do
    for setting in accept_dad accept_ra disable_ipv6; do
        nsenter --net=/run/netns/$ns sh -c "echo 0 > /proc/sys/net/ipv6/conf/$what/$setting"
    done
done
ip link add eth0 netns $ns type veth peer name $port netns $switch
ip -n $switch link set $port master br0
ip -n $switch link set $port up
ip -n $ns link set lo up
ip -n $ns link set eth0 address $mac up
ip -n $ns addr add $four/24 dev eth0
ip -n $ns addr add $six/64 dev eth0 nodad
nsenter --net=/run/netns/$ns sh -ec "FURTHER"
[ -z "${3:-}" ] || nsenter --net=/run/netns/$ns $installed restore $3 --config $config --passphrase-file PASSPHRASE
[ -e BROKEN ] && exit 0
setsid nsenter --net=/run/netns/$ns $installed run $config >>$log 2>&1 </dev/null &
"#;
