//! Passing on packets of connections that a peer still finishes: the kernel's program, and what it is told.

use super::group::GroupDriver;
use crate::border::{Counters, Word};
use crate::driver::link::count;
use crate::netlink::View;
use fulcrum_config::{Config, Family, GroupName, InterfaceName, NodeName, Vip};
use fulcrum_ebpf::layout::Finisher;
use fulcrum_ebpf::{Mode, SecondChance as Kernel};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// How long a peer that says nothing may still finish connections. Longer than a busy machine is silent: taken for gone too
/// early, its connections are reset; too late, those of a dead node are reset a little later.
const SILENT: Duration = Duration::from_secs(3);

/// The program, once there is a peer that could finish anything.
pub(super) struct SecondChance {
    mode: Option<Mode>,
    kernel: Option<Kernel>,
    attached: BTreeMap<InterfaceName, u32>,
    /// Of each group.
    holders: BTreeMap<GroupName, Holder>,
    /// Of groups that this node has led: who finished connections when it did, and may still.
    before: BTreeMap<GroupName, Holder>,
    /// Where each peer sends its adverts from, as it said last.
    sources: BTreeMap<NodeName, BTreeSet<IpAddr>>,
    told: BTreeSet<String>,
}

/// A peer that has connections of a group: it leads, or has led.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Holder {
    node: NodeName,
    /// When it was known last.
    heard: Instant,
}

impl SecondChance {
    /// In no mode there is none.
    pub(super) fn new(mode: Option<Mode>) -> Self {
        Self {
            mode,
            kernel: None,
            attached: BTreeMap::new(),
            holders: BTreeMap::new(),
            before: BTreeMap::new(),
            sources: BTreeMap::new(),
            told: BTreeSet::new(),
        }
    }

    /// Whether packets of a connection can be passed on by this node: then so, presumably, by its peers.
    pub(super) fn is_ready(&self) -> bool {
        !self.attached.is_empty()
    }

    /// What it did.
    pub(super) fn count_into(&self, counters: &mut Counters) {
        let Some(kernel) = &self.kernel else { return };
        counters.0.extend(kernel.counters().into_iter().filter(|(_, count)| *count > 0));
    }

    /// Attaches it to these interfaces if there are peers with keys, and takes it off all others.
    pub(super) fn attach(&mut self, config: &Config, wanted: &BTreeSet<InterfaceName>, view: &View) {
        let Some(mode) = self.mode.filter(|_| config.peer.pins.len() > 1) else {
            return self.stop();
        };
        let present: BTreeMap<InterfaceName, u32> =
            wanted.iter().filter_map(|name| Some((name.clone(), view.named(name.as_str())?.index))).collect();
        if self.attached == present {
            return;
        }
        if self.kernel.is_none() {
            match Kernel::load(mode) {
                Ok(kernel) => self.kernel = Some(kernel),
                Err(error) => return self.complain(&error.to_string()),
            }
        }
        let Some(kernel) = &mut self.kernel else { return };
        self.attached.retain(|name, index| present.get(name) == Some(index));
        let mut failed = Vec::new();
        for (name, index) in present {
            match kernel.attach(name.as_str(), index) {
                Ok(_) => drop(self.attached.insert(name, index)),
                Err(error) => failed.push(error.to_string()),
            }
        }
        let indexes: BTreeSet<u32> = self.attached.values().copied().collect();
        kernel.retain(|index| indexes.contains(&index), &[]);
        failed.iter().for_each(|error| self.complain(error));
    }

