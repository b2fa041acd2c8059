//! Services: whose VIPs they are on, that they do not collide, and what their protocol can do.

mod control_plane;
mod taken;

use super::address_pools::AddressPools;
use super::checks::{Checks, referred};
use super::forwarding::{self, Replies};
use super::groups::Groups;
use super::pools::{Pools, backends};
use super::written::{Services, Written};
use crate::document::NodeId;
use crate::file::{LimitsSection, RateSection, ServiceSection, TimeoutsSection};
use crate::model::{
    Allocations, Backend, Balance, Check, Class, ConnectionLog, Family, GroupName, Limits, Mode, OnDown,
    PoolName, PortRange, Protocol, ProxyProtocol, ProxyProtocolVersion, Quorum, Rate, Service, ServiceName,
    Timeouts, UdpOptions,
};
use crate::reader::{At, Field, Reader};
use crate::scalar::{CheckType, Number, OnDownWord, VipWord};
use crate::table::Or;
use control_plane::ControlPlanes;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use taken::Taken;

/// Where each service listens: by address and protocol, its ports, its name and where they stand.
type Listeners = HashMap<(IpAddr, Protocol), Vec<(PortRange, ServiceName, NodeId)>>;

pub(super) fn resolve(
    reader: &mut Reader<'_>,
    written: &Services<'_>,
    around: &Around<'_>,
    allocations: &Allocations,
) -> BTreeMap<ServiceName, Arc<Service>> {
    let mut services = BTreeMap::new();
    let mut listeners = Listeners::new();
    let mut replies = Replies::default();
    let mut control_planes = ControlPlanes::default();
    for Written { name, section, .. } in &written.of_file {
        let walk = Walk { section, around, allocated: allocations.of(name) };
        if let Some(service) = walk.service(reader, name.clone(), &mut listeners) {
            replies.add(reader, &service, section);
            control_planes.add(reader, &service, section, around.groups);
            services.insert(name.clone(), Arc::new(service));
        }
    }
    refuse_overlaps(reader, &listeners);
    let mut taken = Taken::of(listeners);
    for Written { name, section, node } in &written.of_fragments {
        let walk = Walk { section, around, allocated: allocations.of(name) };
        let mut listeners = Listeners::new();
        walk.refuse_what_stands_in_files_only(reader);
        if let Some(service) = walk.service(reader, name.clone(), &mut listeners) {
            // Others need not make room for what is set aside.
            if !reader.refused_within(*node) {
                taken.add(reader, listeners);
            }
            if !reader.refused_within(*node) {
                replies.add(reader, &service, section);
            }
            services.insert(name.clone(), Arc::new(service));
        } else if !reader.refused_within(*node) {
            let message = "its address is of no group: something else has it that is set aside";
            reader.error_of_others(*node, message, "give it another address");
        }
    }
    services
}

fn refuse_overlaps(reader: &mut Reader<'_>, listeners: &Listeners) {
    for ((address, protocol), ports) in listeners {
        let mut ports: Vec<_> =
            ports.iter().map(|(range, name, node)| (*range, name.clone(), *node)).collect();
        ports.sort_by_key(|(range, _, node)| (*range, *node));
        let mut widest: Option<(PortRange, ServiceName, NodeId)> = None;
        for (range, name, node) in ports {
            if let Some((other_range, other, other_node)) = &widest
                && range.first <= other_range.last
            {
                let protocol = if *protocol == Protocol::Tcp { "TCP" } else { "UDP" };
                let place = std::net::SocketAddr::new(*address, range.first);
                // The later one of the file is at fault.
                let ((at, first), (other_at, other)) = if node > *other_node {
                    ((node, &name), (*other_node, other))
                } else {
                    ((*other_node, other), (node, &name))
                };
                let message = format!("services `{first}` and `{other}` both listen on {place} ({protocol})");
                reader.conflict(
                    at,
                    message,
                    "give one of them another port or VIP",
                    other_at,
                    "the other one",
                );
            }
            if widest.as_ref().is_none_or(|(other, ..)| other.last < range.last) {
                widest = Some((range, name, node));
            }
        }
    }
}

/// What else the file says.
pub(super) struct Around<'a> {
    pub(super) checks: &'a Checks,
    pub(super) pools: &'a Pools,
    pub(super) groups: &'a Groups,
    pub(super) ranges: &'a AddressPools,
}

