//! One daemon for each admin socket, and one for each network namespace: locks that the kernel lets go of when the
//! process ends, however it ends.

use crate::error::Failure;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// The name that one daemon of a network namespace holds: two would both lead the same groups and take each
/// other's addresses.
const OF_NAMESPACE: &[u8] = b"fulcrum-run";

/// How long a daemon that was killed may take to be gone: the kernel takes its programs off the interfaces first.
const ENDING: Duration = Duration::from_secs(5);
/// Between two looks whether it is.
const LOOK: Duration = Duration::from_millis(10);

/// The held lock.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl From<Lock> for OwnedFd {
    fn from(lock: Lock) -> Self {
        lock.file.into()
    }
}

/// Where the lock of the daemon at `socket` is.
pub(crate) fn path(socket: &Path) -> PathBuf {
    socket.with_extension("lock")
}

/// Takes the lock of the daemon at `socket`, making its directory if need be. Waits for one that is about to be gone.
pub(crate) fn take(socket: &Path) -> Result<Lock, Failure> {
    once_it_is_gone(|| take_now(socket))
}

fn take_now(socket: &Path) -> Result<Lock, Failure> {
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
        return Err(Failure::AlreadyRuns { pid: holder(&mut file), path });
    }
    sign(&mut file).map_err(io("the lock can't be written"))?;
    Ok(Lock { file })
}

/// The process that has signed a lock, for people.
pub(crate) fn holder(file: &mut File) -> String {
    let mut pid = String::new();
    let _ = file.take(32).read_to_string(&mut pid);
    let pid = pid.trim();
    if pid.is_empty() { "unknown".to_owned() } else { pid.to_owned() }
}

/// Says in a lock that this process holds it.
pub(crate) fn sign(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

/// The lock is another process's that this one takes over from: it holds it, too, and says so.
pub(crate) fn inherit(file: OwnedFd) -> io::Result<OwnedFd> {
    let mut file = File::from(file);
    sign(&mut file)?;
    Ok(file.into())
}

/// The held lock of the network namespace.
#[derive(Debug)]
pub(crate) struct NamespaceLock {
    pub(crate) socket: Option<OwnedFd>,
}

/// Takes the lock of the network namespace this process is in. Waits for one that is about to be gone.
pub(crate) fn take_namespace() -> Result<NamespaceLock, Failure> {
    once_it_is_gone(|| take_name(OF_NAMESPACE))
}

/// Takes what another process has as soon as that one is gone, if it is ending.
#[allow(clippy::disallowed_methods, reason = "at start, before there is anything that could be held up")]
fn once_it_is_gone<T>(take: impl Fn() -> Result<T, Failure>) -> Result<T, Failure> {
    let begun = Instant::now();
    loop {
        match take() {
            Err(Failure::AlreadyRuns { pid, .. } | Failure::SameNamespace { pid })
                if is_ending(&pid) && begun.elapsed() < ENDING => {}
            result => return result,
        }
        std::thread::sleep(LOOK);
    }
}

/// Whether a process is gone or about to be, by its state and flags (proc(5), `/proc/PID/stat`).
fn is_ending(pid: &str) -> bool {
    /// PF_EXITING of the kernel's sched.h.
    const EXITING: u32 = 4;
    let Ok(stat) = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat")) else { return true };
    let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let state = fields.next().unwrap_or_default();
    let flags: u32 = fields.nth(5).and_then(|flags| flags.parse().ok()).unwrap_or(0);
    matches!(state, "Z" | "X") || flags & EXITING != 0
}

/// Names of Unix sockets without a path belong to the network namespace.
fn take_name(name: &[u8]) -> Result<NamespaceLock, Failure> {
    let io = |error: Errno| Failure::Io {
        what: "the lock of the network namespace can't be taken".to_owned(),
        error: error.into(),
    };
    let address = SocketAddrUnix::new_abstract_name(name).map_err(io)?;
    let open = || {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(io)
    };
    let socket = open()?;
    match bind(&socket, &address) {
        Ok(()) => {
            // Whoever comes second learns from the connection who we are.
            listen(&socket, 8).map_err(io)?;
            return Ok(NamespaceLock { socket: Some(socket) });
        }
        Err(Errno::ADDRINUSE) => {}
        Err(error) => return Err(io(error)),
    }
    let asking = open()?;
    let holder = connect(&asking, &address).and_then(|()| socket_peercred(&asking)).ok();
    if let Some(holder) = holder
        && !holder.uid.is_root()
        && holder.uid != rustix::process::geteuid()
    {
        tracing::warn!(
            process = holder.pid.as_raw_nonzero(),
            user = holder.uid.as_raw(),
            "another user's process holds the name that tells daemons of one machine apart; it is ignored"
        );
        return Ok(NamespaceLock { socket: None });
    }
    let pid = holder.map_or_else(|| "unknown".to_owned(), |holder| holder.pid.as_raw_nonzero().to_string());
    Err(Failure::SameNamespace { pid })
}
