//! A control plane and workloads behind the same pair, in one mode, and somebody who floods the workloads.

use super::{Echo, Fulcrum, GROUP, Lab, Machine, Pair, Status, ipv4};
use crate::LabError;
use crate::error::Result;
use crate::flood::Flood;
use crate::wait::wait_until;
use std::net::SocketAddr;
use std::time::Duration;

/// The group of the workloads.
pub const WORKLOADS: &str = "workloads";
/// New connections a second that a workload's service takes; it also is the burst.
pub const LIMIT: u32 = 200;
const VIP: u8 = 102;
const GATEWAY: u8 = 101;
const DATAGRAMS: u16 = 5353;
/// Where forged frames say that they come from.
const FORGED: &str = "198.18.0.0/15";
const PATIENCE: Duration = Duration::from_secs(15);

/// How all services are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Carrier {
    /// By the proxy.
    Proxy,
    /// By the forwarding plane, routed.
    Nat,
    /// By the forwarding plane; replies go past it.
    Dsr,
    /// By the forwarding plane, both addresses rewritten.
    Fullnat,
}

impl Carrier {
    /// As `mode:` spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::Nat => "nat",
            Self::Dsr => "dsr",
            Self::Fullnat => "fullnat",
        }
    }
}

/// What the workloads are flooded by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Attack {
    /// SYNs that say that they come from everywhere.
    Syns,
    /// Connections, far more than the limit.
    Connections,
    /// Datagrams from everywhere.
    Datagrams,
}

/// The pair of [`Pair`], whose own group and service are the control plane, with workloads and a rogue.
#[derive(Debug)]
pub struct Classes {
    /// The pair; not started.
    pub pair: Pair,
    /// Who floods.
    pub rogue: Machine,
    _echo: Echo,
}

impl Classes {
    /// A machine behind the control plane, and one behind each workload.
    ///
    /// # Errors
    /// The lab can't be built.
    pub fn new(lab: &Lab, carrier: Carrier) -> Result<Self> {
        let mut pair = Pair::new(lab)?;
        let rogue = lab.machine("rogue", 66)?;
        let [api, shop, names] = [21, 22, 23].map(ipv4);
        let answers = pair.web.iter().find(|web| web.machine.ipv4() == names);
        let answers = answers.ok_or_else(|| LabError::new(format!("no machine has {names}")))?;
        let echo = Echo::start(&answers.machine, SocketAddr::new(names, DATAGRAMS))?;
        for node in [&pair.lb1, &pair.lb2] {
            node.run("ip", &["route", "add", FORGED, "via", &rogue.ipv4().to_string()])?;
        }
        match carrier {
            Carrier::Nat => prepare_nat(&mut pair, &rogue)?,
            Carrier::Dsr => prepare_dsr(&pair, &rogue)?,
            Carrier::Proxy | Carrier::Fullnat => {}
        }
        let (mode, vip) = (carrier.name(), ipv4(VIP));
        // In the plane nobody can tell one session's datagrams from another's.
        let limits = format!("limits: {{rate: {{per_second: {LIMIT}, burst: {LIMIT}}}}}");
        let of_datagrams = if carrier == Carrier::Proxy { format!(", {limits}") } else { String::new() };
        let mut plan = pair.plan.with_keys()?;
        plan.web.retain(|web| web.ipv4() == api);
        plan.group = vec!["class: control-plane".into()];
        plan.groups = vec![format!("{WORKLOADS}: {{vrid: 52, vips: ['{vip}']}}")];
        plan.service = vec![format!("mode: {mode}")];
        let check = "check: {type: http, path: /, interval: 200ms, timeout: 200ms, rise: 1, fall: 2}";
        plan.services = vec![
            format!(
                "shop: {{vip: {vip}, port: 80, mode: {mode}, {check}, {limits}, backends: ['{shop}:80']}}"
            ),
            format!(
                "names: {{vip: {vip}, protocol: udp, port: {DATAGRAMS}, mode: {mode}{of_datagrams}, \
                 backends: ['{names}:{DATAGRAMS}']}}"
            ),
        ];
        pair.plan = plan;
        Ok(Self { pair, rogue, _echo: echo })
    }

