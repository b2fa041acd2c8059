use super::*;
use crate::alarms::tests::{facts, good};
use fulcrum_config::{Etcd, GroupName};
use fulcrum_vip_manager::QuorumObserved;
use std::sync::Arc;

const ALL: QuorumObserved =
    QuorumObserved { votes: 2, nodes: 2, lock: false, cut_off: false, leads_on: true, takes_over: true };
const ALONE: QuorumObserved = QuorumObserved { votes: 1, leads_on: false, takes_over: false, ..ALL };

/// The group `main` asks for votes.
fn asking(quorum: QuorumObserved, role: Role, witness: Witness) -> Snapshots {
    let mut snapshots = good();
    let mut config = (*snapshots.config).clone();
    let group = config.groups[&GroupName::new("main")].as_ref().clone();
    let group = Group { on_split: OnSplit::One, class: Class::ControlPlane, ..group };
    config.groups.insert(group.name.clone(), Arc::new(group));
    config.witness = witness;
    snapshots.config = Arc::new(config);
    snapshots.vip.quorum = Some(quorum);
    snapshots.vip.groups.get_mut(&GroupName::new("main")).unwrap().role = role;
    snapshots
}

#[test]
fn who_does_not_ask_has_none() {
    assert_eq!(status(&facts(), &good()), None);
    assert_eq!(alarms(&facts(), &good()), []);
}

#[test]
fn a_group_that_nobody_may_lead_is_an_alarm() {
    let calm = asking(ALL, Role::Leader, Witness::None);
    assert_eq!(alarms(&facts(), &calm), []);
    let lost = asking(ALONE, Role::Standby, Witness::None);
    let [alarm] = &alarms(&facts(), &lost)[..] else { panic!("one alarm") };
    assert_eq!(alarm.severity, Severity::Critical);
    assert!(alarm.what.contains("1 of 2 nodes hear this one"), "{}", alarm.what);
}

#[test]
fn a_witness_that_can_not_be_asked_is_an_alarm_and_harms_nothing() {
    let address = "10.0.0.1".parse().unwrap();
    let interface = fulcrum_config::InterfaceName::new("eth0");
    let gateway = Witness::Gateway { address, interface };
    let cut_off = asking(QuorumObserved { cut_off: true, ..ALL }, Role::Leader, gateway);
    let [alarm] = &alarms(&facts(), &cut_off)[..] else { panic!("one alarm") };
    assert_eq!(alarm.severity, Severity::Warning);
    assert!(alarm.what.contains("10.0.0.1 does not answer"), "{}", alarm.what);

    let etcd = Etcd {
        endpoints: Vec::new(),
        key: String::new(),
        ttl: Witness::TTL,
        ca: None,
        client: None,
        user: None,
    };
    let witness = crate::join::Witness { error: Some("it burns".to_owned()), holder: None };
    let facts = Facts { witness, ..facts() };
    let burning = asking(ALL, Role::Leader, Witness::Etcd(etcd));
    assert!(alarms(&facts, &burning)[0].what.contains("it burns"));
    assert_eq!(status(&facts, &burning).unwrap().witness_error.as_deref(), Some("it burns"));
}
