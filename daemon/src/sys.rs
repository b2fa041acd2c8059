//! System calls that no safe wrapper has.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Groups that are asked for at most; a process may have up to 65,536.
const GROUPS: usize = 65_536;

/// What is larger is mapped by itself, and goes back to the kernel when it is freed; and so much is kept at most where it
/// can be given back.
const LARGE: libc::c_int = 128 << 10;

/// Has the allocator keep little of what is freed. It would else learn from the first large change to keep tens of
/// megabytes for the next one, in each thread.
pub(crate) fn keep_little_memory() {
    // SAFETY: it takes numbers, and changes settings of the allocator under its own lock.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
        libc::mallopt(libc::M_TRIM_THRESHOLD, LARGE);
    }
}

/// Gives pages that hold nothing back to the kernel.
pub(crate) fn give_memory_back() {
    // SAFETY: it takes a number, and touches only memory that is free, under the allocator's own locks.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// The supplementary groups of the process at the other end of a Unix socket, as they were when it connected.
pub(crate) fn peer_groups(socket: &impl AsFd) -> io::Result<Vec<libc::gid_t>> {
    let mut groups: Vec<libc::gid_t> = vec![0; 64];
    loop {
        let bytes = size_of_val(groups.as_slice());
        let mut length = libc::socklen_t::try_from(bytes).map_err(io::Error::other)?;
        // SAFETY: the pointer and length describe the vector's own memory, which the kernel fills with numbers
        // of the vector's type, no further than `length` says; it then sets `length` to what it needs.
        let result = unsafe {
            libc::getsockopt(
                socket.as_fd().as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        let bytes = usize::try_from(length).map_err(io::Error::other)?;
        let wanted = bytes.checked_div(size_of::<libc::gid_t>()).unwrap_or(0);
        if result == 0 {
            groups.truncate(wanted);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::ERANGE) || wanted <= groups.len() || wanted > GROUPS {
            return Err(error);
        }
        groups.resize(wanted, 0);
    }
}
