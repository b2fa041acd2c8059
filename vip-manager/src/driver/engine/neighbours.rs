//! ARP and ND: answering for the VIPs, announcing them, probing them and the gateways.

use super::Engine;
use crate::arp::{self, Arp, Operation};
use crate::driver::clock;
use crate::driver::link::LinkDriver;
use crate::driver::rivals::Claim;
use crate::frame::{Mac, Refusal};
use crate::ndp::{self, Advertisement, Ndp, Solicitation};
use fulcrum_config::{Family, Link};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

/// What a neighbour says.
enum Heard {
    Arp(Arp),
    Nd(Ndp),
}

impl Heard {
    fn decode(family: Family, frame: &[u8]) -> Result<Self, Refusal> {
        match family {
            Family::Ipv4 => arp::decode(frame).map(Self::Arp),
            Family::Ipv6 => ndp::decode(frame).map(Self::Nd),
        }
    }

    /// The address that is asked for.
    fn asks_for(&self) -> Option<IpAddr> {
        match self {
            Self::Arp(arp) => (arp.operation == Operation::Request).then_some(arp.target.into()),
            Self::Nd(Ndp::Solicitation(asked)) => Some(asked.target.into()),
            Self::Nd(Ndp::Advertisement(_)) => None,
        }
    }

    /// The frame that answers for `mac`.
    fn answer(&self, mac: Mac) -> Option<Vec<u8>> {
        match self {
            Self::Arp(arp) => arp.answer(mac).map(|answer| answer.encode()),
            Self::Nd(Ndp::Solicitation(asked)) => Some(asked.answer(mac).encode()),
            Self::Nd(Ndp::Advertisement(_)) => None,
        }
    }

    /// Who answers a question of `own` for which address.
    fn answer_to(&self, own: Mac) -> Option<(IpAddr, Mac)> {
        let is_to_us = match self {
            Self::Arp(arp) => arp.operation == Operation::Reply && arp.target_mac == own,
            Self::Nd(Ndp::Advertisement(told)) => told.solicited && told.destination_mac == own,
            Self::Nd(Ndp::Solicitation(_)) => false,
        };
        self.claim().filter(|_| is_to_us)
    }

    /// Who says that it has which address.
    fn claim(&self) -> Option<(IpAddr, Mac)> {
        match self {
            Self::Arp(arp) => arp.claim().map(|(address, mac)| (address.into(), mac)),
            Self::Nd(Ndp::Advertisement(told)) => Some((told.target.into(), told.target_mac)),
            Self::Nd(Ndp::Solicitation(_)) => None,
        }
    }
}

impl Engine {
    /// Reads one frame and answers it: from the link's own socket, or from that of a device with a virtual
    /// MAC. Returns whether there was one.
    pub(super) fn read_frame(
        &mut self,
        link: &Link,
        device: Option<u64>,
        buffer: &mut [u8],
        now: Instant,
    ) -> bool {
        let Some(driver) = self.links.get_mut(link) else { return false };
        let Some(open) = &driver.open else { return false };
        let socket = match device {
            Some(number) => self.devices.devices.get(&number).and_then(|device| device.neighbour.as_ref()),
            None => Some(&open.neighbour),
        };
        let length = match socket.map(|socket| socket.receive(buffer)) {
            Some(Ok(Some(length))) => length,
            Some(Ok(None)) | None => return false,
            Some(Err(_)) => {
                driver.count("receive_errors");
                return false;
            }
        };
        let own = Mac::from(open.identity.mac);
        let heard = match Heard::decode(link.family, buffer.get(..length).unwrap_or_default()) {
            Ok(heard) => heard,
            Err(refusal) => {
                driver.count(refusal.counter());
                return true;
            }
        };
        if let Some(target) = heard.asks_for()
            && let Some(group) = self.groups.values().find(|group| group.answers(target))
            && group.router.may_send(clock())
            && let Some(answer) = heard.answer(group.virtual_mac(link).unwrap_or(own))
        {
            driver.send_frame(&answer, "neighbours_answered");
        }
        if let Some((address, mac)) = heard.answer_to(own).filter(|(_, mac)| *mac != own) {
            driver.neighbourhood.handle_answer(address, mac, now);
            if let Some((name, group)) = self.groups.iter_mut().find(|(_, group)| group.has(address))
                && let Some(port) = group.proof.handle_answer(address, mac)
            {
                self.proving.ask_port(name, group, driver, SocketAddr::new(address, port), mac);
            }
        }
        // A switch may send our own frames back, and two interfaces may hear each other.
        if let Some((address, mac)) = heard.claim()
            && mac != own
            && !self.view.has_mac(mac.octets())
        {
            self.handle_claim(link, address, mac, now);
        }
        true
    }

    /// Another machine says that it has `address`.
    fn handle_claim(&mut self, link: &Link, address: IpAddr, mac: Mac, now: Instant) {
        for (name, group) in &mut self.groups {
            if group.handle_gateway_answer(link, address) {
                self.woken = true;
            }
            if !group.has(address) {
                continue;
            }
            let (news, defended) = group.handle_claim(link, address, mac, now);
            if news {
                self.woken = true;
                self.show.changed();
            }
            let Some((claim, driver)) = defended.zip(self.links.get_mut(link)) else { continue };
            match claim {
                Claim::Rival => {
                    driver.count("rival_claims");
                    tracing::warn!(group = %name, %address, %mac, "another machine claims a VIP that this node leads; announcing it again");
                }
                Claim::Late | Claim::Led => {
                    driver.count("late_claims");
                    tracing::debug!(group = %name, %address, %mac, "the former leader still claims a VIP; announcing it again");
                }
            }
        }
    }

    /// Sends the probes and announcements that are due.
    pub(super) fn send_due(&mut self, now: Instant) {
        let gathered = self.is_gathered();
        for group in self.groups.values_mut() {
            while let Some(address) = group.prober.poll_probe(now) {
                if let Some(link) = group.link_of(address)
                    && let Some(driver) = self.links.get_mut(&link)
                {
                    driver.send_neighbour(None, |mac| probe(mac, address), "conflict_probes_sent");
                }
            }
            group.finish_probing(gathered, now);
            while let Some(vip) = group.announcer.poll_announcement(now) {
                if !group.router.may_send(clock()) {
                    break;
                }
                let link = vip.link();
                if let Some(driver) = self.links.get_mut(&link) {
                    let virtual_mac = group.virtual_mac(&link);
                    driver.send_neighbour(
                        virtual_mac,
                        |mac| announcement(mac, vip.address),
                        "announcements_sent",
                    );
                }
            }
            for (link, address) in group.gateways_due(now) {
                if let Some(driver) = self.links.get_mut(&link) {
                    ask(driver, address, "gateway_probes_sent");
                }
            }
        }
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

/// Asks who has `target`, as any host with an address of its own does.
pub(super) fn ask(driver: &mut LinkDriver, target: IpAddr, counter: &'static str) {
    let Some(source) = driver.source() else { return };
    let request = |mac| match (source, target) {
        (IpAddr::V4(source), IpAddr::V4(target)) => Arp::request(mac, source, target).encode(),
        (IpAddr::V6(source), IpAddr::V6(target)) => Solicitation::new(mac, source, target).encode(),
        // A link's addresses are of its family.
        (IpAddr::V4(_) | IpAddr::V6(_), _) => Vec::new(),
    };
    driver.send_neighbour(None, request, counter);
}
