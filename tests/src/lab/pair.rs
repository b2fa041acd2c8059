//! The scene of most tests: a client, two nodes and three web servers on one switch.

use super::{Fulcrum, Lab, Machine, Nginx, fulcrum_binary, ipv4, ipv6, run};
use crate::error::Result;
use crate::probe::{Options, Probe, Sample};
use crate::wait::{now, wait_for};
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The group of a [`Pair`].
pub const GROUP: &str = "web";

/// A client, nodes and web servers. The machines stand; nothing of ours runs until it is started.
#[derive(Debug)]
pub struct Pair {
    /// Where requests come from.
    pub client: Machine,
    /// The node of higher priority.
    pub lb1: Machine,
    /// The other.
    pub lb2: Machine,
    /// The web servers.
    pub web: Vec<Nginx>,
    /// What the nodes are told.
    pub plan: Plan,
}

impl Pair {
    /// Two nodes and three web servers, one IPv4 VIP.
    ///
    /// # Errors
    /// The lab can't be built.
    pub fn new(lab: &Lab) -> Result<Self> {
        let client = lab.machine("client", 50)?;
        let (lb1, lb2) = (lab.machine("lb1", 11)?, lab.machine("lb2", 12)?);
        let web = [("web1", 21), ("web2", 22), ("web3", 23)]
            .into_iter()
            .map(|(name, number)| Nginx::start(&lab.machine(name, number)?))
            .collect::<Result<Vec<_>>>()?;
        let plan = Plan {
            nodes: vec![PlannedNode::new(&lb1, 150), PlannedNode::new(&lb2, 100)],
            web: web.iter().map(|web| web.machine.clone()).collect(),
            ..Plan::default()
        };
        Ok(Self { client, lb1, lb2, web, plan })
    }

    /// Starts a node by the plan.
    ///
    /// # Errors
    /// It can't be started.
    pub fn start(&self, node: &Machine) -> Result<Fulcrum> {
        Fulcrum::start(node, &self.plan.file(node))
    }

    /// Starts both: the first leads, the second stands by.
    ///
    /// # Errors
    /// They do not get there.
    pub fn start_both(&self) -> Result<(Fulcrum, Fulcrum)> {
        let first = self.start(&self.lb1)?;
        first.wait_leader(GROUP)?;
        let second = self.start(&self.lb2)?;
        second.wait_hears_leader(GROUP)?;
        Ok((first, second))
    }

    /// The first VIP's web service.
    #[must_use]
    pub fn service(&self) -> SocketAddr {
        SocketAddr::new(self.plan.vips.first().copied().unwrap_or(ipv4(100)), 80)
    }

    /// A probe of the service from the client, once it has its first answer.
    ///
    /// # Errors
    /// No answer comes.
    pub fn probe(&self) -> Result<Probe> {
        let options = Options {
            interval: Duration::from_millis(2),
            timeout: Duration::from_millis(300),
            ..Options::default()
        };
        Probe::start_answered(&self.client, self.service(), options, Duration::from_secs(15))
    }
}

/// Waits for an answer through `node` to a request that began after this moment.
///
/// # Errors
/// None comes.
pub fn wait_served_by(probe: &Probe, node: &Machine) -> Result<Sample> {
    let (begun, own) = (now(), [node.ipv4(), node.ipv6()]);
    wait_for(&format!("an answer through {}", node.name()), Duration::from_secs(15), || {
        probe.answered_since(begun).filter(|sample| sample.via().is_some_and(|via| own.contains(&via)))
    })
}

/// Makes a private key if there is none, and gives its pin.
///
/// # Errors
/// It can't be made.
pub fn make_key(path: &Path) -> Result<String> {
    let mut command = Command::new(fulcrum_binary()?);
    command.arg("peer-key").arg(path);
    Ok(run(command)?.trim().to_owned())
}

/// What the nodes' configuration files say.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The nodes.
    pub nodes: Vec<PlannedNode>,
    /// The web servers.
    pub web: Vec<Machine>,
    /// Their weights, in the same order; those that are not named have the usual one.
    pub weights: Vec<u16>,
    /// The VIPs.
    pub vips: Vec<IpAddr>,
    /// Further addresses of the group, which no service has: gateways.
    pub gateways: Vec<IpAddr>,
    /// Whether the web servers are reached by IPv6.
    pub ipv6_backends: bool,
    /// The VRID.
    pub vrid: u8,
    /// Time between adverts.
    pub advert_milliseconds: u32,
    /// Further keys of the group, such as `adverts: unicast`.
    pub group: Vec<String>,
    /// Further groups, a line each.
    pub groups: Vec<String>,
    /// Further keys of the service.
    pub service: Vec<String>,
    /// Further services, a line each.
    pub services: Vec<String>,
    /// Further lines of the file itself, such as `xdp: any`.
    pub top: Vec<String>,
    /// Further keys of `peer`, such as `port: 4748`.
    pub peer: Vec<String>,
    /// Crashes after which a node is held back: none, as nodes are killed here all the time.
    pub held_after_crashes: u32,
}

