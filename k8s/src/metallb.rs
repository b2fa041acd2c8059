//! MetalLB's own objects, as far as they mean something here: named ranges of addresses, and which of them are announced.

use crate::objects::ObjectName;
use crate::words::shown;
use fulcrum_config::{AddressSpan, Family};
use ipnet::IpNet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{DynamicObject, Selector, SelectorExt};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

#[cfg(test)]
mod tests;

/// A pool with more ranges can't be used.
const RANGES_AT_MOST: usize = 1_000;

/// Labels of an object.
pub(crate) type Labels = BTreeMap<String, String>;

/// What a cluster has of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metallb {
    /// Its `IPAddressPools`; none, if the cluster does not know what that is.
    pub pools: Option<BTreeMap<ObjectName, AddressPool>>,
    /// Its `L2Advertisements`, likewise.
    pub advertisements: Option<BTreeMap<ObjectName, Result<Advertisement, String>>>,
    /// The labels of its namespaces.
    pub namespaces: Option<BTreeMap<String, Labels>>,
}

/// An `IPAddressPool`.
#[derive(Debug, Clone, PartialEq)]
pub struct AddressPool {
    pub(crate) labels: Labels,
    /// What it says, or why that can't be used.
    pub(crate) says: Result<PoolSays, String>,
}

/// What an `IPAddressPool` says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PoolSays {
    pub(crate) ranges: Vec<AddressSpan>,
    pub(crate) auto_assign: bool,
    /// Without IPv4 addresses that end in .0 or .255.
    pub(crate) avoids_buggy: bool,
    pub(crate) allocation: Option<Allocation>,
}

/// For which Services an `IPAddressPool` is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Allocation {
    /// The lowest goes first; 0 goes last.
    pub(crate) priority: u32,
    namespaces: BTreeSet<String>,
    namespace_selectors: Vec<Selector>,
    service_selectors: Vec<Selector>,
}

/// An `L2Advertisement`.
#[derive(Debug, Clone, PartialEq)]
pub struct Advertisement {
    pools: BTreeSet<String>,
    pool_selectors: Vec<Selector>,
    service_selectors: Vec<Selector>,
    /// It says on which nodes of the cluster, or on which of their interfaces.
    pub(crate) is_of_places: bool,
}

impl Metallb {
    /// What is to be said of its objects, for people.
    pub(crate) fn remarks(&self) -> BTreeSet<String> {
        let pools = self.pools.iter().flatten();
        let bad = pools.filter_map(|(name, pool)| Some((name, pool.says.as_ref().err()?)));
        let bad = bad.map(|(name, why)| format!("the IPAddressPool {name} can't be used: {why}"));
        let advertisements = self.advertisements.iter().flatten();
        let said = advertisements.filter_map(|(name, it)| match it {
            Err(why) => Some(format!("the L2Advertisement {name} can't be used: {why}")),
            Ok(it) if it.is_of_places => Some(format!(
                "`nodeSelectors` and `interfaces` of the L2Advertisement {name} have no meaning here: the load balancers announce"
            )),
            Ok(_) => None,
        });
        bad.chain(said).collect()
    }

    /// How many there are, for people.
    pub(crate) fn summary(&self) -> String {
        let count = |count: Option<usize>| count.map_or_else(|| "none".to_owned(), |count| count.to_string());
        let Some(pools) = &self.pools else {
            return "the cluster knows no IPAddressPools: the file's pools alone hold".to_owned();
        };
        let advertisements = self.advertisements.as_ref().map(BTreeMap::len);
        format!("IPAddressPools: {}, L2Advertisements: {}", pools.len(), count(advertisements))
    }
}

impl AddressPool {
    /// What an object says.
    #[must_use]
    pub fn of(object: &DynamicObject) -> Self {
        let says = spec::<PoolSpec>(object).and_then(PoolSpec::read);
        Self { labels: object.metadata.labels.clone().unwrap_or_default(), says }
    }
}

impl PoolSays {
    pub(crate) fn has(&self, address: IpAddr) -> bool {
        self.ranges.iter().any(|span| span.contains(address)) && !(self.avoids_buggy && is_buggy(address))
    }

    /// Its ranges, without what it avoids; at most so many.
    pub(crate) fn spans(&self, at_most: usize) -> Vec<AddressSpan> {
        if !self.avoids_buggy {
            return self.ranges.iter().copied().take(at_most).collect();
        }
        self.ranges.iter().flat_map(|range| without_buggy(*range)).take(at_most).collect()
    }
}

impl Allocation {
    /// Whether it is for a Service with these labels, in a namespace that has those.
    pub(crate) fn fits(&self, namespace: &str, of_namespace: Option<&Labels>, labels: &Labels) -> bool {
        let any_namespace = self.namespaces.is_empty() && self.namespace_selectors.is_empty();
        let selected = || of_namespace.is_some_and(|it| selects(&self.namespace_selectors, it));
        (any_namespace || self.namespaces.contains(namespace) || selected())
            && (self.service_selectors.is_empty() || selects(&self.service_selectors, labels))
    }
}

