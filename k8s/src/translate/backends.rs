//! Who serves a port of a Service, and how that is asked.

use super::nodes::Machine;
use super::{Around, Plan, Problem};
use crate::objects::{ObjectName, Objects};
use crate::slice::Slice;
use fulcrum_config::{ClusterBackends, Family, Forwarding, Protocol};
use k8s_openapi::api::core::v1::ServicePort;
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// Further pods of a Service get no connections.
const PODS_AT_MOST: usize = 2_000;
/// As the configuration has it.
const WEIGHT_AT_MOST: u64 = 256;

/// The members of a port's service, as the file has them, and what is to be said of them.
pub(super) fn members(
    plan: &Plan<'_>,
    objects: &Objects,
    port: &ServicePort,
    protocol: Protocol,
    notes: &mut Vec<String>,
) -> Result<Vec<Json>, Problem> {
    match plan.cluster.backends {
        ClusterBackends::Pods => Ok(pods(plan, objects, port, protocol, notes)),
        ClusterBackends::NodePorts => nodes(plan, objects, port, protocol),
    }
}

fn nodes(
    plan: &Plan<'_>,
    objects: &Objects,
    port: &ServicePort,
    protocol: Protocol,
) -> Result<Vec<Json>, Problem> {
    // Packets arrive as they are in mode dsr.
    let node_port =
        if plan.mode.forwarding() == Some(Forwarding::Dsr) { None } else { Some(node_port(port)?) };
    let shares = plan.is_local.then(|| shares(objects, &plan.name, port, protocol));
    let member = |machine: &Machine| {
        let address = plan.address_of(machine)?;
        let share = match &shares {
            Some(shares) => *shares.get(machine.name.as_str())?,
            None => Share { ready: 1, terminating: 0 },
        };
        let drains = machine.drains || share.ready == 0;
        Some(member(Some(&machine.name), address, node_port, share.ready.clamp(1, WEIGHT_AT_MOST), drains))
    };
    Ok(plan.machines.iter().filter_map(member).collect())
}

fn node_port(port: &ServicePort) -> Result<u16, Problem> {
    port.node_port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0).ok_or_else(|| {
        let message = "it has no node ports: set `allocateLoadBalancerNodePorts: true`, or have Fulcrum reach pods (`backends: pods` of the cluster)";
        Problem::new("NoNodePorts", message.to_owned())
    })
}

/// Endpoints of a Service on one node.
#[derive(Debug, Clone, Copy, Default)]
struct Share {
    ready: u64,
    /// Those that still serve, and are about to end.
    terminating: u64,
}

/// How many endpoints each node has; one without any is not there.
fn shares<'a>(
    objects: &'a Objects,
    name: &ObjectName,
    port: &'a ServicePort,
    protocol: Protocol,
) -> BTreeMap<&'a str, Share> {
    // A pod of two families is one pod.
    let mut seen: BTreeMap<(&str, &str), Share> = BTreeMap::new();
    for (slice, _) in slices(objects, name, port, protocol) {
        for pod in &slice.pods {
            let Some(node) = pod.node.as_deref() else { continue };
            let share = seen.entry((node, &slice.address_type)).or_default();
            let count = if pod.terminates { &mut share.terminating } else { &mut share.ready };
            *count = count.saturating_add(1);
        }
    }
    let mut shares: BTreeMap<&str, Share> = BTreeMap::new();
    for ((node, _), share) in seen {
        let most = shares.entry(node).or_default();
        most.ready = most.ready.max(share.ready);
        most.terminating = most.terminating.max(share.terminating);
    }
    shares
}

fn pods(
    plan: &Plan<'_>,
    objects: &Objects,
    port: &ServicePort,
    protocol: Protocol,
    notes: &mut Vec<String>,
) -> Vec<Json> {
    let mut found: BTreeMap<SocketAddr, bool> = BTreeMap::new();
    for (slice, number) in slices(objects, &plan.name, port, protocol) {
        for pod in &slice.pods {
            let Some(address) = pod.address else { continue };
            if plan.around.may_be_backend(address) {
                let known = found.entry(SocketAddr::new(address, number)).or_insert(pod.terminates);
                *known = *known && pod.terminates;
            }
        }
    }
    let family = plan.family_of(found.keys().map(SocketAddr::ip));
    let mut members: Vec<Json> = Vec::new();
    let of_family = found.into_iter().filter(|(address, _)| Family::of(address.ip()) == family);
    for (address, drains) in of_family {
        if members.len() == PODS_AT_MOST {
            notes.push(format!("it has more than {PODS_AT_MOST} pods: the others get no connections"));
            break;
        }
        members.push(member(None, address.ip(), Some(address.port()), 1, drains));
    }
    members
}

