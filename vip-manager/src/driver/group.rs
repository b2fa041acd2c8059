//! One group: its router, and what this node has done for it in the kernel.

use super::link::LinkDriver;
use super::rivals::{Claim, Rivals};
use crate::advert::{MULTICAST_IPV4, MULTICAST_IPV6};
use crate::announcer::Announcer;
use crate::border::{Desired, Reason, Role, Unclaimed};
use crate::disproof::Disproof;
use crate::drain::Drain;
use crate::election::elector::{GRACE, Grant};
use crate::election::placement::Order;
use crate::fence::Permit;
use crate::frame::{Mac, virtual_mac};
use crate::gateway::Gateway;
use crate::guard::Orders;
use crate::netlink::View;
use crate::prober::{Prober, Verdict};
use crate::proof::{Part, Proof, Wanted};
use crate::router::{Fitness, Router, RouterSpec, down_interval};
use crate::track::Tracks;
use fulcrum_config::{
    Adverts, Config, Election, Family, Group, InterfaceName, Link, NodeName, OnFailure, OnSplit, Priority,
    Track, Vip, Witness,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How a gateway that is the witness is asked.
const WITNESS_INTERVAL: Duration = Duration::from_secs(1);
const WITNESS_FALL: u32 = 3;
const WITNESS_RISE: u32 = 2;

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

    /// What is asked for from outside: the addresses, each with the TCP ports of its services.
    pub(super) fn update_proof(&mut self, ports: &BTreeMap<IpAddr, Vec<u16>>, now: Instant) {
        let how = self.group.proof.unwrap_or_default();
        let ports = |vip: &Vip| ports.get(&vip.address).filter(|_| how.ports).cloned().unwrap_or_default();
        let wanted = self.group.vips.iter().map(|vip| Wanted {
            address: vip.address,
            link: vip.link(),
            ports: ports(vip),
        });
        self.proof.handle_wanted(how.interval, wanted, now);
    }

    /// What this node, `own`, is to the group as far as asking for its addresses goes. Where the nodes know who takes
    /// over (`order`), that one asks; else every standby.
    pub(super) fn part(&self, own: &NodeName, order: Option<&Order>) -> Part {
        let is_first = order.is_none_or(|order| order.nodes.get(1) == Some(own));
        match (self.router.role(), self.router.leader()) {
            (Role::Init, _) => Part::Idle,
            (Role::Leader | Role::Standby, _) if self.group.proof.is_none() => Part::Idle,
            (Role::Leader, _) => Part::Leads,
            (Role::Standby, None) => Part::Unled,
            (Role::Standby, Some(_)) if !is_first => Part::Idle,
            (Role::Standby, Some(leader)) => Part::Follows {
                node: leader.node.clone(),
                address: leader.address,
                epoch: self.router.epoch(),
            },
        }
    }

    /// The nodes come in another order than before, perhaps. Whether they do.
    pub(super) fn set_priorities(
        &mut self,
        config: &Config,
        priorities: BTreeMap<NodeName, Priority>,
        now: Instant,
    ) -> bool {
        if self.group.priorities == priorities {
            return false;
        }
        self.group = Arc::new(Group { priorities, ..(*self.group).clone() });
        self.router.handle_reconfigured(RouterSpec::new(config, &self.group), now);
        self.fitness = None;
        true
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

    /// Looks at everything tracked, and tells the router what it leaves of this node.
    /// If it leads, it offers the group to whom it is to move to.
    pub(super) fn update_fitness(
        &mut self,
        desired: &Desired,
        view: &View,
        moves_to: Option<&NodeName>,
        now: Instant,
    ) {
        let up = |interface: &InterfaceName| view.named(interface.as_str()).is_some_and(|found| found.up);
        let served = !desired.data_plane_missing.contains(&self.group.name);
        for track in &self.group.tracks {
            let good = match track {
                Track::Link { interface, .. } => up(interface),
                Track::DataPlane { .. } => served,
                Track::Gateway { address, interface, .. } => self
                    .gateways
                    .iter()
                    .find(|(link, gateway, _)| gateway == address && link.interface == *interface)
                    .is_none_or(|(_, _, gateway)| gateway.is_reachable()),
            };
            self.tracks.handle(|other| other == track, good, now);
        }
        self.tracks.handle_timer(now);
        self.update_disproof(desired, now);
        let fitness = if desired.standing_down.contains_key(&self.group.name) {
            Fitness::LastResort(Reason::StandingDown)
        } else if let Some(by) = self.disproof.failed(now) {
            Fitness::LastResort(Reason::NotAnswering(by.clone()))
        } else if let Some(to) = moves_to.filter(|_| self.router.role() == Role::Leader) {
            Fitness::LastResort(Reason::Balanced(to.clone()))
        } else {
            let priority = self.group.priorities.get(&desired.config.node).copied();
            self.tracks.fitness(priority.unwrap_or(Priority::DEFAULT))
        };
        if self.fitness.as_ref() != Some(&fitness) {
            if let Fitness::LastResort(Reason::Balanced(to)) = &fitness {
                tracing::info!(group = %self.group.name, "offered to {to}, for an even spread over the nodes");
            }
            self.fitness = Some(fitness.clone());
            self.router.handle_fitness(fitness, now);
        }
    }

    /// Whether another node finds that this one leads and does not answer.
    fn update_disproof(&mut self, desired: &Desired, now: Instant) {
        if !self.hands_over() {
            self.disproof = Disproof::default();
        } else if self.router.role() == Role::Leader {
            let name = &self.group.name;
            let by = desired.words.iter().find(|(_, word)| word.accuses.contains(name));
            self.disproof.handle_accused(by.map(|(node, _)| node), now);
        }
    }

    /// Whether this node finds that the leader does not answer, and is to take over from it.
    pub(super) fn accuses(&self, now: Instant) -> bool {
        let could_lead = self.router.role() == Role::Standby && self.router.priority().is_some();
        could_lead && self.hands_over() && self.disproof.failed(now).is_none() && self.proof.is_failed()
    }

    fn hands_over(&self) -> bool {
        self.group.proof.is_some_and(|proof| proof.on_failure == OnFailure::HandOver)
    }

    /// A neighbour answered.
    pub(super) fn handle_gateway_answer(&mut self, link: &Link, address: IpAddr) -> bool {
        let asked = self.gateways.iter_mut().filter(|(on, who, _)| on == link && *who == address);
        asked.map(|(_, _, gateway)| gateway.handle_answer()).count() > 0
    }

    /// Whether it was not found that a gateway does not answer, if it asks that one.
    pub(super) fn reaches(&self, address: IpAddr) -> Option<bool> {
        let mut found = self.gateways.iter().filter(|(_, gateway, _)| *gateway == address);
        found.next().map(|(_, _, gateway)| gateway.is_reachable())
    }

    /// The gateways to probe now.
    pub(super) fn gateways_due(&mut self, now: Instant) -> Vec<(Link, IpAddr)> {
        let due = self
            .gateways
            .iter_mut()
            .filter_map(|(link, address, gateway)| gateway.poll_probe(now).then(|| (link.clone(), *address)));
        due.collect()
    }

    /// The links this group needs: those it adverts on, and those its gateways are behind.
    pub(super) fn links(&self) -> impl Iterator<Item = &Link> {
        self.destinations.keys().chain(self.gateways.iter().map(|(link, _, _)| link))
    }

    /// The addresses whose ARP or ND on `link` concern this group.
    pub(super) fn heard_on<'a>(&'a self, link: &'a Link) -> impl Iterator<Item = IpAddr> + 'a {
        self.group.vips_on(link).chain(self.gateways_on(link))
    }

    /// The link on which what is said of an elected group counts as heard.
    pub(super) fn first_link(&self) -> Option<&Link> {
        self.destinations.keys().next()
    }

    /// The gateways behind `link`.
    pub(super) fn gateways_on<'a>(&'a self, link: &'a Link) -> impl Iterator<Item = IpAddr> + 'a {
        self.gateways.iter().filter(move |(on, _, _)| on == link).map(|(_, address, _)| *address)
    }

    /// Where `address` is advertised.
    pub(super) fn link_of(&self, address: IpAddr) -> Option<Link> {
        self.group.vips.iter().find(|vip| vip.address == address).map(Vip::link)
    }

    /// Once every address was probed, this node may lead.
    pub(super) fn finish_probing(&mut self, gathered: bool, now: Instant) {
        // A rival's claims were those of a leader, too: it yields, and then nobody would answer.
        if self.router.leader().is_some() || self.router.has_rival(now) {
            self.prober.handle_leader();
        }
        let up = self.router.role() != Role::Init;
        let waits = self.group.is_elected() && !gathered;
        if up && !self.prober_done && self.prober.is_done() && !waits {
            self.prober_done = true;
            match self.group.election {
                Election::Vrrp(_) => self.router.handle_clear(now),
                Election::Peers => self.router.handle_clear_anew(GRACE, now),
            }
        }
        let probing = self.prober.poll_timeout().is_some();
        if probing || self.probing {
            self.update_announced(now);
            self.log_conflicts();
        }
        self.probing = probing;
    }

    /// Conflicts that no living leader explains, each once: those that are left when this node leads.
    fn log_conflicts(&mut self) {
        for address in self.group.vips.iter().map(|vip| vip.address) {
            let mac = match self.prober.verdict(address) {
                Some(Verdict::Conflict(mac)) if self.leading => mac,
                Some(Verdict::Probing) => continue,
                Some(Verdict::Conflict(_) | Verdict::Clear) | None => {
                    self.told.remove(&address);
                    continue;
                }
            };
            if self.told.insert(address, mac) != Some(mac) {
                tracing::error!(
                    group = %self.group.name, %address, %mac,
                    "another machine uses this VIP; it stays down here; remove it there or choose another"
                );
            }
        }
    }

    /// Somebody else says that it has `address`, one of this group's. The virtual MAC is whoever's that leads.
    /// Gives whether there is news of a conflict, and what the claim is if the VIPs are announced again for it.
    pub(super) fn handle_claim(
        &mut self,
        link: &Link,
        address: IpAddr,
        mac: Mac,
        now: Instant,
    ) -> (bool, Option<Claim>) {
        if self.virtual_macs.values().any(|own| *own == mac) {
            return (false, None);
        }
        let follows = self.router.leader().is_some();
        let claim = self.rivals.handle_claim(link, mac, follows, self.leading, now);
        if claim == Claim::Rival {
            self.proof.handle_claim(address, mac, now);
        }
        let news = claim != Claim::Late && self.prober.handle_claim(address, mac, now);
        // Whoever takes an offer may be heard to announce itself before it is heard to lead.
        if self.router.is_offering() || !self.answers(address) || !self.rivals.defend(now) {
            return (news, None);
        }
        self.announcer.handle_announce(now);
        (news, Some(claim))
    }

    fn update_announced(&mut self, now: Instant) {
        let vips: Vec<Vip> =
            self.group.vips.iter().filter(|vip| self.is_probed(vip.address)).cloned().collect();
        if vips != self.announced {
            self.announced.clone_from(&vips);
            self.announcer.handle_vips(vips, now);
        }
    }

    /// This node answers from now on.
    pub(super) fn lead(&mut self, reason: &Reason, now: Instant) {
        if matches!(reason, Reason::LeaderResigned | Reason::LeaderSilent | Reason::Preempted) {
            self.acquit_former();
        }
        self.leading = true;
        self.held = true;
        self.drain.handle_end();
        self.decided = Some(now);
        self.rivals.handle_lead(now);
        self.probe_suspects(now);
        self.announcer.handle_announce(now);
    }

    /// The process of this node that leads it is about to be gone: this one answers for the addresses, which nobody else has.
    pub(super) fn inherit(&mut self, epoch: u64, now: Instant) {
        self.prober.handle_leader();
        self.router.handle_inherited(epoch, now);
    }

    /// A leader that was heard claimed the addresses rightfully, though the advert that made this node lead, its resignation
    /// or one of lower priority, may be the first that was heard of it.
    fn acquit_former(&mut self) {
        let addresses = self.group.vips.iter().map(|vip| vip.address);
        let claims = addresses.filter_map(|address| Some((self.link_of(address)?, self.conflict(address)?)));
        let claims: Vec<(Link, Mac)> = claims.collect();
        for (link, mac) in claims {
            self.rivals.handle_former(&link, mac);
        }
        self.prober.handle_leader();
    }

    /// Announces the addresses again if this node leads and `link` is one of the group's.
    pub(super) fn announce_on(&mut self, link: &Link, now: Instant) {
        if self.leading && self.destinations.contains_key(link) {
            self.announcer.handle_announce(now);
        }
    }

    /// Who had an address when it was last probed may have been the leader that is gone now.
    fn probe_suspects(&mut self, now: Instant) {
        let addresses: Vec<IpAddr> = self.group.vips.iter().map(|vip| vip.address).collect();
        let conflicts = addresses.iter().filter_map(|address| Some((*address, self.conflict(*address)?)));
        self.suspects = conflicts.collect();
        let known = |address: &IpAddr| self.prober.verdict(*address).is_some();
        let probed: Vec<IpAddr> = addresses.into_iter().filter(known).collect();
        let others: Vec<IpAddr> =
            probed.iter().copied().filter(|address| !self.suspects.contains_key(address)).collect();
        // Forgotten and told again, they are probed anew.
        self.prober.handle_addresses(others, now);
        self.prober.handle_addresses(probed, now);
    }

    /// This node answers no more. Where it knows that somebody else answers its addresses stay a little longer, and
    /// as long as it finishes connections if the new leader passes their packets on.
    pub(super) fn retire(&mut self, reason: &Reason, passed_on: bool, now: Instant) {
        self.leading = false;
        self.announcer.handle_retire();
        self.decided = None;
        if !is_handed_over(reason) {
            self.drain.handle_end();
            return;
        }
        let finish = if passed_on { self.group.drain } else { Duration::ZERO };
        self.drain.handle_handover(finish, now);
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

    /// Whether ARP and ND for `address` are answered: not any more from the moment that the router steps down,
    /// though that is acted upon only later in the turn.
    pub(super) fn answers(&self, address: IpAddr) -> bool {
        self.leading && self.router.role() == Role::Leader && self.has(address) && self.is_probed(address)
    }

    /// Whether nobody else has `address`. One that is new in a group that this node leads is probed first.
    fn is_probed(&self, address: IpAddr) -> bool {
        match self.prober.verdict(address) {
            Some(Verdict::Clear) | None => true,
            Some(Verdict::Probing | Verdict::Conflict(_)) => false,
        }
    }

    /// The virtual MAC on `link`, if it has one.
    pub(super) fn virtual_mac(&self, link: &Link) -> Option<Mac> {
        self.virtual_macs.get(link).copied()
    }

    /// The machine that has `address` already, if any.
    pub(super) fn conflict(&self, address: IpAddr) -> Option<Mac> {
        match self.prober.verdict(address) {
            Some(Verdict::Conflict(mac)) => Some(mac),
            Some(Verdict::Probing) => self.suspects.get(&address).copied(),
            Some(Verdict::Clear) | None => None,
        }
    }

    /// The addresses that this group has or had.
    pub(super) fn ours(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.group.vips.iter().map(|vip| vip.address).chain(self.former.iter().copied())
    }

    /// Forgets what is not local any more. A former address that another group has is that one's.
    pub(super) fn settle(&mut self, is_local: impl Fn(IpAddr) -> bool, configured: &BTreeSet<IpAddr>) {
        self.former.retain(|address| is_local(*address) && !configured.contains(address));
        self.held = self.leading || self.drain.until().is_some() || (self.held && self.ours().any(is_local));
    }

    /// Whether it waits for former addresses to be gone.
    pub(super) fn has_former(&self) -> bool {
        !self.former.is_empty()
    }

    pub(super) fn has(&self, address: IpAddr) -> bool {
        self.group.vips.iter().any(|vip| vip.address == address)
    }

    /// The addresses that are to be local now.
    ///
    /// A link-local address never is: the kernel looks those up on the interface that a packet came in by,
    /// never on the loopback. It is answered for all the same, as the gateway's address that it usually is.
    pub(super) fn wanted(&self) -> BTreeSet<IpAddr> {
        if !self.group.accept || !(self.leading || self.drain.until().is_some()) {
            return BTreeSet::new();
        }
        let addresses = self.group.vips.iter().map(|vip| vip.address);
        addresses.filter(|address| self.conflict(*address).is_none() && !is_link_local(*address)).collect()
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

    /// Tells the peers on every link that this node leads no more.
    pub(super) fn resign(&mut self, links: &mut BTreeMap<Link, LinkDriver>) {
        for (link, destinations) in &self.destinations {
            if let (Some(driver), Some(advert)) = (links.get_mut(link), self.router.advert(link, 0)) {
                driver.send_advert(&advert, destinations, None);
            }
        }
    }

    /// What the guard is to do if this process does not live; nothing unless addresses may be here.
    pub(super) fn orders(
        &self,
        links: &BTreeMap<Link, LinkDriver>,
        loopback: u32,
        devices: Vec<u32>,
    ) -> Option<Orders> {
        if !self.held {
            return None;
        }
        let mut resignations = Vec::new();
        for (link, destinations) in &self.destinations {
            // One that has retired has resigned already.
            let Some(driver) = links.get(link).filter(|_| self.leading) else { continue };
            let Some(advert) = self.router.advert(link, 0) else { continue };
            resignations.extend(driver.resignations(&advert, destinations));
        }
        let addresses = self.ours().map(|address| (loopback, address));
        Some(Orders { resignations, addresses: addresses.collect(), devices, down_interval: self.patience() })
    }

    /// What its VIPs may do on this node.
    pub(super) fn permit(&self, now: Instant) -> Permit {
        let (interval, patience) = (self.group.advert_interval.duration(), self.patience());
        if self.leading && self.router.role() == Role::Leader {
            let most = match self.grant {
                Grant::Always => None,
                Grant::Until(until) => Some(until),
                Grant::Never => return Permit::Silent,
            };
            return Permit::Leading { interval, patience, most, offered: self.router.offers() };
        }
        match self.drain.until() {
            Some(until) if now < until => Permit::Draining { until, interval, patience },
            Some(_) | None => Permit::Silent,
        }
    }

    /// Peers have waited at least this long when they take over.
    fn patience(&self) -> Duration {
        down_interval(u8::MAX, self.group.advert_interval)
    }
}

/// Whether a leader that retires for `reason` knows who leads instead, or offered the group: neighbours are told
/// by the new one, and what they sent before still arrives here.
fn is_handed_over(reason: &Reason) -> bool {
    match reason {
        Reason::Stopping
        | Reason::StandingDown
        | Reason::TrackFailed(_)
        | Reason::Balanced(_)
        | Reason::NotAnswering(_)
        | Reason::BetterLeader(_)
        | Reason::NotHeard(_) => true,
        Reason::Started
        | Reason::Inherited
        | Reason::LeaderSilent
        | Reason::NoLeader
        | Reason::LeaderResigned
        | Reason::Preempted
        | Reason::Owner
        | Reason::Stalled(_)
        | Reason::InterfaceDown(_)
        | Reason::InterfaceBack(_)
        | Reason::AddressConflict
        | Reason::NoQuorum
        | Reason::Reconfigured => false,
    }
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// The virtual MAC of each link whose interface wants it.
fn virtual_macs(config: &Config, group: &Group) -> BTreeMap<Link, Mac> {
    let wants = |link: &Link| config.interfaces.get(&link.interface).is_some_and(|found| found.virtual_mac);
    let links =
        group.vrid().into_iter().flat_map(|vrid| group.links().into_iter().map(move |link| (vrid, link)));
    let links = links.filter(|(_, link)| wants(link));
    links.map(|(vrid, link)| (link.clone(), virtual_mac(vrid, link.family))).collect()
}

fn gateways(config: &Config, group: &Group, now: Instant) -> Vec<(Link, IpAddr, Gateway)> {
    let gateway = |track: &Track| match track {
        Track::Gateway { address, interface, interval, fall, rise, .. } => {
            let link = Link { interface: interface.clone(), family: Family::of(*address) };
            Some((link, *address, Gateway::new(*interval, *fall, *rise, now)))
        }
        Track::Link { .. } | Track::DataPlane { .. } => None,
    };
    let tracked = group.tracks.iter().filter_map(gateway);
    // The first of the groups that ask for it asks for all.
    let asks = config.groups.values().find(|it| it.on_split == OnSplit::One);
    let witness = match &config.witness {
        Witness::Gateway { address, interface } if asks.is_some_and(|it| it.name == group.name) => {
            let link = Link { interface: interface.clone(), family: Family::of(*address) };
            Some((link, *address, Gateway::new(WITNESS_INTERVAL, WITNESS_FALL, WITNESS_RISE, now)))
        }
        Witness::None | Witness::Gateway { .. } | Witness::Etcd(_) | Witness::Kubernetes(_) => None,
    };
    tracked.chain(witness).collect()
}

/// Where adverts go on each link of a group.
fn destinations(config: &Config, group: &Group) -> BTreeMap<Link, Vec<IpAddr>> {
    let to = |link: &Link| match (group.election, group.adverts, link.family) {
        (Election::Peers, _, _) => Vec::new(),
        (Election::Vrrp(_), Adverts::Multicast, Family::Ipv4) => vec![MULTICAST_IPV4.into()],
        (Election::Vrrp(_), Adverts::Multicast, Family::Ipv6) => vec![MULTICAST_IPV6.into()],
        (Election::Vrrp(_), Adverts::Unicast, _) => peers_on(config, link),
    };
    group.links().into_iter().map(|link| (link.clone(), to(&link))).collect()
}

/// The addresses of the other nodes on `link`, one for each node.
fn peers_on(config: &Config, link: &Link) -> Vec<IpAddr> {
    nodes_on(config, link).map(|(address, _)| address).collect()
}

/// The other nodes that have an address on `link`, each with one of them.
pub(super) fn nodes_on<'a>(
    config: &'a Config,
    link: &'a Link,
) -> impl Iterator<Item = (IpAddr, &'a NodeName)> + 'a {
    let others = config.nodes.iter().filter(|(name, _)| **name != config.node);
    others.filter_map(move |(name, node)| {
        let mut addresses = node.addresses.iter().copied();
        Some((addresses.find(|address| is_on(config, link, *address))?, name))
    })
}

/// Whether a machine with `address` is a neighbour on `link`.
pub(super) fn is_on(config: &Config, link: &Link, address: IpAddr) -> bool {
    let interface = config.interfaces.get(&link.interface);
    let networks = interface.map(|interface| interface.networks.as_slice()).unwrap_or_default();
    Family::of(address) == link.family
        && (is_link_local(address) || networks.iter().any(|network| network.contains(&address)))
}

#[cfg(test)]
mod tests;
