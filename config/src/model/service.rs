//! Services and their backends.

use super::{BackendName, Check, GroupName, ServiceName, Target, Weight};
use ipnet::IpNet;
use serde::Serialize;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

#[cfg(test)]
mod tests;

/// What clients connect to: addresses, a protocol and ports, and who serves them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// The group that all its addresses belong to.
    pub group: GroupName,
    /// Its addresses; never empty.
    pub vips: Vec<IpAddr>,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Its ports.
    pub ports: PortRange,
    /// How bytes move.
    pub mode: Mode,
    /// How a backend is chosen.
    pub balance: Balance,
    /// Who serves it.
    pub backends: Vec<Arc<Backend>>,
    /// How its backends are probed; none means that they always count as up.
    pub check: Option<Arc<Check>>,
    /// How many backends it needs.
    pub quorum: Quorum,
    /// A backend that came up gets its full share only after this time.
    pub slow_start: Option<Duration>,
    /// What happens to the connections of a backend that went down.
    pub on_down: OnDown,
    /// Timeouts of the proxy.
    pub timeouts: Timeouts,
    /// PROXY protocol.
    pub proxy_protocol: ProxyProtocol,
    /// Who may connect; empty means anybody.
    pub sources: Vec<IpNet>,
    /// Limits on connections.
    pub limits: Limits,
    /// Connect to backends from the client's own address (needs the replies routed through this node).
    pub transparent: bool,
    /// One log line for each connection.
    pub log: Option<ConnectionLog>,
    /// UDP only.
    pub udp: UdpOptions,
}

impl Service {
    /// A service of one port for TCP with all that a file need not say, and no backends yet.
    #[must_use]
    pub fn new(name: ServiceName, group: GroupName, vips: Vec<IpAddr>, port: u16) -> Self {
        Self {
            name,
            group,
            vips,
            protocol: Protocol::Tcp,
            ports: PortRange::single(port),
            mode: Mode::Auto,
            balance: Balance::Maglev,
            backends: Vec::new(),
            check: None,
            quorum: Quorum::default(),
            slow_start: None,
            on_down: OnDown::default(),
            timeouts: Timeouts::default(),
            proxy_protocol: ProxyProtocol::default(),
            sources: Vec::new(),
            limits: Limits::default(),
            transparent: false,
            log: None,
            udp: UdpOptions::default(),
        }
    }
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Ports from `first` to `last`, both included; `first <= last`, none is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct PortRange {
    /// The lowest.
    pub first: u16,
    /// The highest.
    pub last: u16,
}

impl PortRange {
    /// One port.
    #[must_use]
    pub fn single(port: u16) -> Self {
        Self { first: port, last: port }
    }

    /// Whether `port` is one of them.
    #[must_use]
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    /// Each port.
    pub fn iter(self) -> impl Iterator<Item = u16> {
        self.first..=self.last
    }
}

/// How bytes move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The best that this node can: the proxy, until a mode of the forwarding plane works with any network.
    Auto,
    /// Userspace proxy.
    Proxy,
    /// The forwarding plane: packets get the backend's address, and replies come back through this node.
    Nat,
    /// The forwarding plane: packets reach the backend as they are, which answers clients by itself.
    Dsr,
    /// The forwarding plane: packets get the backend's address and come from one of the group's, so that replies find
    /// their way back whatever the backend's routes are.
    Fullnat,
}

/// How the forwarding plane moves packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Forwarding {
    /// With the backend's address.
    Nat,
    /// As they are.
    Dsr,
    /// Between an address of the group and the backend's.
    Fullnat,
}

/// Where the forwarding plane works in the driver itself, before the kernel makes a packet of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Xdp {
    /// With drivers that are known to do it well, once each has passed a test.
    #[default]
    Auto,
    /// Nowhere.
    Off,
    /// With any driver that passes the test.
    Any,
}

impl Mode {
    /// How the forwarding plane moves the packets, if the proxy does not.
    #[must_use]
    pub fn forwarding(self) -> Option<Forwarding> {
        match self {
            Self::Auto | Self::Proxy => None,
            Self::Nat => Some(Forwarding::Nat),
            Self::Dsr => Some(Forwarding::Dsr),
            Self::Fullnat => Some(Forwarding::Fullnat),
        }
    }
}

/// How a backend is chosen for a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Balance {
    /// Consistent hash of both addresses and ports: every node chooses alike.
    Maglev,
    /// In turn, by weight.
    RoundRobin,
    /// The one with the fewest connections for its weight.
    LeastConnections,
    /// The less busy of two drawn at random.
    RandomTwo,
    /// Consistent hash of the client's address alone.
    Source,
}

impl Balance {
    /// Whether it depends on what happened before, so that no other node can tell by itself where a connection went.
    #[must_use]
    pub const fn is_stateful(self) -> bool {
        match self {
            Self::Maglev | Self::Source => false,
            Self::RoundRobin | Self::LeastConnections | Self::RandomTwo => true,
        }
    }
}

/// A server behind a service.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Backend {
    /// Its name; by default its address and port.
    pub name: BackendName,
    /// Where it listens.
    pub address: BackendAddress,
    /// Its share of new connections.
    pub weight: Weight,
    /// Used only when no other backend is left.
    pub backup: bool,
    /// Keeps its connections and gets no new ones.
    pub drain: bool,
    /// An operator has put it out of use: its connections are closed, too, whatever the service's `on_down` says.
    pub disabled: bool,
}

