//! What a probe is waiting for, so that a timeout can say so.

use std::sync::{Mutex, PoisonError};

#[derive(Debug)]
pub(super) struct Stage(Mutex<&'static str>);

impl Default for Stage {
    fn default() -> Self {
        Self(Mutex::new("starting"))
    }
}

impl Stage {
    /// The probe goes on to `what`, such as "waiting for the HTTP answer".
    pub(super) fn set(&self, what: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = what;
    }

    pub(super) fn get(&self) -> &'static str {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
