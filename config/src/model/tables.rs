//! What stands in the tables of a forwarded service, in words that mean the same on every node: `lb` tells it, `peer`
//! carries it, and `lb` there compares it and takes it over.

use super::BackendAddress;
use std::sync::Arc;
use std::time::Instant;

/// What stands in the tables of a forwarded service. Fingerprints are equal where each slot has a backend of the same
/// address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceTables {
    /// Of the table by which new flows go.
    pub current: u64,
    /// Of that by which they went before the last change.
    pub previous: u64,
    /// That itself, while it is another.
    pub older: Option<OlderTable>,
}

/// A table by which flows went before the last change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OlderTable {
    /// Until when it holds.
    pub until: Instant,
    /// What is in it.
    pub slots: Arc<AddressSlots>,
}

/// A table in terms of addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressSlots {
    /// Those that are in it.
    pub backends: Vec<BackendAddress>,
    /// For each slot 0 for nobody, or the place of its backend among them, counted from 1.
    pub slots: Vec<u16>,
}
