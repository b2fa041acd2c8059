//! One group: its router, and what this node has done for it in the kernel.

pub(super) mod configured;

mod fitness;
mod leading;
mod probing;
mod proving;
mod silencing;
#[cfg(test)]
mod tests;

use super::link::LinkDriver;
use super::rivals::Rivals;
use crate::announcer::Announcer;
use crate::border::{Role, Unclaimed};
use crate::disproof::Disproof;
use crate::drain::Drain;
use crate::election::elector::Grant;
use crate::frame::Mac;
use crate::gateway::Gateway;
use crate::prober::Prober;
use crate::proof::Proof;
use crate::router::{Fitness, Router, RouterSpec};
use crate::track::Tracks;
use configured::{destinations, gateways, virtual_macs};
use fulcrum_config::{Config, Group, Link, NodeName, Vip};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) struct GroupDriver {
    pub(super) group: Arc<Group>,
    pub(super) router: Router,
    /// Whether this node answers for the addresses.
    pub(super) leading: bool,
    /// Addresses may be local because this node led: the guard has orders until they are gone.
    pub(super) held: bool,
    /// Addresses that a reload took out of the group, until they are gone.
    former: BTreeSet<IpAddr>,
    /// Who led last, if not this node.
    pub(super) followed: Option<NodeName>,
    /// Whether addresses stay local, although this node answers no more.
    pub(super) drain: Drain,
    /// When the takeover that is not yet announced was decided.
    pub(super) decided: Option<Instant>,
    /// How long the last one took.
    pub(super) takeover: Option<Duration>,
    /// Addresses that could not be installed, with the kernel's reason.
    pub(super) failed: BTreeMap<IpAddr, String>,
    pub(super) announcer: Announcer,
    pub(super) prober: Prober,
    /// What is found out by asking for the addresses from outside.
    pub(super) proof: Proof,
    /// What others found out about this node in the same way.
    disproof: Disproof,
    pub(super) tracks: Tracks,
    /// Those that are tracked, and the witness if this group asks it for all.
    gateways: Vec<(Link, IpAddr, Gateway)>,
    /// Whether enough nodes let this one lead.
    pub(super) grant: Grant,
    fitness: Option<Fitness>,
    rivals: Rivals,
    prober_done: bool,
    /// Who had which address; not answered for until it was probed anew.
    suspects: BTreeMap<IpAddr, Mac>,
    /// The conflicts that were logged.
    told: BTreeMap<IpAddr, Mac>,
    /// Verdicts may still change.
    probing: bool,
    /// What the announcer knows.
    announced: Vec<Vip>,
    /// The virtual MAC on each link that has one.
    pub(super) virtual_macs: BTreeMap<Link, Mac>,
    /// Where adverts go on each link.
    pub(super) destinations: BTreeMap<Link, Vec<IpAddr>>,
    /// The last advert that every node denies.
    pub(super) unclaimed: Option<Unclaimed>,
}

impl GroupDriver {
    pub(super) fn new(config: &Config, group: Arc<Group>, now: Instant) -> Self {
        let mut router = Router::new(RouterSpec::new(config, &group), now);
        router.set_first_question(fastrand::u64(..));
        let mut driver = Self {
            router,
            unclaimed: None,
            destinations: destinations(config, &group),
            virtual_macs: virtual_macs(config, &group),
            leading: false,
            held: false,
            former: BTreeSet::new(),
            followed: None,
            drain: Drain::default(),
            decided: None,
            takeover: None,
            failed: BTreeMap::new(),
            announcer: Announcer::new(&config.timing, group.advert_interval),
            prober: Prober::default(),
            proof: Proof::new(fulcrum_config::Proof::default().interval),
            disproof: Disproof::default(),
            tracks: Tracks::new(&group.tracks, config.timing.track_damping),
            gateways: gateways(config, &group, now),
            grant: Grant::Always,
            fitness: None,
            rivals: Rivals::default(),
            prober_done: false,
            suspects: BTreeMap::new(),
            told: BTreeMap::new(),
            probing: true,
            announced: Vec::new(),
            group,
        };
        driver.update_announced(now);
        driver
    }

