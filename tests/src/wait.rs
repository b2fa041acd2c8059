//! Waiting for something to become true, never for time to pass.

use crate::{LabError, Result};
use std::time::{Duration, Instant};

/// Asks `ready` every few milliseconds until it gives a value.
///
/// # Errors
/// The deadline passed: says what was waited for.
pub fn wait_for<T>(what: &str, deadline: Duration, mut ready: impl FnMut() -> Option<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = ready() {
            return Ok(value);
        }
        if start.elapsed() > deadline {
            return Err(LabError::new(format!("waited {deadline:?} in vain for {what}")));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Asks `ready` every few milliseconds until it is true.
///
/// # Errors
/// The deadline passed: says what was waited for.
pub fn wait_until(what: &str, deadline: Duration, mut ready: impl FnMut() -> bool) -> Result<()> {
    wait_for(what, deadline, || ready().then_some(()))
}

/// Lets the lab run for `time`, where a test needs traffic to have flowed and not a condition to come true.
pub fn run_for(time: Duration) {
    std::thread::sleep(time);
}

/// The present moment: tests mark with it what they do to the lab.
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}
