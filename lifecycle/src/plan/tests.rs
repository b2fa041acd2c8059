use super::*;
use crate::fixture::{backend, cannot_check, config, health, service};
use fulcrum_config::{GroupName, ServiceName, Weight};
use fulcrum_health::Verdict::{Down, Unchecked, Up};
use fulcrum_lb::{Desired, ServiceObserved};

fn planned(config: &Config, health: &fulcrum_health::Observed) -> Desired {
    lb_desired(config, health, &Following::default(), &Desired::default())
        .expect("the first table is a change")
}

fn uses(desired: &Desired, service: &str) -> Vec<BackendUse> {
    desired.services[&ServiceName::new(service)].backends.iter().map(|b| b.usage).collect()
}

#[test]
fn without_a_verdict_everything_is_live() {
    let config = config([service("web", [backend("a"), backend("b")])]);
    let desired = planned(&config, &fulcrum_health::Observed::default());
    assert!(desired.services[&ServiceName::new("web")].up);
    assert_eq!(uses(&desired, "web"), [BackendUse::Live, BackendUse::Live]);
}

#[test]
fn a_death_touches_only_its_service() {
    let config = config([service("web", [backend("a"), backend("b")]), service("api", [backend("a")])]);
    let before = planned(&config, &health([("web", true, vec![("a", Up, 100), ("b", Up, 100)])]));
    let dead = health([("web", true, vec![("a", Down, 100), ("b", Up, 100)])]);
    let after = lb_desired(&config, &dead, &Following::default(), &before).expect("a change");
    let (web, api) = (ServiceName::new("web"), ServiceName::new("api"));
    assert_eq!(uses(&after, "web"), [BackendUse::Down, BackendUse::Live]);
    assert!(!Arc::ptr_eq(&before.services[&web], &after.services[&web]));
    assert!(Arc::ptr_eq(&before.services[&api], &after.services[&api]));
    assert!(
        lb_desired(&config, &dead, &Following::default(), &after).is_none(),
        "the same news is no change"
    );
}

#[test]
fn an_equal_service_of_a_new_configuration_keeps_its_arc() {
    let old = config([service("web", [backend("a")])]);
    let before = planned(&old, &fulcrum_health::Observed::default());
    let new = config([service("web", [backend("a")]), service("api", [backend("a")])]);
    let after = lb_desired(&new, &fulcrum_health::Observed::default(), &Following::default(), &before)
        .expect("api is new");
    let web = ServiceName::new("web");
    assert!(Arc::ptr_eq(&before.services[&web], &after.services[&web]));
    let back = lb_desired(&old, &fulcrum_health::Observed::default(), &Following::default(), &after)
        .expect("api is gone");
    assert_eq!(back.services.len(), 1);
}

#[test]
fn a_service_that_is_renamed_is_served_by_what_is_known_of_its_backends() {
    let config = config([service("store", [backend("a")])]);
    let (store, mut known) = (ServiceName::new("store"), health([("shop", false, vec![("a", Down, 100)])]));
    let target = config.services[&store].target(&backend("a")).expect("it is checked");
    let down = TargetHealth { verdict: Down, ..cannot_check(&config, 0)[&target].as_ref().clone() };
    known.targets = Arc::new(HashMap::from([(target, Arc::new(down))]));
    assert_eq!(uses(&planned(&config, &known), "store"), [BackendUse::Down]);
}

#[test]
fn the_verdict_of_an_address_is_not_that_of_the_next_one_with_its_name() {
    let mut promoted = backend("active");
    promoted.address.ip = "10.1.0.2".parse().expect("an address");
    let config = config([service("web", [promoted])]);
    let desired = planned(&config, &health([("web", true, vec![("active", Down, 100)])]));
    assert_eq!(uses(&desired, "web"), [BackendUse::Live]);
}

#[test]
fn a_service_below_its_quorum_refuses() {
    let config = config([service("web", [backend("a")])]);
    let desired = planned(&config, &health([("web", false, vec![("a", Down, 100)])]));
    assert!(!desired.services[&ServiceName::new("web")].up);
}

