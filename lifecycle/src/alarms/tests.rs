use super::*;
use crate::fixture::{backend, cannot_check, config, health, service, vip};
use fulcrum_config::GroupName;
use fulcrum_health::Verdict;
use fulcrum_lb::ServiceObserved;
use fulcrum_vip_manager::{Advice, KernelSetting, Reason, TrackObserved};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

#[allow(clippy::disallowed_methods, reason = "any instant will do")]
pub(crate) fn group(role: Role) -> GroupObserved {
    GroupObserved {
        role,
        since: Instant::now(),
        reason: Reason::Started,
        epoch: 1,
        priority: Some(100),
        leader: None,
        links: BTreeMap::new(),
        addresses: BTreeMap::new(),
        tracks: Vec::new(),
        transitions: 1,
        takeover: None,
        unclaimed: None,
        draining: None,
        finisher: None,
        order: Vec::new(),
        moves_to: None,
        proof: BTreeMap::new(),
    }
}

#[allow(clippy::disallowed_methods, reason = "any instant will do")]
pub(crate) fn facts() -> Facts {
    Facts {
        version: "0.0.0".to_owned(),
        started: Instant::now(),
        config_file: "/etc/fulcrum/fulcrum.yaml".to_owned(),
        config_state: ConfigState::Current,
        loaded: Instant::now(),
        generation: 1,
        received_from: None,
        warnings: Vec::new(),
        refused: Vec::new(),
        alarms: Vec::new(),
        witness: crate::join::Witness::default(),
        hooks: Vec::new(),
        kubernetes: Vec::new(),
        limits: BTreeMap::new(),
        finishing: None,
    }
}

/// A node that leads and has nothing to complain of.
pub(crate) fn good() -> Snapshots {
    let groups = BTreeMap::from([(GroupName::new("main"), group(Role::Leader))]);
    Snapshots {
        config: Arc::new(config([service("web", [backend("a")])])),
        serial: 1,
        standing_down: BTreeMap::new(),
        health: health([("web", true, vec![("a", Verdict::Up, 100)])]),
        vip: fulcrum_vip_manager::Observed { groups, guard: true, ..Default::default() },
        peer: fulcrum_peer::Observed::default(),
        peer_ended: false,
        lb: fulcrum_lb::Observed { ready: true, connections_limit: 1000, ..Default::default() },
        first_round_done: true,
        limit_reached_lately: false,
        verdicts: Arc::default(),
        ready: BTreeSet::new(),
        without_standby: BTreeMap::new(),
    }
}

fn main_group(snapshots: &mut Snapshots) -> &mut GroupObserved {
    snapshots.vip.groups.get_mut(&GroupName::new("main")).expect("the group")
}

fn only(facts: &Facts, snapshots: &Snapshots) -> Alarm {
    let mut alarms = alarms(facts, snapshots);
    assert_eq!(alarms.len(), 1, "{alarms:?}");
    alarms.remove(0)
}

#[test]
fn a_good_node_has_none() {
    assert_eq!(alarms(&facts(), &good()), []);
}

#[test]
fn a_conflict_names_the_mac() {
    let mut snapshots = good();
    let conflict = AddressState::Conflict { mac: "02:00:00:00:00:09".to_owned() };
    main_group(&mut snapshots).addresses.insert(vip(), conflict);
    let alarm = only(&facts(), &snapshots);
    assert_eq!(alarm.severity, Severity::Critical);
    assert!(alarm.what.contains("02:00:00:00:00:09") && alarm.what.contains("10.0.0.100"), "{alarm:?}");
}

#[test]
fn a_missing_guard_is_one() {
    let mut snapshots = good();
    snapshots.vip.guard = false;
    assert!(only(&facts(), &snapshots).what.contains("guard"));
}

#[test]
fn a_listener_that_does_not_stand_is_one() {
    let mut snapshots = good();
    let errors = vec!["10.0.0.100:80: address in use".to_owned()];
    let observed = ServiceObserved { errors, ..ServiceObserved::default() };
    snapshots.lb.services.insert(fulcrum_config::ServiceName::new("web"), observed);
    assert!(only(&facts(), &snapshots).what.contains("address in use"));
}

#[test]
fn a_thread_that_hangs_is_one() {
    let mut snapshots = good();
    snapshots.lb.stuck.push("udp-1".to_owned());
    assert!(only(&facts(), &snapshots).what.contains("udp-1"));
}

#[test]
fn the_last_good_configuration_is_one() {
    let refused = vec!["fulcrum.yaml:3:1: unknown key".to_owned()];
    let facts = Facts { config_state: ConfigState::LastGood, refused, ..facts() };
    let alarm = only(&facts, &good());
    assert!(alarm.what.contains("unknown key") && alarm.remedy.contains("fulcrum check"), "{alarm:?}");
}

