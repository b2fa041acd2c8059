//! What the forwarding plane can't do for a service: it sees packets, not connections.

use super::nodes::Nodes;
use crate::document::NodeId;
use crate::file::{File, ServiceSection};
use crate::model::{
    Backend, Balance, Family, Forwarding, NodeKind, PeerLink, PortRange, Protocol, Service, ServiceName,
};
use crate::reader::{At, Field, Reader};
use crate::table::Or;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Says what of a service in a mode of the plane only the proxy does, and which backends such a mode can't reach.
pub(super) fn check_service(
    reader: &mut Reader<'_>,
    section: &ServiceSection,
    vips: &[At<IpAddr>],
    backends: Option<&[Arc<Backend>]>,
) {
    let Some(mode) = section.mode.get().copied() else { return };
    let Some(forwarding) = mode.forwarding() else { return };
    let name = name_of(forwarding);
    for (node, what) in only_proxied(section, forwarding) {
        let message =
            format!("this is for `mode: proxy`: in mode {name} the kernel forwards single packets, {what}");
        reader.error_at_key(
            node,
            message,
            format!("delete it, or write `mode: proxy` in place of `mode: {name}`"),
        );
    }
    if let Some(balance) = &section.balance
        && balance.value == Balance::RandomTwo
    {
        let message = format!("in mode {name} backends are chosen by hash, in turn or by their connections");
        reader.error(balance.node, message, "write `least-connections`, or `mode: proxy`");
    }
    let (Some(backends), Some(place)) = (backends, section.backends.as_ref().map(|field| field.node)) else {
        return;
    };
    let ports = section.port.as_ref().map(|ports| ports.value);
    // One is enough: the others are most likely alike.
    if let Some((message, help)) =
        backends.iter().find_map(|backend| out_of_reach(forwarding, vips, ports, backend))
    {
        reader.error(place, message, help);
    }
}

/// Where a backend is chosen by what happened before, no other node can tell where a connection is, unless it is told.
pub(super) fn warn_untold(reader: &mut Reader<'_>, file: &File, nodes: &Nodes, link: &PeerLink) {
    let mut others = nodes.all.iter().filter(|(_, node)| node.kind == NodeKind::Fulcrum);
    if nodes.all.len() < 2 || others.all(|(name, _)| link.pins.contains_key(name)) {
        return;
    }
    let sections = file.services.get().map(|named| named.0.as_slice()).unwrap_or_default();
    for section in sections.iter().filter_map(|(_, section)| section.as_ref()) {
        let Some(balance) = section.balance.as_ref().filter(|balance| balance.value.is_stateful()) else {
            continue;
        };
        if section.mode.get().is_some_and(|mode| mode.forwarding().is_some()) {
            let message = "without the peer link no other node knows which backend has a connection: most end with this node";
            reader.warn(balance.node, message, "list `keys` of every node, or write `balance: maglev`");
        }
    }
}

/// Why packets of the service can't be sent to a backend, and what to do.
fn out_of_reach(
    forwarding: Forwarding,
    vips: &[At<IpAddr>],
    ports: Option<PortRange>,
    backend: &Backend,
) -> Option<(String, &'static str)> {
    let family = Family::of(backend.address.ip);
    if vips.iter().any(|vip| Family::of(vip.value) != family) {
        let mode = name_of(forwarding);
        let message =
            format!("backend `{}` can't get packets of the other family in mode {mode}", backend.name);
        return Some((message, "make a service for each family, or write `mode: proxy`"));
    }
    let (Forwarding::Dsr, Some(port), Some(ports)) = (forwarding, backend.address.port, ports) else {
        return None;
    };
    if ports == PortRange::single(port) {
        return None;
    }
    let name = &backend.name;
    let message =
        format!("backend `{name}` listens on port {port}, but in mode dsr packets reach it as they are");
    Some((message, "let it listen on the service's port, or write `mode: nat` or `mode: fullnat`"))
}

