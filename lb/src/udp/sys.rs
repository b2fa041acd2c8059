//! Many datagrams in one system call: recvmmsg(2) and sendmmsg(2).

#![allow(unsafe_code)] // Neither call has a safe wrapper in a crate we use; each block says why it is sound.

use socket2::{SockAddr, SockAddrStorage};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

/// Datagrams in one system call, at most.
pub(super) const BATCH: usize = 64;
/// Room for one datagram: no UDP payload is longer than 65,527 bytes, so none is ever cut.
const SLOT: usize = 65_536;

/// Room for [`BATCH`] datagrams. Memory that no datagram has reached is never touched, so it costs nothing.
pub(super) struct Batch {
    buffer: Vec<u8>,
    lengths: [usize; BATCH],
    names: Vec<libc::sockaddr_storage>,
    vectors: Vec<[libc::iovec; 2]>,
    messages: Vec<libc::mmsghdr>,
}

// SAFETY: the raw pointers within lead only into the batch's own memory and to what a call borrows; they are
// set anew by each call before the kernel sees them, so none is followed after the batch moved to a thread.
unsafe impl Send for Batch {}

/// One datagram to send out of a batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outgoing {
    /// Where its payload was received.
    pub(super) slot: usize,
    /// Bytes of it to leave out in front.
    pub(super) skip: usize,
    /// Where it goes, if its socket is not connected.
    pub(super) to: Option<SocketAddr>,
}

impl Batch {
    pub(super) fn new() -> Self {
        // SAFETY: all of sockaddr_storage is integers and padding, for which zero is a value.
        let name: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
        Self {
            buffer: vec![0; BATCH.saturating_mul(SLOT)],
            lengths: [0; BATCH],
            names: vec![name; BATCH],
            vectors: Vec::with_capacity(BATCH),
            messages: Vec::with_capacity(BATCH),
        }
    }

    /// Receives what is there, at most `count` datagrams, into the slots from `first` on; never waits. Fewer
    /// than `count` means that there are no more for now.
    ///
    /// # Errors
    /// As recvmmsg(2): nothing there (`WouldBlock`), or an error that an earlier datagram met.
    pub(super) fn receive(
        &mut self,
        socket: BorrowedFd<'_>,
        first: usize,
        count: usize,
    ) -> io::Result<usize> {
        self.vectors.clear();
        self.messages.clear();
        let slots = self.buffer.chunks_exact_mut(SLOT).zip(&mut self.names).skip(first).take(count);
        for (slot, name) in slots {
            self.vectors.push([
                libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: SLOT },
                libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 },
            ]);
            let mut message = empty_message();
            message.msg_hdr.msg_name = ptr::from_mut(name).cast();
            message.msg_hdr.msg_namelen = NAME_LENGTH;
            self.messages.push(message);
        }
        for (message, vector) in self.messages.iter_mut().zip(&mut self.vectors) {
            message.msg_hdr.msg_iov = vector.as_mut_ptr();
            message.msg_hdr.msg_iovlen = 1;
        }
        let length = u32::try_from(self.messages.len()).unwrap_or(u32::MAX);
        // SAFETY: `messages` has `length` entries whose pointers lead into `names`, `vectors` and `buffer`, which
        // live and are borrowed uniquely during the call, each with the length stated beside it. No timeout.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.messages.as_mut_ptr(),
                length,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        for (message, length) in self.messages.iter().zip(self.lengths.iter_mut().skip(first)).take(received)
        {
            *length = usize::try_from(message.msg_len).unwrap_or(0).min(SLOT);
        }
        Ok(received)
    }

    /// The payload received into `slot`.
    pub(super) fn payload(&self, slot: usize) -> &[u8] {
        let length = self.lengths.get(slot).copied().unwrap_or(0);
        self.buffer.chunks_exact(SLOT).nth(slot).and_then(|bytes| bytes.get(..length)).unwrap_or_default()
    }

    /// Who sent what was received into `slot`, if its socket is not connected.
    pub(super) fn source(&self, slot: usize) -> Option<SocketAddr> {
        let name = self.names.get(slot)?;
        match i32::from(name.ss_family) {
            libc::AF_INET => {
                // SAFETY: the kernel wrote a sockaddr_in, as the family says; the storage is larger and aligned.
                let name = unsafe { ptr::from_ref(name).cast::<libc::sockaddr_in>().read() };
                let ip = std::net::Ipv4Addr::from(name.sin_addr.s_addr.to_ne_bytes());
                Some(SocketAddr::new(ip.into(), u16::from_be(name.sin_port)))
            }
            libc::AF_INET6 => {
                // SAFETY: the kernel wrote a sockaddr_in6, as the family says; the storage is larger and aligned.
                let name = unsafe { ptr::from_ref(name).cast::<libc::sockaddr_in6>().read() };
                let ip = std::net::Ipv6Addr::from(name.sin6_addr.s6_addr);
                let port = u16::from_be(name.sin6_port);
                // The scope matters for link-local clients: without it no reply would find its interface.
                Some(std::net::SocketAddrV6::new(ip, port, 0, name.sin6_scope_id).into())
            }
            _ => None,
        }
    }

    /// Sends at most [`BATCH`] datagrams, each with `header` in front; never waits. Returns how many went, from
    /// the first on; fewer than asked for if one failed, whose error the next call tells.
    ///
    /// # Errors
    /// As sendmmsg(2): why the first of them can't be sent, or an error that an earlier datagram met.
    pub(super) fn send(
        &mut self,
        socket: BorrowedFd<'_>,
        header: &[u8],
        datagrams: &[Outgoing],
    ) -> io::Result<usize> {
        self.vectors.clear();
        self.messages.clear();
        let mut names = [const { None }; BATCH];
        for (datagram, name) in datagrams.iter().zip(&mut names) {
            let payload = self.payload(datagram.slot).get(datagram.skip..).unwrap_or_default();
            let vector = [
                libc::iovec { iov_base: header.as_ptr().cast_mut().cast(), iov_len: header.len() },
                libc::iovec { iov_base: payload.as_ptr().cast_mut().cast(), iov_len: payload.len() },
            ];
            self.vectors.push(vector);
            let mut message = empty_message();
            if let Some(to) = datagram.to {
                let name: &SockAddr = name.insert(to.into());
                message.msg_hdr.msg_name = name.as_ptr().cast_mut().cast();
                message.msg_hdr.msg_namelen = name.len();
            }
            self.messages.push(message);
        }
        for (message, vector) in self.messages.iter_mut().zip(&mut self.vectors) {
            message.msg_hdr.msg_iov = vector.as_mut_ptr();
            message.msg_hdr.msg_iovlen = 2;
        }
        let length = u32::try_from(self.messages.len()).unwrap_or(u32::MAX);
        // SAFETY: `messages` has `length` entries whose pointers lead into `names`, `vectors`, `header` and
        // `buffer`, which live during the call, each with the length stated beside it. The kernel only reads
        // what they point at.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                self.messages.as_mut_ptr(),
                length,
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            )
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

/// The largest name that the kernel writes, and the room there is for it.
const NAME_LENGTH: libc::socklen_t = {
    // A constant below the type's maximum; `as` is the only conversion that constants have.
    #[allow(clippy::cast_possible_truncation)]
    let length = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    assert!(size_of::<libc::sockaddr_storage>() == size_of::<SockAddrStorage>());
    length
};

fn empty_message() -> libc::mmsghdr {
    // SAFETY: all of mmsghdr is integers and raw pointers, for which zero is a value; it means "nothing".
    unsafe { std::mem::zeroed() }
}
