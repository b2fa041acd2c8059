//! The sections of `fulcrum.yaml`, each a table. What they say is the description in the JSON Schema.

mod address_pool;
mod admin;
mod check;
mod group;
mod hook;
mod kubernetes;
mod peer;
mod service;
mod witness;

pub(crate) use address_pool::{AddressPoolSection, RequestSection};
pub(crate) use admin::AdminSection;
pub(crate) use check::{CheckSection, ExpectSection, TlsSection, Wire};
pub(crate) use group::{
    GroupSection, InterfaceSection, NodeSection, TimingSection, TrackSection, VipSection,
};
pub(crate) use hook::HookSection;
pub(crate) use kubernetes::{KubernetesSection, MachinesSection};
pub(crate) use peer::PeerSection;
pub(crate) use service::{
    LimitsSection, MemberSection, PoolSection, RateSection, ServiceSection, TimeoutsSection,
};
pub(crate) use witness::{EtcdSection, LeaseSection, WitnessSection};

use crate::model::Xdp;
use crate::scalar::{LinkName, Name, Number, Profile};
use crate::table::{Named, Or, section};

/// A check by name (or `none`), or written out.
pub(crate) type CheckReference = Or<Name, CheckSection>;
/// A backend in short, or written out.
pub(crate) type Member = Or<crate::model::BackendAddress, MemberSection>;

section! {
    /// A load balancer node.
    File {
        /// The node that this process is: a key of `nodes`. Default: the host name. All else may be the same on every node.
        node: optional Name,
        /// How fast things go: `default` (adverts every 100ms), `fast` (10ms), or a map.
        timing: optional Or<Profile, TimingSection>,
        /// Every load balancer node that takes part, this one included.
        nodes: required Named<Name, NodeSection>,
        /// The interfaces that VIPs live behind, by their kernel names.
        interfaces: optional Named<LinkName, InterfaceSection>,
        /// VIPs that always move together. An address of a service that none of them has is a group of its own.
        groups: optional Named<Name, GroupSection>,
        /// What decides for groups with `on_split: one` where each of two parts has half of the nodes. Default: nothing.
        witness: optional WitnessSection,
        /// Addresses that services get without naming one.
        pools: optional Named<Name, AddressPoolSection>,
        /// How backends are asked whether they can take traffic.
        checks: optional Named<Name, CheckSection>,
        /// Pools of backends that services share.
        backends: optional Named<Name, PoolSection>,
        /// What clients connect to.
        services: optional Named<Name, ServiceSection>,
        /// Kubernetes clusters whose Services of type LoadBalancer are served, by a name for each.
        kubernetes: optional Named<Name, KubernetesSection>,
        /// Programs that are run when something has happened.
        hooks: optional Named<Name, HookSection>,
        /// How operators reach the daemon.
        admin: optional AdminSection,
        /// The link between the nodes; it needs `keys` in `nodes`.
        peer: optional PeerSection,
        /// Where the forwarding plane works in the network driver itself, by native XDP: `auto` (drivers that are known to do
        /// it well, if they pass a test at the start), `any` (any driver that passes it) or `off`. Default: auto.
        xdp: optional Xdp,
        /// How many connections the forwarding plane can know one by one: 10000 to 4000000. Default: 235926.
        flows: optional Number<10_000, 4_000_000>,
    }
}

section! {
    /// What comes from outside the file.
    FragmentFile {
        /// What clients connect to, by names of the form `source/namespace/name` or `source/namespace/name:port`.
        services: required Named<String, ServiceSection>,
    }
}
