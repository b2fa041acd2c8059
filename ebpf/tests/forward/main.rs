//! A frame in; a verdict, a frame out and a counter: for each branch of the forwarding plane. As root.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a test"
)]

mod answers;
mod captures;
mod errors;
mod fragments;
mod fullnat;
mod life;
mod limits;
mod packets;
mod passing;
mod scene;
mod selection;
mod turns;
mod upgrade;
mod xdp;
