//! What the engine tells: a snapshot at each change, and from time to time for its counters.

use super::engine::Engine;
use super::group::GroupDriver;
use super::link::LinkDriver;
use crate::border::{AddressState, GroupObserved, Observed, Role, Word};
use crate::election::placement::Order;
use crate::prober::Verdict;
use fulcrum_config::{GroupName, Link, NodeName};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Time between snapshots in which only counters differ.
const INTERVAL: Duration = Duration::from_millis(500);

/// Snapshots that wait for their readers; the next turn tries again if they are more.
const QUEUE: usize = 16;

/// When to tell, and whom.
pub(super) struct Show {
    /// To a thread of its own: a reader that is held up while it looks must not hold up adverts.
    queue: SyncSender<Observed>,
    next: Instant,
    changed: bool,
    /// What was asked of the peers when it was told last.
    pub(super) questions: BTreeMap<GroupName, u64>,
}

impl Show {
    pub(super) fn new(observed: watch::Sender<Observed>, now: Instant) -> io::Result<Self> {
        let (queue, snapshots) = sync_channel(QUEUE);
        let publish =
            move || snapshots.into_iter().for_each(|snapshot| drop(observed.send_replace(snapshot)));
        std::thread::Builder::new().name("vip-observed".to_owned()).spawn(publish)?;
        Ok(Self { queue, next: now, changed: true, questions: BTreeMap::new() })
    }

    /// More than a counter changed: the next turn tells it.
    pub(super) fn changed(&mut self) {
        self.changed = true;
    }

    /// Whether this turn tells.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.changed || now >= self.next
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        Some(self.next)
    }
}

impl Engine {
    pub(super) fn publish(&mut self, now: Instant) {
        if !self.show.is_due(now) {
            return;
        }
        self.show.next = now.checked_add(INTERVAL).unwrap_or(now);
        let observed = self.observed(now);
        self.show.questions.clone_from(&observed.word.asks);
        self.show.changed = self.show.queue.try_send(observed).is_err();
    }

    fn observed(&self, now: Instant) -> Observed {
        let guard = self.guard.as_ref();
        let mut errors: Vec<String> = self.setting_errors.values().cloned().collect();
        errors.extend(guard.and_then(|guard| guard.error.clone()));
        errors.extend(self.devices.errors.values().cloned());
        errors.extend(self.misplaced());
        errors.extend(self.mistaken());
        let mut counters = self.counters.clone();
        self.fence.count_into(&mut counters);
        self.second.count_into(&mut counters);
        errors.extend(self.links.values().filter_map(|link| link.error.clone()));
        Observed {
            groups: self.groups.iter().map(|(name, group)| (name.clone(), self.group(group))).collect(),
            guard: guard.is_some_and(crate::guard::Guard::alive),
            stopped: self.stopped,
            settings: self.settings.shown(),
            errors,
            fence: self.fence.observed(),
            word: self.word(now),
            answers: self.answers(),
            quorum: self.electing.elector.quorum().map(|quorum| quorum.observed(now)),
            counters,
        }
    }

    /// What the peers are to be told, but for the answers to each.
    fn word(&self, now: Instant) -> Word {
        let leads = |group: &GroupDriver| group.router.role() == Role::Leader;
        let finishes = self.second.is_ready();
        let holds = |group: &GroupDriver| {
            finishes && !group.group.drain.is_zero() && (leads(group) || group.drain.until().is_some())
        };
        let holds = self.sources_of(holds);
        Word {
            leads: self.sources_of(leads),
            asks: self.questions(),
            answers: BTreeMap::new(),
            sources: holds.values().flatten().copied().collect(),
            holds: holds.into_keys().collect(),
            accuses: self
                .groups
                .iter()
                .filter(|(_, group)| group.accuses(now))
                .map(|(name, _)| name.clone())
                .collect(),
        }
    }

    /// Some groups, and where their adverts leave from.
    fn sources_of(&self, which: impl Fn(&GroupDriver) -> bool) -> BTreeMap<GroupName, BTreeSet<IpAddr>> {
        let sources = |group: &GroupDriver| {
            let links = group.destinations.keys().filter_map(|link| self.links.get(link));
            links.flat_map(LinkDriver::sources).collect()
        };
        let groups = self.groups.iter().filter(|(_, group)| which(group));
        groups.map(|(name, group)| (name.clone(), sources(group))).collect()
    }

