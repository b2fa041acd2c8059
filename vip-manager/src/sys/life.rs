//! A lock in shared memory by which another process learns of a thread's death.
//!
//! The kernel gives up a dead thread's robust locks first of all. The ends of its sockets and pipes are closed
//! last, which takes more than 100 ms for a process with thousands of connections.

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;

/// One page holds the lock.
const BYTES: usize = 4096;

/// The lock, as mapped into this process.
struct Shared {
    lock: *mut libc::pthread_mutex_t,
}

impl Shared {
    fn map(memory: &OwnedFd) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
        let address = unsafe {
            libc::mmap(ptr::null_mut(), BYTES, protection, libc::MAP_SHARED, memory.as_raw_fd(), 0)
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { lock: address.cast() })
    }

    fn initialize(&self) -> io::Result<()> {
        // SAFETY: plain data, initialised by the next call.
        let mut attributes: libc::pthread_mutexattr_t = unsafe { std::mem::zeroed() };
        // SAFETY: `attributes` lives here, and the lock in a mapping of this process that nobody else has yet.
        unsafe {
            check(libc::pthread_mutexattr_init(&raw mut attributes))?;
            check(libc::pthread_mutexattr_setpshared(&raw mut attributes, libc::PTHREAD_PROCESS_SHARED))?;
            check(libc::pthread_mutexattr_setrobust(&raw mut attributes, libc::PTHREAD_MUTEX_ROBUST))?;
            check(libc::pthread_mutex_init(self.lock, &raw const attributes))
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: the mapping is of this size, and nobody uses it after this.
        unsafe { libc::munmap(self.lock.cast(), BYTES) };
    }
}

/// Held by the thread whose death is to be noticed; can't leave it. Dropping it is no death.
pub(crate) struct Life {
    shared: Shared,
}

impl Life {
    /// Takes a new lock. The descriptor is for the process that is to notice.
    pub(crate) fn hold() -> io::Result<(Self, OwnedFd)> {
        let memory = memfd_create("life", MemfdFlags::CLOEXEC)?;
        ftruncate(&memory, u64::try_from(BYTES).unwrap_or(u64::MAX))?;
        let shared = Shared::map(&memory)?;
        shared.initialize()?;
        // SAFETY: initialised above, and mapped until after it is unlocked.
        check(unsafe { libc::pthread_mutex_lock(shared.lock) })?;
        Ok((Self { shared }, memory))
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        // SAFETY: locked by this very thread, which this value can't leave; still mapped.
        unsafe { libc::pthread_mutex_unlock(self.shared.lock) };
    }
}

/// Waits until the holder is dead (true), or has let go (false).
pub(crate) fn wait_for_death(memory: &OwnedFd) -> io::Result<bool> {
    let shared = Shared::map(memory)?;
    // SAFETY: the holder initialised the lock before it handed out the descriptor.
    match unsafe { libc::pthread_mutex_lock(shared.lock) } {
        libc::EOWNERDEAD => Ok(true),
        0 => {
            // SAFETY: locked just now by this thread.
            unsafe { libc::pthread_mutex_unlock(shared.lock) };
            Ok(false)
        }
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// These functions return their error.
fn check(error: i32) -> io::Result<()> {
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}

#[cfg(test)]
mod tests;
