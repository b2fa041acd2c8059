//! Moving the bytes: tables, backend choice, and the TCP and UDP proxy.
//!
//! The engine is told which services exist and which of their backends are usable ([`Desired`]), and tells
//! what it serves ([`Observed`]). Every node holds the full table whether it leads or not, so that a
//! takeover opens nothing.

mod border;
#[allow(dead_code)] // Until both proxies call it.
mod connection_log;
#[allow(dead_code)] // Until both proxies call it.
mod limits;
pub mod proxy_protocol;

pub use border::{
    BackendState, BackendStats, BackendUse, Desired, Observed, ServiceDesired, ServiceObserved, ServiceStats,
};
