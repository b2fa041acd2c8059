//! What decides where the nodes fall apart.

use super::{ClusterAccess, InterfaceName};
use serde::Serialize;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Whether a group may have several leaders while the nodes do not hear each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnSplit {
    /// Each part of the nodes has one.
    #[default]
    Serve,
    /// The part with more than half of the nodes has one, or that with half of them and the witness; no other.
    One,
}

/// What decides for groups of [`OnSplit::One`] where each of two parts has half of the nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Witness {
    /// Nothing: none of them leads.
    #[default]
    None,
    /// A leader that reaches this neighbour leads on; nobody takes over.
    Gateway {
        /// The neighbour.
        address: IpAddr,
        /// The interface it is behind.
        interface: InterfaceName,
    },
    /// Whoever has a lock in etcd.
    Etcd(Etcd),
    /// Whoever has a Lease in a Kubernetes cluster.
    Kubernetes(WitnessLease),
}

impl Witness {
    /// How long a lock lasts unless said otherwise.
    pub const TTL: Duration = Duration::from_secs(15);

    /// How long its lock lasts without its holder, if it has one.
    #[must_use]
    pub fn ttl(&self) -> Option<Duration> {
        match self {
            Self::None | Self::Gateway { .. } => None,
            Self::Etcd(etcd) => Some(etcd.ttl),
            Self::Kubernetes(lease) => Some(lease.ttl),
        }
    }
}

impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Gateway { address, .. } => write!(f, "gateway {address}"),
            Self::Etcd(etcd) => {
                let endpoints: Vec<String> = etcd.endpoints.iter().map(ToString::to_string).collect();
                write!(f, "etcd at {}", endpoints.join(", "))
            }
            Self::Kubernetes(lease) => {
                write!(f, "Lease {}/{} of {}", lease.namespace, lease.name, lease.access)
            }
        }
    }
}

/// A lock in etcd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Etcd {
    /// Its members. Never empty.
    pub endpoints: Vec<WebAddress>,
    /// The key that stands for the lock.
    pub key: String,
    /// How long it lasts without its holder.
    pub ttl: Duration,
    /// PEM file of the authorities that are trusted; there if any endpoint is of https.
    pub ca: Option<PathBuf>,
    /// PEM files of our certificate and key.
    pub client: Option<(PathBuf, PathBuf)>,
    /// The user, and the file with the password.
    pub user: Option<(String, PathBuf)>,
}

impl Etcd {
    /// The key unless said otherwise.
    pub const KEY: &str = "/fulcrum/witness";
}

/// A lock that is a Lease in a Kubernetes cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WitnessLease {
    /// How its API is reached.
    pub access: ClusterAccess,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// How long it lasts without its holder.
    pub ttl: Duration,
}

impl WitnessLease {
    /// The namespace unless said otherwise.
    pub const NAMESPACE: &str = "fulcrum-system";
    /// The name unless said otherwise.
    pub const NAME: &str = "fulcrum-witness";
}

/// Where a web server is: `http://` or `https://`, a host and a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct WebAddress {
    /// Whether it is asked by TLS.
    pub tls: bool,
    /// A name or an address, IPv6 without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for WebAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tls, host, port } = self;
        let scheme = if *tls { "https" } else { "http" };
        let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{scheme}://{open}{host}{close}:{port}")
    }
}
