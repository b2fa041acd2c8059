//! Runs a command to its end or its deadline, in a process group of its own, which is killed as a whole.

use super::journal::Running;
use rustix::process::{Pid, Signal, kill_process_group};
use std::future::Future;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

#[cfg(test)]
mod tests;

/// Of the status of ten thousand services.
const OUTPUT: usize = 256 << 20;
/// What is kept of what it complains of.
const COMPLAINT: usize = 16 << 10;
/// A line that is longer is shown in pieces.
const LINE: usize = 4096;
/// After its end, its output is read for at most so long: what it left running may hold it open.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Its exit code, if no signal ended it.
    pub(crate) code: Option<i32>,
    /// The same, for people.
    pub(crate) how: String,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
}

impl Ended {
    /// How it ended, and what it complained of.
    pub(crate) fn told(&self) -> String {
        let err = self.err.trim();
        let said = if err.is_empty() {
            String::from_utf8_lossy(&self.out).trim().to_owned()
        } else {
            err.to_owned()
        };
        let said: String = said.chars().take(2_000).collect();
        if said.is_empty() { format!("it {}", self.how) } else { format!("it {}: {said}", self.how) }
    }
}

/// A command that runs. Its process group is killed if this is dropped before its end.
#[derive(Debug)]
struct Group(Option<Pid>);

impl Group {
    fn kill(&self) {
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

fn start(words: &[String]) -> Result<(Child, Group), String> {
    let Some((program, arguments)) = words.split_first() else {
        return Err("there is no command".to_owned());
    };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.process_group(0).kill_on_drop(true).spawn();
    let child = child.map_err(|error| format!("{program} can't be started: {error}"))?;
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    Ok((child, Group(group)))
}

/// Waits for its end; it is killed at `deadline`, or if `cut` comes, which says why.
async fn finish(
    mut child: Child,
    mut group: Group,
    talk: impl Future<Output = ()>,
    deadline: Duration,
    cut: impl Future<Output = String>,
) -> Result<ExitStatus, String> {
    tokio::pin!(talk, cut);
    let late = tokio::time::sleep(deadline);
    tokio::pin!(late);
    let mut is_read = false;
    let ended = loop {
        tokio::select! {
            () = &mut talk, if !is_read => is_read = true,
            status = child.wait() => break status.map_err(|error| error.to_string()),
            () = &mut late => break Err(format!("it did not end within {} s, and was killed", deadline.as_secs())),
            why = &mut cut => break Err(why),
        }
    };
    if ended.is_err() {
        group.kill();
        let _ = child.wait().await;
    }
    // What it left running in good order goes on.
    group.0 = None;
    if !is_read {
        let _ = tokio::time::timeout(LAST_WORDS, talk).await;
    }
    ended
}

/// Runs it, and gives what it printed.
pub(crate) async fn ask(words: &[String], deadline: Duration) -> Result<Ended, String> {
    let (mut child, group) = start(words)?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let talk = async {
        tokio::join!(keep(stdout, &mut out, OUTPUT), keep(stderr, &mut err, COMPLAINT));
    };
    let status = finish(child, group, talk, deadline, std::future::pending()).await?;
    Ok(ended(status, out, &err))
}

/// Runs it, and shows each line that it prints. `began` learns of its process group.
pub(crate) async fn watch(
    words: &[String],
    deadline: Duration,
    cut: impl Future<Output = String>,
    began: impl FnOnce(Option<Running>),
    line: &(impl Fn(&str) + ?Sized),
) -> Result<Ended, String> {
    let (mut child, group) = start(words)?;
    began(child.id().and_then(running));
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let talk = async {
        tokio::join!(show(stdout, line), show(stderr, line));
    };
    let status = finish(child, group, talk, deadline, cut).await?;
    Ok(ended(status, Vec::new(), &[]))
}

fn ended(status: ExitStatus, out: Vec<u8>, err: &[u8]) -> Ended {
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    };
    Ended { code: status.code(), how, out, err: String::from_utf8_lossy(err).into_owned() }
}

/// Reads to the end, and keeps the beginning.
async fn keep(output: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>, limit: usize) {
    let Some(mut output) = output else { return };
    let mut buffer = vec![0; 65_536];
    while let Ok(length @ 1..) = output.read(&mut buffer).await {
        let room = limit.saturating_sub(kept.len());
        kept.extend(buffer.iter().take(length.min(room)));
    }
}

/// Shows each line, without what would steer a terminal.
async fn show(output: Option<impl AsyncRead + Unpin>, line: &(impl Fn(&str) + ?Sized)) {
    let Some(mut output) = output else { return };
    let mut buffer = vec![0; 16_384];
    let mut held: Vec<u8> = Vec::new();
    let tell = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let plain = |letter: char| if letter.is_control() && letter != '\t' { ' ' } else { letter };
        line(text.trim_end().chars().map(plain).collect::<String>().as_str());
    };
    while let Ok(length @ 1..) = output.read(&mut buffer).await {
        for byte in buffer.iter().take(length) {
            if *byte != b'\n' {
                held.push(*byte);
            }
            if *byte == b'\n' || held.len() >= LINE {
                tell(&held);
                held.clear();
            }
        }
    }
    if !held.is_empty() {
        tell(&held);
    }
}

/// A process, and when it began.
fn running(pid: u32) -> Option<Running> {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?;
    // The name may hold anything; starttime is the 22nd field, the state the 3rd.
    let mut fields = stat.rsplit(')').next()?.split_whitespace();
    let state = fields.next()?;
    let began = fields.nth(18)?.parse().ok()?;
    (state != "Z" && state != "X").then_some(Running { pid, began })
}

/// Whether it still runs.
pub(crate) fn lives(process: Running) -> bool {
    running(process.pid) == Some(process)
}