struct Walk<'a> {
    section: &'a ServiceSection,
    around: &'a Around<'a>,
    /// What it has of pools.
    allocated: Option<&'a BTreeMap<IpAddr, PoolName>>,
}

impl Walk<'_> {
    /// What runs programs on the nodes is theirs who write their files.
    fn refuse_what_stands_in_files_only(&self, reader: &mut Reader<'_>) {
        if let Some(Or::Long(check)) = self.section.check.get()
            && let Some(kind) = check.r#type.filter(|kind| kind.value == CheckType::Script)
        {
            let help = "write it into `checks` of the file, and its name here";
            reader.error(kind.node, "a check of type script can't come from outside the file", help);
        }
    }

    fn service(
        &self,
        reader: &mut Reader<'_>,
        name: ServiceName,
        listeners: &mut Listeners,
    ) -> Option<Service> {
        let section = self.section;
        let protocol = section.protocol.get().copied().unwrap_or(Protocol::Tcp);
        let vips = self.vips(reader);
        let group = self.group(reader, &vips);
        let (backends, pool_check) = self.backends(reader);
        let check = match &section.check {
            Some(reference) => referred(reader, reference, self.around.checks).flatten(),
            None => pool_check,
        };
        let quorum = self.quorum(reader, backends.as_deref(), group.as_ref());
        self.refuse_of_other_protocol(reader, protocol);
        let transparent = section.transparent.get().copied().unwrap_or(false);
        self.check_transparent(reader, transparent, &vips, backends.as_deref());
        let mode = section.mode.get().copied().unwrap_or(Mode::Auto);
        forwarding::check_service(reader, section, &vips, backends.as_deref());
        let vips: Vec<IpAddr> = vips.into_iter().map(|vip| vip.value).collect();
        let ports = section.port?;
        for vip in &vips {
            listeners.entry((*vip, protocol)).or_default().push((ports.value, name.clone(), ports.node));
        }
        Some(Service {
            name,
            group: group?,
            vips,
            protocol,
            ports: ports.value,
            mode,
            balance: section.balance.get().copied().unwrap_or(Balance::Maglev),
            backends: backends?,
            check,
            quorum,
            slow_start: section.slow_start.get().map(|time| time.0).filter(|time| !time.is_zero()),
            on_down: on_down(section),
            timeouts: timeouts(section.timeouts.get()),
            proxy_protocol: proxy_protocol(section),
            sources: section
                .sources
                .get()
                .map(|list| list.0.as_slice())
                .unwrap_or_default()
                .iter()
                .map(|at| at.value.0)
                .collect(),
            limits: limits(section.limits.get()),
            transparent,
            log: log(section),
            udp: udp(section),
        })
    }

    fn vips(&self, reader: &mut Reader<'_>) -> Vec<At<IpAddr>> {
        let section = self.section;
        match (&section.vip, &section.vips) {
            (Some(vip), None) => match &vip.value {
                Or::Short(VipWord::Address(address)) => vec![At { value: *address, node: vip.node }],
                Or::Short(VipWord::Auto) | Or::Long(_) => {
                    let addresses = self.allocated.into_iter().flat_map(BTreeMap::keys);
                    addresses.map(|address| At { value: *address, node: vip.node }).collect()
                }
            },
            (None, Some(vips)) => {
                if vips.value.0.is_empty() && !reader.refused_within(vips.node) {
                    reader.error(vips.node, "the list is empty", "write one of a group's VIPs");
                }
                let mut seen = HashMap::new();
                for vip in &vips.value.0 {
                    if let Some(first) = seen.insert(vip.value, vip.node) {
                        let message = format!("`{}` is there twice", vip.value);
                        reader.conflict(vip.node, message, "delete one of them", first, "the first one");
                    }
                }
                vips.value.0.iter().filter(|vip| seen.get(&vip.value) == Some(&vip.node)).copied().collect()
            }
            (Some(_), Some(vips)) => {
                reader.error(vips.node, "both `vip` and `vips` are there", "write all addresses in `vips`");
                Vec::new()
            }
            (None, None) => {
                if reader.child(section.at, "vip").or(reader.child(section.at, "vips")).is_none() {
                    reader.error(section.at, "`vip` is missing", "add `vip:` with one of a group's VIPs");
                }
                Vec::new()
            }
        }
    }

    /// The one group that all addresses are of.
    fn group(&self, reader: &mut Reader<'_>, vips: &[At<IpAddr>]) -> Option<GroupName> {
        let mut group: Option<(GroupName, NodeId)> = None;
        for vip in vips {
            // Otherwise it was refused: what no group lists has one of its own.
            let Some(facts) = self.around.groups.vips.get(&vip.value) else { continue };
            if !facts.accept {
                let message =
                    format!("group `{}` has `accept: false`, so nothing can listen there", facts.name);
                reader.conflict(vip.node, message, "delete `accept: false`", facts.place, "the VIP");
            }
            let class = self.around.groups.all.get(&facts.name).map(|group| group.class);
            if class == Some(Class::ControlPlane) && reader.is_of_fragment(vip.node) {
                let message = format!(
                    "`{}` is of group `{}`, of class control-plane, whose addresses only the file gives away",
                    vip.value, facts.name
                );
                reader.error(vip.node, message, "take an address of a pool");
            }
            match &group {
                Some((name, first)) if *name != facts.name => {
                    let message =
                        format!("`{}` is of group `{}`, others are of `{name}`", vip.value, facts.name);
                    let help =
                        "addresses of different groups can be on different nodes: make a service for each";
                    reader.conflict(vip.node, message, help, *first, "the other one");
                }
                Some(_) => {}
                None => group = Some((facts.name.clone(), vip.node)),
            }
        }
        group.map(|(name, _)| name)
    }

    #[allow(clippy::type_complexity, reason = "two things that come from one place")]
    fn backends(&self, reader: &mut Reader<'_>) -> (Option<Vec<Arc<Backend>>>, Option<Arc<Check>>) {
        let Some(field) = &self.section.backends else { return (None, None) };
        match &field.value {
            Or::Long(list) => {
                let list = At { value: list.clone(), node: field.node };
                (Some(backends(reader, &list, self.around.groups, self.around.ranges)), None)
            }
            Or::Short(name) => match self.around.pools.get(&name.0) {
                Some(Some(pool)) => (Some(pool.backends.clone()), pool.check.clone()),
                Some(None) => (None, None),
                None => {
                    let names = self.around.pools.keys().map(String::as_str);
                    reader.dangling(field.node, "pool of backends", &name.0, names);
                    (None, None)
                }
            },
        }
    }

    fn quorum(
        &self,
        reader: &mut Reader<'_>,
        backends: Option<&[Arc<Backend>]>,
        group: Option<&GroupName>,
    ) -> Quorum {
        let Some(field) = &self.section.quorum else { return Quorum::default() };
        let quorum = match &field.value {
            Or::Short(minimum) => Quorum { minimum: minimum.0, hysteresis: 0 },
            Or::Long(section) => Quorum {
                minimum: section.minimum.get().map_or(1, |minimum| minimum.0),
                hysteresis: section.hysteresis.get().map_or(0, |hysteresis| hysteresis.0),
            },
        };
        if quorum.hysteresis >= quorum.minimum {
            reader.error(field.node, "`hysteresis` is not less than `minimum`", "write a smaller hysteresis");
        }
        let needed = quorum.minimum.saturating_add(quorum.hysteresis);
        if let Some(backends) = backends
            && needed as usize > backends.len()
        {
            let message =
                format!("the service needs {needed} backends to come up, and has {}", backends.len());
            reader.error(field.node, message, "write a smaller quorum, or add backends");
        }
        let class = group.and_then(|name| self.around.groups.all.get(name)).map(|group| group.class);
        if quorum.minimum > 1 && class == Some(Class::ControlPlane) {
            let message = "the control plane is refused while fewer backends are up, even if one still works";
            reader.warn(field.node, message, "delete `quorum` unless that is wanted");
        }
        quorum
    }

    fn refuse_of_other_protocol(&self, reader: &mut Reader<'_>, protocol: Protocol) {
        match protocol {
            Protocol::Tcp => {
                if let Some(udp) = &self.section.udp {
                    let help = "delete it, or add `protocol: udp`";
                    reader.error_at_key(udp.node, "this is for UDP services only", help);
                }
            }
            Protocol::Udp => {
                if let Some(timeouts) = &self.section.timeouts {
                    let help = "delete it; `udp: {idle: 30s}` says when a session ends";
                    reader.error_at_key(timeouts.node, "this is for TCP services only", help);
                }
                let proxy_protocol = self.section.proxy_protocol.get();
                if let Some(send) = proxy_protocol.and_then(|section| section.send)
                    && send.value == ProxyProtocolVersion::V1
                {
                    reader.error(send.node, "version 1 is for TCP services only", "write `v2`");
                }
            }
        }
    }

    /// A connection has the same family on both ends of a transparent proxy.
    fn check_transparent(
        &self,
        reader: &mut Reader<'_>,
        transparent: bool,
        vips: &[At<IpAddr>],
        backends: Option<&[Arc<Backend>]>,
    ) {
        let Some(field) = self.section.transparent.as_ref().filter(|_| transparent) else { return };
        for backend in backends.unwrap_or_default() {
            let family = Family::of(backend.address.ip);
            if vips.iter().any(|vip| Family::of(vip.value) != family) {
                let message =
                    format!("backend `{}` can't be reached from clients of the other family", backend.name);
                reader.error(field.node, message, "delete `transparent`, or make a service for each family");
                return;
            }
        }
    }
}