    /// Takes a changed configuration; no role changes by that alone.
    pub(super) fn reconfigure(&mut self, config: &Config, group: Arc<Group>, now: Instant) {
        self.router.handle_reconfigured(RouterSpec::new(config, &group), now);
        self.destinations = destinations(config, &group);
        self.virtual_macs = virtual_macs(config, &group);
        self.announcer.handle_reconfigured(&config.timing, group.advert_interval);
        self.tracks.handle_reconfigured(&group.tracks, config.timing.track_damping);
        let gateways = gateways(config, &group, now);
        let places = |all: &[(Link, IpAddr, Gateway)]| -> Vec<(Link, IpAddr)> {
            all.iter().map(|(link, address, _)| (link.clone(), *address)).collect()
        };
        if group.tracks != self.group.tracks || places(&gateways) != places(&self.gateways) {
            self.gateways = gateways;
        }
        self.fitness = None;
        self.former.extend(self.group.vips.iter().map(|vip| vip.address));
        self.group = group;
        self.update_announced(now);
    }

    /// Tells the router which links are up, and probes the addresses behind them.
    pub(super) fn update_links(&mut self, links: &BTreeMap<Link, LinkDriver>, now: Instant) {
        let source = |link: &Link| links.get(link).and_then(LinkDriver::source);
        for link in self.destinations.keys() {
            self.router.handle_link(link, source(link), now);
        }
        let up = self.group.vips.iter().filter(|vip| source(&vip.link()).is_some());
        self.prober.handle_addresses(up.map(|vip| vip.address), now);
    }

    /// Everything of it that waits for a moment.
    pub(super) fn handle_timer(&mut self, now: Instant) {
        self.router.handle_timer(now);
        self.drain.handle_timer(now);
        if let Some(leader) = self.router.leader() {
            self.followed.clone_from(&leader.node);
        }
    }

    /// When to be called next; with `heartbeat` not before that for what an elected leader says.
    pub(super) fn poll_timeout(&self, heartbeat: Option<Instant>) -> Option<Instant> {
        let says = self.group.is_elected() && self.router.role() == Role::Leader;
        let router = self.router.poll_timeout();
        let machines = [
            router.map(|at| heartbeat.filter(|_| says).map_or(at, |heartbeat| at.max(heartbeat))),
            self.drain.until(),
            self.announcer.poll_timeout(),
            self.prober.poll_timeout(),
            self.tracks.poll_timeout(),
        ];
        let gateways = self.gateways.iter().map(|(_, _, gateway)| gateway.poll_timeout());
        machines.into_iter().flatten().chain(gateways).min()
    }

    /// The links this group needs: those it adverts on, and those its gateways are behind.
    pub(super) fn links(&self) -> impl Iterator<Item = &Link> {
        self.destinations.keys().chain(self.gateways.iter().map(|(link, _, _)| link))
    }

    /// The link on which what is said of an elected group counts as heard.
    pub(super) fn first_link(&self) -> Option<&Link> {
        self.destinations.keys().next()
    }

    /// The addresses whose ARP or ND on `link` concern this group.
    pub(super) fn heard_on<'a>(&'a self, link: &'a Link) -> impl Iterator<Item = IpAddr> + 'a {
        self.group.vips_on(link).chain(self.gateways_on(link))
    }

    /// Where `address` is advertised.
    pub(super) fn link_of(&self, address: IpAddr) -> Option<Link> {
        self.group.vips.iter().find(|vip| vip.address == address).map(Vip::link)
    }

    /// The virtual MAC on `link`, if it has one.
    pub(super) fn virtual_mac(&self, link: &Link) -> Option<Mac> {
        self.virtual_macs.get(link).copied()
    }

    pub(super) fn has(&self, address: IpAddr) -> bool {
        self.group.vips.iter().any(|vip| vip.address == address)
    }

    /// Whether the machines that its adverts come from on `link` matter.
    pub(super) fn is_claimed_on(&self, link: &Link) -> bool {
        self.router.is_claimed() && self.destinations.contains_key(link)
    }

    /// An advert that no node of ours sent came from `source`.
    pub(super) fn refuse(&mut self, driver: &mut LinkDriver, source: IpAddr, priority: u8, now: Instant) {
        let mac =
            self.group.vrid().and_then(|vrid| driver.sender(source, vrid.get())).map(|mac| mac.to_string());
        if let Some(times) = driver.count_seldom("refused_unclaimed") {
            tracing::warn!(
                group = %self.group.name, %source, mac = mac.as_deref().unwrap_or("not seen"), priority, times,
                "an advert that no node sent, as the nodes say over the peer link, was dropped"
            );
        }
        let count = self.unclaimed.as_ref().map_or(0, |unclaimed| unclaimed.count).saturating_add(1);
        let link = driver.link.clone();
        self.unclaimed = Some(Unclaimed { link, source, mac, priority, last: now, count });
    }
}
