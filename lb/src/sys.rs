//! What the safe wrappers do not know: options of sockets, and questions about interfaces.
#![allow(unsafe_code)]

use rustix::io::Errno;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Leaves the choice of a port to `connect`, which may share one among several targets.
pub(crate) fn set_bind_address_no_port(socket: impl AsFd) -> Result<(), Errno> {
    enable(socket, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT)
}

/// Says when `file` has something to read.
///
/// # Errors
/// The event loop takes no more.
pub(crate) fn watch(file: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an owned descriptor stays open, and the same, until it is dropped.
    unsafe { AsyncFd::register_with_interest(file, Interest::READABLE) }.map_err(io::Error::from)
}

fn enable(socket: impl AsFd, level: libc::c_int, option: libc::c_int) -> Result<(), Errno> {
    let on: libc::c_int = 1;
    let size = libc::socklen_t::try_from(size_of_val(&on)).map_err(|_| Errno::INVAL)?;
    // SAFETY: the descriptor is open while it is borrowed, and the kernel reads `size` bytes of `on` during
    // the call only.
    let result =
        unsafe { libc::setsockopt(socket.as_fd().as_raw_fd(), level, option, (&raw const on).cast(), size) };
    if result == 0 {
        return Ok(());
    }
    Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL))
}

/// What was received into the beginning of `buffer`.
pub(crate) fn received(buffer: &[MaybeUninit<u8>], length: usize) -> &[u8] {
    let bytes = buffer.get(..length).unwrap_or_default();
    // SAFETY: the kernel has written the first `length` bytes, and u8 has no invalid values.
    unsafe { &*(std::ptr::from_ref(bytes) as *const [u8]) }
}

/// What is to be known of an interface before its driver is asked to run a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LinkFacts {
    pub(crate) driver: String,
    pub(crate) mac: [u8; 6],
    /// Bytes.
    pub(crate) mtu: usize,
}

const ETHTOOL_GDRVINFO: u32 = 3;

/// struct ethtool_drvinfo of linux/ethtool.h.
#[repr(C)]
struct DriverInfo {
    command: u32,
    driver: [u8; 32],
    rest: [u8; 160],
}

/// Asks the kernel for them.
///
/// # Errors
/// There is no such interface, or it has no driver that says its name.
pub(crate) fn link_facts(interface: &str) -> io::Result<LinkFacts> {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)?;
    let ask = |request: libc::Ioctl, wanted: &mut libc::ifreq| {
        // SAFETY: the descriptor is open; each of the three requests below reads and writes one `ifreq`, and by
        // SIOCETHTOOL the `DriverInfo` that it points to, which lives as long as the call.
        let result = unsafe { libc::ioctl(socket.as_raw_fd(), request, std::ptr::from_mut(wanted)) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: zeros are valid for this structure of integers and pointers.
    let mut wanted: libc::ifreq = unsafe { std::mem::zeroed() };
    let name = interface.as_bytes();
    let Some(field) = wanted.ifr_name.get_mut(..name.len()).filter(|_| name.len() < libc::IFNAMSIZ) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    for (to, from) in field.iter_mut().zip(name) {
        *to = from.cast_signed();
    }
    ask(libc::SIOCGIFHWADDR, &mut wanted)?;
    // SAFETY: that request has filled this member.
    let address = unsafe { wanted.ifr_ifru.ifru_hwaddr.sa_data };
    ask(libc::SIOCGIFMTU, &mut wanted)?;
    // SAFETY: the same.
    let mtu = unsafe { wanted.ifr_ifru.ifru_mtu };
    let mut info = DriverInfo { command: ETHTOOL_GDRVINFO, driver: [0; 32], rest: [0; 160] };
    wanted.ifr_ifru.ifru_data = std::ptr::from_mut(&mut info).cast();
    ask(libc::SIOCETHTOOL, &mut wanted)?;
    let driver = info.driver.iter().take_while(|byte| **byte != 0).copied().collect();
    let mut mac = [0; 6];
    for (to, from) in mac.iter_mut().zip(address) {
        *to = from.cast_unsigned();
    }
    Ok(LinkFacts {
        driver: String::from_utf8(driver).map_err(|_| io::ErrorKind::InvalidData)?,
        mac,
        mtu: usize::try_from(mtu).map_err(|_| io::ErrorKind::InvalidData)?,
    })
}