fn on_down(section: &ServiceSection) -> OnDown {
    match section.on_down.get() {
        None | Some(Or::Short(OnDownWord::Reset)) => OnDown::default(),
        Some(Or::Short(OnDownWord::Drain)) => OnDown::Drain,
        Some(Or::Long(section)) => {
            let spread = section.reset.get().and_then(|reset| reset.spread.get());
            spread.map_or_else(OnDown::default, |time| OnDown::Reset { spread: time.0 })
        }
    }
}

fn timeouts(section: Option<&TimeoutsSection>) -> Timeouts {
    let usual = Timeouts::default();
    let Some(section) = section else { return usual };
    Timeouts {
        connect: section.connect.get().map_or(usual.connect, |time| time.0),
        idle: section.idle.get().map_or(usual.idle, |time| time.0),
        half_close: section.half_close.get().map_or(usual.half_close, |time| time.0),
        max: section.max.get().map(|time| time.0),
        unacknowledged: section.unacknowledged.get().map_or(usual.unacknowledged, |time| time.0),
    }
}

fn proxy_protocol(section: &ServiceSection) -> ProxyProtocol {
    let Some(section) = section.proxy_protocol.get() else { return ProxyProtocol::default() };
    let from = section.receive_from.get().map(|list| list.0.as_slice()).unwrap_or_default();
    ProxyProtocol {
        send: section.send.get().copied(),
        receive_from: from.iter().map(|network| network.value.0).collect(),
    }
}

