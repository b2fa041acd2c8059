//! Bulk data moves from socket to socket inside the kernel, through a pipe.
//!
//! A pipe is used only for a direction that proved to be bulk: for small messages the second system call
//! costs more than the copy it saves. While a pipe holds data nothing is read into it, since then "not now"
//! could mean either that the socket is empty or that the pipe is full.

#[cfg(test)]
mod tests;

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags};
use std::os::fd::{AsFd, OwnedFd};

/// A direction is bulk after so many bytes,
const BULK_AFTER: u64 = 256 * 1024;
/// if the last reads were this large,
const LARGE: usize = 32 * 1024;
/// so many of them.
const LARGE_READS: u8 = 4;
/// It is no longer, after so many reads
const SMALL_READS: u8 = 16;
/// below this.
const SMALL: usize = 8 * 1024;
/// The most one call may be asked for.
const MOST: usize = 1024 * 1024;
/// What a pipe is asked to hold.
const PIPE_SIZE: usize = 256 * 1024;

/// A pipe and how many bytes are in it.
#[derive(Debug)]
pub(crate) struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
    pub(crate) held: usize,
}

/// A worker's pipes: those not in use, and how many it may have in all.
#[derive(Debug)]
pub(crate) struct Pipes {
    #[allow(clippy::vec_box)] // A direction holds a pointer, so that an idle connection stays small.
    free: Vec<Box<Pipe>>,
    to_make: usize,
}

impl Pipes {
    pub(crate) fn new(limit: usize) -> Self {
        Self { free: Vec::new(), to_make: limit }
    }

    /// An empty pipe; none if all are in use, and then the direction copies.
    pub(crate) fn take(&mut self) -> Option<Box<Pipe>> {
        if let Some(pipe) = self.free.pop() {
            return Some(pipe);
        }
        self.to_make = self.to_make.checked_sub(1)?;
        let made = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK);
        let (reader, writer) = made.inspect_err(|_| self.to_make = self.to_make.saturating_add(1)).ok()?;
        // Where that is too much for this user, the usual 64 KiB do as well.
        let _ = rustix::pipe::fcntl_setpipe_size(&writer, PIPE_SIZE);
        Some(Box::new(Pipe { reader, writer, held: 0 }))
    }

    /// Takes back a pipe. One that still holds bytes of a connection that ended is closed, never reused.
    pub(crate) fn give_back(&mut self, pipe: Box<Pipe>) {
        if pipe.held == 0 {
            self.free.push(pipe);
        } else {
            self.to_make = self.to_make.saturating_add(1);
        }
    }
}

impl Pipe {
    /// From a socket into the empty pipe: how many bytes came, 0 at the end or at urgent data with the end behind
    /// it, none if there are none now.
    pub(crate) fn fill(&mut self, source: impl AsFd) -> Result<Option<usize>, Errno> {
        let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
        match rustix::pipe::splice(source, None, &self.writer, None, MOST, flags) {
            Ok(count) => {
                self.held = count;
                Ok(Some(count))
            }
            Err(Errno::AGAIN) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Into a socket: how many bytes it took, none if it takes none now. Never with SPLICE_F_MORE, which
    /// would hold the last segment back.
    pub(crate) fn drain(&mut self, target: impl AsFd) -> Result<Option<usize>, Errno> {
        let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
        match rustix::pipe::splice(&self.reader, None, target, None, self.held, flags) {
            // A socket that takes nothing without saying why would have us try for ever.
            Ok(0) => Err(Errno::IO),
            Ok(count) => {
                self.held = self.held.saturating_sub(count);
                Ok(Some(count))
            }
            Err(Errno::AGAIN) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// What a direction's traffic looks like.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Bulk {
    large_reads: u8,
    small_reads: u8,
    /// Its receiver left something behind lately.
    slow: bool,
}

impl Bulk {
    /// Whether a pipe is worth it.
    pub(crate) fn wants_splice(self) -> bool {
        self.large_reads >= LARGE_READS
    }

    /// Whether the receiver is slower than the sender.
    pub(crate) fn is_slow(self) -> bool {
        self.slow
    }

    /// After `count` bytes were copied, `total` so far.
    pub(crate) fn handle_copy(&mut self, total: u64, count: usize, all_written: bool) {
        if count >= LARGE && total >= BULK_AFTER {
            self.large_reads = self.large_reads.saturating_add(1);
            self.small_reads = 0;
        } else if count < LARGE && all_written && !self.slow {
            self.large_reads = 0;
        }
        self.slow = !all_written;
    }

    /// After `count` bytes were spliced.
    pub(crate) fn handle_splice(&mut self, count: usize) {
        self.small_reads = if count < SMALL { self.small_reads.saturating_add(1) } else { 0 };
        if self.small_reads >= SMALL_READS {
            *self = Self::default();
        }
    }

    /// There was no pipe, or nothing for it: copy until it proves to be bulk again.
    pub(crate) fn handle_no_pipe(&mut self) {
        *self = Self::default();
    }
}
