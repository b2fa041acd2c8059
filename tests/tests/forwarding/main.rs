//! The forwarding plane: packets go on, whoever forwards them.
#![allow(
    unreachable_pub,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test"
)]

mod backends;
mod capture;
mod changes;
mod checks;
mod clients;
mod datagrams;
mod faults;
mod handovers;
mod life;
mod limits;
mod restarts;
mod scene;
mod schedulers;
mod sizes;
mod told;
mod verdicts;
mod xdp;
