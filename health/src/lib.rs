//! Which backends can take traffic.
//!
//! The engine ([`start`]) is told which services there are ([`Desired`]), probes each distinct target once,
//! and tells what it found ([`Observed`]). It decides nothing about traffic.
//!
//! # How a result travels
//!
//! ```text
//! Desired ─► table ──which target is due──► driver ──starts──► probe (tcp, http, icmp, ...)
//!              ▲                                                  │
//!              └── checker: rise, fall, next probe ◄── outcome ───┘
//!                     │ verdict or reason changed
//!                     ▼
//!                  service: quorum, slow start ──► Observed, at most one every 10 ms
//! ```
//!
//! 1. `table` keeps every target once, however many services share it, in one queue ordered by when its next
//!    probe is due. It is a plain value: time and randomness are arguments.
//! 2. `driver` is the only task that owns a table. It asks it what is due, starts that `probe` as a task of its
//!    own, and gives the outcome back. It is the one place that reads the clock.
//! 3. A `probe` opens what it needs, asks, and ends with an outcome within the check's
//!    timeout: passed, failed (with a sentence for people), timed out, or *not made*, which is this node's own
//!    trouble and says nothing about the backend.
//! 4. `checker` turns the outcomes of one target into a verdict. The first outcome decides at once, both ways;
//!    later changes need `rise` or `fall` outcomes in a row.
//! 5. `service` joins the verdicts of its backends: is there a quorum, and which share does a backend get
//!    that has just come back.
//! 6. What changed is told at once; changes that follow within 10 ms (30 ms with 10,000 targets) are told
//!    together.

// Tests may compute plainly: a wrong number there fails the test.
#![cfg_attr(test, allow(clippy::arithmetic_side_effects))]

mod border;
mod budget;
mod checker;
mod driver;
mod error;
pub mod preflight;
mod probe;
mod service;
mod stall;
mod sys;
mod table;

#[cfg(test)]
mod fixtures;

pub use border::{BackendHealth, Counters, Desired, Observed, Options, ServiceHealth, TargetHealth, Verdict};
pub use driver::start;
pub use error::StartError;
pub use probe::certificates;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use probe::fuzzing;
pub use sys::without_our_protection;
