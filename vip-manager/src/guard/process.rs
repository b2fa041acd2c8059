//! The guard's process and the channel to it, as the daemon holds them.

use super::GuardCommand;
use super::message::{Fired, MAX_BYTES, ToGuard};
use crate::sys::{Life, set_int_option, unread};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
    recv, sendmsg, socketpair,
};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, Command, Stdio};

/// Room for all orders, and for the beats of a while.
const SEND_BUFFER_BYTES: i32 = 8 << 20;

/// A running guard. Dropping it closes the channel: the guard carries out its orders and ends.
pub(super) struct Process {
    channel: OwnedFd,
    child: Child,
    /// Lost with the thread that started the guard.
    #[allow(dead_code, reason = "it is held, not used")]
    life: Option<Life>,
}

impl Process {
    pub(super) fn start(command: &GuardCommand) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        socket2::SockRef::from(&ours).set_nonblocking(true)?;
        // All orders must fit before the new process reads its first.
        let buffer = |option| set_int_option(ours.as_fd(), libc::SOL_SOCKET, option, SEND_BUFFER_BYTES);
        // The root of a user namespace may not go beyond net.core.wmem_max.
        buffer(libc::SO_SNDBUFFORCE).or_else(|_| buffer(libc::SO_SNDBUF))?;
        #[allow(clippy::disallowed_methods, reason = "this is the driver of the guard's process")]
        let child =
            Command::new(&command.program).args(&command.arguments).stdin(Stdio::from(theirs)).spawn()?;
        let mut process = Self { channel: ours, child, life: None };
        match Life::hold() {
            Ok((life, memory)) => {
                process.life = Some(life);
                process.send(&ToGuard::Life, Some(&memory))?;
            }
            Err(error) => {
                tracing::warn!(%error, "the guard notices a crash only when all sockets of this process are closed");
            }
        }
        Ok(process)
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn channel(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }

    /// Sends one message, never waiting: a guard that does not read is as good as none.
    pub(super) fn send(&self, message: &ToGuard, socket: Option<&OwnedFd>) -> io::Result<()> {
        let bytes = message.encode()?;
        if bytes.len() > MAX_BYTES {
            return Err(io::Error::other("a group is too large for the guard"));
        }
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let sockets = socket.map(|socket| [socket.as_fd()]);
        if let Some(sockets) = &sockets {
            control.push(SendAncillaryMessage::ScmRights(sockets));
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        sendmsg(&self.channel, &[IoSlice::new(&bytes)], &mut control, flags)?;
        Ok(())
    }

    /// Whether it has read everything that it was told.
    pub(super) fn has_read_all(&self) -> bool {
        matches!(unread(self.channel.as_fd()), Ok(0) | Err(_))
    }

    /// Ends a guard that has no orders, or that hangs, without leaving it behind.
    pub(super) fn end(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// One message, if there is one. An error says that the guard is gone.
    pub(super) fn receive(&self) -> io::Result<Option<Fired>> {
        let mut buffer = [0; 1024];
        match recv(&self.channel, &mut buffer, RecvFlags::DONTWAIT) {
            Ok((_, 0)) => Err(io::Error::other("it ended")),
            Ok((_, length)) => Ok(serde_json::from_slice(buffer.get(..length).unwrap_or_default()).ok()),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
