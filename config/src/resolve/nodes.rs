//! The nodes, which of them this process is, and the interfaces.

use super::addresses::not_of_one_machine;
use crate::document::NodeId;
use crate::file::{File, NodeSection};
use crate::model::{DomainName, Interface, InterfaceName, Node, NodeKind, NodeName, Priority, Weight};
use crate::reader::{Field, Reader, meant};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

/// The nodes, and where the file speaks of them.
pub(super) struct Nodes {
    pub(super) own: Option<NodeName>,
    pub(super) all: BTreeMap<NodeName, Node>,
    /// Where each node's addresses stand.
    pub(super) places: BTreeMap<NodeName, NodeId>,
    /// Whose address it is, and where that stands.
    pub(super) addresses: HashMap<IpAddr, (NodeName, NodeId)>,
    /// Those that can have a link to each other.
    pub(super) has_keys: BTreeSet<NodeName>,
}

/// The interfaces, and whether all of them could be read.
pub(super) struct Interfaces {
    pub(super) all: BTreeMap<InterfaceName, Interface>,
    pub(super) complete: bool,
}

/// Why the nodes can't elect leaders over the peer link.
pub(super) struct Unelectable {
    pub(super) why: String,
    /// What to do about it, if that is easy.
    pub(super) cure: Option<&'static str>,
}

impl Nodes {
    /// All of them must be able to speak on the link.
    pub(super) fn without_link(&self) -> Option<Unelectable> {
        self.all.iter().find_map(|(name, node)| match node.kind {
            NodeKind::Foreign => {
                Some(Unelectable { why: format!("`{name}` runs another VRRP router"), cure: None })
            }
            NodeKind::Fulcrum if self.has_keys.contains(name) => None,
            NodeKind::Fulcrum => Some(Unelectable {
                why: format!("`{name}` has no keys"),
                cure: Some("give each node `keys` (see `fulcrum peer-key --help`)"),
            }),
        })
    }

    /// And none of them can own an address of a group for which nothing else is written.
    pub(super) fn unelectable(&self) -> Option<Unelectable> {
        let owner = || self.all.iter().find(|(_, node)| node.priority == Priority::OWNER);
        self.without_link().or_else(|| {
            let (name, _) = owner()?;
            let why = format!("`{name}` has priority 255, the owner's");
            Some(Unelectable { why, cure: Some("write priorities of at most 254 in `nodes`") })
        })
    }
}

impl Interfaces {
    /// Those that have a network with `address`.
    pub(super) fn behind(&self, address: IpAddr) -> Vec<&Interface> {
        let has = |interface: &&Interface| interface.networks.iter().any(|it| it.contains(&address));
        self.all.values().filter(has).collect()
    }

    /// All networks, for people.
    pub(super) fn networks(&self) -> String {
        let networks = self.all.values().flat_map(|interface| &interface.networks);
        let networks: Vec<String> = networks.map(ToString::to_string).collect();
        if networks.is_empty() { "none".to_owned() } else { networks.join(", ") }
    }
}

pub(super) fn resolve(reader: &mut Reader<'_>, file: &File, host_name: &str) -> Nodes {
    let mut nodes = Nodes {
        own: None,
        all: BTreeMap::new(),
        places: BTreeMap::new(),
        addresses: HashMap::new(),
        has_keys: BTreeSet::new(),
    };
    let Some(sections) = &file.nodes else { return nodes };
    for (name, section) in &sections.value.0 {
        let Some(section) = section else { continue };
        let name = NodeName::new(&name.value.0);
        add(reader, &mut nodes, name, section);
    }
    let names: Vec<&str> = sections.value.0.iter().map(|(name, _)| name.value.0.as_str()).collect();
    match names.as_slice() {
        [] => reader.error(sections.node, "there is no node", "add this one and its partner"),
        [_] => reader.warn(
            sections.node,
            "there is only one node: nothing takes over when it dies",
            "add the second one, in the same words on both",
        ),
        _ => {}
    }
    nodes.own = own(reader, file, host_name, sections.node, &names);
    if let Some(own) = &nodes.own
        && let (Some(node), Some(place)) = (nodes.all.get(own), nodes.places.get(own))
        && node.kind == NodeKind::Foreign
    {
        reader.error(
            *place,
            format!("`{own}` is this node, and foreign"),
            "delete `foreign`, or correct `node`",
        );
    }
    nodes
}

