//! What `fulcrum preflight` asks this room: can the forwarding plane work here?

use crate::plane::forwards;
use fulcrum_config::preflight::Line;
use fulcrum_config::{Config, Forwarding};
use std::collections::BTreeSet;

/// Whether the kernel takes the programs, and forwards at all, if a service is forwarded.
#[must_use]
pub fn plane(config: &Config) -> Vec<Line> {
    const CHECK: &str = "forwarding";
    if config.services.values().all(|service| service.mode.forwarding().is_none()) {
        let why = "no service is of mode nat, dsr or fullnat";
        return vec![Line::not_applicable(CHECK, "services", why)];
    }
    let mut lines = Vec::new();
    if let Err(error) = fulcrum_ebpf::Plane::try_load() {
        lines.push(Line::failed(
            CHECK,
            "programs",
            format!("the kernel does not take the forwarding plane: {error}; no service of mode nat, dsr or fullnat works"),
            "see `privileges` and `kernel`, or give these services `mode: proxy`",
        ));
    }
    // In the other modes no reply needs the kernel's own forwarding.
    let nat = config.services.values().filter(|service| service.mode.forwarding() == Some(Forwarding::Nat));
    let families: BTreeSet<bool> =
        nat.flat_map(|service| service.vips.iter().map(|vip| vip.is_ipv4())).collect();
    for interface in config.interfaces.keys() {
        for is_ipv4 in &families {
            let (family, all) = if *is_ipv4 {
                ("ipv4", "net.ipv4.ip_forward")
            } else {
                ("ipv6", "net.ipv6.conf.all.forwarding")
            };
            if forwards(family, interface.as_str()) == Some(false) {
                let found =
                    format!("forwarding of {family} is off, so replies of backends can't reach clients");
                let remedy = format!("sysctl -w {all}=1, and the same in /etc/sysctl.d");
                lines.push(Line::failed(CHECK, interface, found, remedy));
            }
        }
    }
    if lines.is_empty() {
        lines.push(Line::ok(
            CHECK,
            "services",
            "the kernel takes the programs, and forwards packets where it must",
        ));
    }
    lines
}