fn limits(section: Option<&LimitsSection>) -> Limits {
    let Some(section) = section else { return Limits::default() };
    Limits {
        connections: section.connections.get().map(|number| number.0),
        connections_per_client: section.connections_per_client.get().map(|number| number.0),
        rate: section.rate.get().and_then(rate),
        rate_per_client: section.rate_per_client.get().and_then(rate),
    }
}

fn rate(rate: &Or<Rate, RateSection>) -> Option<Rate> {
    match rate {
        Or::Short(rate) => Some(*rate),
        Or::Long(section) => {
            let Number(per_second) = *section.per_second.get()?;
            let burst = section.burst.get().map_or(per_second, |burst| burst.0);
            Some(Rate { per_second, burst })
        }
    }
}

fn log(section: &ServiceSection) -> Option<ConnectionLog> {
    let usual = ConnectionLog { sample: 1, lines_per_second: 100 };
    match section.log.get() {
        None | Some(Or::Short(false)) => None,
        Some(Or::Short(true)) => Some(usual),
        Some(Or::Long(section)) => Some(ConnectionLog {
            sample: section.sample.get().map_or(usual.sample, |number| number.0),
            lines_per_second: section
                .lines_per_second
                .get()
                .map_or(usual.lines_per_second, |number| number.0),
        }),
    }
}

fn udp(section: &ServiceSection) -> UdpOptions {
    let usual = UdpOptions::default();
    let Some(section) = section.udp.get() else { return usual };
    UdpOptions {
        idle: section.idle.get().map_or(usual.idle, |time| time.0),
        responses: section.responses.get().map(|number| number.0),
        sessions: section.sessions.get().map_or(usual.sessions, |number| number.0),
    }
}
