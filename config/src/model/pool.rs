//! Pools of addresses.

use super::{Family, GroupName, InterfaceName, PoolName, ServiceName, TenantName};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

#[cfg(test)]
mod tests;

/// A pool of addresses for services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// Its name.
    pub name: PoolName,
    /// The group that its addresses belong to while they are in use; without one each is a group of its own.
    pub group: Option<GroupName>,
    /// Its addresses, without overlap, sorted.
    pub ranges: Vec<AddressRange>,
    /// Whether services get addresses of it that do not name it.
    pub auto_assign: bool,
    /// The pool of the highest is tried first.
    pub priority: u32,
    /// IPv4 addresses that end in .0 or .255 are left alone.
    pub avoid_reserved: bool,
    /// Who may use it; empty means anybody.
    pub allow: Vec<Allow>,
    /// How many addresses a tenant may have.
    pub quotas: BTreeMap<TenantName, u32>,
    /// An operator drains it: no address of it is handed out, and services keep those that they have.
    pub drained: bool,
    /// Addresses within `ranges` that are not handed out: VIPs that the group has anyway, and those that the network
    /// has a use for.
    pub taken: BTreeSet<IpAddr>,
}

/// Addresses of one family, from `first` to `last`, both included, behind one interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressRange {
    /// The lowest.
    pub first: IpAddr,
    /// The highest, of the same family.
    pub last: IpAddr,
    /// The interface that they live behind.
    pub interface: InterfaceName,
}

/// Addresses of one family, from `first` to `last`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AddressSpan {
    /// The lowest.
    pub first: IpAddr,
    /// The highest, of the same family.
    pub last: IpAddr,
}

/// Services that may use a pool: those of which everything here is true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allow {
    /// Patterns of names, with `*` for any text; empty means any.
    pub services: Vec<String>,
    /// Labels that they have.
    pub labels: BTreeMap<String, String>,
    /// Tenants whose services may; empty means any, and none.
    pub tenants: BTreeSet<TenantName>,
}

/// How much of a pool is in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolUse {
    /// The pool.
    pub pool: PoolName,
    /// Of these addresses of it.
    pub family: Family,
    /// Addresses that services have.
    pub used: usize,
    /// Addresses that it can hand out, used ones included.
    pub total: u128,
}

/// Just this one.
impl From<IpAddr> for AddressSpan {
    fn from(address: IpAddr) -> Self {
        Self { first: address, last: address }
    }
}

impl AddressSpan {
    /// All addresses of a family.
    pub(crate) fn all(family: Family) -> Self {
        match family {
            Family::Ipv4 => Self { first: Ipv4Addr::UNSPECIFIED.into(), last: Ipv4Addr::BROADCAST.into() },
            Family::Ipv6 => {
                Self { first: Ipv6Addr::UNSPECIFIED.into(), last: Ipv6Addr::from(u128::MAX).into() }
            }
        }
    }

    /// Their family.
    #[must_use]
    pub fn family(&self) -> Family {
        Family::of(self.first)
    }

    /// Whether `address` is one of them. Those of IPv4 are lower than those of IPv6.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.first <= address && address <= self.last
    }
}

/// As the file has it: `10.0.0.100-10.0.0.119`.
impl fmt::Display for AddressSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl Pool {
    /// Whether `address` can be handed out.
    #[must_use]
    pub fn has(&self, address: IpAddr) -> bool {
        self.range_of(address).is_some() && !self.taken.contains(&address) && !self.avoids(address)
    }

    /// The range that `address` lies in.
    #[must_use]
    pub fn range_of(&self, address: IpAddr) -> Option<&AddressRange> {
        let after = self.ranges.partition_point(|range| range.first <= address);
        self.ranges.get(after.checked_sub(1)?).filter(|range| address <= range.last)
    }

    /// Whether any of its addresses is one of `span`.
    #[must_use]
    pub fn meets(&self, span: &AddressSpan) -> bool {
        self.ranges.iter().any(|range| range.first <= span.last && span.first <= range.last)
    }

    /// Whether it has addresses of `family` at all.
    #[must_use]
    pub fn has_family(&self, family: Family) -> bool {
        self.ranges.iter().any(|range| Family::of(range.first) == family)
    }

    /// How many addresses of `family` can be handed out.
    #[must_use]
    pub fn total(&self, family: Family) -> u128 {
        let ranges = self.ranges.iter().filter(|range| Family::of(range.first) == family);
        let mut total: u128 = 0;
        for range in ranges {
            let (first, last) = (number(range.first), number(range.last));
            total = total.saturating_add(last.saturating_sub(first)).saturating_add(1);
            if self.avoid_reserved && family == Family::Ipv4 {
                let ending = |ending| ending_in(ending, first, last);
                total = total.saturating_sub(ending(0)).saturating_sub(ending(255));
            }
        }
        let taken = self.taken.iter().filter(|address| Family::of(**address) == family);
        let taken = taken.filter(|address| !self.avoids(**address)).count();
        total.saturating_sub(u128::try_from(taken).unwrap_or(u128::MAX))
    }

    /// The lowest address of `family` from `from` on that can be handed out.
    #[must_use]
    pub fn next(&self, family: Family, from: IpAddr) -> Option<IpAddr> {
        let ranges = self.ranges.iter().filter(|range| Family::of(range.first) == family);
        for range in ranges.filter(|range| range.last >= from) {
            let mut candidate = Some(range.first.max(from));
            // What is taken or avoided are single addresses, each passed over once.
            while let Some(address) = candidate.filter(|address| *address <= range.last) {
                if !self.taken.contains(&address) && !self.avoids(address) {
                    return Some(address);
                }
                candidate = after(address);
            }
        }
        None
    }

    fn avoids(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => self.avoid_reserved && matches!(v4.octets(), [.., 0 | 255]),
            IpAddr::V6(_) => false,
        }
    }

    /// Whether a service of this name, these labels and this tenant may use it.
    #[must_use]
    pub fn allows(
        &self,
        service: &ServiceName,
        labels: &BTreeMap<String, String>,
        tenant: Option<&TenantName>,
    ) -> bool {
        let fits = |allow: &Allow| {
            (allow.services.is_empty()
                || allow.services.iter().any(|pattern| matches(pattern, service.as_str())))
                && allow.labels.iter().all(|(key, value)| labels.get(key) == Some(value))
                && (allow.tenants.is_empty() || tenant.is_some_and(|tenant| allow.tenants.contains(tenant)))
        };
        self.allow.is_empty() || self.allow.iter().any(fits)
    }
}

/// The address after `address`, if there is one.
pub(crate) fn after(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => Some(Ipv4Addr::from(u32::from(v4).checked_add(1)?).into()),
        IpAddr::V6(v6) => Some(Ipv6Addr::from(u128::from(v6).checked_add(1)?).into()),
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u32::from(v4).into(),
        IpAddr::V6(v6) => v6.into(),
    }
}

/// How many numbers from `first` to `last` have `ending` as their last byte.
fn ending_in(ending: u128, first: u128, last: u128) -> u128 {
    // Those below `end`.
    let below = |end: u128| end.saturating_add(255_u128.saturating_sub(ending)) >> 8;
    below(last.saturating_add(1)).saturating_sub(below(first))
}

/// Whether `text` is as `pattern` says, in which `*` stands for any text.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|start| text.strip_prefix(start)) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(end) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(end)
}
