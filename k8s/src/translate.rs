//! From the objects of a cluster to services of Fulcrum.
//!
//! A pure function. Each Service is judged by itself: one that can't be served is set aside with the reason, and costs
//! no other anything.

mod backends;
mod nodes;
mod reach;
#[cfg(test)]
mod tests;
mod wish;

use crate::domains::Domains;
use crate::metallb::Metallb;
use crate::objects::{ObjectName, Objects};
use crate::report::CONDITION;
use crate::slice::protocol_of;
use crate::words::shown;
use backends::{check, members};
use fulcrum_config::{Cluster, Config, Family, Fragments, Mode, Protocol, ServiceName, SourceName};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
pub(crate) use nodes::leaving_taint;
use nodes::{Machine, machines};
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::slice;
use std::sync::Arc;
use wish::{Has, Wish, said, wish};

/// Further Services of a cluster are set aside.
const SERVICES_AT_MOST: usize = 10_000;
/// A Service with more ports is set aside.
const PORTS_AT_MOST: usize = 128;
/// A Service with more is set aside.
const SOURCES_AT_MOST: usize = 1_000;
const SOURCES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
/// Of its share of the text a cluster leaves one part in so many to the places of Services that are set aside.
const SPARE: usize = 8;
/// What a line of the text has beside a service and its name.
const LINE: usize = 8;
/// What rules of pools can ask for: the namespace of a Service, as if it were a label of it.
const NAMESPACE_LABEL: &str = "kubernetes.io/namespace";

/// What becomes of the objects of a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Translation {
    /// Services in the schema of `fulcrum.yaml`; empty, if there are none.
    pub fragment: Arc<str>,
    /// What became of each Service that asks this cluster's load balancer for an address.
    pub outcomes: BTreeMap<ObjectName, Outcome>,
    /// What is to be said of objects that are no Services, for people.
    pub remarks: BTreeSet<String>,
    /// The failure domains of the cluster's nodes, and how many each has.
    pub domains: BTreeMap<String, usize>,
}

/// What became of a Service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Its ports.
    pub ports: Vec<Port>,
    /// How its packets reach the cluster's nodes, as `ipMode` says it.
    pub ip_mode: IpMode,
    /// Its families, in the order in which it has them.
    pub families: Vec<Family>,
    /// Why it is not served at all.
    pub problem: Option<Problem>,
    /// What is otherwise than it asks.
    pub notes: Vec<String>,
    /// What its status says that others gave it, and why it may be that it gets something else.
    pub had: Vec<(IpAddr, &'static str)>,
}

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// The service in the fragment; none, if this port is not served.
    pub service: Option<String>,
    /// Its number.
    pub number: u16,
    /// Its protocol, as Kubernetes has it.
    pub protocol: String,
}

/// What packets have as their destination when they reach a node of the cluster (KEP-1860).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum IpMode {
    /// The VIP: the cluster may take a short cut for its own clients.
    Vip,
    /// An address of the node or pod: its own clients must come by the VIP, too.
    #[default]
    Proxy,
}

/// Why something is not served, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// One word, as events have it.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

impl Problem {
    fn new(reason: &'static str, message: String) -> Self {
        Self { reason, message }
    }
}

/// What of the configuration the objects are held against.
struct Around<'a> {
    config: &'a Config,
    /// The VIPs that there are.
    own: HashSet<IpAddr>,
    /// MetalLB's objects, if they are read.
    metallb: Option<&'a Metallb>,
}

/// How one Service is served.
struct Plan<'a> {
    cluster: &'a Cluster,
    around: &'a Around<'a>,
    machines: &'a [Machine],
    name: ObjectName,
    mode: Mode,
    is_local: bool,
    families: Vec<Family>,
    health_port: Option<u16>,
}

/// What the Services before one have taken.
struct Taken {
    /// Who listens on which port of those who share an address.
    ports: HashMap<(String, Protocol, u16), ObjectName>,
    /// Of `room`, in bytes.
    text: usize,
    /// How long the text may be.
    room: usize,
}

