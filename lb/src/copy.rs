//! One direction of a connection: bytes from one socket to the other, as far as both allow.
//!
//! What is read into the worker's scratch buffer is written at once. Only what the receiver does not take is
//! kept, and nothing more is read until that is gone; the kernel's buffers are the only other queue. So an
//! idle connection holds no buffer at all.

#[cfg(test)]
mod tests;

use crate::splice::{self, Pipe, Pipes};
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Bytes of the scratch buffer.
const SCRATCH: usize = 64 * 1024;
/// A direction that left bytes behind reads only so many at once, until all is taken again: bounds what a
/// client that reads slowly, or never, can make us keep.
const CAUTIOUS: usize = 8 * 1024;
/// Bytes a direction may move before others get their turn.
const BUDGET: usize = 1024 * 1024;

/// What the directions of one worker's connections share.
#[derive(Debug)]
pub(crate) struct Moving {
    pub(crate) scratch: Box<[u8]>,
    pub(crate) pipes: Pipes,
}

impl Moving {
    pub(crate) fn new(pipes: Pipes) -> Self {
        Self { scratch: vec![0; SCRATCH].into(), pipes }
    }
}

/// One socket and what is known of it. Edge triggered: what is known holds until the socket says "not now".
#[derive(Debug)]
pub(crate) struct Side {
    fd: OwnedFd,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// Its FIN has come, behind what is still to be read.
    hangup: bool,
    /// It used urgent data, at which reads stop early and pipes for good: a short read does not mean that all is
    /// read.
    urgent: bool,
    /// It has failed. The kernel says so once: whoever asks next is told of an end.
    failed: bool,
    /// Whether epoll reports that it can be written.
    pub(crate) reports_writable: bool,
}

impl Side {
    pub(crate) fn new(fd: OwnedFd, writable: bool) -> Self {
        Self {
            fd,
            readable: false,
            writable,
            hangup: false,
            urgent: false,
            failed: false,
            reports_writable: false,
        }
    }

    /// Takes over what epoll says.
    pub(crate) fn handle_event(&mut self, flags: EventFlags) {
        let gone = flags.intersects(EventFlags::ERR | EventFlags::HUP);
        self.failed |= flags.contains(EventFlags::ERR);
        // A reset is reported as the end of reading, too, but it is no FIN and must not be passed on as one.
        self.hangup |= flags.contains(EventFlags::RDHUP) && !self.failed;
        self.urgent |= flags.contains(EventFlags::PRI);
        self.readable |= gone || flags.intersects(EventFlags::IN | EventFlags::RDHUP | EventFlags::PRI);
        self.writable |= gone || flags.contains(EventFlags::OUT);
    }

    /// Reads into `buffer` and remembers whether there may be more.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, Errno> {
        let length = buffer.len();
        match rustix::net::recv(&self.fd, buffer, RecvFlags::empty()) {
            Ok((count, _)) => {
                // The end is read again when it can be passed on.
                self.hangup |= count == 0 && !self.failed;
                // What failed reports nothing any more.
                if count < length && !self.hangup && !self.urgent && !self.failed {
                    self.readable = false;
                }
                Ok(Some(count))
            }
            Err(Errno::AGAIN) => {
                self.readable = false;
                Ok(None)
            }
            Err(Errno::INTR) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes what the socket takes.
    pub(crate) fn write(&mut self, bytes: &[u8], more: bool) -> Result<usize, Errno> {
        let flags = if more { SendFlags::NOSIGNAL | SendFlags::MORE } else { SendFlags::NOSIGNAL };
        match rustix::net::send(&self.fd, bytes, flags) {
            Ok(count) => {
                self.writable = count == bytes.len();
                Ok(count)
            }
            Err(Errno::AGAIN) => {
                self.writable = false;
                Ok(0)
            }
            Err(Errno::INTR) => Ok(0),
            Err(error) => {
                self.failed = true;
                Err(error)
            }
        }
    }

    /// Whether the end that was read is one that the other side has made.
    fn ends_orderly(&self) -> bool {
        self.hangup || !self.failed
    }
}

impl AsFd for Side {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// One direction.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    /// Bytes taken from the source so far.
    pub(crate) bytes: u64,
    /// Read and not yet written.
    pending: Option<Box<Pending>>,
    /// Holds bytes on their way; given back whenever it is empty.
    pipe: Option<Box<Pipe>>,
    end: FlowEnd,
    bulk: splice::Bulk,
}

#[derive(Debug)]
struct Pending {
    bytes: Box<[u8]>,
    written: usize,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum FlowEnd {
    #[default]
    Open,
    /// The source's FIN came; what is pending goes first.
    Received,
    /// The FIN was passed on.
    PassedOn,
}

/// Why a direction stopped for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// Until a socket reports something.
    Waiting,
    /// Others first; it can go on at once.
    Turn,
}

/// The side that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    Source,
    Target,
}

impl Flow {
    /// Whether the FIN was passed on.
    pub(crate) fn is_finished(&self) -> bool {
        self.end == FlowEnd::PassedOn
    }

    /// Whether the source's FIN has come.
    pub(crate) fn is_ending(&self) -> bool {
        self.end != FlowEnd::Open
    }

    /// Puts bytes in front: a header of ours, or what was read before there was a target.
    pub(crate) fn put(&mut self, parts: &[&[u8]]) {
        let bytes = parts.concat().into_boxed_slice();
        self.pending = (!bytes.is_empty()).then(|| Box::new(Pending { bytes, written: 0 }));
    }

