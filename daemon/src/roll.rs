//! Change all nodes, one after another: what is decided.
//!
//! [`plan`] says in which order, [`machine`] what is next, given the [`journal`] and the [`report`] of each node.
//! The driver is `commands/roll.rs`; [`remote`] runs commands for it, and [`lock`] keeps a second one out.

pub(crate) mod journal;
pub(crate) mod lock;
pub(crate) mod machine;
pub(crate) mod plan;
pub(crate) mod remote;
pub(crate) mod report;
pub(crate) mod step;

#[cfg(test)]
pub(crate) mod fixture;
