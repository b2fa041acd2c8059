//! What was found out by asking for VIPs from outside.

use crate::join::Snapshots;
use crate::status::{Alarm, Severity};
use fulcrum_config::{GroupName, Protocol, Service};
use fulcrum_vip_manager::{Answerer, Finding, GroupObserved, ProofObserved, Role};
use std::net::IpAddr;
use std::sync::Arc;

#[cfg(test)]
mod tests;

pub(super) fn alarms(snapshots: &Snapshots) -> Vec<Alarm> {
    let groups = snapshots.vip.groups.iter();
    let found = groups.flat_map(|(name, group)| group.proof.iter().map(move |proof| (name, group, proof)));
    found
        .filter_map(|(name, group, (address, proof))| alarm(snapshots, name, group, *address, proof))
        .collect()
}

fn alarm(
    snapshots: &Snapshots,
    name: &GroupName,
    group: &GroupObserved,
    vip: IpAddr,
    proof: &ProofObserved,
) -> Option<Alarm> {
    let question = if vip.is_ipv4() { "ARP" } else { "neighbour discovery" };
    let leader = leader(group);
    let (severity, what, affected, remedy) = match &proof.finding {
        Finding::Unknown | Finding::Answered => return None,
        Finding::NotAnswered => (
            Severity::Critical,
            format!(
                "VIP {vip} of group {name} is not answered: {leader} leads, and does not answer {question} for it, although \
                 others on the link answer this node"
            ),
            format!("every client of {vip} that does not know its MAC already"),
            format!(
                "look at 'fulcrum status' and the log of {leader}, and at what filters ARP and ND there; 'fulcrum \
                 handover {name}' there moves the group"
            ),
        ),
        Finding::PortNotAnswered { ports } => (
            Severity::Critical,
            format!(
                "VIP {vip} of group {name}: {} is not answered: {leader} leads and answers {question} for it, and a SYN from this \
                 node is neither accepted nor refused",
                numbered(ports)
            ),
            format!("every client of {}", services(snapshots, vip, ports)),
            format!(
                "look at the service in 'fulcrum status' of {leader}, and at what filters TCP from this node's address there and \
                 at the backends"
            ),
        ),
        Finding::AnsweredTwice { by } => {
            let whose =
                if group.role == Role::Leader { "besides this node, which leads" } else { leader.as_str() };
            let machines = machines(by);
            let what = if group.role == Role::Leader {
                format!("VIP {vip} of group {name} is answered twice: {machines} has it {whose}")
            } else {
                format!("VIP {vip} of group {name} is answered twice: by {machines}; {whose} leads")
            };
            (Severity::Critical, what, lost(vip), remedy(by))
        }
        Finding::AnsweredByAnother { by } => (
            Severity::Critical,
            format!(
                "VIP {vip} of group {name} is answered by {} alone, and not by {leader}, which leads",
                machines(by)
            ),
            lost(vip),
            remedy(by),
        ),
        Finding::AnsweredUnled { by } => (
            Severity::Critical,
            format!("VIP {vip} of group {name} is answered by {}, although nobody leads", machines(by)),
            lost(vip),
            remedy(by),
        ),
        Finding::NobodyAnswers => (
            Severity::Warning,
            format!(
                "this node hears {leader}, which leads group {name}, and nobody answers when it asks for {vip} or for any \
                 neighbour there"
            ),
            format!("whether {vip} is answered can't be found out; this node may not be heard"),
            "look at the switch ports and cables of this node, and at what filters ARP and ND here"
                .to_owned(),
        ),
    };
    Some(Alarm { severity, what, affected, remedy })
}

fn leader(group: &GroupObserved) -> String {
    let seen = group.leader.as_ref();
    seen.map_or_else(
        || "nobody".to_owned(),
        |seen| seen.node.as_ref().map_or_else(|| seen.address.to_string(), ToString::to_string),
    )
}

/// `port 443`, `ports 80, 443`.
fn numbered(ports: &[u16]) -> String {
    let numbers: Vec<String> = ports.iter().map(ToString::to_string).collect();
    format!("port{} {}", if ports.len() == 1 { "" } else { "s" }, numbers.join(", "))
}

/// The services at these ports.
fn services(snapshots: &Snapshots, vip: IpAddr, ports: &[u16]) -> String {
    let is_there = |service: &&Arc<Service>| {
        service.protocol == Protocol::Tcp
            && service.vips.contains(&vip)
            && ports.contains(&service.ports.first)
    };
    let names = snapshots
        .config
        .services
        .values()
        .filter(is_there)
        .map(|service| format!("service {}", service.name));
    names.collect::<Vec<_>>().join(", ")
}

fn lost(vip: IpAddr) -> String {
    format!("clients of {vip}: which machine they reach is chance")
}

/// Each by its name and MAC.
fn machines(by: &[Answerer]) -> String {
    let machine = |one: &Answerer| match &one.node {
        Some(node) => format!("{node} (MAC {})", one.mac),
        None => format!("the machine with MAC {}", one.mac),
    };
    by.iter().map(machine).collect::<Vec<_>>().join(" and ")
}

/// Strangers are to lose the address; nodes that both have it are to be looked at.
fn remedy(by: &[Answerer]) -> String {
    let strangers: Vec<&str> =
        by.iter().filter(|one| one.node.is_none()).map(|one| one.mac.as_str()).collect();
    if strangers.is_empty() {
        return "look at the group in 'fulcrum status' on each of these nodes, and at the links between them"
            .to_owned();
    }
    let strangers = strangers.join(", ");
    format!(
        "find {strangers} in the switch's MAC table and take the address from the machine that should not have it"
    )
}
