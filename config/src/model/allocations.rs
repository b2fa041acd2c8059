//! Which service has which address of a pool.

use super::{PoolName, ServiceName};
use crate::scalar::Name;
use crate::table::Scalar;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The addresses that services have from pools: what is kept on disk and told to the other nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Allocations(
    #[serde(deserialize_with = "checked")] BTreeMap<ServiceName, BTreeMap<IpAddr, PoolName>>,
);

impl Allocations {
    /// Whether no service has an address from a pool.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many services have addresses from pools.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The addresses of `service`, each with the pool that it was taken from.
    #[must_use]
    pub fn of(&self, service: &ServiceName) -> Option<&BTreeMap<IpAddr, PoolName>> {
        self.0.get(service)
    }

    /// What the services of all ports of `name` have: `name` itself, and each `name:port`.
    pub fn of_ports(
        &self,
        name: &str,
    ) -> impl Iterator<Item = (&ServiceName, &BTreeMap<IpAddr, PoolName>)> + use<'_> {
        let named = format!("{name}:");
        let ports = self.0.range(ServiceName::new(&named)..);
        let ports = ports.take_while(move |(service, _)| service.as_str().starts_with(&named));
        self.0.get_key_value(&ServiceName::new(name)).into_iter().chain(ports)
    }

    /// Each service with its addresses.
    pub fn iter(&self) -> impl Iterator<Item = (&ServiceName, &BTreeMap<IpAddr, PoolName>)> {
        self.0.iter()
    }

    /// Gives an address of `pool` to `service`.
    pub fn insert(&mut self, service: ServiceName, address: IpAddr, pool: PoolName) {
        self.0.entry(service).or_default().insert(address, pool);
    }

    /// The services that have other addresses here than in `other`, of those that have some in both.
    pub fn moved<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a ServiceName> {
        let differs = |(name, addresses): &(&ServiceName, &BTreeMap<IpAddr, PoolName>)| {
            other.of(name).is_some_and(|others| !others.keys().eq(addresses.keys()))
        };
        self.iter().filter(differs).map(|(name, _)| name)
    }
}

/// Names are shown to people: those that no file can have are refused.
fn checked<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<ServiceName, BTreeMap<IpAddr, PoolName>>, D::Error> {
    let services = BTreeMap::<ServiceName, BTreeMap<IpAddr, PoolName>>::deserialize(deserializer)?;
    let is_good = |(service, addresses): (&ServiceName, &BTreeMap<IpAddr, PoolName>)| {
        service.is_good() && addresses.values().all(|pool| Name::parse(pool.as_str()).is_ok())
    };
    match services.iter().all(is_good) {
        true => Ok(services),
        false => Err(serde::de::Error::custom("a name that none can have")),
    }
}
