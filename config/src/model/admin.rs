//! How operators reach the daemon.

use std::net::SocketAddr;
use std::path::PathBuf;

/// The admin API, metrics and logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// The Unix socket of the admin API.
    pub socket: PathBuf,
    /// A Unix group whose members may look (viewer); only root and the daemon's user may change (operator).
    pub viewer_group: Option<String>,
    /// The API on TCP with mutual TLS.
    pub tcp: Option<TcpAdmin>,
    /// `/metrics`, `/healthz` and `/readyz`, and nothing else, in plain HTTP on this address.
    pub metrics: Option<SocketAddr>,
    /// Where the last good configuration and other state is kept.
    pub state_dir: PathBuf,
    /// Backups that are made by themselves.
    pub backups: Backups,
    /// Crashes within half an hour after which this node leads only what no other can, for a while; with 0 never.
    pub held_after_crashes: u32,
    /// How log lines look.
    pub log_format: LogFormat,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            socket: PathBuf::from("/run/fulcrum/admin.sock"),
            viewer_group: None,
            tcp: None,
            metrics: None,
            state_dir: PathBuf::from("/var/lib/fulcrum"),
            backups: Backups::default(),
            held_after_crashes: 3,
            log_format: LogFormat::Text,
        }
    }
}

/// Backups that are made by themselves after each change of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backups {
    /// How many are kept; with 0 none is made.
    pub keep: u32,
    /// A file whose first line encrypts the private key in them; without one it is left out.
    pub passphrase_file: Option<PathBuf>,
}

impl Default for Backups {
    fn default() -> Self {
        Self { keep: 10, passphrase_file: None }
    }
}

/// The admin API on TCP. The client's certificate must come from one of the two authorities;
/// which of them says what it may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpAdmin {
    /// Where it listens.
    pub listen: SocketAddr,
    /// PEM of our certificate chain.
    pub certificate: PathBuf,
    /// PEM of our key.
    pub key: PathBuf,
    /// PEM of the authorities whose clients may look.
    pub viewer_ca: PathBuf,
    /// PEM of the authorities whose clients may change things; may be the same file with another root.
    pub operator_ca: PathBuf,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}
