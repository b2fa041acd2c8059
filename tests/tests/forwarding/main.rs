//! The forwarding plane: packets go on, whoever forwards them.
#![allow(unreachable_pub, clippy::disallowed_methods, reason = "a test")]

mod backends;
mod datagrams;
mod faults;
mod life;
mod scene;
