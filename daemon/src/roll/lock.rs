//! One roll of an inventory at a time: a lock that the kernel lets go of when the process ends, however it ends.
#![allow(clippy::disallowed_methods, reason = "a driver: it waits for a lock that is about to be let go of")]

use crate::error::Failure;
use crate::lock;
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[cfg(test)]
mod tests;

/// The file may be removed by whoever held it while it is opened here. A process that was killed while it began another
/// holds it through that one for a moment.
const TRIES: usize = 64;
const PAUSE: Duration = Duration::from_millis(20);

/// The held lock; its file goes with it.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    _file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Takes the lock of the roll with this journal.
pub(crate) fn take(journal: &Path) -> Result<Lock, Failure> {
    let mut path = journal.as_os_str().to_owned();
    path.push(".lock");
    let path = PathBuf::from(path);
    let io = |error| Failure::Io {
        what: format!("{}: the lock of the roll can't be taken; may you write there?", path.display()),
        error,
    };
    for _ in 0..TRIES {
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).create(true).truncate(false).open(&path).map_err(io)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let pid = lock::holder(&mut file);
            if pid.parse::<u32>().is_ok_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
                std::thread::sleep(PAUSE);
                continue;
            }
            return Err(Failure::Refused(format!(
                "a roll, a replacement or a drill of this inventory is going on: process {pid} holds {}; nothing was done\n  wait for its end",
                path.display()
            )));
        }
        if !is_at(&file, &path).map_err(io)? {
            continue;
        }
        lock::sign(&mut file).map_err(io)?;
        return Ok(Lock { path, _file: file });
    }
    Err(Failure::Refused(format!(
        "{}: others take and remove it again and again, or what a roll began that was killed holds it still\n  try again",
        path.display()
    )))
}

/// Whether `file` still has its name: a lock on one that was removed keeps nobody out.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let held = file.metadata()?;
    match std::fs::metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (held.dev(), held.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
