//! What decides where the nodes fall apart, and which groups ask for it.

use super::groups::Groups;
use super::kubernetes::access;
use super::nodes::{Interfaces, Nodes};
use crate::document::NodeId;
use crate::file::{EtcdSection, File, LeaseSection, WitnessSection};
use crate::model::{Etcd, Group, InterfaceName, OnSplit, Witness, WitnessLease};
use crate::reader::{At, Field, Reader};
use crate::scalar::Name;
use std::net::IpAddr;

/// Members that are asked in turn.
const ENDPOINTS_AT_MOST: usize = 16;

pub(super) fn resolve(
    reader: &mut Reader<'_>,
    file: &File,
    nodes: &Nodes,
    interfaces: &Interfaces,
    groups: &Groups,
) -> Witness {
    let asks = |group: &Group| group.on_split == OnSplit::One;
    let asking = groups.all.values().find(|group| asks(group)).map(|group| group.name.clone());
    let witness = match file.witness.get() {
        None => Witness::None,
        Some(section) => match (&section.gateway, section.etcd.get(), section.kubernetes.get()) {
            (Some(address), None, None) => gateway(reader, section, *address, nodes, interfaces),
            (None, Some(section), None) => Witness::Etcd(etcd(reader, section)),
            (None, None, Some(section)) => lease(reader, section).map_or(Witness::None, Witness::Kubernetes),
            _ if reader.refused_within(section.at) => Witness::None,
            _ => {
                let help = "write one of `gateway`, `etcd` and `kubernetes`";
                reader.error(section.at, "it must be clear what the witness is", help);
                Witness::None
            }
        },
    };
    match (&asking, &file.witness) {
        (None, Some(field)) if groups.all.values().any(|group| group.is_elected()) => reader.warn(
            field.node,
            "no group asks for a witness",
            "write `on_split: one` in the groups that are to have no leader rather than two, or delete it",
        ),
        // One that is refused is there.
        (Some(_), Some(_)) if witness == Witness::None => {}
        (Some(group), written) => {
            let place = written.as_ref().map_or(file.at, |field| field.node);
            warn_halves(reader, place, group.as_str(), &witness, nodes);
        }
        (None, _) => {}
    }
    witness
}

/// Two nodes have no majority without each other.
fn warn_halves(reader: &mut Reader<'_>, place: NodeId, group: &str, witness: &Witness, nodes: &Nodes) {
    if nodes.all.len() != 2 {
        return;
    }
    let so = match witness {
        Witness::None => "nobody leads it when one of the two dies or is cut off",
        Witness::Gateway { .. } => "nobody takes it over when the one that leads it dies without a word",
        Witness::Etcd(_) | Witness::Kubernetes(_) => return,
    };
    let message = format!("group `{group}` has `on_split: one`: {so}");
    reader.warn(
        place,
        message,
        "add a third node, if only with `weight: 0`, or `witness: {etcd: ...}` or `{kubernetes: ...}`",
    );
}

fn gateway(
    reader: &mut Reader<'_>,
    section: &WitnessSection,
    gateway: At<IpAddr>,
    nodes: &Nodes,
    interfaces: &Interfaces,
) -> Witness {
    if let Some((node, _)) = nodes.addresses.get(&gateway.value) {
        let message = format!("`{}` is node `{node}`'s own address", gateway.value);
        reader.error(gateway.node, message, "write the address of a router on the network");
    }
    let named = section.interface.get().map(|name| InterfaceName::new(&name.0));
    let has = |(name, interface): &(&InterfaceName, &crate::model::Interface)| {
        named.as_ref().is_none_or(|named| named == *name)
            && interface.networks.iter().any(|network| network.contains(&gateway.value))
    };
    let mut behind = interfaces.all.iter().filter(has).map(|(name, _)| name.clone());
    match (behind.next(), behind.next()) {
        (Some(interface), None) => Witness::Gateway { address: gateway.value, interface },
        (first, _) => {
            if interfaces.complete {
                let where_ = if first.is_some() { "several interfaces" } else { "no interface" };
                let message = format!("`{}` lies in the networks of {where_}", gateway.value);
                reader.error(gateway.node, message, "write `interface:` with one that has its network");
            }
            Witness::None
        }
    }
}

fn lease(reader: &mut Reader<'_>, section: &LeaseSection) -> Option<WitnessLease> {
    let mut name = |field: &Option<At<Name>>, default: &str| {
        let Some(name) = field else { return default.to_owned() };
        let is_small =
            |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-.".contains(letter);
        if !name.value.0.chars().all(is_small) {
            let message = format!("`{}` is no name in Kubernetes", name.value.0);
            reader.error(name.node, message, "write small letters, digits, `-` and `.` only");
        }
        name.value.0.clone()
    };
    let (namespace, lease) =
        (name(&section.namespace, WitnessLease::NAMESPACE), name(&section.name, WitnessLease::NAME));
    Some(WitnessLease {
        access: access(reader, section.at, section.kubeconfig.get(), section.in_cluster.get())?,
        namespace,
        name: lease,
        ttl: section.ttl.get().map_or(Witness::TTL, |ttl| ttl.0),
    })
}

fn etcd(reader: &mut Reader<'_>, section: &EtcdSection) -> Etcd {
    let endpoints = section.endpoints.get().map(|list| list.0.as_slice()).unwrap_or_default();
    if endpoints.len() > ENDPOINTS_AT_MOST || (endpoints.is_empty() && !reader.refused_within(section.at)) {
        let message =
            format!("there are {} endpoints; 1 to {ENDPOINTS_AT_MOST} can be asked", endpoints.len());
        reader.error(section.at, message, "write its members, such as `https://10.0.0.21:2379`");
    }
    let ca = section.ca.get().map(|path| path.0.clone());
    if let Some(tls) = endpoints.iter().find(|it| it.value.0.tls)
        && section.ca.is_none()
    {
        let help = "add `ca:` with the PEM file of the authority that signed its certificate";
        reader.error(tls.node, "nothing says which authorities are trusted", help);
    }
    let pair = |one: bool, other: bool| one != other;
    if pair(section.client_certificate.is_some(), section.client_key.is_some()) {
        let help = "write both `client_certificate` and `client_key`, or none";
        reader.error(section.at, "a certificate and its key go together", help);
    }
    if pair(section.user.is_some(), section.password_file.is_some()) {
        reader.error(
            section.at,
            "a user and a password go together",
            "write both `user` and `password_file`, or none",
        );
    }
    let path = |field: &Option<At<crate::scalar::AbsolutePath>>| field.get().map(|path| path.0.clone());
    Etcd {
        endpoints: endpoints.iter().map(|it| it.value.0.clone()).collect(),
        key: section.key.get().map_or_else(|| Etcd::KEY.to_owned(), |key| key.0.clone()),
        ttl: section.ttl.get().map_or(Witness::TTL, |ttl| ttl.0),
        ca,
        client: path(&section.client_certificate).zip(path(&section.client_key)),
        user: section.user.get().map(|user| user.0.clone()).zip(path(&section.password_file)),
    }
}
