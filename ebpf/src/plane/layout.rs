//! The plane's maps as `c/include/plane.h` lays them out; both sides assert sizes and offsets.

use crate::layout::Address;
use std::net::{IpAddr, SocketAddr};

/// The most services.
pub const MAX_SERVICES: u32 = 1024;
/// The most addresses and ports of services, and of backends whose replies are rewritten.
pub const MAX_ENDPOINTS: u32 = 65_536;
/// The most backends of all services together, and one that is none.
pub const MAX_BACKENDS: u32 = 8192;
/// Entries of the tables of flows that are noted one by one, unless others are asked for.
pub const MAX_FLOWS: u32 = 262_144;

/// Entries of tables in which so many flows find room. A tenth more than that is there, so that none has to make room.
#[must_use]
pub const fn entries_for(flows: u32) -> u32 {
    flows.div_ceil(9).saturating_mul(10).div_ceil(64).saturating_mul(64)
}

/// How many flows find room in tables of so many entries.
#[must_use]
pub const fn room_in(entries: u32) -> u32 {
    (entries / 10).saturating_mul(9)
}

const _: () = assert!(entries_for(room_in(MAX_FLOWS)) == MAX_FLOWS);

/// The most flows of mode fullnat that no backend has answered yet.
pub const MAX_OPENING: u32 = 65_536;
/// Slots of a service's table.
pub const SLOTS: usize = 16_381;
/// In place of a service's index: the address belongs to somebody, no more is known.
pub const NO_SERVICE: u32 = u32::MAX;
/// The same of an address that packets are sent on from in mode fullnat.
pub const SOURCE_OF_FLOWS: u32 = u32::MAX - 1;
/// The lowest port that packets are sent on from in mode fullnat.
pub const FIRST_SOURCE_PORT: u16 = 16_384;

/// The version of all that follows. With it goes an entry of [`super::older`], which says how a plane of this version is taken
/// over by one of the next: another version's maps are not adopted as they are.
pub(crate) const VERSION: u32 = 5;
/// In place of the version: it is about to take the place of another. The next life removes it.
pub(crate) const UNFINISHED: u32 = 0;
/// In place of the version: flows of a plane whose tables were of another size.
pub(crate) const RESIZED: u32 = u32::MAX;
/// The maps that have as many entries as the operator asks for.
pub(crate) const SIZED: [&str; 2] = ["flows", "returns"];
/// The maps that outlive the process.
pub(crate) const MAPS: &[&str] = &[
    "endpoints",
    "services",
    "backends",
    "replies",
    "ports",
    "flows",
    "returns",
    "opening",
    "opening_returns",
    "events",
    "settings",
    "rooms",
    "limits",
    "clients",
    "capture",
    "capture_state",
    "captured",
    "service_counters",
    "backend_counters",
    "reasons",
    "current",
    "previous",
    "schedules",
    "turns",
];

/// An address and port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(C)]
pub struct Endpoint {
    address: Address,
    port: [u8; 2],
    protocol: u8,
    reserved: u8,
}

/// A transport protocol by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Transport {
    /// TCP.
    Tcp = 6,
    /// UDP.
    Udp = 17,
}

impl Endpoint {
    /// Port 0 marks the address itself.
    #[must_use]
    pub fn new(address: SocketAddr, transport: Transport) -> Self {
        let port = address.port().to_be_bytes();
        Self { address: Address::from(address.ip()), port, protocol: transport as u8, reserved: 0 }
    }

    /// Its port; 0 of a mark.
    #[must_use]
    pub fn port(&self) -> u16 {
        u16::from_be_bytes(self.port)
    }
}

/// How packets of a service reach its backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ServiceMode {
    /// They don't: the kernel gets them.
    Off = 0,
    /// With the backend's address and port; replies pass here.
    Nat = 1,
    /// As they are, in a frame to the backend.
    Dsr = 2,
    /// With the backend's address and port, and from an address and port of this node's.
    Fullnat = 3,
}

/// Whose flood leaves whom alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Class {
    /// All that is not the other.
    Workload = 0,
    /// The control plane.
    Protected = 1,
}

/// Room for flows that services of one class have noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Room {
    /// So many more; some processors at once may take one too many each.
    pub left: i64,
    /// So many packets of flows found none.
    pub refused: u64,
}

