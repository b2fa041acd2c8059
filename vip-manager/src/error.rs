//! Why the engine could not start.

use std::io;
use thiserror::Error;

/// What this room can't work without is missing.
#[derive(Debug, Error)]
pub enum StartError {
    /// The thread or its runtime could not be made.
    #[error(
        "the VIP manager's thread could not be started: {0}; no VIP is served; check the limits of threads and open files"
    )]
    Thread(io::Error),
    /// A capability is missing.
    #[error(
        "{what} is not permitted: {error}; no VIP can be served; run as root or with the capabilities \
         CAP_NET_ADMIN and CAP_NET_RAW (in a systemd unit: AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW)"
    )]
    NotPermitted {
        /// What was tried.
        what: &'static str,
        /// The kernel's answer.
        error: io::Error,
    },
    /// The kernel refused something else.
    #[error("{what} failed: {error}; no VIP can be served")]
    Kernel {
        /// What was tried.
        what: &'static str,
        /// The kernel's answer.
        error: io::Error,
    },
    /// The remembered kernel settings can't be read.
    #[error(
        "the kernel settings remembered in {path} can't be read: {error}; they can't be put back; repair or remove \
         the file"
    )]
    State {
        /// The directory.
        path: String,
        /// Why.
        error: io::Error,
    },
}

impl StartError {
    pub(crate) fn of(what: &'static str, error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::PermissionDenied {
            Self::NotPermitted { what, error }
        } else {
            Self::Kernel { what, error }
        }
    }
}