/// A node in a plan.
#[derive(Debug, Clone)]
pub struct PlannedNode {
    /// Where it runs.
    pub machine: Machine,
    /// Its priority.
    pub priority: u8,
    /// Whether it is not ours.
    pub foreign: bool,
    /// Its keys on the peer link.
    pub keys: Vec<String>,
}

impl PlannedNode {
    /// One of ours.
    #[must_use]
    pub fn new(machine: &Machine, priority: u8) -> Self {
        Self { machine: machine.clone(), priority, foreign: false, keys: Vec::new() }
    }
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            web: Vec::new(),
            weights: Vec::new(),
            vips: vec![ipv4(100)],
            gateways: Vec::new(),
            ipv6_backends: false,
            vrid: 51,
            advert_milliseconds: 100,
            group: Vec::new(),
            groups: Vec::new(),
            service: Vec::new(),
            services: Vec::new(),
            top: Vec::new(),
            peer: Vec::new(),
            held_after_crashes: 0,
        }
    }
}

impl Plan {
    /// The same with both families.
    #[must_use]
    pub fn dual_stack(mut self) -> Self {
        self.vips = vec![ipv4(100), ipv6(100)];
        self
    }

    /// Makes a key for each node, and lists it.
    ///
    /// # Errors
    /// One can't be made.
    pub fn with_keys(mut self) -> Result<Self> {
        for node in &mut self.nodes {
            node.keys = vec![make_key(&Self::key_of(&node.machine))?];
        }
        Ok(self)
    }

    /// Where the private key of the node on this machine is.
    #[must_use]
    pub fn key_of(node: &Machine) -> PathBuf {
        node.file("peer.key")
    }

    /// The file of one node.
    #[must_use]
    pub fn file(&self, node: &Machine) -> String {
        let mut text = format!(
            "node: {}\ntiming: {{advert_interval: {}ms}}\nnodes:\n",
            node.name(),
            self.advert_milliseconds
        );
        let (has_ipv4, has_ipv6) =
            (self.vips.iter().any(IpAddr::is_ipv4), self.vips.iter().any(IpAddr::is_ipv6));
        let families = |ipv4: String, ipv6: String| {
            let both = [(has_ipv4, ipv4), (has_ipv6, format!("\"{ipv6}\""))];
            both.into_iter().filter_map(|(has, text)| has.then_some(text)).collect::<Vec<_>>().join(", ")
        };
        // Writing to a String does not fail.
        for planned in &self.nodes {
            let machine = &planned.machine;
            let addresses = families(machine.ipv4().to_string(), machine.ipv6().to_string());
            let foreign = if planned.foreign { ", foreign: true" } else { "" };
            let (name, priority) = (machine.name(), planned.priority);
            let keys: Vec<String> = planned.keys.iter().map(|key| format!("\"{key}\"")).collect();
            let keys = if keys.is_empty() { String::new() } else { format!(", keys: [{}]", keys.join(", ")) };
            writeln!(text, "  {name}: {{addresses: [{addresses}], priority: {priority}{foreign}{keys}}}")
                .ok();
        }
        let networks = families("10.77.0.0/24".into(), "fd77::/64".into());
        let vips = self.vips.iter().map(|vip| format!("\"{vip}\"")).collect::<Vec<_>>().join(", ");
        writeln!(text, "interfaces:\n  eth0: {{networks: [{networks}]}}").ok();
        let gateways: String = self.gateways.iter().map(|gateway| format!(", \"{gateway}\"")).collect();
        writeln!(text, "groups:\n  {GROUP}:\n    vrid: {}\n    vips: [{vips}{gateways}]", self.vrid).ok();
        self.group.iter().for_each(|line| writeln!(text, "    {line}").unwrap_or_default());
        self.groups.iter().for_each(|line| writeln!(text, "  {line}").unwrap_or_default());
        writeln!(text, "services:\n  web:\n    vips: [{vips}]\n    port: 80").ok();
        if !self.service.iter().any(|line| line.starts_with("check:")) {
            writeln!(
                text,
                "    check: {{type: http, path: /, interval: 200ms, fast_interval: 50ms, timeout: 200ms, rise: 1, fall: 2}}"
            )
            .ok();
        }
        self.service.iter().for_each(|line| writeln!(text, "    {line}").unwrap_or_default());
        text.push_str("    backends:\n");
        for (place, web) in self.web.iter().enumerate() {
            let address = if self.ipv6_backends { web.ipv6() } else { web.ipv4() };
            let weight =
                self.weights.get(place).map_or_else(String::new, |weight| format!(", weight: {weight}"));
            writeln!(text, "      - {{name: {}, address: \"{address}\", port: 80{weight}}}", web.name()).ok();
        }
        self.services.iter().for_each(|line| writeln!(text, "  {line}").unwrap_or_default());
        self.top.iter().for_each(|line| writeln!(text, "{line}").unwrap_or_default());
        writeln!(text, "peer:\n  key: {}", Self::key_of(node).display()).ok();
        self.peer.iter().for_each(|line| writeln!(text, "  {line}").unwrap_or_default());
        writeln!(
            text,
            "admin:\n  socket: {}\n  state_dir: {}\n  held_after_crashes: {}",
            Fulcrum::socket_of(node).display(),
            node.file("state").display(),
            self.held_after_crashes
        )
        .ok();
        text
    }
}