/// A rate as the programs count it, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Pace {
    interval: u64,
    tolerance: u64,
}

impl Pace {
    /// No limit.
    pub const NONE: Self = Self { interval: 0, tolerance: 0 };

    /// So many a second on average, and `burst` at once; both at least 1. The interval is rounded up: never more than
    /// asked for.
    #[must_use]
    pub fn new(per_second: u32, burst: u32) -> Self {
        let interval = 1_000_000_000_u64.div_ceil(u64::from(per_second.max(1)));
        Self { interval, tolerance: interval.saturating_mul(u64::from(burst.max(1).saturating_sub(1))) }
    }
}

/// How often new connections to a service may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Limit {
    service: Pace,
    client: Pace,
    arrival: u64,
}

impl Limit {
    /// In all, and from each client (an IPv4 address, an IPv6 /64).
    #[must_use]
    pub const fn new(service: Pace, client: Pace) -> Self {
        Self { service, client, arrival: 0 }
    }
}

/// Of enum choice in C: 0 is the hash of both ends, 1 that of the client.
const IN_TURN: u8 = 2;

/// One service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Service {
    mode: u8,
    choice: u8,
    pinned: u8,
    protected: u8,
    interface: u32,
}

impl Service {
    /// `by_client`: only the client's address decides about the backend. `pinned`: flows may be noted one by one.
    #[must_use]
    pub const fn new(mode: ServiceMode, by_client: bool, pinned: bool) -> Self {
        let (mode, choice, pinned) = (mode as u8, by_client as u8, pinned as u8);
        Self { mode, choice, pinned, protected: 0, interface: 0 }
    }

    /// New flows get their backends in turn, by a schedule, and each is noted.
    #[must_use]
    pub const fn in_turn(self) -> Self {
        Self { choice: IN_TURN, pinned: 1, ..self }
    }

    /// Of a class: each has room of its own for flows that are noted.
    #[must_use]
    pub const fn of_class(self, class: Class) -> Self {
        Self { protected: class as u8, ..self }
    }

    /// Whether its packets reach its backends so.
    #[must_use]
    pub const fn is_of(&self, mode: ServiceMode) -> bool {
        self.mode == mode as u8
    }

    /// Mode fullnat: clients are behind this interface, if the kernel does not say where.
    #[must_use]
    pub const fn with_interface(self, interface: u32) -> Self {
        Self { interface, ..self }
    }
}

/// One backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Backend {
    address: Address,
    next_hop: Address,
    source: Address,
    interface: u32,
    port: [u8; 2],
    state: u8,
    reserved: u8,
}

/// The way to a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hop {
    /// The index of the interface.
    pub interface: u32,
    /// Itself, or the router before it.
    pub address: IpAddr,
}

impl Backend {
    /// Nobody.
    pub const NONE: Self = Self {
        address: Address([0; 16]),
        next_hop: Address([0; 16]),
        source: Address([0; 16]),
        interface: 0,
        port: [0; 2],
        state: 0,
        reserved: 0,
    };

    /// Port 0 is the one that the client connected to. `up`: flows may go there. Without a hop its packets are dropped.
    #[must_use]
    pub fn new(address: IpAddr, port: u16, up: bool, hop: Option<Hop>) -> Self {
        Self {
            address: Address::from(address),
            next_hop: Address::from(hop.map_or(address, |hop| hop.address)),
            source: Address([0; 16]),
            interface: hop.map_or(0, |hop| hop.interface),
            port: port.to_be_bytes(),
            state: u8::from(up),
            reserved: 0,
        }
    }

    /// Mode fullnat: where packets to it are sent on from.
    #[must_use]
    pub fn with_source(self, source: IpAddr) -> Self {
        Self { source: Address::from(source), ..self }
    }

    /// Its address and port.
    #[must_use]
    pub fn address(&self) -> (IpAddr, u16) {
        (self.address.into(), u16::from_be_bytes(self.port))
    }
}

/// What clients see replies of a backend's endpoint come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Reply {
    vip: Address,
    service: u32,
    backend: u32,
    port: [u8; 2],
    reserved: u16,
}

