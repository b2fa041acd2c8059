//! Health checks and their targets.

use super::ProxyProtocolVersion;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How a backend is asked whether it can take traffic.
///
/// Equal checks of equal targets are one probe, so the whole check is comparable and hashable.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Check {
    /// What is asked.
    pub kind: CheckKind,
    /// The port asked, if not the backend's own.
    pub port: Option<u16>,
    /// Time between the starts of two probes.
    pub interval: Duration,
    /// Time between probes while successes or failures are being counted towards a change.
    pub fast_interval: Duration,
    /// A probe without an answer after this time has failed. At most `interval`.
    pub timeout: Duration,
    /// Successes in a row that bring a backend up.
    pub rise: u32,
    /// Failures in a row that take it down.
    pub fall: u32,
    /// Up to this share of the interval, in percent, is added or taken at random, so that probes spread.
    pub jitter_percent: u8,
}

/// What a check asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CheckKind {
    /// A TCP connection can be made.
    Tcp,
    /// A TLS handshake succeeds.
    Tls(TlsOptions),
    /// An HTTP request gets the expected answer.
    Http(HttpCheck),
    /// The same over TLS.
    Https(HttpCheck, TlsOptions),
    /// `grpc.health.v1.Health/Check` answers SERVING.
    Grpc {
        /// The service asked for; empty means the server as a whole.
        service: String,
        /// TLS, if any.
        tls: Option<TlsOptions>,
    },
    /// A datagram is sent, and an answer that contains `expect` comes back (any answer, if empty).
    Udp {
        /// What is sent.
        send: Vec<u8>,
        /// What the answer contains.
        expect: Vec<u8>,
    },
    /// A DNS query is answered without error.
    Dns {
        /// The name asked for.
        name: String,
        /// The record type, such as `A`, `AAAA`, `SOA`.
        record: String,
    },
    /// ICMP or ICMPv6 echo.
    Icmp,
    /// A program exits with 0. It is given the address and port as arguments and as
    /// `FULCRUM_ADDRESS`, `FULCRUM_PORT`.
    Script {
        /// The program and its first arguments; never a shell.
        command: Vec<String>,
    },
}

/// An HTTP request and the answer that is expected.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HttpCheck {
    /// The method, `GET` by default.
    pub method: String,
    /// The path, `/` by default.
    pub path: String,
    /// The Host header; by default the backend's address and port.
    pub host: Option<String>,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// The status that is expected; 200 to 399 by default.
    pub status: Vec<ExpectStatus>,
    /// Text that the first 64 KiB of the body contain.
    pub body: Option<String>,
}

impl CheckKind {
    /// Whether what it asks is a socket of this node alone: neither the machine as such nor a program of the operator's.
    pub(crate) fn is_by_socket(&self) -> bool {
        match self {
            Self::Tcp
            | Self::Tls(_)
            | Self::Http(_)
            | Self::Https(..)
            | Self::Grpc { .. }
            | Self::Udp { .. }
            | Self::Dns { .. } => true,
            Self::Icmp | Self::Script { .. } => false,
        }
    }
}

/// A range of HTTP status codes, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ExpectStatus {
    /// The lowest.
    pub first: u16,
    /// The highest.
    pub last: u16,
}

/// What a TLS client checks and shows.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct TlsOptions {
    /// PEM file of authorities that the server's certificate must come from; without it, and with `verify`,
    /// the check is refused by the parser.
    pub ca: Option<PathBuf>,
    /// Whether the certificate is verified. Off by default, as health checks of other systems have it: a check asks for life, not for identity.
    pub verify: bool,
    /// PEM files of our certificate and key, if the server asks for one.
    pub client: Option<(PathBuf, PathBuf)>,
    /// Server name indication, and the name verified; by default none, and the address.
    pub server_name: Option<String>,
}

/// One thing to probe: services that share it share the probe.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// Where.
    pub address: SocketAddr,
    /// The VIP that its packets are to bear in place of that address, if the backend answers for it itself (mode dsr).
    pub vip: Option<IpAddr>,
    /// How.
    pub check: Arc<Check>,
    /// The PROXY header that the target expects first; it says that there is no client.
    pub proxy_protocol: Option<ProxyProtocolVersion>,
}

impl Target {
    /// Where it is, as the target sees it.
    #[must_use]
    pub fn seen_at(&self) -> SocketAddr {
        SocketAddr::new(self.vip.unwrap_or(self.address.ip()), self.address.port())
    }
}

/// The priority of a socket whose packets are to bear `vip` in place of the address that it connects to. By that the
/// data plane knows them. It is a hash (FNV-1a), which is not 0 (what other sockets have), and ends in a 0 (what has
/// no priority before others).
#[must_use]
pub fn priority_of_checks(vip: IpAddr) -> u32 {
    let octets = match vip {
        IpAddr::V4(vip) => vip.octets().to_vec(),
        IpAddr::V6(vip) => vip.octets().to_vec(),
    };
    let hash = octets
        .iter()
        .fold(0x811c_9dc5_u32, |hash, octet| (hash ^ u32::from(*octet)).wrapping_mul(0x0100_0193));
    match hash & !0xf {
        0 => 0x10,
        priority => priority,
    }
}
