//! Which backends can take traffic.
//!
//! The engine is told which services there are ([`Desired`]), probes each distinct target once, and tells
//! what it found ([`Observed`]). It decides nothing about traffic.

mod border;

pub use border::{BackendHealth, Desired, Observed, ServiceHealth, TargetHealth, Verdict};