#[test]
fn slow_start_scales_the_weight() {
    let mut heavy = backend("a");
    heavy.weight = Weight::new(3).expect("a weight");
    let config = config([service("web", [heavy])]);
    let desired = planned(&config, &health([("web", true, vec![("a", Up, 40)])]));
    assert_eq!(desired.services[&ServiceName::new("web")].backends[0].weight, 120);
}

#[test]
fn backups_work_only_when_no_other_is_left() {
    let mut spare = backend("spare");
    spare.backup = true;
    let config = config([service("web", [backend("a"), spare])]);
    let good = planned(&config, &health([("web", true, vec![("a", Unchecked, 100), ("spare", Up, 100)])]));
    assert_eq!(uses(&good, "web"), [BackendUse::Live, BackendUse::Draining]);
    let bad = health([("web", true, vec![("a", Down, 100), ("spare", Up, 100)])]);
    let bad = lb_desired(&config, &bad, &Following::default(), &good).expect("a change");
    assert_eq!(uses(&bad, "web"), [BackendUse::Down, BackendUse::Live]);
}

#[test]
fn a_drained_backend_keeps_what_it_has_until_it_dies() {
    let mut drained = backend("a");
    drained.drain = true;
    let config = config([service("web", [drained, backend("b")])]);
    let up = planned(&config, &health([("web", true, vec![("a", Up, 100), ("b", Up, 100)])]));
    assert_eq!(uses(&up, "web"), [BackendUse::Draining, BackendUse::Live]);
    let down = planned(&config, &health([("web", true, vec![("a", Down, 100), ("b", Up, 100)])]));
    assert_eq!(uses(&down, "web"), [BackendUse::Down, BackendUse::Live]);
}

#[test]
fn the_data_plane_is_missing_until_the_first_table_stands_and_when_listeners_fail() {
    let config = config([service("web", [backend("a")]), service("api", [backend("a")])]);
    let group = BTreeSet::from([GroupName::new("main")]);
    let nothing = fulcrum_lb::Observed::default();
    let (none, no_trial) = (BTreeSet::new(), BTreeSet::new());
    assert_eq!(data_plane_missing(&config, &nothing, &none, &no_trial), group);
    assert!(data_plane_missing(&config, &nothing, &group, &no_trial).is_empty(), "a reload adds services");
    let mut served = fulcrum_lb::Observed::default();
    for name in ["web", "api"] {
        served.services.insert(ServiceName::new(name), ServiceObserved::default());
    }
    assert!(data_plane_missing(&config, &served, &none, &no_trial).is_empty());
    let broken = ServiceObserved { errors: vec!["address in use".to_owned()], ..ServiceObserved::default() };
    served.services.insert(ServiceName::new("web"), broken);
    assert_eq!(data_plane_missing(&config, &served, &group, &no_trial), group);
    let on_trial = BTreeSet::from([ServiceName::new("web")]);
    assert!(data_plane_missing(&config, &served, &group, &on_trial).is_empty(), "a trial's error");
    served.stuck.push("tcp-0".to_owned());
    assert_eq!(data_plane_missing(&config, &served, &group, &on_trial), group, "every service waits");
}

#[test]
fn the_first_round_is_done_when_every_checked_backend_has_a_verdict() {
    let config = config([service("web", [backend("a"), backend("b")])]);
    assert!(!first_round_done(&config, &fulcrum_health::Observed::default()));
    let half = health([("web", true, vec![("a", Up, 100), ("b", Unchecked, 100)])]);
    assert!(!first_round_done(&config, &half));
    let whole = health([("web", true, vec![("a", Up, 100), ("b", Down, 100)])]);
    assert!(first_round_done(&config, &whole));
    let mut tried = half;
    tried.targets = cannot_check(&config, 1);
    assert!(first_round_done(&config, &tried), "a check that can't be made is not waited for");
}

#[test]
fn an_unknown_group_can_not_stand_down() {
    let config = Arc::new(config([service("web", [backend("a")])]));
    let asked = [GroupName::new("main"), GroupName::new("gone")].map(|it| (it, None)).into();
    let desired = vip_desired(&config, &asked, false, BTreeSet::new(), BTreeSet::new());
    assert_eq!(desired.standing_down, BTreeMap::from([(GroupName::new("main"), None)]));
}
