//! Where packets of mode fullnat are sent on from: addresses of the group, since replies must reach whoever leads.

use crate::ServiceDesired;
use fulcrum_config::InterfaceName;
use std::net::IpAddr;

#[cfg(test)]
mod tests;

/// The addresses that a service may use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sources {
    /// The service's own come first.
    known: Vec<(InterfaceName, IpAddr)>,
}

impl Sources {
    pub(crate) fn of(desired: &ServiceDesired) -> Self {
        let is_own = |address: &IpAddr| desired.service.vips.contains(address);
        let mut known = desired.sources.clone();
        known.sort_by_key(|(_, address)| !is_own(address));
        Self { known }
    }

    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.known.iter().map(|(_, address)| *address)
    }

    /// For a backend that is reached by `interface`: an address there, of which the backend is a neighbour or knows the
    /// way; else the service's own.
    pub(crate) fn towards(&self, backend: IpAddr, interface: Option<&str>) -> Option<IpAddr> {
        let of_family = || self.known.iter().filter(|(_, address)| address.is_ipv4() == backend.is_ipv4());
        let there = of_family().find(|(name, _)| interface == Some(name.as_str()));
        there.or_else(|| of_family().next()).map(|(_, address)| *address)
    }

    /// Where clients are: the interface of the service's own address.
    pub(crate) fn clients(&self) -> Option<&InterfaceName> {
        self.known.first().map(|(name, _)| name)
    }
}