fn own(
    reader: &mut Reader<'_>,
    file: &File,
    host_name: &str,
    nodes: NodeId,
    names: &[&str],
) -> Option<NodeName> {
    if let Some(own) = &file.node {
        if names.contains(&own.value.0.as_str()) {
            return Some(NodeName::new(&own.value.0));
        }
        reader.dangling(own.node, "node", &own.value.0, names.iter().copied());
        return None;
    }
    if names.contains(&host_name) {
        return Some(NodeName::new(host_name));
    }
    if !names.is_empty() && !reader.refused_within(nodes) {
        let likely = meant(host_name, names.iter().copied()).or(names.first().copied()).unwrap_or_default();
        reader.error(
            nodes,
            format!("this host is called `{host_name}`, and no node is"),
            format!("add a line such as `node: {likely}` at the start of the file, or name the node so"),
        );
    }
    None
}

fn add(reader: &mut Reader<'_>, nodes: &mut Nodes, name: NodeName, section: &NodeSection) {
    let list = section.addresses.get().map(|list| list.0.as_slice()).unwrap_or_default();
    if let Some(field) = &section.addresses
        && list.is_empty()
        && !reader.refused_within(field.node)
    {
        reader.error(field.node, "there is no address", "write the addresses that the node has of its own");
    }
    for address in list {
        if let Some(kind) = not_of_one_machine(address.value) {
            let message = format!("`{}` is {kind}", address.value);
            reader.error(address.node, message, "write an address that the node has of its own");
        }
        match nodes.addresses.get(&address.value) {
            Some((other, place)) => {
                let message = format!("`{}` is an address of node `{other}` already", address.value);
                reader.conflict(address.node, message, "give it to one node", *place, "the first one");
            }
            None => {
                nodes.addresses.insert(address.value, (name.clone(), address.node));
            }
        }
    }
    let foreign = section.foreign.get().copied().unwrap_or(false);
    let node = Node {
        addresses: list.iter().map(|address| address.value).collect(),
        kind: if foreign { NodeKind::Foreign } else { NodeKind::Fulcrum },
        priority: section.priority.get().copied().unwrap_or(Priority::DEFAULT),
        weight: section.weight.get().copied().unwrap_or(Weight::ONE),
        domain: section.domain.as_ref().map(|domain| DomainName::new(&domain.value.0)),
    };
    let place = section.addresses.as_ref().map_or(section.at, |addresses| addresses.node);
    nodes.places.insert(name.clone(), place);
    if section.keys.as_ref().is_some_and(|keys| !keys.value.0.is_empty()) {
        nodes.has_keys.insert(name.clone());
    }
    nodes.all.insert(name, node);
}

pub(super) fn interfaces(reader: &mut Reader<'_>, file: &File) -> Interfaces {
    let mut all = BTreeMap::new();
    let Some(sections) = &file.interfaces else { return Interfaces { all, complete: true } };
    for (name, section) in &sections.value.0 {
        let Some(section) = section else { continue };
        let name = InterfaceName::new(&name.value.0);
        let networks = section.networks.get().map(|list| list.0.as_slice()).unwrap_or_default();
        for (index, network) in networks.iter().enumerate() {
            let earlier = networks.iter().take(index);
            if let Some(other) = earlier.into_iter().find(|other| overlap(&other.value, &network.value)) {
                let message = format!("`{}` overlaps `{}`", network.value, other.value);
                reader.conflict(network.node, message, "keep the larger one", other.node, "the other one");
            }
        }
        let interface = Interface {
            name: name.clone(),
            networks: networks.iter().map(|network| network.value).collect(),
            virtual_mac: section.virtual_mac.get().copied().unwrap_or(false),
        };
        all.insert(name, interface);
    }
    Interfaces { all, complete: !reader.refused_within(sections.node) }
}

/// The source of a node's adverts must be clear: it has at most one address in each network.
pub(super) fn check_sources(reader: &mut Reader<'_>, nodes: &Nodes, interfaces: &Interfaces) {
    let mut sources: HashMap<(&NodeName, &IpNet), NodeId> = HashMap::new();
    let mut addresses: Vec<_> = nodes.addresses.iter().collect();
    addresses.sort_by_key(|(_, (_, place))| *place);
    for (address, (node, place)) in addresses {
        let mut networks = interfaces.all.values().flat_map(|interface| &interface.networks);
        if let Some(network) = networks.find(|network| network.contains(address))
            && let Some(other) = sources.insert((node, network), *place)
        {
            let message = format!("`{node}` has two addresses in {network}");
            reader.conflict(
                *place,
                message,
                "write only the one it sends adverts from",
                other,
                "the first one",
            );
        }
    }
}

fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}