/// The keys of a service that take a proxy, and why.
fn only_proxied(section: &ServiceSection, forwarding: Forwarding) -> Vec<(NodeId, &'static str)> {
    let mut found = Vec::new();
    let mut add = |node: Option<NodeId>, what| found.extend(node.map(|node| (node, what)));
    add(section.proxy_protocol.as_ref().map(|field| field.node), "and adds nothing to them");
    add(section.timeouts.as_ref().map(|field| field.node), "and ends no connection");
    add(section.udp.as_ref().map(|field| field.node), "and keeps no sessions");
    if section.protocol.get() == Some(&Protocol::Udp) {
        let what = "and can't tell which of them begin a session";
        add(section.limits.as_ref().map(|field| field.node), what);
    } else if let Some(limits) = section.limits.get() {
        // Of TCP it sees how connections begin, and so it keeps `rate` and `rate_per_client`.
        let what =
            "and counts no connections; it can limit how often new ones come (`rate`, `rate_per_client`)";
        add(limits.connections.as_ref().map(|field| field.node), what);
        add(limits.connections_per_client.as_ref().map(|field| field.node), what);
    }
    add(
        section.sources.as_ref().map(|field| field.node),
        "for everybody; a firewall before it can refuse some",
    );
    let log = section.log.as_ref().filter(|log| !matches!(log.value, Or::Short(false)));
    add(log.map(|field| field.node), "and logs none of them");
    let transparent = section.transparent.as_ref().filter(|transparent| transparent.value);
    let about_client = match forwarding {
        Forwarding::Nat | Forwarding::Dsr => "which have the client's address anyway",
        Forwarding::Fullnat => {
            "which come from an address of the group; in modes nat and dsr they keep the client's"
        }
    };
    add(transparent.map(|field| field.node), about_client);
    found
}

fn name_of(forwarding: Forwarding) -> &'static str {
    match forwarding {
        Forwarding::Nat => "nat",
        Forwarding::Dsr => "dsr",
        Forwarding::Fullnat => "fullnat",
    }
}

/// What replies in mode nat come from, as clients see it: it must be told from the backend's address and port alone.
#[derive(Default)]
pub(super) struct Replies {
    seen: HashMap<(SocketAddr, Protocol), (SocketAddr, ServiceName, NodeId)>,
}

impl Replies {
    /// Adds a service, and says which of its backends belong to another VIP or port already.
    pub(super) fn add(&mut self, reader: &mut Reader<'_>, service: &Service, section: &ServiceSection) {
        if service.mode.forwarding() != Some(Forwarding::Nat) {
            return;
        }
        let Some(place) = section.backends.as_ref().map(|field| field.node) else { return };
        for backend in &service.backends {
            if let Some((other, first)) = self.add_backend(service, backend, place) {
                self.forget(service);
                let message = format!(
                    "backend `{}` serves service `{other}` at another address or port: whose replies are its replies?",
                    backend.name
                );
                let help = "in mode nat give each VIP and port its own ports on the backends";
                reader.conflict(place, message, help, first, "the other one");
                return;
            }
        }
    }

    /// What is refused is in nobody's way.
    fn forget(&mut self, service: &Service) {
        for (backend, port) in
            service.backends.iter().flat_map(|it| service.ports.iter().map(move |port| (it, port)))
        {
            let key = (backend.address.socket(port), service.protocol);
            if self.seen.get(&key).is_some_and(|(_, name, _)| *name == service.name) {
                self.seen.remove(&key);
            }
        }
    }

    fn add_backend(
        &mut self,
        service: &Service,
        backend: &Backend,
        place: NodeId,
    ) -> Option<(ServiceName, NodeId)> {
        for vip in &service.vips {
            for port in service.ports.iter() {
                let seen_as = SocketAddr::new(*vip, port);
                let key = (backend.address.socket(port), service.protocol);
                let (known, name, first) =
                    self.seen.entry(key).or_insert_with(|| (seen_as, service.name.clone(), place));
                if *known != seen_as {
                    return Some((name.clone(), *first));
                }
            }
        }
        None
    }
}
