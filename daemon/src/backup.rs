//! Backups: one checksummed file with all that a node needs to be what it was, on a bare machine, too.
//!
//! [`mod@file`] is how it looks, [`gather`] what is in it, [`seal`] how the private key is encrypted, [`shelf`] where backups
//! are kept, [`auto`] makes them by itself, [`restore`] brings a node back. docs/decisions/0032-backups.md says why so.

pub(crate) mod auto;
pub(crate) mod file;
pub(crate) mod gather;
pub(crate) mod restore;
pub(crate) mod seal;
pub(crate) mod shelf;

pub(crate) use auto::Backups;