    pub(super) fn questions(&self) -> BTreeMap<GroupName, u64> {
        let asks = |(name, group): (&GroupName, &GroupDriver)| Some((name.clone(), group.router.question()?));
        self.groups.iter().filter_map(asks).collect()
    }

    /// Questions about groups of this node: what it says of them now is the answer.
    fn answers(&self) -> BTreeMap<NodeName, BTreeMap<GroupName, u64>> {
        let Some(desired) = &self.desired else { return BTreeMap::new() };
        let known = |word: &Word| {
            let asked = word.asks.iter().filter(|(group, _)| self.groups.contains_key(*group));
            asked.map(|(group, number)| (group.clone(), *number)).collect()
        };
        desired.words.iter().map(|(node, word)| (node.clone(), known(word))).collect()
    }

    /// VIPs that somebody added to another interface than the loopback.
    fn misplaced(&self) -> Vec<String> {
        // The owner of an address (RFC 9568's priority 255) has it there.
        let groups = self.groups.values().filter(|group| group.router.priority() != Some(u8::MAX));
        let vips = groups.flat_map(|group| &group.group.vips);
        let told = vips.filter_map(|vip| {
            let interface = self.view.elsewhere(vip.address)?;
            Some(format!(
                "VIP {} is also on {interface}: there the kernel answers for it whether this node leads or not; \
                 remove it from {interface}",
                vip.address
            ))
        });
        told.collect()
    }

    /// A file that was copied from another node and still says that it is that one: both would have the same
    /// priority, and their peers take each for the other.
    fn mistaken(&self) -> Option<String> {
        let config = &self.desired.as_ref()?.config;
        let name = &config.node;
        let addresses = &config.nodes.get(name)?.addresses;
        let is_here = |address: &IpAddr| self.view.elsewhere(*address).is_some();
        if addresses.iter().any(is_here) {
            return None;
        }
        let others = config.nodes.iter().filter(|(other, _)| *other != name);
        let (other, address) = others
            .flat_map(|(other, node)| node.addresses.iter().map(move |address| (other, address)))
            .find(|(_, address)| is_here(address))?;
        Some(format!(
            "this machine has the address {address} of node {other}, and none of node {name}, which it is said to be; \
             correct 'node:' in its file"
        ))
    }

    fn group(&self, group: &GroupDriver) -> GroupObserved {
        let router = &group.router;
        let links = group.group.links();
        let order = self.electing.elector.order(&group.group.name);
        let observed = |link: Link| self.links.get(&link).map(|driver| (link, driver.observed()));
        GroupObserved {
            role: router.role(),
            since: router.since(),
            reason: router.reason().clone(),
            epoch: router.epoch(),
            priority: if router.role() == Role::Init { None } else { router.priority() },
            leader: router.leader().cloned(),
            links: links.into_iter().filter_map(observed).collect(),
            addresses: self.addresses_of(group),
            tracks: group.tracks.observed(),
            transitions: router.transitions(),
            takeover: group.takeover,
            unclaimed: group.unclaimed.clone(),
            draining: group.drain.until().filter(|_| !group.leading),
            order: order.map(|order| order.nodes.clone()).unwrap_or_default(),
            moves_to: order.and_then(Order::moves_to).cloned(),
            proof: group.proof.observed(),
            finisher: self.second.finisher(&group.group.name).filter(|_| group.leading).cloned(),
        }
    }

    fn addresses_of(&self, group: &GroupDriver) -> BTreeMap<IpAddr, AddressState> {
        let addresses = group.group.vips.iter().map(|vip| vip.address);
        addresses.map(|address| (address, address_state(group, address))).collect()
    }
}

fn address_state(group: &GroupDriver, address: IpAddr) -> AddressState {
    // What a node that does not lead hears may be the leader's, which it has not heard yet.
    if let Some(mac) = group.conflict(address).filter(|_| group.leading) {
        return AddressState::Conflict { mac: mac.to_string() };
    }
    if let Some(error) = group.failed.get(&address) {
        return AddressState::Failed { error: error.clone() };
    }
    match group.prober.verdict(address) {
        _ if group.leading => AddressState::Answering,
        Some(Verdict::Probing) => AddressState::Probing,
        Some(Verdict::Clear | Verdict::Conflict(_)) | None => AddressState::Absent,
    }
}
