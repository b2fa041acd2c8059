//! Many datagrams in one system call: recvmmsg(2) and sendmmsg(2).

#![allow(unsafe_code)] // Neither call has a safe wrapper in a crate we use; each block says why it is sound.

use rustix::net::{RecvFlags, SendFlags};
use socket2::SockAddr;
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
    /// Who sent what is in each slot.
    sources: Vec<libc::sockaddr_storage>,
    /// One for each slot, made once: they always lead to the same places.
    inward: Vec<libc::mmsghdr>,
    /// What those lead to; kept only to keep it alive.
    _inward_vectors: Vec<libc::iovec>,
    targets: Vec<libc::sockaddr_storage>,
    outward_vectors: Vec<[libc::iovec; 2]>,
    outward: Vec<libc::mmsghdr>,
}

// SAFETY: the raw pointers in `inward` lead only into the batch's own heap memory, which does not move with it.
// Those in `outward` are set anew by each call before the kernel sees them.
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
        let mut buffer = vec![0; BATCH.saturating_mul(SLOT)];
        let mut sources = vec![empty_name(); BATCH];
        let slots = buffer.chunks_exact_mut(SLOT);
        let mut vectors: Vec<libc::iovec> =
            slots.map(|slot| libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: SLOT }).collect();
        let inward = vectors.iter_mut().zip(&mut sources).map(|(vector, source)| {
            let mut message = empty_message();
            message.msg_hdr.msg_name = ptr::from_mut(source).cast();
            message.msg_hdr.msg_namelen = NAME_LENGTH;
            message.msg_hdr.msg_iov = vector;
            message.msg_hdr.msg_iovlen = 1;
            message
        });
        let inward = inward.collect();
        Self {
            buffer,
            lengths: [0; BATCH],
            sources,
            inward,
            _inward_vectors: vectors,
            targets: vec![empty_name(); BATCH],
            outward_vectors: Vec::with_capacity(BATCH),
            outward: Vec::with_capacity(BATCH),
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
        let end = first.saturating_add(count).min(BATCH);
        let Some(messages) = self.inward.get_mut(first..end) else { return Ok(0) };
        let length = u32::try_from(messages.len()).unwrap_or(u32::MAX);
        // SAFETY: `messages` has `length` entries whose pointers lead into `sources`, `_inward_vectors` and
        // `buffer`, which are never resized and are borrowed uniquely during the call, each with its length.
        // No timeout.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                messages.as_mut_ptr(),
                length,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        let lengths = self.lengths.iter_mut().skip(first);
        for (message, length) in messages.iter_mut().zip(lengths).take(received) {
            *length = usize::try_from(message.msg_len).unwrap_or(0).min(SLOT);
            message.msg_hdr.msg_namelen = NAME_LENGTH;
        }
        Ok(received)
    }

    /// Receives one datagram of a connected socket into `slot`; cheaper than [`Batch::receive`] where there is
    /// rarely a second.
    ///
    /// # Errors
    /// As recv(2): nothing there (`WouldBlock`), or an error that an earlier datagram met.
    pub(super) fn receive_one(&mut self, socket: BorrowedFd<'_>, slot: usize) -> io::Result<()> {
        let bytes = self.buffer.chunks_exact_mut(SLOT).nth(slot).unwrap_or_default();
        let (_, length) = rustix::net::recv(socket, bytes, RecvFlags::DONTWAIT)?;
        if let Some(known) = self.lengths.get_mut(slot) {
            *known = length.min(SLOT);
        }
        Ok(())
    }

    /// The payload received into `slot`.
    pub(super) fn payload(&self, slot: usize) -> &[u8] {
        let length = self.lengths.get(slot).copied().unwrap_or(0);
        self.buffer.chunks_exact(SLOT).nth(slot).and_then(|bytes| bytes.get(..length)).unwrap_or_default()
    }

    /// Who sent what was received into `slot`, if its socket is not connected.
    pub(super) fn source(&self, slot: usize) -> Option<SocketAddr> {
        let name = self.sources.get(slot)?;
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
        if let ([Outgoing { slot, skip, to: None }], []) = (datagrams, header) {
            let payload = self.payload(*slot).get(*skip..).unwrap_or_default();
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            return Ok(rustix::net::send(socket, payload, flags).map(|_| 1)?);
        }
        self.outward_vectors.clear();
        self.outward.clear();
        for (place, datagram) in datagrams.iter().take(BATCH).enumerate() {
            let payload = self.payload(datagram.slot).get(datagram.skip..).unwrap_or_default();
            let vector = [
                libc::iovec { iov_base: header.as_ptr().cast_mut().cast(), iov_len: header.len() },
                libc::iovec { iov_base: payload.as_ptr().cast_mut().cast(), iov_len: payload.len() },
            ];
            self.outward_vectors.push(vector);
            let mut message = empty_message();
            if let (Some(to), Some(target)) = (datagram.to, self.targets.get_mut(place)) {
                message.msg_hdr.msg_namelen = write_name(target, to);
                message.msg_hdr.msg_name = ptr::from_mut(target).cast();
            }
            self.outward.push(message);
        }
        for (message, vector) in self.outward.iter_mut().zip(&mut self.outward_vectors) {
            // One vector takes a shorter way through the kernel than two.
            let vector = vector.get_mut(usize::from(header.is_empty())..).unwrap_or_default();
            message.msg_hdr.msg_iov = vector.as_mut_ptr();
            message.msg_hdr.msg_iovlen = vector.len();
        }
        let length = u32::try_from(self.outward.len()).unwrap_or(u32::MAX);
        // SAFETY: `outward` has `length` entries whose pointers lead into `targets`, `outward_vectors`, `header`
        // and `buffer`, which live and do not move during the call, each with its length. The kernel only
        // reads what they lead to.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                self.outward.as_mut_ptr(),
                length,
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            )
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

/// The room there is for a name.
const NAME_LENGTH: libc::socklen_t = 128;
const _: () = assert!(size_of::<libc::sockaddr_storage>() == 128);

fn empty_message() -> libc::mmsghdr {
    // SAFETY: all of mmsghdr is integers and raw pointers, for which zero is a value; it means "nothing".
    unsafe { std::mem::zeroed() }
}

fn empty_name() -> libc::sockaddr_storage {
    // SAFETY: all of sockaddr_storage is integers and padding, for which zero is a value.
    unsafe { std::mem::zeroed() }
}

/// Writes `address` as the kernel wants it and returns its length.
fn write_name(name: &mut libc::sockaddr_storage, address: SocketAddr) -> libc::socklen_t {
    let address = SockAddr::from(address);
    // SAFETY: both sides are at least `len` bytes long (`SockAddr` never says more than its storage has, which
    // is the same C type), and a `SockAddr` of an IP address has all of them initialised.
    unsafe {
        let length = usize::try_from(address.len()).unwrap_or(0);
        ptr::copy_nonoverlapping(address.as_ptr().cast::<u8>(), ptr::from_mut(name).cast::<u8>(), length);
    }
    address.len()
}