/// The slices that have a port, and the number that it has there.
fn slices<'a>(
    objects: &'a Objects,
    name: &ObjectName,
    port: &'a ServicePort,
    protocol: Protocol,
) -> impl Iterator<Item = (&'a Slice, u16)> {
    let wanted = port.name.as_deref().unwrap_or_default();
    objects.slices_of(name).filter_map(move |slice| Some((slice, slice.number(wanted, protocol)?)))
}

fn member(name: Option<&str>, address: IpAddr, port: Option<u16>, weight: u64, drain: bool) -> Json {
    let mut member = json!({ "address": address.to_string() });
    let Some(map) = member.as_object_mut() else { return member };
    // Longer ones are called by their address.
    if let Some(name) = name.filter(|name| name.len() <= 63) {
        map.insert("name".to_owned(), json!(name));
    }
    if let Some(port) = port {
        map.insert("port".to_owned(), json!(port));
    }
    if weight != 1 {
        map.insert("weight".to_owned(), json!(weight));
    }
    if drain {
        map.insert("drain".to_owned(), json!(true));
    }
    member
}

/// How backends of a port are asked.
pub(super) fn check(plan: &Plan<'_>, protocol: Protocol) -> Json {
    if let Some(name) = &plan.cluster.check {
        return json!(name);
    }
    let is_at_node = plan.cluster.backends == ClusterBackends::NodePorts;
    // In mode dsr a check asks at the VIP, where kube-proxy does not answer it.
    let asks_proxy = is_at_node && plan.is_local && plan.mode.forwarding() != Some(Forwarding::Dsr);
    match (plan.health_port.filter(|_| asks_proxy), protocol) {
        (Some(port), _) => json!({ "type": "http", "port": port, "path": "/healthz" }),
        (None, Protocol::Tcp) => json!({ "type": "tcp" }),
        // What a datagram would be answered with is not known.
        (None, Protocol::Udp) => json!("none"),
    }
}

impl Plan<'_> {
    /// Where a node is reached: where packets are forwarded, by the family of the VIP, otherwise by any.
    fn address_of(&self, machine: &Machine) -> Option<IpAddr> {
        let first = self.families.first().copied()?;
        let of_first = machine.address(|address| Family::of(*address) == first);
        match self.mode.forwarding() {
            Some(_) => of_first,
            None => of_first.or_else(|| machine.address(|_| true)),
        }
    }

    /// The family that backends with `addresses` are reached by.
    fn family_of(&self, addresses: impl Iterator<Item = IpAddr>) -> Family {
        let there: BTreeSet<Family> = addresses.map(Family::of).collect();
        let first = self.families.first().copied().unwrap_or(Family::Ipv4);
        match self.mode.forwarding() {
            None if !there.contains(&first) => there.first().copied().unwrap_or(first),
            _ => first,
        }
    }
}

impl Around<'_> {
    /// Whether connections to `address` can leave this node, and do not come back to it.
    pub(super) fn may_be_backend(&self, address: IpAddr) -> bool {
        let is_machine = match address {
            IpAddr::V4(v4) => {
                !(v4.is_unspecified()
                    || v4.is_loopback()
                    || v4.is_multicast()
                    || v4.is_broadcast()
                    || v4.is_link_local())
            }
            IpAddr::V6(v6) => {
                // An address of IPv4 in other clothes is what none of these asks about, and no file takes it.
                !(v6.is_unspecified()
                    || v6.is_loopback()
                    || v6.is_multicast()
                    || v6.is_unicast_link_local()
                    || v6.to_ipv4_mapped().is_some())
            }
        };
        is_machine && self.config.pool_of(address).is_none() && !self.own.contains(&address)
    }
}
