//! Programs that are run to their end, or to a deadline.
#![allow(clippy::disallowed_methods, reason = "a driver: starts a program and waits for it")]

use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// How a program ended, and what it printed until then.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs a program without input, and keeps `limit` bytes of each of its outputs. One that takes longer than `deadline` is
/// killed with all that it has started.
pub(crate) fn run_for(command: &mut Command, deadline: Duration, limit: u64) -> Result<Ended, String> {
    let reason = |error: std::io::Error| error.to_string();
    // Files, for a child that it leaves behind may keep a pipe open.
    let (mut out, mut err) = (tempfile::tempfile().map_err(reason)?, tempfile::tempfile().map_err(reason)?);
    let to = |file: &File| file.try_clone().map(Stdio::from).map_err(reason);
    command.stdin(Stdio::null()).stdout(to(&out)?).stderr(to(&err)?).process_group(0);
    let mut child = command.spawn().map_err(|error| format!("it can't be run: {error}"))?;
    let begun = Instant::now();
    let status = loop {
        match child.try_wait().map_err(reason)? {
            Some(status) => break status,
            None if begun.elapsed() < deadline => std::thread::sleep(LOOK),
            None => {
                kill_all(&mut child);
                return Err(format!("it did not end within {} s", deadline.as_secs()));
            }
        }
    };
    Ok(Ended { status, out: text(&mut out, limit), err: text(&mut err, limit) })
}

fn kill_all(child: &mut Child) {
    let group = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(group) = group {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    let _ = child.wait();
}

fn text(file: &mut File, limit: u64) -> String {
    let mut bytes = Vec::new();
    let read = file.rewind().and_then(|()| file.take(limit).read_to_end(&mut bytes));
    read.map(|_| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}
