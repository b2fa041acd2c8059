//! A pair of which one node's binary can be replaced while it runs.

use super::{Fulcrum, Lab, Linked, Machine, Pair, fulcrum_binary, output, run};
use crate::error::{LabError, Result};
use crate::wait::wait_until;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

/// How long a restart may take to be asked for, and to end.
const LONG: Duration = Duration::from_secs(120);

/// What stands for a service manager: a restart is asked for by one file, and done when another is there.
#[derive(Debug)]
struct Manager {
    asked: PathBuf,
    done: PathBuf,
}

impl Manager {
    fn of(machine: &Machine) -> Self {
        Self { asked: machine.file("restart.asked"), done: machine.file("restart.done") }
    }

    fn command(&self) -> String {
        let (asked, done) = (self.asked.display(), self.done.display());
        format!("touch {asked}; until [ -e {done} ]; do sleep 0.05; done; rm {done}")
    }

    /// Restarts the daemon of `installed`, once it is asked for that.
    fn serve(&self, node: &mut Fulcrum, installed: &Path) -> Result<()> {
        wait_until("a restart to be asked for", LONG, || self.asked.exists())?;
        let _ = std::fs::remove_file(&self.asked);
        let file = std::fs::read_to_string(node.config())?;
        node.process().terminate(LONG)?;
        *node = start(&node.machine.clone(), &file, installed)?;
        std::fs::write(&self.done, "")?;
        Ok(())
    }
}

fn start(machine: &Machine, file: &str, installed: &Path) -> Result<Fulcrum> {
    Fulcrum::start_with(machine, file, |command| {
        let mut other = Command::new(installed);
        other.args(command.get_args());
        *command = other;
    })
}

/// Copies the binary under test to a machine.
///
/// # Errors
/// It can't be copied.
pub fn install(machine: &Machine) -> Result<PathBuf> {
    install_from(machine, &fulcrum_binary()?)
}

/// Copies what runs there first: an earlier version, where `FULCRUM_EARLIER_BIN` names one.
///
/// # Errors
/// It can't be copied.
pub fn install_first(machine: &Machine) -> Result<PathBuf> {
    match std::env::var_os("FULCRUM_EARLIER_BIN") {
        Some(earlier) => install_from(machine, Path::new(&earlier)),
        None => install(machine),
    }
}

fn install_from(machine: &Machine, binary: &Path) -> Result<PathBuf> {
    let installed = machine.file("fulcrum-installed");
    copy(binary, &installed)?;
    Ok(installed)
}

/// By another process: a child of another test's that is just being started would hold a file that this one writes, and what
/// is held so can't be run.
fn copy(from: &Path, to: &Path) -> Result<()> {
    output("cp", &[&from.display().to_string(), &to.display().to_string()]).map(drop)
}

/// A pair of which the first node runs a binary of its own.
#[derive(Debug)]
pub struct Upgradable {
    /// The nodes.
    pub linked: Linked,
    /// The binary of the first.
    pub installed: PathBuf,
    manager: Manager,
}

impl Upgradable {
    /// Starts both, of a plan that `prepare` has changed.
    ///
    /// # Errors
    /// It does not come to that.
    pub fn new(lab: &Lab, prepare: impl FnOnce(&mut Pair)) -> Result<Self> {
        let place = std::cell::RefCell::new(None);
        let linked = Linked::new(
            lab,
            |pair| {
                pair.plan.group.push("drain: 5m".to_owned());
                prepare(pair);
            },
            |machine, file| {
                if place.borrow().is_some() {
                    return Fulcrum::start(machine, file);
                }
                let installed = install(machine)?;
                place.replace(Some(installed.clone()));
                start(machine, file, &installed)
            },
        )?;
        let manager = Manager::of(&linked.pair.lb1);
        let installed = place.into_inner().ok_or_else(|| LabError::new("nothing was installed"))?;
        Ok(Self { linked, installed, manager })
    }

    /// Asks for an upgrade to `new`, with a service manager that does as many restarts. Gives what was said.
    ///
    /// # Errors
    /// The lab fails; the inner one is the command's own.
    pub fn upgrade(&mut self, new: &Path, restarts: usize) -> Result<std::result::Result<String, String>> {
        let (installed, restart) = (self.installed.display().to_string(), self.manager.command());
        let new = new.display().to_string();
        let machine = self.linked.node(0)?.machine.clone();
        let socket = Fulcrum::socket_of(&machine);
        let asked = thread::spawn(move || {
            let mut command = Command::new(fulcrum_binary()?);
            command.args(["upgrade-binary", &new, "--installed", &installed, "--restart", &restart]);
            command.args(["--ready", "10s", "--deadline", "20s"]).env("FULCRUM_SOCKET", &socket);
            machine.namespace().enter(move || run(command))?
        });
        for _ in 0..restarts {
            let node = self.linked.nodes.first_mut().ok_or_else(|| LabError::new("there is no node"))?;
            self.manager.serve(node, &self.installed)?;
        }
        let said = asked.join().map_err(|_| LabError::new("the upgrade panicked"))?;
        Ok(said.map_err(|error| error.to_string()))
    }

    /// Asks for an upgrade to `new` in place. Gives what was said.
    ///
    /// # Errors
    /// It is refused, or the lab fails.
    pub fn upgrade_in_place(&self, new: &Path) -> Result<String> {
        let (new, installed) = (new.display().to_string(), self.installed.display().to_string());
        let node = self.linked.node(0)?;
        node.command(&["upgrade-binary", &new, "--installed", &installed, "--in-place", "--deadline", "20s"])
    }
}

/// A program of this text on a machine.
///
/// # Errors
/// It can't be written.
pub fn script(machine: &Machine, name: &str, text: &str) -> Result<PathBuf> {
    let written = machine.write(&format!("{name}.text"), text)?;
    let path = machine.file(name);
    copy(&written, &path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    Ok(path)
}
