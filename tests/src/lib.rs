//! Whole nodes in a lab of network namespaces: what it takes to build the lab, to hurt it, and to see what a
//! client saw.
//!
//! A [`lab::Lab`] is a switch with machines on it. On the machines run real processes: `fulcrum`, nginx,
//! keepalived, FRR. A [`probe::Probe`] asks for service again and again and keeps the timeline. Everything a
//! lab makes has its process id in its name and goes when the lab goes, also after a panic or Ctrl-C; a lab
//! whose owner was killed is swept by the next one.
#![allow(clippy::disallowed_methods, reason = "drives real processes in real time")]

pub mod error;
pub mod flood;
pub mod frames;
pub mod lab;
pub mod probe;
pub mod wait;

pub use error::{LabError, Result};