impl Reply {
    /// Replies of `backend` of `service` come from `vip`.
    #[must_use]
    pub fn new(vip: SocketAddr, service: u32, backend: u32) -> Self {
        let port = vip.port().to_be_bytes();
        Self { vip: Address::from(vip.ip()), service, backend, port, reserved: 0 }
    }

    /// Only marks an address.
    #[must_use]
    pub fn mark() -> Self {
        Self { vip: Address([0; 16]), service: NO_SERVICE, backend: 0, port: [0; 2], reserved: 0 }
    }
}

/// A flow that was noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct Flow {
    client: Address,
    vip: Address,
    client_port: [u8; 2],
    port: [u8; 2],
    protocol: u8,
    reserved: [u8; 3],
}

impl Flow {
    /// Of a client to a service.
    #[must_use]
    pub fn new(client: SocketAddr, vip: SocketAddr, transport: Transport) -> Self {
        Self {
            client: Address::from(client.ip()),
            vip: Address::from(vip.ip()),
            client_port: client.port().to_be_bytes(),
            port: vip.port().to_be_bytes(),
            protocol: transport as u8,
            reserved: [0; 3],
        }
    }

    /// The service's endpoint.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        Endpoint { address: self.vip, port: self.port, protocol: self.protocol, reserved: 0 }
    }

    /// From whom to what: the client, and what it connected to.
    #[must_use]
    pub fn ends(&self) -> (SocketAddr, SocketAddr) {
        let at = |address: Address, port| SocketAddr::new(address.into(), u16::from_be_bytes(port));
        (at(self.client, self.client_port), at(self.vip, self.port))
    }

    /// Whether it is of TCP.
    #[must_use]
    pub fn is_tcp(&self) -> bool {
        self.protocol == Transport::Tcp as u8
    }
}

/// Where a noted flow goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Pin {
    pub(super) backend: u16,
    pub(super) heard_of: u8,
    pub(super) reserved: u8,
    pub(super) source_port: [u8; 2],
    pub(super) closed: u8,
    pub(super) answered: u8,
    /// The last packet, within a second, in nanoseconds of the monotonic clock.
    pub seen: u64,
    pub(super) source: Address,
}

/// Who has ended a flow, as far as it was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Nobody.
    No,
    /// One of both: the other may go on.
    Half,
    /// Both, or one at once for both.
    Whole,
}

/// By the client, by the backend, by RST.
const CLOSED: [u8; 3] = [1, 2, 4];
/// Not even begun: only SYNs were seen.
const ONLY_ATTEMPTED: u8 = 8;

impl Pin {
    /// Of a flow that another node told of, and that is no attempt any more. `source` is where it is sent on from in mode
    /// fullnat.
    #[must_use]
    pub fn heard_of(backend: u16, source: Option<SocketAddr>, ended: Ended, seen: u64) -> Self {
        let [client, _, rst] = CLOSED;
        let closed = match ended {
            Ended::No => 0,
            Ended::Half => client,
            Ended::Whole => rst,
        };
        let (source, port) =
            source.map_or((Address([0; 16]), 0), |source| (Address::from(source.ip()), source.port()));
        Self {
            backend,
            heard_of: 1,
            reserved: 0,
            source_port: port.to_be_bytes(),
            closed,
            answered: 1,
            seen,
            source,
        }
    }

    /// What is known of a flow by this and by another entry for it, or nothing if they are of two flows, one after the other.
    pub(crate) fn joined(&self, other: &Self) -> Option<Self> {
        let is_same =
            (self.backend, self.source, self.source_port) == (other.backend, other.source, other.source_port);
        is_same.then(|| Self {
            heard_of: self.heard_of & other.heard_of,
            closed: self.closed | other.closed,
            answered: self.answered | other.answered,
            seen: self.seen.max(other.seen),
            ..*self
        })
    }

    /// The index of the backend.
    #[must_use]
    pub fn backend(&self) -> u32 {
        self.backend.into()
    }

    /// Whether packets of it were seen here, since another node told of it if one did.
    #[must_use]
    pub fn is_seen(&self) -> bool {
        self.heard_of == 0
    }

    /// Where it is sent on from in mode fullnat.
    #[must_use]
    pub fn source(&self) -> Option<SocketAddr> {
        let port = u16::from_be_bytes(self.source_port);
        (port != 0).then(|| SocketAddr::new(self.source.into(), port))
    }

