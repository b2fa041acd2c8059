//! One link: its sockets, opened when the interface is up and has an address of ours, and its counters.

use crate::advert::{Advert, Refusal};
use crate::border::{Counters, LinkObserved};
use crate::frame;
use crate::guard::Resignation;
use crate::netlink::{InterfaceState, View};
use crate::poller::Poller;
use crate::proof::Neighbourhood;
use crate::router::Noted;
use crate::sockets::{NeighbourSocket, SegmentSocket, SenderSocket, VrrpSocket, advert_frame};
use crate::sys::Mac;
use fulcrum_config::{Config, Family, Link};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};

/// An interface as the sockets are bound to it; when any of this changes they are opened anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) index: u32,
    pub(crate) mac: Mac,
    /// Where adverts come from.
    pub(crate) source: IpAddr,
    /// Where adverts to IPv6 addresses that are not link-local come from.
    unicast: Option<IpAddr>,
}

/// The sockets.
pub(super) struct Open {
    pub(super) identity: Identity,
    pub(super) vrrp: VrrpSocket,
    pub(super) neighbour: NeighbourSocket,
    pub(super) senders: SenderSocket,
    /// While ports are asked for.
    pub(super) segments: Option<SegmentSocket>,
}

/// The sockets that adverts leave by, as the guard numbers them: [`SENDERS`] for each link.
const SENDER: u64 = 0;
const UNICAST_SENDER: u64 = 1;
const SENDERS: u64 = 2;

impl Open {
    /// Our address there that hosts elsewhere can answer.
    pub(super) fn own_address(&self) -> Option<IpAddr> {
        let Identity { source, unicast, .. } = self.identity;
        unicast.or_else(|| Some(source).filter(IpAddr::is_ipv4))
    }

    /// Sends an advert; to a group it leaves from the virtual MAC if there is one.
    fn send(&self, advert: &Advert, destination: IpAddr, virtual_mac: Option<frame::Mac>) -> io::Result<()> {
        let source = self.vrrp.source_for(destination);
        let message = advert.encode(source, destination);
        let mac = virtual_mac.filter(|_| destination.is_multicast());
        match mac.and_then(|mac| advert_frame(mac, source, destination, &message)) {
            Some(frame) => self.neighbour.send(&frame),
            None => self.vrrp.send(destination, &message),
        }
    }
}

/// What [`LinkDriver::update`] did.
pub(super) enum Update {
    Unchanged,
    Opened,
    Closed,
}

/// Whose ARP or ND is let through.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Listening {
    /// All that is about these.
    pub(super) about: Vec<IpAddr>,
    /// What these say of themselves.
    pub(super) from: Vec<IpAddr>,
}

pub(super) struct LinkDriver {
    pub(super) link: Link,
    /// Its number for the poller and for the guard; never used twice.
    pub(super) number: u64,
    pub(super) open: Option<Open>,
    /// Why it is not open.
    pub(super) error: Option<String>,
    counters: Counters,
    /// The other machines there.
    pub(super) neighbourhood: Neighbourhood,
    listening_for: Listening,
    /// Whether the machines that adverts come from are looked at.
    watches_senders: bool,
}

impl LinkDriver {
    pub(super) fn new(link: Link, number: u64) -> Self {
        Self {
            link,
            number,
            open: None,
            error: None,
            counters: Counters::default(),
            neighbourhood: Neighbourhood::default(),
            listening_for: Listening::default(),
            watches_senders: false,
        }
    }

    /// Opens or closes the sockets, as the kernel's view of the interface says.
    pub(super) fn update(&mut self, config: &Config, view: &View, poller: &Poller) -> Update {
        let identity = match identity(config, view, &self.link) {
            Ok(identity) => identity,
            Err(reason) => return self.close(reason),
        };
        if self.open.as_ref().is_some_and(|open| open.identity == identity) {
            return Update::Unchanged;
        }
        self.open = None;
        match open(&self.link, identity, self.number, poller) {
            Ok(open) => {
                self.open = Some(open);
                self.error = None;
                let listening = std::mem::take(&mut self.listening_for);
                self.listen_for(listening);
                self.watch_senders(self.watches_senders);
                Update::Opened
            }
            Err(error) => {
                self.count("open_failed");
                let link = &self.link;
                self.error = Some(format!(
                    "{link}: the sockets for adverts could not be opened: {error}; its VIPs \
                     can't be served; this is tried again"
                ));
                Update::Closed
            }
        }
    }

    /// Whether opening failed although the interface is there: worth another try.
    pub(super) fn wants_retry(&self) -> bool {
        self.open.is_none() && self.error.as_deref().is_some_and(|error| error.ends_with("tried again"))
    }

    fn close(&mut self, reason: String) -> Update {
        self.error = Some(reason);
        if self.open.take().is_some() { Update::Closed } else { Update::Unchanged }
    }