impl Backend {
    /// One with all that a file need not say.
    #[must_use]
    pub fn new(name: BackendName, address: BackendAddress) -> Self {
        Self { name, address, weight: Weight::ONE, backup: false, drain: false, disabled: false }
    }
}

/// Where a backend listens. Without a port it is the one the client connected to, for port ranges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendAddress {
    /// The address.
    pub ip: IpAddr,
    /// The port, if it is not the client's.
    pub port: Option<u16>,
}

impl BackendAddress {
    /// Where a connection that the client made to `service_port` goes.
    #[must_use]
    pub fn socket(&self, service_port: u16) -> SocketAddr {
        SocketAddr::new(self.ip, self.port.unwrap_or(service_port))
    }
}

impl Service {
    /// Where `backend` listens: it may have a port of its own.
    #[must_use]
    pub fn address_of(&self, backend: &Backend) -> SocketAddr {
        SocketAddr::new(backend.address.ip, backend.address.port.unwrap_or(self.ports.first))
    }

    /// What must be probed to know about `backend`, if anything.
    #[must_use]
    pub fn target(&self, backend: &Backend) -> Option<Target> {
        let check = self.check.as_ref()?;
        let own_port = self.address_of(backend).port();
        let port = check.port.unwrap_or(own_port);
        Some(Target {
            address: SocketAddr::new(backend.address.ip, port),
            vip: self.vip_of_checks(check, backend),
            check: Arc::clone(check),
            // Who expects a PROXY header before traffic expects it before a probe of the same port too.
            proxy_protocol: self.proxy_protocol.send.filter(|_| port == own_port),
        })
    }

    /// Backends that answer for the VIP themselves are asked there, along the path of the traffic.
    fn vip_of_checks(&self, check: &Check, backend: &Backend) -> Option<IpAddr> {
        if self.mode.forwarding() != Some(Forwarding::Dsr) || !check.kind.is_by_socket() {
            return None;
        }
        self.vips.iter().copied().find(|vip| vip.is_ipv4() == backend.address.ip.is_ipv4())
    }
}

/// How many backends (by count) a service needs. Below `minimum - hysteresis` it goes down,
/// at `minimum + hysteresis` it comes up again (keepalived's quorum and hysteresis).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Quorum {
    /// At least 1.
    pub minimum: u32,
    /// Less than `minimum`.
    pub hysteresis: u32,
}

impl Default for Quorum {
    fn default() -> Self {
        Self { minimum: 1, hysteresis: 0 }
    }
}

/// What happens to the connections of a backend that went down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnDown {
    /// They are closed with RST, paced: the first within 100 ms, all within `spread`.
    Reset {
        /// Time within which all are closed.
        spread: Duration,
    },
    /// They go on; only new ones go elsewhere.
    Drain,
}

impl OnDown {
    /// Time within which connections are closed unless the file says otherwise.
    pub const SPREAD: Duration = Duration::from_secs(5);
}

impl Default for OnDown {
    fn default() -> Self {
        Self::Reset { spread: Self::SPREAD }
    }
}

/// Timeouts of the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// To connect to one backend.
    pub connect: Duration,
    /// Without a byte either way.
    pub idle: Duration,
    /// After one side has closed, without a byte from the other.
    pub half_close: Duration,
    /// Of a connection as a whole.
    pub max: Option<Duration>,
    /// Data sent and not acknowledged for this long ends the connection (TCP_USER_TIMEOUT).
    pub unacknowledged: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            idle: Duration::from_secs(3600),
            half_close: Duration::from_secs(30),
            max: None,
            unacknowledged: Duration::from_secs(60),
        }
    }
}

/// PROXY protocol in both directions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProxyProtocol {
    /// Sent to backends.
    pub send: Option<ProxyProtocolVersion>,
    /// Expected (either version) from clients within these networks, and from no one else; empty means never.
    pub receive_from: Vec<IpNet>,
}

/// A version of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyProtocolVersion {
    /// One line of text.
    V1,
    /// Binary.
    V2,
}

/// Limits on a service; `None` means that only the process's own limit holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Connections (UDP: sessions) at a time.
    pub connections: Option<u32>,
    /// Connections at a time from one client address (IPv6: its /64).
    pub connections_per_client: Option<u32>,
    /// New connections.
    pub rate: Option<Rate>,
    /// New connections from one client address (IPv6: its /64).
    pub rate_per_client: Option<Rate>,
}

/// So many a second, with a burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// A second, on average; at least 1.
    pub per_second: u32,
    /// At once; at least 1.
    pub burst: u32,
}

/// One log line for each connection, as HAProxy's tcplog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLog {
    /// One of so many connections is logged; at least 1.
    pub sample: u32,
    /// At most so many lines a second; what is left out is counted.
    pub lines_per_second: u32,
}

/// What only UDP services have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UdpOptions {
    /// A session without a datagram either way for this long ends.
    pub idle: Duration,
    /// A session ends when each of its datagrams has had so many replies (1 suits DNS).
    pub responses: Option<u32>,
    /// Sessions at a time; the one idle longest makes room.
    pub sessions: u32,
}

impl Default for UdpOptions {
    fn default() -> Self {
        Self { idle: Duration::from_secs(30), responses: None, sessions: 16_384 }
    }
}
