//! What a reload would change and touch, found out without doing any of it.

use super::{How, Node, milliseconds};
use crate::show::counted;
use crate::wire::{Refusal, Rehearsed};
use fulcrum_config::{Config, GroupName, ServiceName, difference};
use fulcrum_peer::PeerState;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

#[cfg(test)]
mod tests;

impl Node {
    /// Reads the file as a reload does, and refuses it for what that would refuse it for, but for what only trying shows:
    /// nothing is offered to peers, and no listener is opened.
    #[allow(clippy::disallowed_methods, reason = "says how long it took")]
    pub(crate) async fn rehearse(&self, how: &How) -> Result<Rehearsed, Refusal> {
        let _changing = self.change().await?;
        let begun = Instant::now();
        let old = self.handle.config();
        let (_, parsed) = self.read_again(&old, how).await?;
        let new = parsed.config;
        let lb = self.handle.lb();
        let connections =
            lb.borrow().services.iter().map(|(name, it)| (name.clone(), it.stats.connections)).collect();
        Ok(Rehearsed {
            changes: difference(&old, &new),
            touches: touches(&old, &new, &connections),
            needs_restart: self.needs_restart(&new),
            peers: self.audience(&old, &new, how),
            warnings: parsed.warnings.iter().map(ToString::to_string).collect(),
            read_ms: milliseconds(begun.elapsed()),
        })
    }

    /// What would become of it at each peer.
    fn audience(&self, old: &Config, new: &Config, how: &How) -> Vec<String> {
        if how.local || old.shared == new.shared {
            return Vec::new();
        }
        let seen = self.handle.peer();
        let seen = seen.borrow();
        let line = |(name, peer): (&fulcrum_config::NodeName, &fulcrum_peer::PeerObserved)| match peer.state {
            PeerState::Up => format!("{name} would be asked, and would apply it, too, or refuse it for all"),
            PeerState::Down | PeerState::Refused => {
                format!("{name} can't be reached ({}): it would catch up when it can", peer.reason)
            }
        };
        seen.peers.iter().map(line).collect()
    }
}

type Connections = BTreeMap<ServiceName, u64>;

/// What clients would notice of going from `old` to `new`, a sentence each.
fn touches(old: &Config, new: &Config, connections: &Connections) -> Vec<String> {
    let mut lines = addresses(old, new, connections);
    for (name, group) in &old.groups {
        if let Some(kept) = new.groups.get(name).filter(|kept| kept.election != group.election) {
            lines.push(format!(
                "group {name} finds its leader otherwise ({} in place of {}): for a moment nobody leads it",
                kept.election, group.election
            ));
        }
    }
    for (name, service) in &old.services {
        let now = connections.get(name).copied().unwrap_or(0);
        let its = counted(usize::try_from(now).unwrap_or(usize::MAX), "connection");
        match new.services.get(name) {
            None => lines.push(format!("service {name} takes no new connections; it has {its} now")),
            Some(kept) if kept.mode.forwarding() != service.mode.forwarding() => {
                lines.push(format!("service {name} is served in another way: its {its} may end"))
            }
            Some(kept) if kept.protocol != service.protocol || kept.ports != service.ports => {
                lines.push(format!(
                    "service {name} takes no new connections where it did before; it has {its} now"
                ));
            }
            Some(_) => {}
        }
    }
    lines
}

/// Addresses that come, go, or are another group's.
fn addresses(old: &Config, new: &Config, connections: &Connections) -> Vec<String> {
    let groups = |config: &Config| -> BTreeMap<IpAddr, GroupName> {
        let groups = config.groups.values();
        groups.flat_map(|group| group.vips.iter().map(|vip| (vip.address, group.name.clone()))).collect()
    };
    let (before, after) = (groups(old), groups(new));
    let mut lines = Vec::new();
    for (address, group) in &before {
        match after.get(address) {
            None => {
                let services = old.services.values().filter(|service| service.vips.contains(address));
                let now = services.filter_map(|it| connections.get(&it.name)).fold(0_u64, |sum, it| sum.saturating_add(*it));
                let its = counted(usize::try_from(now).unwrap_or(usize::MAX), "connection");
                lines.push(format!("address {address} goes unanswered, and connections to it end: its services have {its} now"));
            }
            Some(other) if other != group => lines.push(format!(
                "address {address} moves from group {group} to group {other}, and is not answered until that has a leader, for up to a second"
            )),
            Some(_) => {}
        }
    }
    let new = after.iter().filter(|(address, _)| !before.contains_key(*address));
    lines.extend(
        new.map(|(address, group)| format!("address {address} is answered by whoever leads group {group}")),
    );
    lines
}