#[test]
fn limits_reached_are_one() {
    let mut snapshots = good();
    snapshots.limit_reached_lately = true;
    assert!(only(&facts(), &snapshots).what.contains("1000 connections"));
    snapshots.limit_reached_lately = false;
    snapshots.lb.connections = 900;
    only(&facts(), &snapshots);
}

#[test]
fn leading_with_a_failed_track_is_one() {
    let mut snapshots = good();
    main_group(&mut snapshots)
        .tracks
        .push(TrackObserved { what: "gateway 10.0.0.1".to_owned(), good: false });
    assert!(only(&facts(), &snapshots).what.contains("gateway 10.0.0.1"));
}

#[test]
fn a_group_that_nobody_leads_is_critical() {
    let mut snapshots = good();
    main_group(&mut snapshots).role = Role::Init;
    assert_eq!(only(&facts(), &snapshots).severity, Severity::Critical);
}

#[test]
fn a_service_without_backends_is_one() {
    let mut snapshots = good();
    snapshots.health = health([("web", false, vec![("a", Verdict::Down, 100)])]);
    assert!(only(&facts(), &snapshots).what.contains("1 of 1 backend is down"));
}

#[test]
fn a_wrong_setting_says_the_command() {
    let setting = KernelSetting {
        name: "net/ipv4/conf/eth0/arp_ignore".to_owned(),
        wanted: "1".to_owned(),
        found: "0".to_owned(),
        value: "0".to_owned(),
        good: false,
        set_by_us: false,
        advice: None,
    };
    let mut snapshots = good();
    let set = KernelSetting { value: "1".to_owned(), good: true, set_by_us: true, ..setting.clone() };
    snapshots.vip.settings = vec![set, setting.clone()];
    assert_eq!(only(&facts(), &snapshots).remedy, "sysctl -w net/ipv4/conf/eth0/arp_ignore=1");

    let advice = Advice { harm: "some packets are dropped".to_owned(), remedy: "make it 2".to_owned() };
    snapshots.vip.settings = vec![KernelSetting { advice: Some(advice), ..setting }];
    let alarm = only(&facts(), &snapshots);
    assert_eq!(alarm.what, "the kernel setting net/ipv4/conf/eth0/arp_ignore is 0");
    assert_eq!((alarm.affected.as_str(), alarm.remedy.as_str()), ("some packets are dropped", "make it 2"));
}

#[test]
fn thousands_of_one_kind_are_listed_in_part() {
    let services: Vec<_> = (0..1000).map(|n| service(&format!("s{n}"), [backend("a")])).collect();
    let mut snapshots = good();
    let mut config = config([]);
    for service in services {
        let down = health([("web", false, vec![("a", Verdict::Down, 100)])]);
        let down = down.services.into_values().next().expect("one");
        snapshots.health.services.insert(service.name.clone(), down);
        config.services.insert(service.name.clone(), Arc::new(service));
    }
    snapshots.config = Arc::new(config);
    let alarms = alarms(&facts(), &snapshots);
    assert_eq!(alarms.len(), LISTED + 1);
    assert!(alarms.iter().any(|alarm| alarm.what.starts_with("980 more like")));
}

#[test]
fn a_check_that_can_not_be_made_is_an_alarm_whatever_the_verdict() {
    let mut snapshots = good();
    snapshots.health.targets = cannot_check(&snapshots.config, 2);
    assert!(alarms(&facts(), &snapshots).is_empty(), "it may pass");
    snapshots.health.targets = cannot_check(&snapshots.config, 3);
    let [alarm] = &alarms(&facts(), &snapshots)[..] else { panic!("one alarm") };
    for word in ["service web", "backend a", "/nowhere/check"] {
        assert!(alarm.what.contains(word), "{}", alarm.what);
    }
}

#[test]
fn checks_that_do_not_go_to_the_vip_are_an_alarm() {
    let mut snapshots = good();
    let mut served = ServiceObserved { checks: Some(ChecksObserved::AtVip), ..ServiceObserved::default() };
    let name = fulcrum_config::ServiceName::new("web");
    snapshots.lb.services.insert(name.clone(), served.clone());
    assert!(alarms(&facts(), &snapshots).is_empty());
    served.checks = Some(ChecksObserved::AtBackend("the kernel refuses".to_owned()));
    snapshots.lb.services.insert(name, served);
    let [alarm] = &alarms(&facts(), &snapshots)[..] else { panic!("one alarm") };
    assert!(alarm.what.contains("service web are checked at their own addresses"), "{}", alarm.what);
    assert!(alarm.what.ends_with("the kernel refuses"), "{}", alarm.what);
}
