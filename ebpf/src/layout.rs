//! The fence's maps as `c/include/fence.h` lays them out; both sides assert sizes and offsets.

use std::net::IpAddr;

/// The most VIPs that the fence knows.
pub const MAX_VIPS: u32 = 16_384;
/// The most groups.
pub const MAX_GROUPS: u32 = 4_096;

/// The maps that the fence and the forwarding plane share, by their pins.
pub(crate) const SHARED_MAPS: &[&str] = &["vips", "groups"];
/// With the version of their layout: another one's are not adopted.
pub(crate) const SHARED: [(&[&str], u32); 1] = [(SHARED_MAPS, 1)];

/// A VIP as the programs look it up: an IPv6 address, or an IPv4 address as `::ffff:a.b.c.d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct Address(pub [u8; 16]);

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self(address.to_ipv6_mapped().octets()),
            IpAddr::V6(address) => Self(address.octets()),
        }
    }
}

impl From<Address> for IpAddr {
    fn from(address: Address) -> Self {
        IpAddr::V6(address.0.into()).to_canonical()
    }
}

/// What a group's VIPs may do here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum State {
    /// Nothing.
    Silent = 0,
    /// Everything.
    Leading = 1,
    /// Packets, but never ARP or ND.
    Draining = 2,
}

/// One group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Group {
    state: u32,
    reserved: u32,
    epoch: u64,
    deadline: u64,
}

impl Group {
    /// No more is allowed.
    pub const SILENT: Self = Self::new(State::Silent, 0, 0);

    /// `state` in `epoch`, until `deadline` in nanoseconds of the monotonic clock.
    #[must_use]
    pub const fn new(state: State, epoch: u64, deadline: u64) -> Self {
        Self { state: state as u32, reserved: 0, epoch, deadline }
    }
}

/// What the fence dropped and why, in the order of the counters.
pub const DROPPED: [&str; 7] = [
    "fenced_packet_out_silent",
    "fenced_packet_out_stale",
    "fenced_neighbour_out_silent",
    "fenced_neighbour_out_stale",
    "fenced_neighbour_out_draining",
    "fenced_packet_in_silent",
    "fenced_packet_in_stale",
];

/// The node that may have a connection which this one does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Finisher {
    interface: u32,
    /// AF_INET or AF_INET6.
    family: u32,
    address: [u8; 16],
    last: u32,
}

impl Finisher {
    /// Behind the interface of this number, at this address. If it is the `last` to be asked, it passes nothing on.
    #[must_use]
    pub fn new(interface: u32, address: IpAddr, last: bool) -> Self {
        let mut bytes = [0; 16];
        let (family, octets) = match &address {
            IpAddr::V4(address) => (libc::AF_INET, &address.octets()[..]),
            IpAddr::V6(address) => (libc::AF_INET6, &address.octets()[..]),
        };
        for (byte, of) in bytes.iter_mut().zip(octets) {
            *byte = *of;
        }
        Self { interface, family: family.unsigned_abs(), address: bytes, last: last.into() }
    }
}

/// What the second chance counts, in the order of the counters.
pub const SECOND: [&str; 2] = ["second_chance_passed_on", "second_chance_hops_exceeded"];

/// The most backends that are checked at a VIP, each counted for each VIP.
pub const MAX_CHECKED: u32 = 16_384;

/// A check of a backend, with the priority of its socket, which says for which VIP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(C)]
pub struct Checked {
    backend: Address,
    priority: u32,
}

impl Checked {
    /// `priority` must not be 0, which is that of sockets that say nothing.
    #[must_use]
    pub fn new(backend: IpAddr, priority: u32) -> Self {
        Self { backend: backend.into(), priority }
    }
}

/// What becomes of checks that go to a VIP, in the order of the counters.
pub const CHECKS: [&str; 3] = ["asked", "answered", "not_rewritten"];

const _: () = assert!(size_of::<Checked>() == 20);
const _: () = assert!(std::mem::offset_of!(Checked, priority) == 16);
const _: () = assert!(size_of::<Finisher>() == 28);
const _: () = assert!(std::mem::offset_of!(Finisher, family) == 4);
const _: () = assert!(std::mem::offset_of!(Finisher, address) == 8);
const _: () = assert!(std::mem::offset_of!(Finisher, last) == 24);
const _: () = assert!(size_of::<Address>() == 16);
const _: () = assert!(size_of::<Group>() == 24);
const _: () = assert!(std::mem::offset_of!(Group, state) == 0);
const _: () = assert!(std::mem::offset_of!(Group, epoch) == 8);
const _: () = assert!(std::mem::offset_of!(Group, deadline) == 16);
