//! Asking from outside who answers for the VIPs of groups that this node does not lead.

use super::Engine;
use super::neighbours::ask;
use crate::driver::group::GroupDriver;
use crate::driver::group::configured::{is_on, nodes_on};
use crate::driver::link::LinkDriver;
use crate::frame::Mac;
use crate::segment::{self, Ends};
use fulcrum_config::{Config, GroupName, Link, Protocol};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// Questions of a batch, and time between batches: however many VIPs there are, a node asks a hundred times a second at
/// most, and this loop is not woken for each of them.
const BATCH: usize = 10;
const BATCHES: Duration = Duration::from_millis(100);

/// The ports that SYNs are sent from, above those that the kernel gives to connections by default.
const SOURCES: std::ops::RangeInclusive<u16> = 61_440..=u16::MAX;

/// When the next batch may go out, and what was asked for from which port.
pub(super) struct Proving {
    next: Instant,
    source: u16,
    /// At most one for each of those ports.
    asked: BTreeMap<u16, (GroupName, IpAddr)>,
}

impl Proving {
    pub(super) fn new(now: Instant) -> Self {
        Self { next: now, source: fastrand::u16(SOURCES), asked: BTreeMap::new() }
    }

    /// Sends a SYN to a port of a VIP that `mac` answered for.
    pub(super) fn ask_port(
        &mut self,
        name: &GroupName,
        group: &mut GroupDriver,
        driver: &mut LinkDriver,
        service: SocketAddr,
        mac: Mac,
    ) {
        let Some(open) = &driver.open else { return };
        let Some((socket, own)) = open.segments.as_ref().zip(open.own_address()) else { return };
        self.source = if self.source == u16::MAX { *SOURCES.start() } else { self.source.saturating_add(1) };
        let (source, sequence) = (self.source, fastrand::u32(..));
        let own = SocketAddr::new(own, source);
        let ends = Ends { own_mac: open.identity.mac.into(), own, mac, other: service };
        let Some(frame) = ends.syn(sequence) else { return };
        if socket.send(&frame).is_err() {
            return driver.count("frames_not_sent");
        }
        driver.count("proof_syns_sent");
        group.proof.handle_syn(service.ip(), service.port(), source, sequence);
        self.asked.insert(source, (name.clone(), service.ip()));
    }
}

impl Engine {
    /// Asks what is to be asked, and judges the answers.
    pub(super) fn prove(&mut self, now: Instant) {
        let is_due = self.prove_at().is_some_and(|at| at <= now);
        if !is_due && !self.show.is_due(now) {
            return;
        }
        self.update_parts(now);
        if !is_due {
            return;
        }
        self.proving.next = now.checked_add(BATCHES).unwrap_or(now);
        let mut due = Vec::new();
        for (name, group) in &mut self.groups {
            let links = &self.links;
            let around = |link: &_| {
                links.get(link).filter(|driver| driver.open.is_some()).map(|driver| &driver.neighbourhood)
            };
            if group.proof.handle_timer(around, now) {
                tell(name, group);
                self.show.changed();
            }
            due.extend(
                group.proof.due(now).map(|(calm, since, address)| (calm, since, name.clone(), address)),
            );
        }
        due.sort_unstable();
        for (_, _, name, address) in due.into_iter().take(BATCH) {
            let Some(group) = self.groups.get_mut(&name) else { continue };
            let Some(driver) = group.proof.ask(address, now).and_then(|link| self.links.get_mut(link)) else {
                continue;
            };
            ask(driver, address, "proof_questions_sent");
        }
        self.look_for_neighbours(now);
    }

    /// Reads one answer to a SYN, and ends what it accepts: nobody is to wait for more. Returns whether there was one.
    pub(super) fn read_segment(&mut self, link: &Link, buffer: &mut [u8]) -> bool {
        let Some(driver) = self.links.get_mut(link) else { return false };
        let Some(socket) = driver.open.as_ref().and_then(|open| open.segments.as_ref()) else { return false };
        let length = match socket.receive(buffer) {
            Ok(Some(length)) => length,
            Ok(None) => return false,
            Err(_) => {
                driver.count("receive_errors");
                return false;
            }
        };
        let Ok(answer) = segment::decode(buffer.get(..length).unwrap_or_default()) else { return true };
        // In mode nat a backend on this link answers with its own address: the number that it acknowledges tells.
        let source = answer.ends.own.port();
        let Some((name, address)) = self.proving.asked.get(&source) else { return true };
        let Some(group) = self.groups.get_mut(name) else { return true };
        if group.proof.handle_segment(*address, source, answer.acknowledged) && answer.accepts {
            let reset = answer.ends.reset(answer.acknowledged).map(|frame| socket.send(&frame));
            if reset.is_none_or(|sent| sent.is_err()) {
                driver.count("frames_not_sent");
            }
        }
        true
    }

    /// When to ask or to judge next.
    pub(super) fn prove_at(&self) -> Option<Instant> {
        let due = self.groups.values().filter_map(|group| group.proof.poll_timeout()).min()?;
        Some(due.max(self.proving.next))
    }

    fn update_parts(&mut self, now: Instant) {
        let Some(desired) = &self.desired else { return };
        let own = &desired.config.node;
        for (name, group) in &mut self.groups {
            let part = group.part(own, self.electing.elector.order(name));
            group.proof.handle_part(part, now);
        }
        for (link, driver) in &mut self.links {
            let asks_ports = self.groups.values().any(|group| group.proof.asks_ports(link));
            driver.watch_segments(asks_ports, *SOURCES.start(), &self.poller);
        }
    }

    /// Where something is in doubt, asks whether anybody hears this node, and who has which MAC.
    fn look_for_neighbours(&mut self, now: Instant) {
        for (link, driver) in &mut self.links {
            let is_in_doubt = self.groups.values().any(|group| group.proof.is_in_doubt(link));
            for address in driver.neighbourhood.poll_questions(is_in_doubt, now) {
                ask(driver, address, "neighbour_questions_sent");
            }
        }
    }
}

fn tell(name: &GroupName, group: &GroupDriver) {
    for (address, proof) in group.proof.observed() {
        tracing::debug!(group = %name, %address, finding = ?proof.finding, "asked from outside who has the VIP");
    }
}

/// The TCP ports of services at each VIP; of a range the first.
pub(super) fn ports(config: &Config) -> BTreeMap<IpAddr, Vec<u16>> {
    let mut ports: BTreeMap<IpAddr, Vec<u16>> = BTreeMap::new();
    for service in config.services.values().filter(|service| service.protocol == Protocol::Tcp) {
        for vip in &service.vips {
            ports.entry(*vip).or_default().push(service.ports.first);
        }
    }
    ports
}

/// The machines on a link that can say whether they hear this node: the other nodes, gateways and backends.
pub(super) fn look_around(
    driver: &mut LinkDriver,
    config: &Config,
    groups: &BTreeMap<GroupName, GroupDriver>,
) {
    let link = driver.link.clone();
    let nodes = nodes_on(config, &link).map(|(address, node)| (address, node.clone()));
    let gateways = groups.values().flat_map(|group| group.gateways_on(&link));
    let backends = config.services.values().flat_map(|service| &service.backends);
    let backends = backends.map(|backend| backend.address.ip).filter(|ip| is_on(config, &link, *ip));
    driver.neighbourhood.handle_neighbours(nodes, gateways.chain(backends));
}
