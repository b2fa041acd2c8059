//! Why the engine could not start.

use std::io;
use thiserror::Error;

/// Why the engine could not start. No backend is checked then, so all count as up.
#[derive(Debug, Error)]
pub enum StartError {
    /// No thread.
    #[error("health checks could not start: no thread ({0}); look at the limit on processes (ulimit -u)")]
    Thread(io::Error),
    /// No event loop.
    #[error("health checks could not start: no event loop ({0}); look at the limit on files (ulimit -n)")]
    Runtime(io::Error),
}
