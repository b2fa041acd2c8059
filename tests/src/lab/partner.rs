//! keepalived or FRR, as a node of a pair with ours.

use super::{Frr, Keepalived, Lab, Machine, VirtualRouter};
use crate::error::Result;
use std::net::IpAddr;

/// Which partner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// keepalived; answers with its interface's MAC.
    Keepalived,
    /// FRR's vrrpd; answers with the virtual MAC.
    Frr,
}

/// A running partner.
#[derive(Debug)]
pub enum Partner {
    /// keepalived.
    Keepalived(Keepalived),
    /// FRR's vrrpd.
    Frr(Frr),
}

impl Partner {
    /// Starts it on a machine.
    ///
    /// # Errors
    /// It can't be started.
    pub fn start(kind: Kind, machine: &Machine, router: &VirtualRouter) -> Result<Self> {
        match kind {
            Kind::Keepalived => Keepalived::start(machine, router).map(Self::Keepalived),
            Kind::Frr => Frr::start(machine, router).map(Self::Frr),
        }
    }

    /// The machine it runs on.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        match self {
            Self::Keepalived(partner) => &partner.machine,
            Self::Frr(partner) => &partner.machine,
        }
    }

    /// The MAC that answers for a VIP of `router` while this partner leads.
    #[must_use]
    pub fn mac(&self, router: &VirtualRouter) -> String {
        match self {
            Self::Keepalived(partner) => partner.machine.mac(),
            Self::Frr(_) => {
                let family = if router.vips.iter().any(IpAddr::is_ipv6) { 2 } else { 1 };
                format!("00:00:5e:00:{family:02x}:{:02x}", router.vrid)
            }
        }
    }

    /// Its machine loses power: cut off, its programs gone without a word, its addresses with them. The switch
    /// is whole again afterwards, and the partner can be started anew.
    ///
    /// # Errors
    /// The lab is not as it should be.
    pub fn power_off(self, lab: &Lab, router: &VirtualRouter) -> Result<()> {
        let machine = self.machine().clone();
        lab.switch().cut(&machine)?;
        match self {
            Self::Keepalived(partner) => {
                partner.process().kill_with_children()?;
                drop(partner);
                for vip in &router.vips {
                    let prefix = if vip.is_ipv6() { 64 } else { 24 };
                    // A standby has no address.
                    machine.run("ip", &["addr", "del", &format!("{vip}/{prefix}"), "dev", "eth0"]).ok();
                }
            }
            Self::Frr(partner) => {
                partner.process().kill_with_children()?;
                drop(partner);
                let device = if router.vips.iter().any(IpAddr::is_ipv6) { "vrrp6" } else { "vrrp4" };
                machine.run("ip", &["link", "del", device])?;
            }
        }
        lab.switch().heal()
    }
}
