//! ARP and ND: answering for the VIPs, announcing them, probing them and the gateways.

use super::Engine;
use crate::arp::{self, Arp};
use crate::driver::link::LinkDriver;
use crate::frame::Mac;
use crate::ndp::{self, Advertisement, Ndp, Solicitation};
use fulcrum_config::{Family, Link};
use std::net::IpAddr;
use std::time::Instant;

/// What a frame of a neighbour says.
#[derive(Default)]
struct Heard {
    /// Who is asked for, and the frame that answers.
    asked: Option<(IpAddr, Vec<u8>)>,
    /// Who says that it has which address.
    claim: Option<(IpAddr, Mac)>,
}

impl Engine {
    /// Reads one frame and answers it. Returns whether there was one.
    pub(super) fn read_frame(&mut self, link: &Link, buffer: &mut [u8], now: Instant) -> bool {
        let Some(driver) = self.links.get_mut(link) else { return false };
        let Some(open) = &driver.open else { return false };
        let length = match open.neighbour.receive(buffer) {
            Ok(Some(length)) => length,
            Ok(None) => return false,
            Err(_) => {
                driver.count("receive_errors");
                return false;
            }
        };
        let own = Mac::from(open.identity.mac);
        let heard = match hear(link.family, buffer.get(..length).unwrap_or_default(), own) {
            Ok(heard) => heard,
            Err(refusal) => {
                driver.count(refusal.counter());
                return true;
            }
        };
        if let Some((target, answer)) = heard.asked
            && self.groups.values().any(|group| group.answers(target))
        {
            driver.send_frame(&answer, "neighbours_answered");
        }
        if let Some((address, mac)) = heard.claim.filter(|(_, mac)| *mac != own) {
            self.handle_claim(link, address, mac, now);
        }
        true
    }

    /// Another machine says that it has `address`.
    fn handle_claim(&mut self, link: &Link, address: IpAddr, mac: Mac, now: Instant) {
        for (name, group) in &mut self.groups {
            group.handle_gateway_answer(link, address);
            if !group.has(address) {
                continue;
            }
            if group.prober.handle_claim(address, mac, now) {
                tracing::error!(
                    group = %name, %address, %mac,
                    "another machine uses this VIP; it stays down here; remove it there or choose another"
                );
                self.show.changed();
            }
            if group.answers(address)
                && group.defend(now)
                && let Some(driver) = self.links.get_mut(link)
            {
                driver.count("rival_claims");
                tracing::warn!(group = %name, %address, %mac, "another machine claims a VIP that this node leads; announcing it again");
            }
        }
    }

    /// Sends the probes and announcements that are due.
    pub(super) fn send_due(&mut self, now: Instant) {
        for group in self.groups.values_mut() {
            while let Some(address) = group.prober.poll_probe(now) {
                if let Some(link) = group.link_of(address)
                    && let Some(driver) = self.links.get_mut(&link)
                {
                    driver.send_neighbour(|mac| probe(mac, address), "conflict_probes_sent");
                }
            }
            group.finish_probing(now);
            while let Some(vip) = group.announcer.poll_announcement(now) {
                if let Some(driver) = self.links.get_mut(&vip.link()) {
                    driver.send_neighbour(|mac| announcement(mac, vip.address), "announcements_sent");
                }
            }
            for (link, address) in group.gateways_due(now) {
                if let Some(driver) = self.links.get_mut(&link) {
                    send_gateway_probe(driver, address);
                }
            }
        }
    }
}

fn hear(family: Family, frame: &[u8], own: Mac) -> Result<Heard, crate::frame::Refusal> {
    match family {
        Family::Ipv4 => {
            let arp = arp::decode(frame)?;
            let asked = arp.answer(own).map(|answer| (arp.target.into(), answer.encode()));
            Ok(Heard { asked, claim: arp.claim().map(|(address, mac)| (address.into(), mac)) })
        }
        Family::Ipv6 => Ok(match ndp::decode(frame)? {
            Ndp::Solicitation(asked) => {
                Heard { asked: Some((asked.target.into(), asked.answer(own).encode())), claim: None }
            }
            Ndp::Advertisement(told) => {
                Heard { asked: None, claim: Some((told.target.into(), told.target_mac)) }
            }
        }),
    }
}

fn probe(mac: Mac, address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => Arp::probe(mac, address).encode(),
        IpAddr::V6(address) => Solicitation::probe(mac, address).encode(),
    }
}

fn announcement(mac: Mac, address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => Arp::announcement(mac, address).encode(),
        IpAddr::V6(address) => Advertisement::announcement(mac, address).encode(),
    }
}

fn send_gateway_probe(driver: &mut LinkDriver, gateway: IpAddr) {
    let Some(source) = driver.source() else { return };
    let request = |mac| match (source, gateway) {
        (IpAddr::V4(source), IpAddr::V4(gateway)) => Arp::request(mac, source, gateway).encode(),
        (IpAddr::V6(source), IpAddr::V6(gateway)) => Solicitation::new(mac, source, gateway).encode(),
        // A link's addresses are of its family.
        (IpAddr::V4(_) | IpAddr::V6(_), _) => Vec::new(),
    };
    driver.send_neighbour(request, "gateway_probes_sent");
}
