//! System calls that no safe wrapper offers: packet sockets, a few socket options, scheduling and signals.
#![allow(unsafe_code)]

mod life;

pub(crate) use life::{Life, wait_for_death};

use std::io;
use std::net::Ipv6Addr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use tokio::io::unix::AsyncFd;

/// A hardware address of Ethernet.
pub(crate) type Mac = [u8; 6];

/// Binds a packet socket to one interface and one Ethernet type.
pub(crate) fn bind_packet(socket: BorrowedFd<'_>, interface: u32, ether_type: u16) -> io::Result<()> {
    let interface = i32::try_from(interface).map_err(|_| io::ErrorKind::InvalidInput)?;
    let length =
        libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: sockaddr_ll is plain data, for which zeroes are a valid value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET).map_err(|_| io::ErrorKind::InvalidInput)?;
    address.sll_protocol = ether_type.to_be();
    address.sll_ifindex = interface;
    // SAFETY: the pointer and the length describe `address`, which outlives the call.
    let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    check(result)
}

/// Lets a packet socket hear frames to one more MAC, for as long as it is open.
pub(crate) fn hear_mac(socket: BorrowedFd<'_>, interface: u32, mac: Mac) -> io::Result<()> {
    let length =
        libc::socklen_t::try_from(size_of::<libc::packet_mreq>()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let [a, b, c, d, e, f] = mac;
    let request = libc::packet_mreq {
        mr_ifindex: i32::try_from(interface).map_err(|_| io::ErrorKind::InvalidInput)?,
        mr_type: u16::try_from(libc::PACKET_MR_UNICAST).map_err(|_| io::ErrorKind::InvalidInput)?,
        mr_alen: 6,
        mr_address: [a, b, c, d, e, f, 0, 0],
    };
    // SAFETY: the pointer and the length describe `request`, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_ADD_MEMBERSHIP,
            (&raw const request).cast(),
            length,
        )
    };
    check(result)
}

/// Lets the runtime wait on a descriptor.
pub(crate) fn watch(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd always gives the same descriptor and keeps it open, and the AsyncFd owns it.
    unsafe { AsyncFd::register(descriptor) }.map_err(io::Error::from)
}

/// Sets an option whose value is an int.
pub(crate) fn set_int_option(socket: BorrowedFd<'_>, level: i32, name: i32, value: i32) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<i32>()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the pointer and the length describe `value`, which outlives the call.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), length) };
    check(result)
}

/// How much of what was sent by a Unix socket the other end has not read; in bytes of the kernel's memory.
pub(crate) fn unread(socket: BorrowedFd<'_>) -> io::Result<i32> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: this request writes one int to the pointer, which is to a live one.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) })?;
    Ok(bytes)
}

/// Gives the calling thread real-time scheduling; 1 is the lowest priority. Its children don't inherit it.
///
/// The kernel bounds what real-time threads take (`kernel.sched_rt_runtime_us`), and the loop bounds itself.
pub(crate) fn schedule_round_robin(priority: i32) -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: priority };
    // SAFETY: the pointer is to a live sched_param; 0 means the calling thread.
    let result = unsafe {
        libc::sched_setscheduler(0, libc::SCHED_RR | libc::SCHED_RESET_ON_FORK, &raw const parameters)
    };
    check(result)
}

/// Ignores the signals that are sent to whole process groups and sessions.
pub(crate) fn ignore_group_signals() {
    let signals = [
        libc::SIGTERM,
        libc::SIGINT,
        libc::SIGQUIT,
        libc::SIGHUP,
        libc::SIGUSR1,
        libc::SIGUSR2,
        libc::SIGPIPE,
        libc::SIGTSTP,
        libc::SIGTTIN,
        libc::SIGTTOU,
    ];
    for signal in signals {
        // SAFETY: SIG_IGN is a valid disposition, and installs no handler.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Keeps all memory of this process, present and future, from being swapped out.
pub(crate) fn lock_memory() -> io::Result<()> {
    // SAFETY: takes no pointer.
    check(unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE) })
}

/// How this process is named in lists of processes; at most 15 bytes count.
pub(crate) fn set_process_name(name: &std::ffi::CStr) {
    // SAFETY: `name` ends in a zero byte and outlives the call.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0) };
}

/// What an IPv6 raw socket told of a datagram.
pub(crate) struct Datagram {
    pub(crate) length: usize,
    pub(crate) source: Ipv6Addr,
    pub(crate) destination: Ipv6Addr,
    pub(crate) hop_limit: u8,
}

/// Receives from an IPv6 raw socket that has `IPV6_RECVPKTINFO` and `IPV6_RECVHOPLIMIT`. Never waits.
pub(crate) fn receive_v6(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Datagram> {
    // Control messages must be aligned like their header.
    let mut control = [0u64; 16];
    // SAFETY: both are plain data, for which zeroes are a valid value.
    let (mut source, mut header): (libc::sockaddr_in6, libc::msghdr) =
        unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    header.msg_name = (&raw mut source).cast();
    header.msg_namelen = libc::socklen_t::try_from(size_of::<libc::sockaddr_in6>())
        .map_err(|_| io::ErrorKind::InvalidInput)?;
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control);
    // SAFETY: the header's pointers and lengths describe live buffers that only this function uses.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_DONTWAIT) };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    let mut datagram = Datagram {
        length,
        source: source.sin6_addr.s6_addr.into(),
        destination: Ipv6Addr::UNSPECIFIED,
        hop_limit: 0,
    };
    // SAFETY: the header describes `control`, as the kernel filled it; the macro stays inside.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(&raw const header) };
    while !next.is_null() {
        // SAFETY: not null, so it points to a whole control message inside `control`. Its data need not be
        // aligned, and are read as what the kernel documents for the two options that are switched on.
        unsafe {
            let data = libc::CMSG_DATA(next);
            match ((*next).cmsg_level, (*next).cmsg_type) {
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info = data.cast::<libc::in6_pktinfo>().read_unaligned();
                    datagram.destination = info.ipi6_addr.s6_addr.into();
                }
                (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => {
                    let hop_limit = data.cast::<libc::c_int>().read_unaligned();
                    datagram.hop_limit = u8::try_from(hop_limit).unwrap_or(0);
                }
                _ => {}
            }
            next = libc::CMSG_NXTHDR(&raw const header, next);
        }
    }
    Ok(datagram)
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