    /// Tries to write what waits to a target that may not have accepted yet; says whether it has.
    pub(crate) fn greet(&mut self, target: &mut Side) -> Result<bool, Errno> {
        let Some(pending) = &mut self.pending else {
            target.writable = false;
            return Ok(false);
        };
        let written = target.write(pending.rest(), false)?;
        target.writable &= written > 0;
        pending.written = pending.written.saturating_add(written);
        if pending.rest().is_empty() {
            self.pending = None;
        }
        Ok(written > 0)
    }

    /// What waits to be written.
    pub(crate) fn pending(&self) -> &[u8] {
        self.pending.as_ref().map_or(&[], |pending| pending.rest())
    }

    /// Moves what can be moved. `last` says that the other direction has finished, so that the sockets will
    /// be closed and the FIN needs no call of its own.
    pub(crate) fn pump(
        &mut self,
        source: &mut Side,
        target: &mut Side,
        moving: &mut Moving,
        last: bool,
    ) -> Result<Stopped, Broken> {
        let mut budget = BUDGET;
        loop {
            self.flush(target, moving)?;
            if self.pending.is_some() || self.pipe.is_some() {
                return Ok(Stopped::Waiting);
            }
            match self.end {
                FlowEnd::Open => {}
                FlowEnd::Received => {
                    if !last {
                        shut_down(target)?;
                    }
                    self.end = FlowEnd::PassedOn;
                    return Ok(Stopped::Waiting);
                }
                FlowEnd::PassedOn => return Ok(Stopped::Waiting),
            }
            if !source.readable || !target.writable {
                return Ok(Stopped::Waiting);
            }
            if budget == 0 {
                return Ok(Stopped::Turn);
            }
            let moved = if self.bulk.wants_splice() && !source.urgent {
                self.splice(source, moving)?
            } else {
                self.copy(source, target, moving)?
            };
            budget = budget.saturating_sub(moved);
        }
    }

    /// Gives back what the direction holds when its connection ends.
    pub(crate) fn release(&mut self, moving: &mut Moving) {
        if let Some(pipe) = self.pipe.take() {
            moving.pipes.give_back(pipe);
        }
    }

    fn flush(&mut self, target: &mut Side, moving: &mut Moving) -> Result<(), Broken> {
        while let Some(pending) = self.pending.as_mut().filter(|_| target.writable) {
            let count = target.write(pending.rest(), false).map_err(|_| Broken::Target)?;
            pending.written = pending.written.saturating_add(count);
            if pending.rest().is_empty() {
                self.pending = None;
            }
        }
        while let Some(pipe) = self.pipe.as_mut().filter(|_| target.writable) {
            let drained = pipe.drain(&mut *target).inspect_err(|_| target.failed = true);
            match drained.map_err(|_| Broken::Target)? {
                None => target.writable = false,
                Some(_) if pipe.held == 0 => self.release(moving),
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn splice(&mut self, source: &mut Side, moving: &mut Moving) -> Result<usize, Broken> {
        let Some(mut pipe) = moving.pipes.take() else {
            self.bulk.handle_no_pipe();
            return Ok(0);
        };
        let filled = pipe.fill(&mut *source);
        if pipe.held > 0 {
            self.pipe = Some(pipe);
        } else {
            moving.pipes.give_back(pipe);
        }
        match filled.map_err(|_| Broken::Source)? {
            None => source.readable = false,
            // The end, or urgent data, at which a pipe stops for ever: only reading tells them apart.
            Some(0) => self.bulk.handle_no_pipe(),
            Some(count) => {
                self.count(count);
                self.bulk.handle_splice(count);
                return Ok(count);
            }
        }
        Ok(0)
    }

    fn copy(&mut self, source: &mut Side, target: &mut Side, moving: &mut Moving) -> Result<usize, Broken> {
        let size = if self.bulk.is_slow() { CAUTIOUS } else { SCRATCH };
        let Some(buffer) = moving.scratch.get_mut(..size) else { return Ok(0) };
        let Some(count) = source.read(buffer).map_err(|_| Broken::Source)? else { return Ok(0) };
        if count == 0 {
            if !source.ends_orderly() {
                return Err(Broken::Source);
            }
            self.end = FlowEnd::Received;
            return Ok(0);
        }
        self.count(count);
        // A short read behind which the FIN is known to wait: all was read, and the FIN may travel with it.
        let complete = count < size && source.hangup && !source.urgent;
        if complete {
            self.end = FlowEnd::Received;
        }
        let bytes = buffer.get(..count).unwrap_or_default();
        let written = target.write(bytes, complete).map_err(|_| Broken::Target)?;
        let rest = bytes.get(written..).unwrap_or_default();
        if !rest.is_empty() {
            self.put(&[rest]);
        }
        self.bulk.handle_copy(self.bytes, count, rest.is_empty());
        Ok(count)
    }

    fn count(&mut self, count: usize) {
        self.bytes = self.bytes.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
    }
}

impl Pending {
    fn rest(&self) -> &[u8] {
        self.bytes.get(self.written..).unwrap_or_default()
    }
}

fn shut_down(target: &Side) -> Result<(), Broken> {
    match rustix::net::shutdown(target, Shutdown::Write) {
        // It is gone already, which is not for this direction to judge.
        Ok(()) | Err(Errno::NOTCONN) => Ok(()),
        Err(_) => Err(Broken::Target),
    }
}
