//! Which ports anybody has: the programs look there first.

use super::layout::{Endpoint, PortsInUse};
use crate::loader::Array;
use aya::maps::MapError;
use std::collections::{BTreeMap, BTreeSet};

/// Whose port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Whose {
    Services,
    Backends,
}

/// The table, and whom it is for.
pub(super) struct Ports {
    table: Array<PortsInUse>,
    used: BTreeMap<(u16, Whose), BTreeSet<Endpoint>>,
}

impl Ports {
    /// As `used` says, whatever was there before.
    pub(super) fn new(
        table: Array<PortsInUse>,
        used: impl Iterator<Item = (Whose, Endpoint)>,
    ) -> Result<Self, MapError> {
        let mut ports = Self { table, used: BTreeMap::new() };
        for (whose, endpoint) in used {
            ports.used.entry((endpoint.port(), whose)).or_default().insert(endpoint);
        }
        for index in 0..=u16::MAX / 64 {
            ports.write(index.saturating_mul(64))?;
        }
        Ok(ports)
    }

    /// To be called before it is told.
    pub(super) fn add(&mut self, whose: Whose, endpoint: Endpoint) -> Result<(), MapError> {
        let port = endpoint.port();
        let users = self.used.entry((port, whose)).or_default();
        let first = users.is_empty();
        users.insert(endpoint);
        if first { self.write(port) } else { Ok(()) }
    }

    /// To be called once it is gone.
    pub(super) fn remove(&mut self, whose: Whose, endpoint: &Endpoint) -> Result<(), MapError> {
        let port = endpoint.port();
        let Some(users) = self.used.get_mut(&(port, whose)) else { return Ok(()) };
        users.remove(endpoint);
        if !users.is_empty() {
            return Ok(());
        }
        self.used.remove(&(port, whose));
        self.write(port)
    }

    /// The 64 ports that `port` is one of.
    fn write(&mut self, port: u16) -> Result<(), MapError> {
        let first = port & !63;
        let mut value = PortsInUse::default();
        for (port, whose) in
            self.used.range((first, Whose::Services)..=(first | 63, Whose::Backends)).map(|(key, _)| key)
        {
            let bit = 1 << (port & 63);
            match whose {
                Whose::Services => value.services |= bit,
                Whose::Backends => value.backends |= bit,
            }
        }
        self.table.set(u32::from(port / 64), value, 0)
    }
}
