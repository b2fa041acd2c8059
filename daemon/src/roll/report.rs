//! What a node says of itself: as much of `fulcrum status --json` as a roll or a drill goes by, of any version.

use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

#[cfg(test)]
mod tests;

/// One node.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Report {
    pub(crate) node: String,
    pub(crate) version: String,
    pub(crate) uptime_seconds: u64,
    pub(crate) ready: bool,
    pub(crate) not_ready: Vec<String>,
    pub(crate) groups: Vec<Group>,
    pub(crate) services: Vec<Service>,
    pub(crate) peer_link: PeerLink,
    pub(crate) plane: Option<Plane>,
    pub(crate) overrides: Vec<Override>,
}

/// What an operator asked for over the file.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Override {
    pub(crate) of: String,
    pub(crate) by: String,
}

/// A group, as a node sees it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) vrid: Option<u8>,
    pub(crate) role: String,
    pub(crate) leader: Option<Leader>,
    pub(crate) priority: Option<u8>,
    pub(crate) moves_to: Option<String>,
    pub(crate) waits: Option<String>,
    pub(crate) standing_down: bool,
    pub(crate) links: Vec<Link>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Leader {
    pub(crate) node: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Link {
    pub(crate) interface: String,
    pub(crate) up: bool,
    pub(crate) address: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) group: String,
    pub(crate) vips: Vec<String>,
    pub(crate) protocol: String,
    pub(crate) ports: String,
    pub(crate) mode: String,
    pub(crate) connections: u64,
    pub(crate) errors: Vec<String>,
    pub(crate) forwarded: Option<Forwarded>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Forwarded {
    pub(crate) tables: Vec<TablesOf>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct TablesOf {
    pub(crate) peer: String,
    pub(crate) in_sync: bool,
    pub(crate) what: String,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct PeerLink {
    pub(crate) state: String,
    pub(crate) why: Option<String>,
    pub(crate) peers: Vec<Peer>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) state: String,
    pub(crate) reason: String,
    pub(crate) config_agrees: Option<bool>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Plane {
    pub(crate) flows_in_sync: bool,
}

/// What each node of a roll says, or why it says nothing.
pub(crate) type Look = BTreeMap<String, Result<Report, String>>;

impl Group {
    pub(crate) fn is_led(&self) -> bool {
        self.role == "leader"
    }

    /// Why this node could not lead it at once.
    fn unfit(&self) -> Option<String> {
        let name = &self.name;
        let link = self.links.iter().find(|link| !link.up);
        if let Some(waits) = &self.waits {
            Some(format!("group {name}: {waits}"))
        } else if self.role != "leader" && self.role != "standby" {
            Some(format!("group {name} has not started"))
        } else if self.priority.is_none() || self.standing_down {
            Some(format!("it may not lead group {name} now"))
        } else {
            link.map(|link| format!("group {name}: interface {} is down", link.interface))
        }
    }
}

impl Report {
    /// The groups that it leads.
    pub(crate) fn leads(&self) -> Vec<String> {
        self.groups.iter().filter(|group| group.is_led()).map(|group| group.name.clone()).collect()
    }

    pub(crate) fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }

    /// Who drained it, if somebody did.
    pub(crate) fn drained_by(&self) -> Option<&str> {
        self.drained(&self.node)
    }

    /// Who drained another node, as far as this one knows.
    pub(crate) fn drained(&self, node: &str) -> Option<&str> {
        let drained = format!("lb-node {node}");
        self.overrides.iter().find(|asked| asked.of == drained).map(|asked| asked.by.as_str())
    }

    /// Connections that end with the process.
    pub(crate) fn proxied(&self) -> u64 {
        let proxied = self.services.iter().filter(|service| service.mode == "proxy");
        proxied.map(|service| service.connections).fold(0, u64::saturating_add)
    }

    /// Why it could not take over the groups of `nodes` at once; nothing if it is ready and in sync.
    /// A node that is `drained` is not to lead yet.
    pub(crate) fn unready(&self, nodes: &[&str], drained: bool) -> Vec<String> {
        let mut why: Vec<String> = self.not_ready.clone();
        if !self.ready && why.is_empty() {
            why.push("it is not ready".to_owned());
        }
        let errors = self.services.iter().filter(|service| !service.errors.is_empty());
        why.extend(errors.map(|service| format!("service {}: {}", service.name, service.errors.join("; "))));
        if drained {
            let away = self.groups.iter().filter(|group| !group.is_led() && group.leader.is_none());
            why.extend(away.map(|group| format!("it hears no leader of group {}", group.name)));
        } else {
            why.extend(self.drained_by().map(|by| format!("it is drained, by {by}")));
            why.extend(self.groups.iter().filter_map(Group::unfit));
        }
        why.extend(self.out_of_sync(nodes));
        let mut seen = BTreeSet::new();
        why.retain(|reason| seen.insert(reason.clone()));
        why
    }

    fn out_of_sync(&self, nodes: &[&str]) -> Vec<String> {
        let mut why = Vec::new();
        if matches!(self.peer_link.state.as_str(), "no-own-key" | "no-peer-key") {
            why.push(format!("no link: {}", self.peer_link.why.as_deref().unwrap_or(&self.peer_link.state)));
        }
        for peer in self.peer_link.peers.iter().filter(|peer| nodes.contains(&peer.name.as_str())) {
            if peer.state != "up" {
                why.push(format!("the link to {} is {}: {}", peer.name, peer.state, peer.reason));
            } else if peer.config_agrees != Some(true) {
                why.push(format!("it runs another configuration than {}", peer.name));
            }
        }
        for service in &self.services {
            let tables = service.forwarded.iter().flat_map(|forwarded| &forwarded.tables);
            let differ = tables.filter(|tables| !tables.in_sync && nodes.contains(&tables.peer.as_str()));
            why.extend(
                differ.map(|tables| format!("service {}, {}: {}", service.name, tables.peer, tables.what)),
            );
        }
        let is_linked = self.peer_link.peers.iter().any(|peer| nodes.contains(&peer.name.as_str()));
        if is_linked && self.plane.as_ref().is_some_and(|plane| !plane.flows_in_sync) {
            why.push("it does not know the connections of every peer yet".to_owned());
        }
        why
    }
}