    /// Lets ARP or ND for these addresses through, and only for these.
    pub(super) fn listen_for(&mut self, listening: Listening) {
        if listening == self.listening_for {
            return;
        }
        if let Some(open) = &mut self.open
            && let Err(error) = open.neighbour.listen_for(&listening.about, &listening.from)
        {
            self.count("filter_failed");
            tracing::warn!(interface = %self.link.interface, %error, "the filter for ARP or ND could not be set");
        }
        self.listening_for = listening;
    }

    /// Whether to remember which machines adverts come from.
    pub(super) fn watch_senders(&mut self, watch: bool) {
        self.watches_senders = watch;
        if let Some(open) = &mut self.open
            && let Err(error) = open.senders.listen(watch)
        {
            self.count("filter_failed");
            tracing::warn!(interface = %self.link.interface, %error, "the filter for adverts could not be set");
        }
    }

    /// Whether to hear the answers to SYNs from ports that are `first` or above.
    pub(super) fn watch_segments(&mut self, watch: bool, first: u16, poller: &Poller) {
        let number = self.number;
        let Some(open) = &mut self.open else { return };
        if watch == open.segments.is_some() {
            return;
        }
        let Some(own) = open.own_address().filter(|_| watch) else {
            open.segments = None;
            return;
        };
        let token = super::engine::token(number, super::engine::SEGMENT);
        let opened = SegmentSocket::open(open.identity.index, own, first)
            .and_then(|socket| poller.add(&socket, token).map(|()| socket));
        match opened {
            Ok(socket) => open.segments = Some(socket),
            Err(error) => {
                if let Some(times) = self.count_seldom("segments_not_heard") {
                    let interface = &self.link.interface;
                    tracing::warn!(%interface, %error, times, "ports of VIPs can't be asked for; trying again");
                }
            }
        }
    }

    /// The machine that sent an advert from `source` for `vrid` last.
    pub(super) fn sender(&mut self, source: IpAddr, vrid: u8) -> Option<frame::Mac> {
        let senders = &mut self.open.as_mut()?.senders;
        senders.read();
        senders.mac(source, vrid)
    }

    /// Where adverts come from.
    pub(super) fn sources(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.open.iter().flat_map(|open| [Some(open.identity.source), open.identity.unicast]).flatten()
    }

    /// Our address there.
    pub(super) fn source(&self) -> Option<IpAddr> {
        self.open.as_ref().map(|open| open.identity.source)
    }

    /// Second descriptors of the sockets that adverts leave by, with their numbers.
    pub(super) fn senders(&self) -> io::Result<Vec<(u64, OwnedFd)>> {
        let Some(open) = &self.open else { return Ok(Vec::new()) };
        let (sender, unicast) = open.vrrp.senders()?;
        let mut senders = vec![(SENDER, sender)];
        senders.extend(unicast.map(|sender| (UNICAST_SENDER, sender)));
        Ok(senders.into_iter().map(|(kind, sender)| (self.sender_number(kind), sender)).collect())
    }

    /// The numbers of all senders that this link may have.
    pub(super) fn sender_numbers(&self) -> impl Iterator<Item = u64> + '_ {
        (0..SENDERS).map(|kind| self.sender_number(kind))
    }

    fn sender_number(&self, kind: u64) -> u64 {
        self.number.saturating_mul(SENDERS).saturating_add(kind)
    }

    pub(super) fn send_advert(
        &mut self,
        advert: &Advert,
        destinations: &[IpAddr],
        virtual_mac: Option<frame::Mac>,
    ) {
        let Some(open) = &self.open else { return };
        for destination in destinations {
            let sent = open.send(advert, *destination, virtual_mac);
            count_result(&mut self.counters, &sent, "adverts_sent", "adverts_not_sent");
        }
    }

    /// The same for the guard to send, never from the virtual MAC.
    pub(super) fn resignations(&self, advert: &Advert, destinations: &[IpAddr]) -> Vec<Resignation> {
        let Some(open) = &self.open else { return Vec::new() };
        let resignation = |destination: &IpAddr| Resignation {
            sender: self.sender_number(if open.vrrp.is_unicast(*destination) {
                UNICAST_SENDER
            } else {
                SENDER
            }),
            destination: *destination,
            interface: open.identity.index,
            bytes: advert.encode(open.vrrp.source_for(*destination), *destination),
        };
        destinations.iter().map(resignation).collect()
    }

    pub(super) fn send_frame(&mut self, frame: &[u8], name: &'static str) {
        let Some(open) = &self.open else { return };
        let sent = open.neighbour.send(frame);
        count_result(&mut self.counters, &sent, name, "frames_not_sent");
    }

    /// Sends an ARP or ND frame that `make` makes for our MAC, or for the virtual one.
    pub(super) fn send_neighbour(
        &mut self,
        virtual_mac: Option<frame::Mac>,
        make: impl FnOnce(frame::Mac) -> Vec<u8>,
        name: &'static str,
    ) {
        if let Some(open) = &self.open {
            let frame = make(virtual_mac.unwrap_or(open.identity.mac.into()));
            self.send_frame(&frame, name);
        }
    }

    pub(super) fn count(&mut self, name: &'static str) {
        count(&mut self.counters, name);
    }

    /// Counts what an accepted advert had that it should not.
    pub(super) fn note(&mut self, noted: Noted) {
        let Noted { addresses_differ, interval_differs, unknown_source } = noted;
        let names = [
            (addresses_differ, "address_list_mismatch"),
            (interval_differs, "interval_mismatch"),
            (unknown_source, "unknown_source"),
        ];
        for (_, name) in names.into_iter().filter(|(seen, _)| *seen) {
            if let Some(times) = self.count_seldom(name) {
                let Link { interface, family } = &self.link;
                tracing::warn!(
                    %interface, %family, times,
                    "an advert was accepted although it differs from this node's configuration: {name}"
                );
            }
        }
    }

    pub(super) fn refuse(&mut self, refusal: Refusal) {
        if let Some(times) = self.count_seldom(refusal.counter()) {
            let Link { interface, family } = &self.link;
            tracing::warn!(%interface, %family, times, "an advert was dropped: {refusal}");
        }
    }

    /// Counts, and gives how often so far if that is a power of two: a flood is not to fill the log.
    pub(super) fn count_seldom(&mut self, name: &'static str) -> Option<u64> {
        self.count(name);
        self.counters.0.get(name).copied().filter(|times| times.is_power_of_two())
    }

    pub(super) fn observed(&self) -> LinkObserved {
        LinkObserved { up: self.open.is_some(), address: self.source(), counters: self.counters.clone() }
    }
}

