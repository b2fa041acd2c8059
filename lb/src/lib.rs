//! Moving the bytes: tables, backend choice, the TCP and UDP proxy, and the forwarding plane's caller.
//!
//! The engine is told which services exist and which of their backends are usable ([`Desired`]), and tells
//! what it serves ([`Observed`]). Every node holds the full table whether it leads or not, so that a
//! takeover opens nothing.

mod balance;
mod border;
mod connect;
mod connection;
mod connection_log;
mod copy;
mod counters;
mod engine;
mod error;
mod limits;
mod listener;
mod pacer;
mod plane;
pub mod preflight;
pub mod proxy_protocol;
mod pulse;
mod shared;
mod sockets;
mod splice;
mod sys;
mod table;
mod tcp;
mod udp;
mod wheel;
mod worker;

pub use balance::Seed;
pub use border::{
    BackendState, BackendStats, BackendUse, ChecksObserved, Desired, FlowCounters, FlowLink, FlowsObserved,
    Observed, PlaneObserved, ServiceDesired, ServiceObserved, ServiceStats, Stage,
};
pub use engine::{Options, start, start_with_flows};
pub use error::StartError;
pub use fulcrum_ebpf::{Cut, KernelError, LONGEST_CUT, Mode as Attach, capture};
pub use sockets::Sockets;

/// For the fuzz targets.
#[cfg(feature = "fuzzing")]
pub mod fuzzing {
    /// Reads `bytes` as a message about flows; what is understood reads the same once it is written again.
    pub fn flow_message(bytes: &[u8]) {
        crate::plane::told::read_and_write(bytes);
    }
}