    /// Its replies in mode fullnat, as a flow from the backend to the source.
    pub(crate) fn replies(&self, flow: &Flow, backend: &Backend) -> Option<Flow> {
        self.source()?;
        let client_port = if backend.port == [0; 2] { flow.port } else { backend.port };
        Some(Flow { client: backend.address, vip: self.source, client_port, port: self.source_port, ..*flow })
    }

    /// Whether it is known of it that it goes on, and that nobody has ended it: news like that come once, as it begins.
    #[must_use]
    pub fn begins(&self) -> bool {
        self.closed == 0
    }

    /// Whether one of both has ended it, and nothing more is known: news like that come once.
    #[must_use]
    pub fn has_just_ended(&self) -> bool {
        self.closed.count_ones() == 1 && self.closed != ONLY_ATTEMPTED
    }

    /// Who has ended it.
    #[must_use]
    pub fn ended(&self) -> Ended {
        let [client, backend, rst] = CLOSED;
        if self.closed & (rst | ONLY_ATTEMPTED) != 0 || self.closed & (client | backend) == client | backend {
            Ended::Whole
        } else if self.closed != 0 {
            Ended::Half
        } else {
            Ended::No
        }
    }
}

/// Whose flow a reply is of in mode fullnat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Returned {
    pub(crate) flow: Flow,
    pub(crate) service: u32,
    pub(crate) backend: u16,
    pub(crate) answered: u8,
    pub(crate) reserved: u8,
    pub(crate) seen: u64,
}

/// What is told of a flow as it begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Event {
    /// Which.
    pub flow: Flow,
    /// Where it goes.
    pub pin: Pin,
}

impl Event {
    /// As the programs write it.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let (client, rest) = bytes.split_first_chunk()?;
        let (vip, rest) = rest.split_first_chunk()?;
        let (client_port, rest) = rest.split_first_chunk()?;
        let (port, rest) = rest.split_first_chunk()?;
        let (&[protocol, ..], rest) = rest.split_first_chunk::<4>()?;
        let (backend, rest) = rest.split_first_chunk()?;
        let (&[heard_of, reserved], rest) = rest.split_first_chunk::<2>()?;
        let (source_port, rest) = rest.split_first_chunk()?;
        let (&[closed, answered], rest) = rest.split_first_chunk::<2>()?;
        let (seen, rest) = rest.split_first_chunk()?;
        let source = rest.first_chunk()?;
        Some(Self {
            flow: Flow {
                client: Address(*client),
                vip: Address(*vip),
                client_port: *client_port,
                port: *port,
                protocol,
                reserved: [0; 3],
            },
            pin: Pin {
                backend: u16::from_ne_bytes(*backend),
                heard_of,
                reserved,
                source_port: *source_port,
                closed,
                answered,
                seen: u64::from_ne_bytes(*seen),
                source: Address(*source),
            },
        })
    }
}

/// Whether anybody has one of 64 ports: a bit for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub(crate) struct PortsInUse {
    pub(crate) services: u64,
    pub(crate) backends: u64,
}

/// What holds for all services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Settings {
    seed: [u8; 16],
    replies: u32,
    reserved: u32,
    returns: u32,
    told: u32,
}

impl Settings {
    /// `seed` is the key of the hash, the same on every node. `replies`: there is a service in mode nat.
    #[must_use]
    pub fn new(seed: [u8; 16], replies: bool) -> Self {
        Self { seed, replies: u32::from(replies), reserved: 0, returns: 0, told: 0 }
    }

    /// There is a service in mode fullnat.
    #[must_use]
    pub fn with_returns(self, returns: bool) -> Self {
        Self { returns: u32::from(returns), ..self }
    }

    /// Flows are told of as they begin and end.
    #[must_use]
    pub fn with_told(self, told: bool) -> Self {
        Self { told: u32::from(told), ..self }
    }
}

/// What was forwarded of a service or to a backend. Bytes are those of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Counters {
    /// From clients.
    pub packets_in: u64,
    /// From clients.
    pub bytes_in: u64,
    /// To clients, where replies pass here.
    pub packets_out: u64,
    /// To clients, where replies pass here.
    pub bytes_out: u64,
    /// TCP: SYNs.
    pub opened: u64,
    /// Answered with RST or unreachable for want of a backend.
    pub refused: u64,
    /// Dropped because new connections came too often.
    pub limited: u64,
}