    /// Starts both nodes: the first leads both groups, the second stands by, and the control plane answers.
    ///
    /// # Errors
    /// They do not get there.
    pub fn start(&self) -> Result<(Fulcrum, Fulcrum)> {
        let first = self.pair.start(&self.pair.lb1)?;
        first.wait_leader(GROUP)?;
        first.wait_leader(WORKLOADS)?;
        let second = self.pair.start(&self.pair.lb2)?;
        second.wait_hears_leader(GROUP)?;
        second.wait_hears_leader(WORKLOADS)?;
        for service in [GROUP, "shop"] {
            wait_until(&format!("a backend of {service}"), PATIENCE, || {
                first.status().is_ok_and(|status| status.backends(service, "up") == 1)
            })?;
        }
        Ok((first, second))
    }

    /// Floods the workloads at the node that leads.
    ///
    /// # Errors
    /// The flood can't be started.
    pub fn flood(&self, attack: Attack, leader: &Machine) -> Result<Flood> {
        let at = |port| SocketAddr::new(ipv4(VIP), port);
        match attack {
            Attack::Syns => Flood::syns(&self.rogue, at(80), leader),
            Attack::Connections => Flood::connections(&self.rogue, at(80)),
            Attack::Datagrams => Flood::datagrams(&self.rogue, at(DATAGRAMS), leader),
        }
    }
}

/// The service that an attack meets.
#[must_use]
pub fn attacked(attack: Attack) -> &'static str {
    match attack {
        Attack::Syns | Attack::Connections => "shop",
        Attack::Datagrams => "names",
    }
}

/// How often a node has changed its role in each of the two groups.
#[must_use]
pub fn moves(status: &Status) -> u64 {
    let of = |name| status.group(name).and_then(|group| group.get("transitions")?.as_u64());
    [GROUP, WORKLOADS].into_iter().filter_map(of).fold(0, u64::saturating_add)
}

/// Each client is known by an address of a network that is not the backends', and replies come through whoever leads.
fn prepare_nat(pair: &mut Pair, rogue: &Machine) -> Result<()> {
    for (client, far) in [(&pair.client, "192.0.2.50"), (rogue, "192.0.2.66")] {
        let whole = format!("{far}/32");
        client.run("ip", &["address", "add", &whole, "dev", "lo"])?;
        for vip in [100, VIP].map(ipv4) {
            client.run("ip", &["route", "add", &vip.to_string(), "dev", "eth0", "src", far])?;
        }
        for node in [&pair.lb1, &pair.lb2] {
            node.run("ip", &["route", "add", &whole, "via", &client.ipv4().to_string()])?;
        }
    }
    for node in [&pair.lb1, &pair.lb2] {
        node.set("net/ipv4/ip_forward", "1")?;
    }
    for web in &pair.web {
        for network in ["192.0.2.0/24", FORGED] {
            web.machine.run("ip", &["route", "add", network, "via", &ipv4(GATEWAY).to_string()])?;
        }
    }
    pair.plan.gateways = vec![ipv4(GATEWAY)];
    Ok(())
}

/// Each backend has the VIPs, and tells nobody.
fn prepare_dsr(pair: &Pair, rogue: &Machine) -> Result<()> {
    for web in &pair.web {
        web.machine.set("net/ipv4/conf/all/arp_ignore", "1")?;
        web.machine.set("net/ipv4/conf/all/arp_announce", "2")?;
        web.machine.run("ip", &["route", "add", FORGED, "via", &rogue.ipv4().to_string()])?;
        for vip in [100, VIP].map(ipv4) {
            web.machine.run("ip", &["address", "add", &format!("{vip}/32"), "dev", "lo"])?;
        }
    }
    Ok(())
}
