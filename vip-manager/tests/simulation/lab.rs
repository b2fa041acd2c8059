//! Configurations of groups of two to five nodes.

use fulcrum_config::{
    Admin, AdvertInterval, Adverts, Class, Config, Group, GroupName, Interface, InterfaceName, KeyPin, Link,
    Node, NodeKind, NodeName, Preempt, Priority, Timing, Vip, Vrid,
};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// What a group of routers is made of.
#[derive(Debug, Clone)]
pub(crate) struct Lab {
    /// One node each.
    pub(crate) priorities: Vec<u8>,
    pub(crate) interval: AdvertInterval,
    pub(crate) preempt: Preempt,
    pub(crate) ipv6: bool,
    /// Whether the link-local addresses, from which IPv6 adverts come, are configured.
    pub(crate) link_locals: bool,
    /// Whether all nodes have keys, and so links between them.
    pub(crate) keys: bool,
}

impl Lab {
    pub(crate) fn new(priorities: &[u8]) -> Self {
        Self {
            priorities: priorities.to_vec(),
            interval: AdvertInterval::DEFAULT,
            preempt: Preempt::Never,
            ipv6: true,
            link_locals: false,
            keys: false,
        }
    }

    pub(crate) fn links(&self) -> Vec<Link> {
        self.group().links()
    }

    /// The address that node `index` sends from on `link`. Those of IPv6 are in the opposite order.
    pub(crate) fn address(index: usize, link: &Link) -> IpAddr {
        let number = u8::try_from(index).unwrap() + 1;
        match link.family {
            fulcrum_config::Family::Ipv4 => IpAddr::from([10, 0, 0, number]),
            fulcrum_config::Family::Ipv6 => format!("fe80::{:x}", 100 - number).parse().unwrap(),
        }
    }

    pub(crate) fn name(index: usize) -> NodeName {
        NodeName::new(&format!("node{index}"))
    }

    pub(crate) fn group(&self) -> Group {
        let interface = InterfaceName::new("eth0");
        let vip = |address: &str| Vip { address: address.parse().unwrap(), interface: interface.clone() };
        let mut vips = vec![vip("10.0.0.100")];
        if self.ipv6 {
            vips.push(vip("2001:db8::100"));
        }
        let priorities = self.priorities.iter().enumerate();
        Group {
            name: GroupName::new("web"),
            class: Class::Workload,
            election: fulcrum_config::Election::Vrrp(Vrid::new(51).unwrap()),
            vips,
            priorities: priorities
                .map(|(index, priority)| (Self::name(index), Priority::new(*priority).unwrap()))
                .collect(),
            advert_interval: self.interval,
            adverts: Adverts::Multicast,
            preempt: self.preempt,
            on_split: fulcrum_config::OnSplit::Serve,
            proof: None,
            drain: Group::DRAIN,
            accept: true,
            tracks: Vec::new(),
        }
    }

    /// The configuration of node `index`.
    pub(crate) fn config(&self, index: usize) -> Config {
        let interface = InterfaceName::new("eth0");
        let networks = ["10.0.0.0/24", "2001:db8::/64"].map(|network| network.parse().unwrap()).to_vec();
        let node = |index: usize, priority: u8| {
            let links = self.links();
            let links = links.iter().take(if self.link_locals { 2 } else { 1 });
            Node {
                addresses: links.map(|link| Self::address(index, link)).collect(),
                kind: NodeKind::Fulcrum,
                priority: Priority::new(priority).unwrap(),
                weight: fulcrum_config::Weight::ONE,
                domain: None,
            }
        };
        let pins = (0..self.priorities.len()).filter(|_| self.keys);
        let pins =
            pins.map(|index| (Self::name(index), vec![KeyPin::new([u8::try_from(index).unwrap(); 32])]));
        let pins = pins.collect();
        let priorities = self.priorities.iter().enumerate();
        Config {
            node: Self::name(index),
            nodes: priorities.map(|(index, priority)| (Self::name(index), node(index, *priority))).collect(),
            interfaces: BTreeMap::from([(
                interface.clone(),
                Interface { name: interface, networks, virtual_mac: false },
            )]),
            groups: BTreeMap::from([(GroupName::new("web"), Arc::new(self.group()))]),
            services: BTreeMap::new(),
            timing: Timing::default(),
            admin: Admin::default(),
            peer: fulcrum_config::PeerLink { pins, ..Default::default() },
            xdp: fulcrum_config::Xdp::Auto,
            flows: fulcrum_config::DEFAULT_FLOWS,
            witness: fulcrum_config::Witness::None,
            pools: BTreeMap::new(),
            kubernetes: BTreeMap::new(),
            hooks: BTreeMap::new(),
            allocations: Arc::default(),
            overrides: Arc::default(),
            sources: Arc::default(),
            shared: fulcrum_config::SharedDigest::default(),
        }
    }
}
