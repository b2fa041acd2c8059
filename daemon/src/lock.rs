//! One daemon for each admin socket: a lock that the kernel lets go of when the process ends, however it ends.

use crate::error::Failure;
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

#[cfg(test)]
mod tests;

/// The held lock.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// Where the lock of the daemon at `socket` is.
pub(crate) fn path(socket: &Path) -> PathBuf {
    socket.with_extension("lock")
}

/// Takes the lock of the daemon at `socket`, making its directory if need be.
pub(crate) fn take(socket: &Path) -> Result<Lock, Failure> {
    let path = path(socket);
    let io = |what: &'static str| {
        let path = path.display().to_string();
        move |error| Failure::Io { what: format!("{path}: {what}"), error }
    };
    if let Some(directory) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(directory).map_err(io(
            "its directory can't be made; is the disk full or read-only, or are you not root?",
        ))?;
    }
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        .open(&path)
        .map_err(io("the lock can't be opened; is the disk full or read-only, or are you not root?"))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut pid = String::new();
        let _ = (&mut file).take(32).read_to_string(&mut pid);
        let pid = pid.trim();
        let pid = if pid.is_empty() { "unknown" } else { pid };
        return Err(Failure::AlreadyRuns { pid: pid.to_owned(), path });
    }
    file.set_len(0).map_err(io("the lock can't be written"))?;
    file.seek(SeekFrom::Start(0)).map_err(io("the lock can't be written"))?;
    writeln!(file, "{}", std::process::id()).map_err(io("the lock can't be written"))?;
    Ok(Lock { _file: file })
}