impl Advertisement {
    /// What an object says, or why that can't be used.
    pub(crate) fn of(object: &DynamicObject) -> Result<Self, String> {
        let said = spec::<AdvertisementSpec>(object)?;
        let is_of_places = [&said.node_selectors, &said.preferred_node_selectors, &said.interfaces];
        Ok(Self {
            pools: said.ip_address_pools.unwrap_or_default().into_iter().collect(),
            pool_selectors: selectors(said.ip_address_pool_selectors, "ipAddressPoolSelectors")?,
            service_selectors: selectors(said.service_selectors, "serviceSelectors")?,
            is_of_places: is_of_places.into_iter().flatten().any(|list| !list.is_empty()),
        })
    }

    /// Whether it announces a Service with these labels at addresses of a pool of its namespace.
    pub(crate) fn fits(&self, name: &str, pool: &AddressPool, service: &Labels) -> bool {
        let any_pool = self.pools.is_empty() && self.pool_selectors.is_empty();
        (any_pool || self.pools.contains(name) || selects(&self.pool_selectors, &pool.labels))
            && (self.service_selectors.is_empty() || selects(&self.service_selectors, service))
    }
}

fn selects(selectors: &[Selector], labels: &Labels) -> bool {
    selectors.iter().any(|selector| selector.matches(labels))
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PoolSpec {
    #[serde(default)]
    addresses: Vec<String>,
    auto_assign: Option<bool>,
    #[serde(rename = "avoidBuggyIPs")]
    avoid_buggy_ips: Option<bool>,
    service_allocation: Option<AllocationSpec>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AllocationSpec {
    priority: Option<u32>,
    namespaces: Option<BTreeSet<String>>,
    namespace_selectors: Option<Vec<LabelSelector>>,
    service_selectors: Option<Vec<LabelSelector>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AdvertisementSpec {
    ip_address_pools: Option<Vec<String>>,
    ip_address_pool_selectors: Option<Vec<LabelSelector>>,
    service_selectors: Option<Vec<LabelSelector>>,
    node_selectors: Option<Vec<serde_json::Value>>,
    preferred_node_selectors: Option<Vec<serde_json::Value>>,
    interfaces: Option<Vec<serde_json::Value>>,
}

fn spec<T: for<'a> Deserialize<'a> + Default>(object: &DynamicObject) -> Result<T, String> {
    match object.data.get("spec") {
        Some(spec) => T::deserialize(spec).map_err(|error| format!("its `spec` can't be read: {error}")),
        None => Ok(T::default()),
    }
}

impl PoolSpec {
    fn read(self) -> Result<PoolSays, String> {
        if self.addresses.is_empty() || self.addresses.len() > RANGES_AT_MOST {
            let count = self.addresses.len();
            return Err(format!("it has {count} ranges in `addresses`, and 1 to {RANGES_AT_MOST} are read"));
        }
        let allocation = self.service_allocation.map(AllocationSpec::read).transpose()?;
        Ok(PoolSays {
            ranges: self.addresses.iter().map(|text| range(text)).collect::<Result<_, _>>()?,
            auto_assign: self.auto_assign.unwrap_or(true),
            avoids_buggy: self.avoid_buggy_ips.unwrap_or(false),
            allocation,
        })
    }
}

impl AllocationSpec {
    fn read(self) -> Result<Allocation, String> {
        Ok(Allocation {
            priority: self.priority.unwrap_or(0),
            namespaces: self.namespaces.unwrap_or_default(),
            namespace_selectors: selectors(self.namespace_selectors, "namespaceSelectors")?,
            service_selectors: selectors(self.service_selectors, "serviceSelectors")?,
        })
    }
}

fn selectors(written: Option<Vec<LabelSelector>>, field: &str) -> Result<Vec<Selector>, String> {
    let read = |selector: LabelSelector| {
        Selector::try_from(selector).map_err(|error| format!("`{field}` can't be read: {error}"))
    };
    written.unwrap_or_default().into_iter().map(read).collect()
}

/// A network, whatever its last bits are, or the first and the last address.
fn range(text: &str) -> Result<AddressSpan, String> {
    let bad = || format!("`{}` in `addresses` is no range of addresses", shown(text));
    if let Some((first, last)) = text.split_once('-') {
        let parse = |text: &str| text.trim().parse::<IpAddr>().map_err(|_| bad());
        let (first, last) = (parse(first)?, parse(last)?);
        if Family::of(first) != Family::of(last) || last < first {
            return Err(bad());
        }
        return Ok(AddressSpan { first, last });
    }
    let network: IpNet = text.trim().parse().map_err(|_| bad())?;
    Ok(AddressSpan { first: network.network(), last: network.broadcast() })
}

fn is_buggy(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(v4) if matches!(v4.octets(), [.., 0 | 255]))
}

/// The parts of a range between addresses that end in .0 or .255.
fn without_buggy(range: AddressSpan) -> Box<dyn Iterator<Item = AddressSpan>> {
    let (IpAddr::V4(first), IpAddr::V4(last)) = (range.first, range.last) else {
        return Box::new(std::iter::once(range));
    };
    let (first, last) = (u32::from(first), u32::from(last));
    let parts = (first >> 8..=last >> 8).filter_map(move |block| {
        let (from, to) = (first.max(block << 8 | 1), last.min(block << 8 | 254));
        let span = |number: u32| IpAddr::V4(number.into());
        (from <= to).then(|| AddressSpan { first: span(from), last: span(to) })
    });
    Box::new(parts)
}