pub(super) fn count(counters: &mut Counters, name: &'static str) {
    let counter = counters.0.entry(name).or_default();
    *counter = counter.saturating_add(1);
}

fn count_result(counters: &mut Counters, result: &io::Result<()>, good: &'static str, bad: &'static str) {
    count(counters, if result.is_ok() { good } else { bad });
}

fn open(link: &Link, identity: Identity, number: u64, poller: &Poller) -> io::Result<Open> {
    let Identity { index, source, unicast, .. } = identity;
    let vrrp = VrrpSocket::open(link.interface.as_str(), index, source, unicast)?;
    let neighbour = NeighbourSocket::open(link.family, index)?;
    poller.add(vrrp.as_fd(), super::engine::token(number, super::engine::VRRP))?;
    poller.add(neighbour.as_fd(), super::engine::token(number, super::engine::NEIGHBOUR))?;
    let senders = SenderSocket::open(link.family, index)?;
    Ok(Open { identity, vrrp, neighbour, senders, segments: None })
}

/// What the sockets are to be bound to, or why there is nothing to bind them to, for people.
pub(crate) fn identity(config: &Config, view: &View, link: &Link) -> Result<Identity, String> {
    let Link { interface: name, family } = link;
    let Some(interface) = view.named(name.as_str()) else {
        return Err(format!(
            "interface {name} does not exist; its VIPs can't be served; create it or correct the configuration"
        ));
    };
    if !interface.up {
        return Err(format!("interface {name} is down or has no carrier; its VIPs can't be served"));
    }
    let Some(mac) = interface.mac else {
        return Err(format!("interface {name} is not like Ethernet; VIPs can't be served there"));
    };
    let source = match family {
        Family::Ipv4 => own_address(config, interface, link),
        Family::Ipv6 => interface.link_local().map(IpAddr::V6),
    };
    let unicast = match family {
        Family::Ipv4 => None,
        Family::Ipv6 => own_address(config, interface, link).filter(|address| Some(*address) != source),
    };
    match source {
        Some(source) => Ok(Identity { index: interface.index, mac, source, unicast }),
        None => {
            let which = match family {
                Family::Ipv4 => "address of this node",
                Family::Ipv6 => "link-local address (adverts come from there)",
            };
            Err(format!(
                "interface {name} has no usable {family} address to send adverts from; its VIPs can't be served; add \
                 the {which} to it"
            ))
        }
    }
}

/// The address that the configuration gives this node there, or else the first in a configured network.
fn own_address(config: &Config, interface: &InterfaceState, link: &Link) -> Option<IpAddr> {
    let configured = config.nodes.get(&config.node).map(|node| node.addresses.as_slice()).unwrap_or_default();
    let in_family = |address: &IpAddr| Family::of(*address) == link.family;
    if let Some(address) = configured.iter().find(|address| in_family(address) && interface.has(**address)) {
        return Some(*address);
    }
    let networks = &config.interfaces.get(&link.interface)?.networks;
    let mut own = interface.addresses.iter().map(|(address, _)| *address).filter(in_family);
    own.find(|address| {
        networks.iter().any(|network| network.contains(address)) && config.group_of(*address).is_none()
    })
}
