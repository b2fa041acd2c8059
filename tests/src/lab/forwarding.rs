//! A pair that forwards, in each mode and family.

use super::{Lab, Machine, Pair, ipv4, ipv6};
use crate::error::Result;
use std::net::IpAddr;

/// The backends' gateway, which moves with the VIP.
const GATEWAY: u8 = 101;

/// How the kernel forwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Routed.
    Nat,
    /// Replies go past the node.
    Dsr,
    /// Both addresses are rewritten.
    Fullnat,
}

impl Mode {
    /// As `mode:` spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::Dsr => "dsr",
            Self::Fullnat => "fullnat",
        }
    }
}

/// Of the VIP and the backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

/// What of the scene depends on the family.
struct Addresses {
    vip: IpAddr,
    gateway: IpAddr,
    /// The client's own network, which is not the backends', and its address there.
    network: &'static str,
    far: &'static str,
    whole: &'static str,
    client: IpAddr,
    forwarding: &'static str,
}

fn addresses(pair: &Pair, family: Family) -> Addresses {
    match family {
        Family::Ipv4 => Addresses {
            vip: ipv4(100),
            gateway: ipv4(GATEWAY),
            network: "192.0.2.0/24",
            far: "192.0.2.50",
            whole: "32",
            client: pair.client.ipv4(),
            forwarding: "net/ipv4/ip_forward",
        },
        Family::Ipv6 => Addresses {
            vip: ipv6(100),
            gateway: ipv6(GATEWAY),
            network: "2001:db8::/64",
            far: "2001:db8::50",
            whole: "128",
            client: pair.client.ipv6(),
            forwarding: "net/ipv6/conf/all/forwarding",
        },
    }
}

/// A pair that forwards.
///
/// # Errors
/// The lab can't be built.
pub fn forwarding_pair(lab: &Lab, mode: Mode, family: Family) -> Result<Pair> {
    let mut pair = Pair::new(lab)?;
    forward(&mut pair, mode, family)?;
    Ok(pair)
}

/// Makes a pair's service one of that mode, and its network what that needs.
///
/// # Errors
/// The network can't be made so.
pub fn forward(pair: &mut Pair, mode: Mode, family: Family) -> Result<()> {
    let addresses = addresses(pair, family);
    pair.plan.vips = vec![addresses.vip];
    pair.plan.ipv6_backends = family == Family::Ipv6;
    match mode {
        Mode::Nat => prepare_nat(pair, &addresses)?,
        Mode::Dsr => prepare_dsr(pair, &addresses)?,
        // Nothing about the network or the backends is special. Ports that are not the first choice are known by being told.
        Mode::Fullnat => pair.plan = pair.plan.clone().with_keys()?,
    }
    pair.plan.service = vec![format!("mode: {}", mode.name())];
    Ok(())
}

/// Has a pair that forwards do so by XDP, in a network as real ones are: senders make their checksums, and what leaves by a driver arrives.
///
/// # Errors
/// The network can't be made so.
pub fn by_xdp(lab: &Lab, pair: &mut Pair) -> Result<()> {
    let ends = [&pair.client].into_iter().chain(pair.web.iter().map(|web| &web.machine));
    for machine in ends.chain([&pair.lb1, &pair.lb2]) {
        machine.run("ethtool", &["-K", "eth0", "tx", "off"])?;
        lab.switch().run("ethtool", &["-K", &machine.port(), "gro", "on"])?;
    }
    for node in [&pair.lb1, &pair.lb2] {
        node.set("net/ipv4/ip_forward", "1")?;
        node.set("net/ipv6/conf/all/forwarding", "1")?;
        // The test of the driver takes an IPv4 neighbour, of which nobody else speaks where all else is IPv6.
        if let Some(web) = pair.web.first() {
            node.run("ping", &["-c1", &web.machine.ipv4().to_string()])?;
        }
    }
    pair.plan.top.push("xdp: any".into());
    Ok(())
}

/// The client is behind a network of its own, and replies come through whoever leads.
fn prepare_nat(pair: &mut Pair, addresses: &Addresses) -> Result<()> {
    let Addresses { vip, gateway, network, far, whole, client, forwarding } = addresses;
    add_to_loopback(&pair.client, far, whole)?;
    pair.client.run("ip", &["route", "add", &format!("{vip}/{whole}"), "dev", "eth0", "src", far])?;
    for node in [&pair.lb1, &pair.lb2] {
        node.set(forwarding, "1")?;
        node.run("ip", &["route", "add", network, "via", &client.to_string()])?;
    }
    for web in &pair.web {
        web.machine.run("ip", &["route", "add", network, "via", &gateway.to_string()])?;
    }
    pair.plan.gateways = vec![*gateway];
    Ok(())
}

/// Each backend has the VIP, and tells nobody.
fn prepare_dsr(pair: &mut Pair, addresses: &Addresses) -> Result<()> {
    let Addresses { vip, whole, .. } = addresses;
    for web in &pair.web {
        web.machine.set("net/ipv4/conf/all/arp_ignore", "1")?;
        web.machine.set("net/ipv4/conf/all/arp_announce", "2")?;
        add_to_loopback(&web.machine, &vip.to_string(), whole)?;
    }
    Ok(())
}

/// At once: no duplicate is looked for there.
///
/// # Errors
/// The address can't be added.
pub fn add_to_loopback(machine: &Machine, address: &str, whole: &str) -> Result<()> {
    let address = format!("{address}/{whole}");
    let arguments = ["address", "add", &address, "dev", "lo", "nodad"];
    // IPv4 looks for none anyway.
    let count = if whole == "32" { 5 } else { 6 };
    machine.run("ip", arguments.get(..count).unwrap_or_default()).map(|_| ())
}
