//! In which order services that give new flows in turn give them to their backends.

use super::layout::Slots;
use crate::error::KernelError;
use crate::loader::{Array, Tables, take_map};
use aya::Ebpf;
use aya::maps::MapError;
use std::collections::BTreeMap;

/// Their tables. Nothing of them is read again by a later life of the daemon.
pub(super) struct Schedules {
    outer: Tables<Slots>,
    turns: Array<u64>,
    /// Those of this life, which are written in place.
    own: BTreeMap<u32, Array<Slots>>,
}

impl Schedules {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, KernelError> {
        Ok(Self {
            outer: take_map(ebpf, "schedules")?,
            turns: take_map(ebpf, "turns")?,
            own: BTreeMap::new(),
        })
    }

    /// The first of a service takes the kernel 20 ms and more, the others some microseconds.
    pub(super) fn set(&mut self, service: u32, slots: &Slots) -> Result<(), MapError> {
        if let Some(own) = self.own.get_mut(&service) {
            own.set(0, slots, 0)?;
        } else {
            let mut own = Array::<Slots>::create(1, 0)?;
            own.set(0, slots, 0)?;
            self.outer.set(service, &own, 0)?;
            self.own.insert(service, own);
        }
        self.turns.set(service, 0, 0)
    }
}
