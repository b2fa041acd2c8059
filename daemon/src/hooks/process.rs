//! One program: without a shell, with an environment of its own, in a process group of its own. At its deadline it is
//! killed with all that it started.

use super::trust;
use fulcrum_config::HookStyle;
use fulcrum_health::without_our_protection;
use fulcrum_lifecycle::hooks::{Ending, Outcome, Start};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::time::Instant;

#[cfg(test)]
mod tests;

/// What is kept of each of its outputs; the rest is read and dropped.
pub(super) const KEPT: usize = 4096;
/// Of the first line, which status shows.
const LINE: usize = 200;
/// After its end, its output is read for at most so long: what it left running may hold it open.
const LAST_WORDS: Duration = Duration::from_millis(100);
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// By this all processes of one run are found, also those that left its group.
const MARK: &str = "FULCRUM_RUN";
/// What is read of an environment when they are looked for.
const ENVIRONMENT: u64 = 1024 * 1024;
/// How often they are looked for, as they may start others meanwhile.
const ROUNDS: usize = 10;

/// Runs it to its end. Gives also what it printed.
pub(super) async fn run(start: &Start, command: &[String]) -> (Ending, String) {
    let deadline = Instant::now().checked_add(start.hook.deadline);
    let mark = format!("{}-{:016x}", start.ticket, fastrand::u64(..));
    let started = {
        let (start, mark, command) = (start.clone(), mark.clone(), command.to_vec());
        // The disk that it is on may hang.
        tokio::task::spawn_blocking(move || begin(&start, &command, &mark)).await
    };
    let mut child = match started.map_err(|error| error.to_string()).and_then(|started| started) {
        Ok(child) => child,
        Err(why) => return (Ending { outcome: Outcome::NotStarted(why), said: None }, String::new()),
    };
    let mut tree = Tree { group: child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) };
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let json = format!("{}\n", start.occurrence.json());
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let outcome = {
        let talk = async {
            tokio::join!(tell(stdin, json.as_bytes()), read(stdout, &mut out), read(stderr, &mut err));
        };
        tokio::pin!(talk);
        let mut is_read = false;
        let late = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(late);
        let outcome = loop {
            tokio::select! {
                () = &mut talk, if !is_read => is_read = true,
                status = child.wait() => break status.map_or_else(|error| Outcome::Failed(error.to_string()), how),
                () = &mut late => {
                    tree.kill(&mark).await;
                    break Outcome::Killed(start.hook.deadline);
                }
            }
        };
        if matches!(outcome, Outcome::Killed(_)) {
            // It is dead, or can't be killed: its place is taken until it is.
            let _ = child.wait().await;
        }
        tree.group = None;
        if !is_read {
            let _ = tokio::time::timeout(LAST_WORDS, talk).await;
        }
        outcome
    };
    let said = first_line(&err).or_else(|| first_line(&out));
    let output = [out, err].concat();
    (Ending { outcome, said }, String::from_utf8_lossy(&output).trim().to_owned())
}

fn begin(start: &Start, command: &[String], mark: &str) -> Result<Child, String> {
    let Some((program, arguments)) = command.split_first() else {
        return Err("it has no command".to_owned());
    };
    trust::check(program.as_ref()).map_err(|why| why.to_string())?;
    let mut command = Command::new(program);
    command.args(arguments);
    if start.hook.style == HookStyle::Keepalived {
        command.args(start.occurrence.keepalived());
    }
    command
        // Ours holds what is meant for us alone, such as the socket of the service manager.
        .env_clear()
        .envs([("PATH", PATH), ("LANG", "C"), ("FULCRUM_HOOK", start.hook.name.as_str()), (MARK, mark)])
        .envs(start.occurrence.environment())
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    without_our_protection(&mut command);
    command.spawn().map_err(|error| format!("{program} can't be started: {error}"))
}

/// A program need not read what it is told.
async fn tell(stdin: Option<impl tokio::io::AsyncWrite + Unpin>, json: &[u8]) {
    if let Some(mut stdin) = stdin {
        let _ = stdin.write_all(json).await;
    }
}

/// Reads to the end, and keeps the beginning.
async fn read(output: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut output) = output else { return };
    let mut buffer = [0; 16_384];
    while let Ok(length @ 1..) = output.read(&mut buffer).await {
        let room = KEPT.saturating_sub(kept.len());
        kept.extend(buffer.iter().take(length.min(room)));
    }
}

pub(super) fn first_line(output: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(output);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    Some(line.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(LINE).collect())
}

fn how(status: ExitStatus) -> Outcome {
    match (status.code(), status.signal()) {
        (Some(0), _) => Outcome::Succeeded,
        (Some(code), _) => Outcome::Failed(format!("ended with {code}")),
        (None, Some(signal)) => Outcome::Failed(format!("was killed by signal {signal}")),
        (None, None) => Outcome::Failed("ended".to_owned()),
    }
}

/// The program and what it started. Its group is killed if this is dropped before its end.
struct Tree {
    group: Option<Pid>,
}

impl Tree {
    async fn kill(&mut self, mark: &str) {
        self.kill_group();
        let mark = format!("{MARK}={mark}");
        let all = move || (0..ROUNDS).all(|_| kill_marked(mark.as_bytes()));
        let _ = tokio::task::spawn_blocking(all).await;
    }

    fn kill_group(&self) {
        if let Some(group) = self.group {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        self.kill_group();
    }
}

/// Kills every process that has `mark` in its environment. Says whether there was one.
fn kill_marked(mark: &[u8]) -> bool {
    let Ok(processes) = std::fs::read_dir("/proc") else { return false };
    let mut found = false;
    for process in processes.flatten() {
        let pid = process.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        let Some(pid) = pid else { continue };
        let Ok(file) = std::fs::File::open(process.path().join("environ")) else { continue };
        let mut environment = Vec::new();
        if file.take(ENVIRONMENT).read_to_end(&mut environment).is_ok()
            && environment.split(|byte| *byte == 0).any(|variable| variable == mark)
        {
            found |= kill_process(pid, Signal::KILL).is_ok();
        }
    }
    found
}
