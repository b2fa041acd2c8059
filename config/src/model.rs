//! The valid configuration, as the other rooms see it.

mod admin;
mod allocations;
mod check;
mod fragments;
mod group;
mod hook;
mod kubernetes;
mod names;
mod overrides;
mod peer;
mod pool;
mod service;
mod tables;
mod units;
mod witness;

pub use admin::{Admin, Backups, LogFormat, TcpAdmin};
pub use allocations::Allocations;
pub use check::{Check, CheckKind, ExpectStatus, HttpCheck, Target, TlsOptions, priority_of_checks};
pub use fragments::{Fragments, Sources};
pub use group::{
    Adverts, Class, Election, Family, Group, Interface, Link, Node, NodeKind, OnFailure, Preempt, Proof,
    Timing, Track, TrackEffect, Vip,
};
pub use hook::{Hook, HookCall, HookEvent, HookStyle, Policy, WebCall};
pub use kubernetes::{Annotations, Cluster, ClusterAccess, ClusterBackends, Machines};
pub use names::{
    BackendName, ClusterName, DomainName, GroupName, HookName, InterfaceName, NodeName, PoolName,
    ServiceName, SourceName, TenantName,
};
pub use overrides::{BackendId, NodeDrain, Noted, Overrides, Row, Serving, Subject, UnixTime};
pub use peer::{KeyPin, PeerLink, SharedDigest};
pub(crate) use pool::after;
pub use pool::{AddressRange, AddressSpan, Allow, Pool, PoolUse};
pub use service::{
    Backend, BackendAddress, Balance, ConnectionLog, Forwarding, Limits, Mode, OnDown, PortRange, Protocol,
    ProxyProtocol, ProxyProtocolVersion, Quorum, Rate, Service, Timeouts, UdpOptions, Xdp,
};
pub use tables::{AddressSlots, OlderTable, ServiceTables};
pub use units::{AdvertInterval, Priority, UnitError, Vrid, Weight};
pub use witness::{Etcd, OnSplit, WebAddress, Witness, WitnessLease};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How many connections the forwarding plane can know one by one, unless the file says.
pub const DEFAULT_FLOWS: u32 = 235_926;

/// A whole, valid configuration of one node.
///
/// It is a snapshot: a reload makes a new one, and each engine computes its own difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The node that this process is; a key of `nodes`, of kind [`NodeKind::Fulcrum`].
    pub node: NodeName,
    /// Every load balancer node that takes part, this one included.
    pub nodes: BTreeMap<NodeName, Node>,
    /// The interfaces VIPs live behind.
    pub interfaces: BTreeMap<InterfaceName, Interface>,
    /// VIPs that always move together.
    pub groups: BTreeMap<GroupName, Arc<Group>>,
    /// What decides where the nodes fall apart into halves.
    pub witness: Witness,
    /// What clients connect to.
    pub services: BTreeMap<ServiceName, Arc<Service>>,
    /// Pools of addresses for services.
    pub pools: BTreeMap<PoolName, Pool>,
    /// The addresses that services have from pools. They are among the VIPs of groups and of services, too.
    pub allocations: Arc<Allocations>,
    /// What operators asked for over the file; it is in force in all of the above.
    pub overrides: Arc<Overrides>,
    /// Kubernetes clusters whose Services are served.
    pub kubernetes: BTreeMap<ClusterName, Arc<Cluster>>,
    /// What comes from outside the file; it is in force in all of the above, but for what is set aside.
    pub sources: Arc<Sources>,
    /// Programs that are run when something has happened.
    pub hooks: BTreeMap<HookName, Arc<Hook>>,
    /// The timing profile, resolved.
    pub timing: Timing,
    /// How operators reach the daemon.
    pub admin: Admin,
    /// The link between the nodes.
    pub peer: PeerLink,
    /// Where the forwarding plane works in the driver itself.
    pub xdp: Xdp,
    /// How many connections it can know one by one.
    pub flows: u32,
    /// What stands for all that the nodes share: equal where their files say the same.
    pub shared: SharedDigest,
}

impl Config {
    /// The group that holds `address`, if any.
    #[must_use]
    pub fn group_of(&self, address: std::net::IpAddr) -> Option<&Arc<Group>> {
        self.groups.values().find(|group| group.vips.iter().any(|vip| vip.address == address))
    }

    /// The pool that has `address`, if any.
    #[must_use]
    pub fn pool_of(&self, address: std::net::IpAddr) -> Option<&Pool> {
        self.pools.values().find(|pool| pool.range_of(address).is_some())
    }

    /// How much of each pool is in use, by pool and family; families that a pool does not have are left out.
    #[must_use]
    pub fn pool_use(&self) -> Vec<PoolUse> {
        let mut used: BTreeMap<(&PoolName, Family), BTreeSet<std::net::IpAddr>> = BTreeMap::new();
        for (_, addresses) in self.allocations.iter() {
            for (address, pool) in addresses {
                used.entry((pool, Family::of(*address))).or_default().insert(*address);
            }
        }
        let uses = self.pools.values().flat_map(|pool| {
            [Family::Ipv4, Family::Ipv6].into_iter().map(move |family| (pool, family, pool.total(family)))
        });
        let uses = uses.filter(|(pool, family, _)| pool.has_family(*family));
        let uses = uses.map(|(pool, family, total)| {
            let used = used.get(&(&pool.name, family)).map_or(0, BTreeSet::len);
            PoolUse { pool: pool.name.clone(), family, used, total }
        });
        uses.collect()
    }

    /// Holds the groups and services that `other` has like this together with it: to compare the two costs little
    /// from then on.
    pub fn share(&mut self, other: &Self) {
        share(&mut self.groups, &other.groups);
        share(&mut self.services, &other.services);
        share(&mut self.kubernetes, &other.kubernetes);
        share(&mut self.hooks, &other.hooks);
    }
}

fn share<K: Ord, T: PartialEq>(own: &mut BTreeMap<K, Arc<T>>, others: &BTreeMap<K, Arc<T>>) {
    for (name, thing) in own {
        if let Some(other) = others.get(name).filter(|other| **other == *thing) {
            *thing = Arc::clone(other);
        }
    }
}
