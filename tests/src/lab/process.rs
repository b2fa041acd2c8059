//! Programs of the lab: started, signalled by process id, and killed when dropped.

use super::Namespace;
use crate::error::{Context, Result};
use crate::{LabError, wait};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::Duration;

/// The extension of a file beside the log of a process that was frozen by the test.
pub(super) const FROZEN: &str = "frozen";

/// A running program.
#[derive(Debug)]
pub struct Process {
    child: Mutex<Child>,
    pid: Pid,
    name: String,
    log: PathBuf,
}

impl Process {
    pub(super) fn spawn(namespace: &Namespace, log: PathBuf, mut command: Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let file = File::options().create(true).append(true).open(&log).context("open a log")?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = namespace.enter(move || command.spawn())?.context(format!("start {name}"))?;
        let pid = Pid::from_child(&child);
        Ok(Self { child: Mutex::new(child), pid, name, log })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// The file its output goes to.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// What it has printed.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Its children's process ids.
    #[must_use]
    pub fn children(&self) -> Vec<Pid> {
        children_of(self.pid)
    }

    /// Sends it a signal; it is an error if it has ended and was waited for.
    ///
    /// # Errors
    /// The process is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.pid, signal).context(format!("signal {}", self.name))
    }

    /// Stops it and its children as a frozen machine would: none of them runs until [`Process::thaw`].
    ///
    /// # Errors
    /// The process is gone.
    pub fn freeze(&self) -> Result<()> {
        File::create(self.log.with_extension(FROZEN)).context("mark that a process was frozen")?;
        self.signal_all(Signal::STOP)
    }

    /// Lets them run again.
    ///
    /// # Errors
    /// The process is gone.
    pub fn thaw(&self) -> Result<()> {
        self.signal_all(Signal::CONT)
    }

    /// Kills it and its children at once, as a power cut would.
    ///
    /// # Errors
    /// The process is gone.
    pub fn kill_with_children(&self) -> Result<()> {
        // Frozen first, so that none of them acts on the death of another.
        self.freeze()?;
        self.signal_all(Signal::KILL)
    }

    fn signal_all(&self, signal: Signal) -> Result<()> {
        let children = self.children();
        self.signal(signal)?;
        for child in children {
            // One that has just ended is not an error.
            kill_process(child, signal).ok();
        }
        Ok(())
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn ended(&self) -> Option<ExitStatus> {
        self.child.lock().ok()?.try_wait().ok()?
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It still runs after `deadline`.
    pub fn wait(&self, deadline: Duration) -> Result<ExitStatus> {
        wait::wait_for(&format!("the end of {}", self.name), deadline, || self.ended())
    }

    /// Asks it to end and waits.
    ///
    /// # Errors
    /// It still runs after `deadline`.
    pub fn terminate(&self, deadline: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait(deadline)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(child) = self.child.get_mut() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

fn children_of(pid: Pid) -> Vec<Pid> {
    let pid = pid.as_raw_nonzero();
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|text| text.split_whitespace().filter_map(|word| word.parse().ok()).collect::<Vec<i32>>())
        .filter_map(Pid::from_raw)
        .collect()
}

/// Runs a program to its end and gives what it printed.
///
/// # Errors
/// It can't be started, or ends with an error: says what it printed.
pub fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(program);
    command.args(arguments);
    run(command)
}

/// The same for a command with more than arguments.
///
/// # Errors
/// It can't be started, or ends with an error: says what it printed.
pub fn run(command: Command) -> Result<String> {
    run_reading(command, Stdio::null())
}

/// The same for a command that reads `input`.
pub(super) fn run_reading(mut command: Command, input: Stdio) -> Result<String> {
    let shown = format!("{command:?}");
    let output = command.stdin(input).output().context(&shown)?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let said = [output.stdout, output.stderr].concat();
        Err(LabError::new(format!("{shown}: {}: {}", output.status, String::from_utf8_lossy(&said).trim())))
    }
}

/// Runs a program with `input` as its standard input.
pub(super) fn feed(mut command: Command, input: &str) -> Result<()> {
    let shown = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context(&shown)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).context(&shown)?;
    }
    let output = child.wait_with_output().context(&shown)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(LabError::new(format!("{shown}: {}: {}\nit was told:\n{input}", output.status, said.trim())))
}

/// Runs lines of `ip`, in a namespace or outside.
///
/// # Errors
/// One of them fails: says which.
pub fn ip_batch(namespace: Option<&Namespace>, lines: &str) -> Result<()> {
    let mut command = Command::new("ip");
    if let Some(namespace) = namespace {
        command.args(["-n", namespace.name()]);
    }
    command.args(["-batch", "-"]);
    feed(command, lines)
}
