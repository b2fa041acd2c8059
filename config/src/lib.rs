//! What the operator asked for: `fulcrum.yaml`, parsed once, valid by construction.
//!
//! Everything behind this border is a [`Config`]: names resolve, addresses lie inside the networks of their
//! interfaces, timings can work. The other rooms never check again.
//!
//! The way of a file: `document` (text to a tree with positions), `file` (one table for each section, read by
//! `table` and `scalar`), `resolve` (names, addresses and timings that fit together), [`Config`].

mod adopt;
pub mod allocate;
mod diagnostic;
mod difference;
mod digest;
mod document;
mod file;
mod fragment;
pub mod init;
mod inventory;
pub mod last_good;
mod model;
mod parse;
pub mod preflight;
mod reader;
mod resolve;
mod scalar;
mod table;

pub use adopt::adopt;
pub use diagnostic::{Diagnostic, Diagnostics, Place, Related, Severity};
pub use difference::{Change, difference};
pub use digest::{digest_of_file, digest_of_text};
pub use inventory::{Inventory, Place as InventoryPlace, words};
pub use model::*;
pub use parse::{Before, Judge, Judged, Parsed, load, parse, parse_after, read, schema};
pub use scalar::duration;
