//! A program of the operator's: it exits with 0 or the target is down.
//!
//! It is started without a shell, in a process group of its own, with nothing of our environment, and it
//! leaves nothing behind: the whole group is killed when the probe ends, however it ends.

use super::{Failure, Stage};
use crate::sys::without_our_protection;
use rustix::process::{Pid, Signal, kill_process_group};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

/// The part of the output that may become the reason.
const KEPT: usize = 1024;
/// A program that writes more is killed.
const OUTPUT_LIMIT: usize = 1024 * 1024;
/// After its end, its output is read for at most so long.
const LAST_WORDS: Duration = Duration::from_millis(100);
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs `command` with the address and the port as its last arguments.
pub(super) async fn ask(address: SocketAddr, command: &[String], stage: &Stage) -> Result<(), Failure> {
    stage.set("starting the script");
    let Some((program, arguments)) = command.split_first() else {
        return Err(Failure::Local("the check has no command".into()));
    };
    let mut child = start(program, arguments, address)
        .map_err(|error| Failure::Local(format!("{program} can't be started: {error}")))?;
    let group = Group(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw));
    stage.set("waiting for the script to end");
    let (mut stderr, mut stdout) = (Vec::new(), Vec::new());
    let status = end(&mut child, group, &mut stderr, &mut stdout).await?;
    if status.success() {
        return Ok(());
    }
    let said = first_line(&stderr).or_else(|| first_line(&stdout));
    Err(Failure::Answer(reason(status, said.as_deref())))
}

fn start(program: &str, arguments: &[String], address: SocketAddr) -> std::io::Result<Child> {
    let (ip, port) = (address.ip().to_string(), address.port().to_string());
    let mut command = Command::new(program);
    command
        .args(arguments)
        .args([&ip, &port])
        // Ours holds what is meant for us alone, such as the socket of the service manager.
        .env_clear()
        .envs([("PATH", PATH), ("LANG", "C"), ("FULCRUM_ADDRESS", &ip), ("FULCRUM_PORT", &port)])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    without_our_protection(&mut command);
    command.spawn()
}

/// The end of the program itself decides: what it left running may keep its output open.
async fn end(
    child: &mut Child,
    group: Group,
    stderr: &mut Vec<u8>,
    stdout: &mut Vec<u8>,
) -> Result<ExitStatus, Failure> {
    let (err, out) = (child.stderr.take(), child.stdout.take());
    let reading = async { tokio::try_join!(read(err, stderr), read(out, stdout)) };
    tokio::pin!(reading);
    let mut is_read = false;
    let status = loop {
        tokio::select! {
            result = &mut reading, if !is_read => {
                result?;
                is_read = true;
            }
            status = child.wait() => break status?,
        }
    };
    drop(group);
    if !is_read {
        // What it wrote is in the pipes. A daemon that left the group may hold them open, so no longer than this.
        let _ = tokio::time::timeout(LAST_WORDS, reading).await;
    }
    Ok(status)
}

/// Reads to the end, and keeps the beginning.
async fn read(output: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) -> Result<(), Failure> {
    let Some(mut output) = output else { return Ok(()) };
    let mut total: usize = 0;
    let mut buffer = [0; 4096];
    loop {
        let length = output.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        total = total.saturating_add(length);
        if total > OUTPUT_LIMIT {
            return Err(Failure::Answer("the script wrote more than 1 MiB".into()));
        }
        let room = KEPT.saturating_sub(kept.len());
        kept.extend(buffer.iter().take(length.min(room)));
    }
}

fn first_line(output: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(output);
    text.lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_string)
}

fn reason(status: ExitStatus, said: Option<&str>) -> String {
    let end = match (status.code(), status.signal()) {
        (Some(code), _) => format!("the script ended with {code}"),
        (None, Some(signal)) => format!("the script was killed by signal {signal}"),
        (None, None) => "the script ended".into(),
    };
    said.map_or(end.clone(), |said| format!("{end}: {said}"))
}

/// The program and all that it started; killed when dropped.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // None is left, most of the time.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
