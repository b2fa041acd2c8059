//! What can go wrong at the border.

use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// The engine could not be started.
#[derive(Debug, Error)]
pub enum StartError {
    /// No event loop.
    #[error("the peer link has no event loop: {0}; are there files left?")]
    Runtime(#[source] io::Error),
    /// No thread.
    #[error("the thread of the peer link could not be started: {0}; is the limit on processes reached?")]
    Thread(#[source] io::Error),
}

/// A private key can't be had.
#[derive(Debug, Error)]
pub enum KeyError {
    /// It could not be read.
    #[error("the private key {path} can't be read: {source}; 'fulcrum peer-key {path}' makes one", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It could not be written.
    #[error("the private key {path} can't be written: {source}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others may read it.
    #[error(
        "the private key {path} has mode {mode:04o}: others than its owner may read or change it; 'chmod 600 {path}', \
         and make another if somebody might have read it", path = path.display()
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It is no private key.
    #[error("{path} holds no private key that can be used: {what}; 'fulcrum peer-key' makes one", path = path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// No randomness or the like.
    #[error("no private key could be made: the system gave no random numbers")]
    Make,
}
