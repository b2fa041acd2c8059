//! What goes wrong in a lab.

use std::fmt::Display;
use thiserror::Error;

/// A lab that can't be built, a process that does not start, a condition that does not come true.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct LabError(String);

/// A result of the lab.
pub type Result<T> = std::result::Result<T, LabError>;

impl LabError {
    /// An error with this message.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl From<std::io::Error> for LabError {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<serde_json::Error> for LabError {
    fn from(error: serde_json::Error) -> Self {
        Self(format!("JSON: {error}"))
    }
}

/// Says what was tried when it failed.
pub trait Context<T> {
    /// Puts `what` before the error's own message.
    ///
    /// # Errors
    /// The same, with its context.
    fn context(self, what: impl Display) -> Result<T>;
}

impl<T, E: Display> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl Display) -> Result<T> {
        self.map_err(|error| LabError(format!("{what}: {error}")))
    }
}
