//! Why a command failed, for people, and its exit code.

use std::path::PathBuf;
use std::process::ExitCode;
use thiserror::Error;

/// Why a command failed.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    #[error("{0}")]
    Refused(String),
    #[error(
        "{path}: no daemon answers there ({error})\n  is it running? 'systemctl status fulcrum', or start it: 'fulcrum run'\n  another socket? --socket PATH, or --config FILE of the running daemon"
    )]
    Unreachable { path: PathBuf, error: std::io::Error },
    #[error("{what}\n  run it as root, or ask an operator")]
    Forbidden { what: String },
    #[error(
        "the daemon at {path} did not answer as it should: {what}\n  is it of another version? compare 'fulcrum version' with 'fulcrum status'"
    )]
    Garbled { path: PathBuf, what: String },
    #[error("{what}: {error}")]
    Io { what: String, error: std::io::Error },
    #[error(
        "another fulcrum runs already: process {pid} holds {path}\n  stop it first, or give this one another admin.socket"
    )]
    AlreadyRuns { pid: String, path: PathBuf },
    #[error(
        "another fulcrum runs in this network namespace already: process {pid}; both would lead the same groups\n  stop it first, or run this one in a network namespace of its own ('ip netns exec NAME fulcrum run FILE')"
    )]
    SameNamespace { pid: String },
}

impl Failure {
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Refused(_)
            | Self::Io { .. }
            | Self::Garbled { .. }
            | Self::AlreadyRuns { .. }
            | Self::SameNamespace { .. } => ExitCode::from(1),
            Self::Unreachable { .. } => ExitCode::from(3),
            Self::Forbidden { .. } => ExitCode::from(4),
        }
    }
}