/// What becomes of `objects`, which are those of `cluster`, with the pools and modes of `config`.
#[must_use]
pub fn translate(cluster: &Cluster, config: &Config, objects: &Objects) -> Translation {
    let vips = config.groups.values().flat_map(|group| group.vips.iter().map(|vip| vip.address));
    let metallb = cluster.metallb.then_some(&objects.metallb);
    let around = Around { config, own: vips.collect(), metallb };
    let machines = machines(&objects.nodes, &around);
    let mut ours: Vec<(&ObjectName, &Service)> = objects
        .services
        .iter()
        .map(|(name, service)| (name, service.as_ref()))
        .filter(|(_, service)| is_ours(cluster, service))
        .collect();
    // Who came first keeps what two want.
    ours.sort_by_key(|(name, service)| (service.metadata.creation_timestamp.clone(), *name));
    let domains = Domains::of(cluster, objects);
    let mut translation = Translation { domains: domains.sizes(), ..Translation::default() };
    // As text at once: the values of tens of thousands of backends are many times as large.
    let mut services: BTreeMap<String, String> = BTreeMap::new();
    let mut taken = Taken { ports: HashMap::new(), text: 0, room: room(config) };
    for (index, (name, service)) in ours.into_iter().enumerate() {
        let mut outcome = Outcome::default();
        let walk = Walk { cluster, around: &around, machines: &machines, objects, name, service };
        let result = if index < SERVICES_AT_MOST {
            walk.service(&mut outcome, &mut taken)
        } else {
            let message = format!(
                "{SERVICES_AT_MOST} Services of this cluster are served already: delete some, or serve them by another one"
            );
            Err(Problem::new("TooManyServices", message))
        };
        match result {
            Ok(made) => {
                services.extend(made);
                outcome.notes.extend(domains.note(objects, name));
            }
            Err(problem) => {
                let places = walk.kept_places(&problem);
                taken.text = taken.text.saturating_add(length(&places));
                services.extend(places);
                outcome.problem = Some(problem);
            }
        }
        translation.outcomes.insert(name.clone(), outcome);
    }
    translation.fragment = fragment(&services).into();
    translation.remarks = metallb.map(Metallb::remarks).unwrap_or_default();
    translation
}

/// Whether a Service asks the load balancer of `cluster` for an address.
#[must_use]
pub fn is_ours(cluster: &Cluster, service: &Service) -> bool {
    let Some(spec) = &service.spec else { return false };
    let class = match &spec.load_balancer_class {
        Some(class) => *class == cluster.class,
        None => cluster.unclassed,
    };
    class && spec.type_.as_deref() == Some("LoadBalancer") && service.metadata.deletion_timestamp.is_none()
}

/// How long the text of each cluster may be: what does not fit with all others is refused whole, for all of them. So each
/// has its share, whether it needs it or not, and none can take another's.
fn room(config: &Config) -> usize {
    let is_cluster =
        |source: &SourceName| config.kubernetes.keys().any(|name| name.as_str() == source.as_str());
    let others = config.sources.fragments.iter().filter(|(source, _)| !is_cluster(source));
    let others = others.map(|(_, text)| text.what.len()).fold(0, usize::saturating_add);
    let share =
        Fragments::SIZE.saturating_sub(others).checked_div(config.kubernetes.len()).unwrap_or_default();
    share.saturating_sub(share.div_ceil(SPARE))
}

/// How long services are as text.
fn length(services: &[(String, String)]) -> usize {
    let lengths = services.iter().map(|(name, service)| name.len().saturating_add(service.len()));
    lengths.fold(0, |sum, length| sum.saturating_add(length).saturating_add(LINE))
}

/// One service a line. JSON is YAML, and quotes everything.
fn fragment(services: &BTreeMap<String, String>) -> String {
    let mut text = String::new();
    for (name, service) in services {
        if text.is_empty() {
            text.push_str("services:\n");
        }
        let _infallible = writeln!(text, "  {}: {service}", json!(name));
    }
    text
}

impl Taken {
    /// `text` and the last of `made`, if there is room for it.
    fn with(&self, text: usize, made: &[(String, String)], ports: usize) -> Result<usize, Problem> {
        let last = length(made.last().map(slice::from_ref).unwrap_or_default());
        let text = text.saturating_add(last);
        if text <= self.room {
            return Ok(text);
        }
        let message = format!(
            "its {ports} ports with their source ranges and backends take about {} KiB of text, and Services of this cluster that are older leave less of {} KiB: ask for fewer ports or source ranges, or delete others",
            last.saturating_mul(ports) >> 10,
            self.room >> 10
        );
        Err(Problem::new("TooMuchText", message))
    }
}

