//! Why the engine does not start.

use std::io;
use thiserror::Error;

/// Why the engine does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// A thread could not be started.
    #[error(
        "no thread could be started to serve connections: {0}; raise the limit on processes or free memory"
    )]
    Thread(#[source] io::Error),
    /// A descriptor was refused.
    #[error("no worker could be set up to serve connections: {0}; raise the limit on open files")]
    Worker(#[source] io::Error),
}
