//! N nodes that elect the leader of each of several groups: each group has one VIP, each VIP one web service.

use super::{Fulcrum, Lab, Machine, Nginx, Plan, ipv4, make_key};
use crate::error::Result;
use crate::probe::{Options, Probe};
use crate::wait::{now, wait_for};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// The VIP of the first group.
const FIRST_VIP: u8 = 100;
/// How long who leads has to stay the same.
const SETTLED: Duration = Duration::from_millis(500);

/// A client, nodes and web servers. The machines stand; nothing of ours runs until it is started.
#[derive(Debug)]
pub struct Cluster {
    /// Where requests come from.
    pub client: Machine,
    /// The nodes.
    pub nodes: Vec<Machine>,
    /// The web servers.
    pub web: Vec<Nginx>,
    /// How many groups there are.
    pub groups: u8,
    /// Time between heartbeats.
    pub milliseconds: u32,
    /// Of each service.
    pub mode: String,
    /// Further addresses of the first group, which no service has: gateways.
    pub gateways: Vec<IpAddr>,
    /// Whether no group is listed: the services have addresses of a pool, each of which is a group of its own.
    pub of_pool: bool,
    /// The networks of `eth0`.
    pub networks: String,
    /// The pools, if it is `of_pool`.
    pub pools: String,
    /// Further keys of a node, such as `domain: left`.
    pub of_nodes: BTreeMap<String, String>,
    /// Further keys of each group, each with a comma before it.
    pub of_groups: String,
    /// Further sections.
    pub sections: String,
    keys: Vec<String>,
}

impl Cluster {
    /// So many nodes and groups, and two web servers.
    ///
    /// # Errors
    /// The lab can't be built.
    pub fn new(lab: &Lab, nodes: u8, groups: u8) -> Result<Self> {
        let client = lab.machine("client", 50)?;
        let numbers = (1..=nodes).map(|number| (number, number.saturating_add(10)));
        let nodes = numbers.map(|(number, place)| lab.machine(&format!("lb{number}"), place));
        let nodes = nodes.collect::<Result<Vec<_>>>()?;
        let web = [("web1", 81), ("web2", 82)].into_iter();
        let web = web.map(|(name, number)| Nginx::start(&lab.machine(name, number)?));
        let web = web.collect::<Result<Vec<_>>>()?;
        let keys = nodes.iter().map(|node| make_key(&Plan::key_of(node))).collect::<Result<_>>()?;
        let (of_nodes, of_groups, sections) = (BTreeMap::new(), String::new(), String::new());
        Ok(Self {
            client,
            nodes,
            web,
            groups,
            milliseconds: 100,
            mode: "proxy".to_owned(),
            gateways: Vec::new(),
            of_pool: false,
            networks: "10.77.0.0/24".to_owned(),
            pools: "public: {addresses: [10.77.0.100-10.77.0.149]}".to_owned(),
            of_nodes,
            of_groups,
            sections,
            keys,
        })
    }

    /// The names of the groups.
    pub fn names(&self) -> impl Iterator<Item = String> + use<> {
        let of_pool = self.of_pool;
        (0..self.groups).map(
            move |group| {
                if of_pool { Self::vip(group).to_string() } else { Self::listed(group) }
            },
        )
    }

    fn listed(group: u8) -> String {
        format!("web-{}", group.saturating_add(1))
    }

    /// The web service of a group, counted from 0.
    #[must_use]
    pub fn service(&self, group: u8) -> SocketAddr {
        SocketAddr::new(Self::vip(group), 80)
    }

    fn vip(group: u8) -> IpAddr {
        ipv4(FIRST_VIP.saturating_add(group))
    }

    /// The file of one node.
    #[must_use]
    pub fn file(&self, node: &Machine) -> String {
        let (name, interval) = (node.name(), self.milliseconds);
        let mut text = format!("node: {name}\ntiming: {{advert_interval: {interval}ms}}\nnodes:\n");
        // Writing to a String does not fail.
        for (machine, key) in self.nodes.iter().zip(&self.keys) {
            let further = self.of_nodes.get(machine.name()).map(|more| format!(", {more}"));
            let (name, address, further) = (machine.name(), machine.ipv4(), further.unwrap_or_default());
            writeln!(text, "  {name}: {{addresses: [{address}], keys: [\"{key}\"]{further}}}").ok();
        }
        writeln!(text, "interfaces:\n  eth0: {{networks: [{}]}}", self.networks).ok();
        if self.of_pool {
            writeln!(text, "pools: {{{}}}", self.pools).ok();
        } else {
            text.push_str("groups:\n");
        }
        for group in (0..self.groups).filter(|_| !self.of_pool) {
            let (name, vip) = (Self::listed(group), Self::vip(group));
            let gateways = self.gateways.iter().filter(|_| group == 0);
            let gateways: String = gateways.map(|gateway| format!(", {gateway}")).collect();
            writeln!(text, "  {name}: {{vips: [{vip}{gateways}]{}}}", self.of_groups).ok();
        }
        text.push_str("services:\n");
        let backends: Vec<String> = self
            .web
            .iter()
            .map(|web| format!("{{name: {}, address: {}, port: 80}}", web.machine.name(), web.machine.ipv4()))
            .collect();
        let backends = backends.join(", ");
        for group in 0..self.groups {
            let name = Self::listed(group);
            let vip = if self.of_pool { "auto".to_owned() } else { Self::vip(group).to_string() };
            let mode = &self.mode;
            writeln!(text, "  {name}: {{vip: {vip}, port: 80, mode: {mode}, backends: [{backends}]}}").ok();
        }
        text.push_str(&self.sections);
        text.push_str(&Self::of_this_node(node));
        text
    }

