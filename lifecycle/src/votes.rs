//! Groups that are to have no leader rather than two: how the votes stand, and what the witness says.

use crate::join::{Facts, Snapshots};
use crate::status::{Alarm, Severity, Votes};
use fulcrum_config::{Class, Group, OnSplit, Witness};
use fulcrum_vip_manager::Role;

#[cfg(test)]
mod tests;

/// How they stand; none if no group asks for them.
pub(crate) fn status(facts: &Facts, snapshots: &Snapshots) -> Option<Votes> {
    let quorum = snapshots.vip.quorum?;
    Some(Votes {
        votes: quorum.votes,
        nodes: quorum.nodes,
        leads_on: quorum.leads_on,
        takes_over: quorum.takes_over,
        witness: snapshots.config.witness.to_string(),
        witness_error: witness_error(facts, snapshots),
        lock_holder: facts.witness.holder.clone(),
    })
}

/// Why the witness is of no use now.
fn witness_error(facts: &Facts, snapshots: &Snapshots) -> Option<String> {
    match &snapshots.config.witness {
        Witness::None => None,
        Witness::Gateway { address, .. } => {
            let cut_off = snapshots.vip.quorum.is_some_and(|quorum| quorum.cut_off);
            cut_off.then(|| format!("{address} does not answer"))
        }
        Witness::Etcd(_) | Witness::Kubernetes(_) => facts.witness.error.clone(),
    }
}

/// Groups that nobody may lead, as far as this node knows, and a witness that could not help.
pub(crate) fn alarms(facts: &Facts, snapshots: &Snapshots) -> Vec<Alarm> {
    let Some(quorum) = snapshots.vip.quorum else { return Vec::new() };
    let groups = snapshots.config.groups.values().filter(|group| group.on_split == OnSplit::One);
    let is_lost = |group: &&Group| {
        let observed = snapshots.vip.groups.get(&group.name);
        let leaderless = observed.is_some_and(|it| it.role != Role::Leader && it.leader.is_none());
        leaderless && !quorum.takes_over
    };
    let lost = groups.map(AsRef::as_ref).filter(is_lost).map(|group: &Group| Alarm {
        severity: match group.class {
            Class::ControlPlane => Severity::Critical,
            Class::Workload => Severity::Warning,
        },
        what: format!(
            "group {} has no leader that this node hears, and it may not lead it: {} of {} nodes hear this one \
             (on_split: one)",
            group.name, quorum.votes, quorum.nodes
        ),
        affected: format!("every service of group {}, unless the other nodes serve it", group.name),
        remedy: "see which peers are not up in 'fulcrum status'; bring back their nodes or their network, or the \
                 witness; or write `on_split: serve` and reload each part"
            .to_owned(),
    });
    let witness = witness_error(facts, snapshots).map(|error| Alarm {
        severity: Severity::Warning,
        what: format!("the witness ({}) can't be asked: {error}", snapshots.config.witness),
        affected: "nothing now; with it gone, half of the nodes do not lead without the others".to_owned(),
        remedy: "remove the cause that is named; it is tried again by itself".to_owned(),
    });
    lost.chain(witness).collect()
}