struct Walk<'a> {
    cluster: &'a Cluster,
    around: &'a Around<'a>,
    machines: &'a [Machine],
    objects: &'a Objects,
    name: &'a ObjectName,
    service: &'a Service,
}

impl Walk<'_> {
    fn service(&self, outcome: &mut Outcome, taken: &mut Taken) -> Result<Vec<(String, String)>, Problem> {
        let nothing = ServiceSpec::default();
        let spec = self.service.spec.as_ref().unwrap_or(&nothing);
        let ports = spec.ports.as_deref().unwrap_or_default();
        outcome.ports = ports.iter().filter_map(listed).collect();
        if ports.is_empty() || ports.len() > PORTS_AT_MOST {
            let message =
                format!("it has {} ports, and 1 to {PORTS_AT_MOST} are served: split it", ports.len());
            return Err(Problem::new("TooManyPorts", message));
        }
        let is_local = spec.external_traffic_policy.as_deref() == Some("Local");
        let mode = self.mode(is_local)?;
        outcome.ip_mode = ip_mode(mode);
        let held = self.held(ports);
        // Where all of its ports were renamed, what they had; or what another one gave it.
        let former = if held.is_empty() { self.kept() } else { Vec::new() };
        let had = match (held.is_empty(), former.is_empty()) {
            (true, true) => said(self.service),
            _ => former,
        };
        let has = Has { held: &held, had: &had };
        let wish = wish(self.cluster, self.service, spec, has, self.around, mode.forwarding().is_some())?;
        outcome.had = self.had(&wish, &held);
        outcome.families.clone_from(&wish.families);
        outcome.notes.clone_from(&wish.notes);
        let sources = self.sources(spec, mode)?;
        let plan = Plan {
            cluster: self.cluster,
            around: self.around,
            machines: self.machines,
            name: self.name.clone(),
            mode,
            is_local,
            families: wish.families.clone(),
            health_port: spec
                .health_check_node_port
                .and_then(|port| u16::try_from(port).ok())
                .filter(|port| *port > 0),
        };
        let common = self.common(spec, mode, &wish, &sources);
        let (mut made, mut text) = (Vec::new(), taken.text);
        let mut claims = Vec::new();
        for port in ports {
            let (Some(protocol), Some(number)) = (protocol_of(port.protocol.as_deref()), number(port)) else {
                let protocol = port.protocol.as_deref().unwrap_or_default();
                outcome.notes.push(format!("port {} is not served: {} can't be", port.port, shown(protocol)));
                continue;
            };
            let claim = (wish.share.clone(), protocol, number);
            if let Some(other) = taken.ports.get(&claim) {
                let message = format!(
                    "Service {other}, which it shares an address with, has port {number}: take another port or another `allow-shared-ip`"
                );
                return Err(Problem::new("PortTaken", message));
            }
            claims.push(claim);
            let mut service = common.clone();
            let service_name = self.port_name(port);
            if let Some(map) = service.as_object_mut() {
                map.insert(
                    "protocol".to_owned(),
                    json!(if protocol == Protocol::Tcp { "tcp" } else { "udp" }),
                );
                map.insert("port".to_owned(), json!(number));
                map.insert("check".to_owned(), check(&plan, protocol));
                let members = members(&plan, self.objects, port, protocol, &mut outcome.notes)?;
                map.insert("backends".to_owned(), Json::Array(members));
            }
            if let Some(listed) = outcome.ports.iter_mut().find(|it| it.number == number && it.is(protocol)) {
                listed.service = Some(service_name.clone());
            }
            made.push((service_name, service.to_string()));
            text = taken.with(text, &made, ports.len())?;
        }
        if made.is_empty() {
            let message = "none of its ports can be served: TCP and UDP can".to_owned();
            return Err(Problem::new("ProtocolNotServed", message));
        }
        taken.text = text;
        taken.ports.extend(claims.into_iter().map(|claim| (claim, self.name.clone())));
        Ok(made)
    }

    /// What has addresses of us stays in the text, or they would be given to others. It is set aside there: this is no service.
    fn kept_places(&self, problem: &Problem) -> Vec<(String, String)> {
        // By what has them: its ports may be called otherwise by now.
        let kept = self.around.config.allocations.of_ports(&self.base()).map(|(name, _)| {
            let place = json!({ "vip": "auto", "port": 1, "backends": [], problem.reason: problem.message });
            (name.to_string(), place.to_string())
        });
        kept.take(PORTS_AT_MOST).collect()
    }

    /// The addresses that any port has of us, whatever it is called now.
    fn kept(&self) -> Vec<IpAddr> {
        let held = self.around.config.allocations.of_ports(&self.base());
        let held: BTreeSet<IpAddr> = held.flat_map(|(_, addresses)| addresses.keys()).copied().collect();
        held.into_iter().collect()
    }

    /// The addresses that its ports have of us.
    fn held(&self, ports: &[ServicePort]) -> Vec<IpAddr> {
        let names = ports.iter().map(|port| ServiceName::new(&self.port_name(port)));
        let held: BTreeSet<IpAddr> = names
            .filter_map(|name| self.around.config.allocations.of(&name))
            .flat_map(BTreeMap::keys)
            .copied()
            .collect();
        held.into_iter().collect()
    }

    /// What others gave it, until it has been told what it has of us.
    fn had(&self, wish: &Wish, held: &[IpAddr]) -> Vec<(IpAddr, &'static str)> {
        let conditions = self.service.status.as_ref().and_then(|status| status.conditions.as_ref());
        if conditions.into_iter().flatten().any(|it| it.type_ == CONDITION) && !held.is_empty() {
            return Vec::new();
        }
        let why = |address: IpAddr| {
            if self.around.config.pool_of(address).is_none() {
                "no pool of fulcrum.yaml has it: add it to `addresses` of one"
            } else if wish.address.is_some_and(|it| it != address)
                || (!wish.within.is_empty() && !wish.within.iter().any(|span| span.contains(address)))
            {
                "it asks for another one"
            } else {
                "another service has it, or the pool is not for it (`allow`, `quotas`, `auto_assign`, `avoid_reserved`)"
            }
        };
        let had = said(self.service).into_iter();
        had.filter(|address| wish.families.contains(&Family::of(*address)))
            .map(|address| (address, why(address)))
            .collect()
    }

    fn mode(&self, is_local: bool) -> Result<Mode, Problem> {
        if !is_local {
            return Ok(self.cluster.mode);
        }
        self.cluster.mode_local.ok_or_else(|| {
            let cluster = &self.cluster.name;
            let message = format!(
                "it has `externalTrafficPolicy: Local`, which keeps the client's address, and mode {} does not: set `mode_local` of cluster `{cluster}` in fulcrum.yaml (nat or dsr keep it; proxy gives it up), or use `externalTrafficPolicy: Cluster`",
                mode_word(self.cluster.mode)
            );
            Problem::new("ClientAddressWouldBeLost", message)
        })
    }

    /// Who may connect; everybody, if it is empty.
    fn sources(&self, spec: &ServiceSpec, mode: Mode) -> Result<Vec<String>, Problem> {
        let listed = spec.load_balancer_source_ranges.as_deref().unwrap_or_default();
        let annotation = self.service.metadata.annotations.as_ref().and_then(|all| all.get(SOURCES));
        let annotation = annotation.filter(|_| self.cluster.annotations.reads(SOURCES));
        let written: Vec<&str> = match annotation {
            Some(annotation) if listed.is_empty() => annotation.split(',').collect(),
            _ => listed.iter().map(String::as_str).collect(),
        };
        let bad = |message: String| Err(Problem::new("BadSourceRanges", message));
        if written.len() > SOURCES_AT_MOST {
            return bad(format!(
                "it has {} source ranges, and {SOURCES_AT_MOST} can be held against each connection: join some",
                written.len()
            ));
        }
        let mut networks: BTreeSet<IpNet> = BTreeSet::new();
        for text in written.iter().map(|text| text.trim()).filter(|text| !text.is_empty()) {
            match text.parse::<IpNet>() {
                Ok(network) => networks.insert(network.trunc()),
                Err(_) => {
                    return bad(format!(
                        "`{}` in its source ranges is not a network: write one such as 10.0.0.0/8",
                        shown(text)
                    ));
                }
            };
        }
        if networks.iter().all(|network| network.prefix_len() == 0) {
            return Ok(Vec::new());
        }
        if mode.forwarding().is_some() {
            let word = mode_word(mode);
            return Err(Problem::new(
                "SourceRangesNotServed",
                format!(
                    "in mode {word} its source ranges can't be enforced, and it would be open to everybody: set `mode: proxy` of the cluster in fulcrum.yaml, or delete `loadBalancerSourceRanges` and filter elsewhere"
                ),
            ));
        }
        Ok(networks.iter().map(ToString::to_string).collect())
    }

    /// What all services of a Service's ports have.
    fn common(&self, spec: &ServiceSpec, mode: Mode, wish: &Wish, sources: &[String]) -> Json {
        let families: Vec<_> = wish
            .families
            .iter()
            .map(|family| if *family == Family::Ipv4 { "ipv4" } else { "ipv6" })
            .collect();
        let mut vip = json!({ "families": families });
        if let Some(map) = vip.as_object_mut() {
            map.extend(wish.prefer_families.then(|| ("prefer_families".to_owned(), json!(true))));
            map.extend(wish.pool.as_ref().map(|pool| ("pool".to_owned(), json!(pool))));
            map.extend(wish.address.map(|address| ("address".to_owned(), json!(address.to_string()))));
            let texts = |list: Vec<String>| Some(list).filter(|list| !list.is_empty());
            let within = texts(wish.within.iter().map(ToString::to_string).collect());
            map.extend(within.map(|within| ("within".to_owned(), json!(within))));
            let prefer = texts(wish.prefer.iter().map(ToString::to_string).collect());
            map.extend(prefer.map(|prefer| ("prefer".to_owned(), json!(prefer))));
        }
        let mut service = json!({
            "vip": vip,
            "share": wish.share,
            "tenant": self.cluster.name.as_str(),
            "mode": mode_word(mode),
        });
        let Some(map) = service.as_object_mut() else { return service };
        let labels = self.labels();
        if !labels.is_empty() {
            map.insert("labels".to_owned(), json!(labels));
        }
        if spec.session_affinity.as_deref() == Some("ClientIP") {
            map.insert("balance".to_owned(), json!("source"));
        }
        if !sources.is_empty() {
            map.insert("sources".to_owned(), json!(sources));
        }
        service
    }

    /// Of its labels those that rules of pools ask for: a change of others is no change here.
    fn labels(&self) -> BTreeMap<String, String> {
        let pools = self.around.config.pools.values();
        let asked: BTreeSet<&String> =
            pools.flat_map(|pool| &pool.allow).flat_map(|allow| allow.labels.keys()).collect();
        let of = |key: &&String| match key.as_str() {
            NAMESPACE_LABEL => Some((NAMESPACE_LABEL.to_owned(), self.name.namespace.clone())),
            key => {
                let value = self.service.metadata.labels.as_ref()?.get(key)?;
                (!value.is_empty()).then(|| (key.to_owned(), value.clone()))
            }
        };
        asked.iter().filter_map(of).collect()
    }

    /// `cluster/namespace/name`
    fn base(&self) -> String {
        format!("{}/{}", self.cluster.name, self.name)
    }

    /// `cluster/namespace/name:port`, without the port's name, if it has none.
    fn port_name(&self, port: &ServicePort) -> String {
        let base = self.base();
        match port.name.as_deref().filter(|name| !name.is_empty()) {
            Some(name) => format!("{base}:{name}"),
            None => base,
        }
    }
}

impl Port {
    fn is(&self, protocol: Protocol) -> bool {
        protocol_of(Some(&self.protocol)) == Some(protocol)
    }
}

fn listed(port: &ServicePort) -> Option<Port> {
    let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
    Some(Port { service: None, number: number(port)?, protocol })
}

fn number(port: &ServicePort) -> Option<u16> {
    u16::try_from(port.port).ok().filter(|number| *number > 0)
}

/// Packets reach nodes with the VIP as their destination in mode dsr alone.
fn ip_mode(mode: Mode) -> IpMode {
    match mode {
        Mode::Dsr => IpMode::Vip,
        Mode::Auto | Mode::Proxy | Mode::Nat | Mode::Fullnat => IpMode::Proxy,
    }
}

fn mode_word(mode: Mode) -> &'static str {
    match mode {
        Mode::Auto => "auto",
        Mode::Proxy => "proxy",
        Mode::Nat => "nat",
        Mode::Dsr => "dsr",
        Mode::Fullnat => "fullnat",
    }
}
