//! keepalived, the partner most of the field runs.

use super::{Machine, Process};
use crate::error::Result;
use std::fmt::Write;
use std::net::IpAddr;
use std::process::Command;

/// A virtual router as a partner is told about it.
#[derive(Debug, Clone)]
pub struct VirtualRouter {
    /// Its VRID.
    pub vrid: u8,
    /// Its priority.
    pub priority: u8,
    /// Centiseconds between adverts.
    pub advert_centiseconds: u16,
    /// Its addresses, of one family.
    pub vips: Vec<IpAddr>,
    /// The other node, for unicast adverts; multicast without it.
    pub unicast_peer: Option<IpAddr>,
    /// Whether it takes the VIP from a living leader of lower priority.
    pub preempt: bool,
}

/// A running keepalived.
#[derive(Debug)]
pub struct Keepalived {
    /// Where it runs.
    pub machine: Machine,
    process: Process,
}

impl Keepalived {
    /// Starts it as a VRRPv3 router.
    ///
    /// # Errors
    /// It can't be started.
    pub fn start(machine: &Machine, router: &VirtualRouter) -> Result<Self> {
        Self::start_as(machine, router, 3)
    }

    /// Starts it as a router of this version of VRRP.
    ///
    /// # Errors
    /// It can't be started.
    pub fn start_as(machine: &Machine, router: &VirtualRouter, version: u8) -> Result<Self> {
        let path = machine.write("keepalived.conf", &config(machine, router, version))?;
        let [parent, child] = ["keepalived.pid", "keepalived-vrrp.pid"].map(|name| machine.file(name));
        // Left by one that was killed; they would keep this one from starting.
        for left in [&parent, &child] {
            std::fs::remove_file(left).ok();
        }
        let mut command = Command::new("keepalived");
        command
            .args(["--dont-fork", "--log-console", "--log-detail", "--vrrp"])
            .arg("--use-file")
            .arg(path)
            .arg("--pid")
            .arg(parent)
            .arg("--vrrp_pid")
            .arg(child);
        let process = machine.spawn("keepalived", command)?;
        Ok(Self { machine: machine.clone(), process })
    }

    /// Has it read its configuration again, with this version of VRRP.
    ///
    /// # Errors
    /// It is gone.
    pub fn reload_as(&self, router: &VirtualRouter, version: u8) -> Result<()> {
        self.machine.write("keepalived.conf", &config(&self.machine, router, version))?;
        self.process.signal(rustix::process::Signal::HUP)
    }

    /// Its process (the parent; the VRRP process is its child).
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }
}

fn config(machine: &Machine, router: &VirtualRouter, version: u8) -> String {
    let mut text =
        format!("global_defs {{\n  router_id lab\n  vrrp_version {version}\n}}\nvrrp_instance lab {{\n");
    let seconds = f64::from(router.advert_centiseconds) / 100.0;
    let is_ipv6 = router.vips.iter().any(IpAddr::is_ipv6);
    // Writing to a String does not fail.
    writeln!(
        text,
        "  state BACKUP\n  interface eth0\n  virtual_router_id {}\n  priority {}\n  advert_int {seconds:.2}",
        router.vrid, router.priority
    )
    .ok();
    if !router.preempt {
        text.push_str("  nopreempt\n");
    }
    if let Some(peer) = router.unicast_peer {
        let own = if is_ipv6 { machine.ipv6() } else { machine.ipv4() };
        // Without a TTL keepalived sends unicast adverts over IPv6 with a hop limit of 64, which the RFC forbids.
        writeln!(text, "  unicast_src_ip {own}\n  unicast_ttl 255\n  unicast_peer {{\n    {peer}\n  }}").ok();
    }
    text.push_str("  virtual_ipaddress {\n");
    for vip in &router.vips {
        writeln!(text, "    {vip}/{}", if is_ipv6 { 64 } else { 24 }).ok();
    }
    text.push_str("  }\n}\n");
    text
}
