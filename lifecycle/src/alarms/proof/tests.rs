use super::*;
use crate::alarms::tests::{facts, good, group};
use crate::fixture::vip;
use fulcrum_config::NodeName;
use fulcrum_vip_manager::PeerSeen;
use std::time::Instant;

/// The alarms of a node that is `role`, follows lb1 unless it leads, and found this out about the VIP.
#[allow(clippy::disallowed_methods, reason = "any instant will do")]
fn found(role: Role, finding: Finding) -> Vec<Alarm> {
    let mut snapshots = good();
    let mut observed = group(role);
    let peer = PeerSeen { node: Some(NodeName::new("lb1")), address: vip(), priority: 150 };
    observed.leader = (role == Role::Standby).then_some(peer);
    observed.proof.insert(vip(), ProofObserved { finding, since: Instant::now(), answered: None });
    snapshots.vip.groups.insert(GroupName::new("main"), observed);
    crate::alarms::alarms(&facts(), &snapshots)
}

fn machine(mac: &str, node: Option<&str>) -> Answerer {
    Answerer { mac: mac.to_owned(), node: node.map(NodeName::new) }
}

#[track_caller]
fn only(role: Role, finding: Finding, words: &[&str]) {
    let alarms = found(role, finding);
    let [alarm] = alarms.as_slice() else { panic!("{alarms:?}") };
    assert_eq!(alarm.severity, Severity::Critical);
    for word in words {
        assert!(alarm.what.contains(word), "{word}: {}", alarm.what);
    }
}

#[test]
fn what_is_answered_is_none_and_what_is_not_known_is_none() {
    assert_eq!(found(Role::Standby, Finding::Answered), []);
    assert_eq!(found(Role::Standby, Finding::Unknown), []);
}

#[test]
fn a_leader_that_does_not_answer_is_named() {
    only(Role::Standby, Finding::NotAnswered, &["10.0.0.100", "is not answered", "lb1 leads", "ARP"]);
}

#[test]
fn machines_that_both_answer_are_named() {
    let by = vec![machine("02:00:00:00:00:11", Some("lb1")), machine("02:00:00:00:00:66", None)];
    let words = ["answered twice", "lb1 (MAC 02:00:00:00:00:11)", "the machine with MAC 02:00:00:00:00:66"];
    only(Role::Standby, Finding::AnsweredTwice { by: by.clone() }, &words);
    only(Role::Leader, Finding::AnsweredTwice { by }, &["besides this node"]);
}

#[test]
fn a_stranger_in_place_of_the_leader_is_named() {
    let by = vec![machine("02:00:00:00:00:66", None)];
    only(
        Role::Standby,
        Finding::AnsweredByAnother { by: by.clone() },
        &["02:00:00:00:00:66 alone", "not by lb1"],
    );
    let alarms = found(Role::Standby, Finding::AnsweredByAnother { by });
    assert!(alarms.iter().any(|alarm| alarm.remedy.contains("02:00:00:00:00:66")), "{alarms:?}");
}

#[test]
fn who_answers_although_nobody_leads_is_named() {
    let by = vec![machine("02:00:00:00:00:66", None)];
    only(Role::Standby, Finding::AnsweredUnled { by }, &["02:00:00:00:00:66", "nobody leads"]);
}

#[test]
fn a_node_that_nobody_answers_does_not_blame_the_leader() {
    let alarms = found(Role::Standby, Finding::NobodyAnswers);
    let [alarm] = alarms.as_slice() else { panic!("{alarms:?}") };
    assert_eq!(alarm.severity, Severity::Warning);
    assert!(alarm.affected.contains("this node may not be heard"), "{alarm:?}");
}

#[test]
fn a_port_that_is_not_answered_is_named_with_its_service() {
    let alarms = found(Role::Standby, Finding::PortNotAnswered { ports: vec![80] });
    let [alarm] = alarms.as_slice() else { panic!("{alarms:?}") };
    assert!(alarm.what.contains("port 80 is not answered: lb1 leads and answers ARP"), "{alarm:?}");
    assert!(alarm.affected.ends_with("service web"), "{alarm:?}");
}