    /// Takes what the peers say of connections that they hold, and tells the kernel who else may have one: of a group
    /// that this node leads, the node that led before; of one that it has just handed over, the new leader; of one that it
    /// finishes after that, the node that led before it, which may finish others still.
    pub(super) fn update(
        &mut self,
        config: &Config,
        groups: &BTreeMap<GroupName, GroupDriver>,
        words: &BTreeMap<NodeName, Word>,
        counters: &mut Counters,
        now: Instant,
    ) {
        let Some(kernel) = &mut self.kernel else { return };
        let said = words.iter().filter(|(_, word)| !word.sources.is_empty());
        let news = said.filter(|(node, word)| self.sources.get(*node) != Some(&word.sources));
        let news: Vec<_> = news.map(|(node, word)| (node.clone(), word.sources.clone())).collect();
        self.sources.extend(news);
        self.sources.retain(|node, _| config.nodes.contains_key(node));
        let mut finishers = BTreeMap::new();
        for (name, group) in groups {
            let before = self.holders.remove(name);
            let holder = holder(name, group.followed.as_ref(), words, before, now);
            let earlier = self.before.remove(name);
            let earlier = match group.leading {
                true => holder.clone(),
                false => earlier.and_then(|it| still(name, it, group.followed.as_ref(), words, now)),
            };
            let other = match (&holder, &group.followed, &earlier) {
                (Some(holder), _, _) if group.leading => Some((&holder.node, false)),
                (_, Some(leader), _) if !group.leading && group.drain.is_new(now) => Some((leader, true)),
                (_, _, Some(earlier)) if !group.leading && group.drain.until().is_some() => {
                    Some((&earlier.node, false))
                }
                _ => None,
            };
            if let Some((node, last)) = other {
                for vip in &group.group.vips {
                    let hop = next_hop(config, node, self.sources.get(node), vip);
                    if let Some((hop, index)) = hop.zip(self.attached.get(&vip.interface)) {
                        finishers.insert(vip.address, Finisher::new(*index, hop, last));
                    }
                }
            }
            self.before.extend(earlier.map(|earlier| (name.clone(), earlier)));
            self.holders.extend(holder.map(|holder| (name.clone(), holder)));
        }
        if let Err(error) = kernel.set_finishers(&finishers) {
            count(counters, "second_chance_not_told");
            self.complain(&error.to_string());
        }
    }

    /// The node that finishes connections of a group.
    pub(super) fn finisher(&self, group: &GroupName) -> Option<&NodeName> {
        self.holders.get(group).map(|holder| &holder.node)
    }

    /// Another process may have put its own in its place: it is attached anew with the next [`SecondChance::attach`].
    pub(super) fn forget_attached(&mut self) {
        self.attached.clear();
        if let Some(kernel) = &mut self.kernel {
            kernel.forget_attached();
        }
    }

    /// Takes it off every interface.
    pub(super) fn stop(&mut self) {
        self.attached.clear();
        if let Some(kernel) = self.kernel.take() {
            kernel.stop();
        }
    }

    fn complain(&mut self, error: &str) {
        if self.told.insert(error.to_owned()) {
            tracing::warn!("{error}; connections end when this node takes over from a peer that lives");
        }
    }
}

/// Who may finish connections of a group: the node that led before, if several say that they hold some. A word that is
/// out of date is none; until the next one comes the last one holds, for a while.
fn holder(
    group: &GroupName,
    followed: Option<&NodeName>,
    words: &BTreeMap<NodeName, Word>,
    before: Option<Holder>,
    now: Instant,
) -> Option<Holder> {
    let said = || words.iter().filter(|(_, word)| word.holds.contains(group));
    let found = said().find(|(node, _)| Some(*node) == followed).or_else(|| said().next());
    match found {
        Some((node, _)) => Some(Holder { node: node.clone(), heard: now }),
        None => before.filter(|holder| {
            !words.contains_key(&holder.node) && now.saturating_duration_since(holder.heard) < SILENT
        }),
    }
}

/// The node that led before this one did, while it finishes connections. Once it leads again it comes after this node: who
/// passes on goes back in time, so that no packet goes round.
fn still(
    group: &GroupName,
    earlier: Holder,
    followed: Option<&NodeName>,
    words: &BTreeMap<NodeName, Word>,
    now: Instant,
) -> Option<Holder> {
    if followed == Some(&earlier.node) {
        return None;
    }
    match words.get(&earlier.node) {
        Some(word) => word.holds.contains(group).then_some(Holder { heard: now, ..earlier }),
        None => Some(earlier).filter(|it| now.saturating_duration_since(it.heard) < SILENT),
    }
}

/// Where on the VIP's own interface a node is: an address of the VIP's family in a network of that interface, else a
/// link-local one that it sends adverts from, else an address of the other family (which the kernel takes for IPv4).
fn next_hop(
    config: &Config,
    node: &NodeName,
    sources: Option<&BTreeSet<IpAddr>>,
    vip: &Vip,
) -> Option<IpAddr> {
    let node = config.nodes.get(node)?;
    let sources = || sources.into_iter().flatten().copied();
    let networks = config.interfaces.get(&vip.interface).map(|interface| interface.networks.as_slice());
    let is_near = |address: &IpAddr| networks.unwrap_or_default().iter().any(|net| net.contains(address));
    let family = Family::of(vip.address);
    let near = || node.addresses.iter().copied().chain(sources()).filter(is_near);
    let link_local = sources().find(|address| {
        family == Family::Ipv6 && matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
    });
    near()
        .find(|address| Family::of(*address) == family)
        .or(link_local)
        .or_else(|| near().next().filter(|_| family == Family::Ipv4))
}
