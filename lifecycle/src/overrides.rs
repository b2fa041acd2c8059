//! What operators asked for over the file, as it is shown: with what is left of what it ends.

use crate::join::Snapshots;
use crate::status::Override;
use fulcrum_config::{BackendId, NodeName, Row, Service, Subject};
use fulcrum_peer::PeerState;
use fulcrum_vip_manager::Role;

#[cfg(test)]
mod tests;

/// Each of them.
#[must_use]
pub fn status(snapshots: &Snapshots) -> Vec<Override> {
    snapshots.config.overrides.rows().into_iter().map(|row| one(&row, snapshots)).collect()
}

fn one(row: &Row<'_>, snapshots: &Snapshots) -> Override {
    let (connections, leads) = match row.of {
        Subject::Backend(id) => (Some(connections_of(id, snapshots)), Vec::new()),
        Subject::Node(node) => {
            let is_own = *node == snapshots.config.node;
            (is_own.then(|| proxied(snapshots)), led_by(node, snapshots))
        }
        Subject::Weight(_) | Subject::Pool(_) => (None, Vec::new()),
    };
    Override {
        of: row.of.to_string(),
        what: row.what.clone(),
        by: row.by.to_owned(),
        since: row.since.0,
        until: row.until.map(|until| until.0),
        connections,
        leads,
    }
}

fn connections_of(id: &BackendId, snapshots: &Snapshots) -> u64 {
    let served = snapshots.lb.services.get(&id.service);
    served.and_then(|served| served.backends.get(&id.backend)).map_or(0, |stats| stats.connections)
}

/// Connections that end with this process.
fn proxied(snapshots: &Snapshots) -> u64 {
    let is_proxied = |service: &&std::sync::Arc<Service>| service.mode.forwarding().is_none();
    let services = snapshots.config.services.values().filter(is_proxied);
    let connections = services.filter_map(|it| Some(snapshots.lb.services.get(&it.name)?.stats.connections));
    connections.fold(0, u64::saturating_add)
}

/// The groups that a node leads, as far as this node hears its adverts or is told over the link: this one may have begun
/// just now and have heard none.
#[must_use]
pub fn led_by(node: &NodeName, snapshots: &Snapshots) -> Vec<String> {
    let peer = snapshots.peer.peers.get(node).filter(|peer| peer.state == PeerState::Up);
    let says =
        |name| peer.and_then(|peer| peer.word.as_ref()).is_some_and(|word| word.leads.contains_key(name));
    // It has said something else since, which is not here yet.
    let is_unknown = peer.is_some_and(|peer| peer.word.is_none());
    let leads = |name, group: &fulcrum_vip_manager::GroupObserved| match (group.role, &group.leader) {
        // Taken over from it a moment ago, and it has not heard of that yet.
        (Role::Leader, _) => *node == snapshots.config.node || says(name),
        (Role::Init | Role::Standby, Some(leader)) => leader.node.as_ref() == Some(node) || says(name),
        (Role::Init | Role::Standby, None) => is_unknown || says(name),
    };
    let groups = snapshots.vip.groups.iter().filter(|(name, group)| leads(*name, group));
    groups.map(|(name, _)| name.to_string()).collect()
}

/// Why an operator has a backend get no new connections, if one does.
pub(crate) fn reason(id: &BackendId, snapshots: &Snapshots) -> Option<String> {
    let noted = snapshots.config.overrides.backends.get(id)?;
    let how = match noted.what {
        fulcrum_config::Serving::Draining(_) => "drained",
        fulcrum_config::Serving::Disabled => "put out of use",
    };
    Some(format!("{how} by {}; 'fulcrum undrain backend {id}' ends that", noted.by))
}