impl Counters {
    pub(crate) fn plus(self, other: &Self) -> Self {
        Self {
            packets_in: self.packets_in.saturating_add(other.packets_in),
            bytes_in: self.bytes_in.saturating_add(other.bytes_in),
            packets_out: self.packets_out.saturating_add(other.packets_out),
            bytes_out: self.bytes_out.saturating_add(other.bytes_out),
            opened: self.opened.saturating_add(other.opened),
            refused: self.refused.saturating_add(other.refused),
            limited: self.limited.saturating_add(other.limited),
        }
    }
}

/// A service's table: the index of a backend for each slot, 0 for none.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Slots(pub [u16; SLOTS]);

impl std::fmt::Debug for Slots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Slots").finish_non_exhaustive()
    }
}

/// What the plane did not forward and why, in the order of the counters.
pub const REASONS: [&str; 22] = [
    "group_silent",
    "group_stale",
    "no_backend_rst",
    "no_backend_unreachable",
    "no_backend_dropped",
    "fragment_without_first",
    "time_exceeded",
    "too_big_answered",
    "too_big_dropped",
    "cut_short",
    "extension_headers",
    "udp_without_checksum",
    "no_route_to_backend",
    "no_route_to_client",
    "forwarding_disabled",
    "not_rewritten",
    "not_answered",
    "no_source_port",
    "unknown_flow",
    "untold_flow",
    "service_rate",
    "client_rate",
];

const _: () = assert!(size_of::<Endpoint>() == 20);
const _: () = assert!(std::mem::offset_of!(Endpoint, port) == 16);
const _: () = assert!(std::mem::offset_of!(Endpoint, protocol) == 18);
const _: () = assert!(size_of::<Service>() == 8);
const _: () = assert!(std::mem::offset_of!(Service, interface) == 4);
const _: () = assert!(size_of::<Backend>() == 56);
const _: () = assert!(std::mem::offset_of!(Backend, next_hop) == 16);
const _: () = assert!(std::mem::offset_of!(Backend, source) == 32);
const _: () = assert!(std::mem::offset_of!(Backend, interface) == 48);
const _: () = assert!(std::mem::offset_of!(Backend, port) == 52);
const _: () = assert!(std::mem::offset_of!(Backend, state) == 54);
const _: () = assert!(size_of::<Reply>() == 28);
const _: () = assert!(std::mem::offset_of!(Reply, service) == 16);
const _: () = assert!(std::mem::offset_of!(Reply, port) == 24);
const _: () = assert!(size_of::<Flow>() == 40);
const _: () = assert!(std::mem::offset_of!(Flow, client_port) == 32);
const _: () = assert!(std::mem::offset_of!(Flow, protocol) == 36);
const _: () = assert!(size_of::<Pin>() == 32);
const _: () = assert!(std::mem::offset_of!(Pin, heard_of) == 2);
const _: () = assert!(std::mem::offset_of!(Pin, source_port) == 4);
const _: () = assert!(std::mem::offset_of!(Pin, closed) == 6);
const _: () = assert!(std::mem::offset_of!(Pin, seen) == 8);
const _: () = assert!(std::mem::offset_of!(Pin, source) == 16);
const _: () = assert!(size_of::<Returned>() == 56);
const _: () = assert!(std::mem::offset_of!(Returned, service) == 40);
const _: () = assert!(std::mem::offset_of!(Returned, backend) == 44);
const _: () = assert!(std::mem::offset_of!(Returned, answered) == 46);
const _: () = assert!(std::mem::offset_of!(Returned, seen) == 48);
const _: () = assert!(size_of::<Event>() == 72);
const _: () = assert!(size_of::<PortsInUse>() == 16);
const _: () = assert!(size_of::<Settings>() == 32);
const _: () = assert!(size_of::<Room>() == 16);
const _: () = assert!(size_of::<Limit>() == 40);
const _: () = assert!(std::mem::offset_of!(Limit, client) == 16);
const _: () = assert!(std::mem::offset_of!(Limit, arrival) == 32);
const _: () = assert!(size_of::<Counters>() == 56);
const _: () = assert!(size_of::<Slots>() == 2 * SLOTS);