    /// The file of a node that is to join: it knows itself and one other.
    #[must_use]
    pub fn seed_file(&self, node: &Machine, seed: &Machine) -> String {
        let mut text = format!("node: {}\nnodes:\n", node.name());
        for (machine, key) in self.nodes.iter().zip(&self.keys) {
            if [node.name(), seed.name()].contains(&machine.name()) {
                let (name, address) = (machine.name(), machine.ipv4());
                writeln!(text, "  {name}: {{addresses: [{address}], keys: [\"{key}\"]}}").ok();
            }
        }
        text.push_str(&Self::of_this_node(node));
        text
    }

    /// What differs from node to node.
    fn of_this_node(node: &Machine) -> String {
        let (key, socket, state) = (Plan::key_of(node), Fulcrum::socket_of(node), node.file("state"));
        format!(
            "peer:\n  key: {}\nadmin:\n  socket: {}\n  state_dir: {}\n  held_after_crashes: 0\n",
            key.display(),
            socket.display(),
            state.display()
        )
    }

    /// Starts a node.
    ///
    /// # Errors
    /// It can't be started.
    pub fn start(&self, node: &Machine) -> Result<Fulcrum> {
        Fulcrum::start(node, &self.file(node))
    }

    /// Starts all, at once.
    ///
    /// # Errors
    /// One can't be started.
    pub fn start_all(&self) -> Result<Vec<Fulcrum>> {
        self.nodes.iter().map(|node| self.start(node)).collect()
    }

    /// A probe of the service of a group, once it has its first answer.
    ///
    /// # Errors
    /// No answer comes.
    pub fn probe(&self, group: u8) -> Result<Probe> {
        let options = Options {
            interval: Duration::from_millis(5),
            timeout: Duration::from_millis(300),
            ..Options::default()
        };
        Probe::start_answered(&self.client, self.service(group), options, Duration::from_secs(30))
    }
}

/// Who leads each group, as the nodes themselves say; several where several do.
///
/// # Errors
/// One does not answer.
pub fn leaders(nodes: &[&Fulcrum]) -> Result<BTreeMap<String, Vec<String>>> {
    let mut leaders: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for node in nodes {
        let status = node.status()?;
        let groups = status.0.get("groups").and_then(|groups| groups.as_array()).cloned().unwrap_or_default();
        for group in groups {
            let name = group.get("name").and_then(|name| name.as_str()).unwrap_or_default().to_owned();
            let known = leaders.entry(name).or_default();
            if group.get("role").is_some_and(|role| role == "leader") {
                known.push(node.machine.name().to_owned());
            }
        }
    }
    Ok(leaders)
}

/// The one leader of each group, if each has one.
#[must_use]
pub fn settled(nodes: &[&Fulcrum]) -> Option<BTreeMap<String, String>> {
    let one = |(group, mut leaders): (String, Vec<String>)| {
        (leaders.len() == 1).then(|| leaders.pop()).flatten().map(|leader| (group, leader))
    };
    leaders(nodes).ok()?.into_iter().map(one).collect()
}

/// Whether each group has one leader, and each node leads one.
#[must_use]
pub fn spread(nodes: &[&Fulcrum]) -> bool {
    let leads_any = |leaders: &BTreeMap<String, String>| {
        nodes.iter().all(|node| leaders.values().any(|leader| leader == node.machine.name()))
    };
    settled(nodes).is_some_and(|leaders| leads_any(&leaders))
}

/// The leaders, waited for until they have stayed so for a while: nodes that have just started may lead before they have
/// heard of each other.
///
/// # Errors
/// They do not come to it.
pub fn wait_settled(nodes: &[&Fulcrum]) -> Result<BTreeMap<String, String>> {
    let mut since: Option<(_, Instant)> = None;
    wait_for("one leader of each group", Duration::from_secs(40), || {
        let seen = settled(nodes)?;
        match &since {
            Some((before, time)) if *before == seen => (time.elapsed() >= SETTLED).then_some(seen),
            _ => {
                since = Some((seen, now()));
                None
            }
        }
    })
}
