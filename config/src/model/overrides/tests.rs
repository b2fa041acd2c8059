use super::*;
use crate::{Before, OnDown, parse_after};
use std::sync::Arc;

const FILE: &str = "
node: lb-1
nodes:
  lb-1: {addresses: [10.0.0.11]}
  lb-2: {addresses: [10.0.0.12]}
interfaces:
  eth0: {networks: [10.0.0.0/24]}
groups:
  web: {vrid: 51, vips: [10.0.0.100]}
pools:
  public: {addresses: [10.0.0.128/29], group: web}
services:
  shop:
    vip: 10.0.0.100
    port: 80
    on_down: drain
    backends: [{name: one, address: 10.0.0.21:80}, 10.0.0.22:80]
";

fn id(text: &str) -> BackendId {
    BackendId::try_from(text.to_owned()).unwrap()
}

fn noted<T>(what: T) -> Noted<T> {
    Noted { what, by: "uid 0 pid 7".to_owned(), since: UnixTime(1000) }
}

fn all() -> Overrides {
    Overrides {
        backends: BTreeMap::from([
            (id("shop/one"), noted(Serving::Draining(Some(UnixTime(1060))))),
            (id("shop/10.0.0.22:80"), noted(Serving::Disabled)),
        ]),
        weights: BTreeMap::from([(id("shop/one"), noted(Weight::new(5).unwrap()))]),
        nodes: BTreeMap::from([(
            NodeName::new("lb-1"),
            noted(NodeDrain { finish: Some(Duration::from_secs(7)) }),
        )]),
        pools: BTreeMap::from([(PoolName::new("public"), noted(()))]),
    }
}

fn parsed(text: &str, overrides: &Overrides, now: u64) -> crate::Parsed {
    let overrides = Arc::new(overrides.clone());
    let before = Before { overrides, now: UnixTime(now), ..Before::default() };
    parse_after(text, "fulcrum.yaml", "lb-1", &before).unwrap()
}

#[test]
fn what_is_kept_is_read_as_it_was() {
    let text = serde_json::to_string(&all()).unwrap();
    assert_eq!(serde_json::from_str::<Overrides>(&text).unwrap(), all());
    assert_eq!(serde_json::from_str::<Overrides>("{}").unwrap(), Overrides::default());
}

#[test]
fn what_no_node_says_is_refused() {
    let refused = |text: &str| assert!(serde_json::from_str::<Overrides>(text).is_err(), "{text}");
    refused(r#"{"backends": {"no-service": {"what": "disabled", "by": "x", "since": 1}}}"#);
    refused(r#"{"weights": {"a/b": {"what": 257, "by": "x", "since": 1}}}"#);
    refused(r#"{"pools": {"a\u001b[2J": {"what": null, "by": "x", "since": 1}}}"#);
    refused(r#"{"pools": {"a": {"what": null, "by": "", "since": 1}}}"#);
    let mut many = Overrides::default();
    for number in 0..=COUNT_LIMIT {
        many.pools.insert(PoolName::new(&format!("p{number}")), noted(()));
    }
    refused(&serde_json::to_string(&many).unwrap());
}

#[test]
fn they_stand_over_what_the_file_says() {
    let config = parsed(FILE, &all(), 1001).config;
    let shop = &config.services[&ServiceName::new("shop")];
    let [one, two] = &shop.backends[..] else { panic!("two backends") };
    assert!(one.drain && !one.disabled && one.weight.get() == 5);
    assert!(two.disabled && two.weight == Weight::ONE);
    assert!(config.pools[&PoolName::new("public")].drained);
    assert!(config.overrides.is_drained(&NodeName::new("lb-1")));
    assert!(config.groups.values().all(|group| group.drain == Duration::from_secs(7)));
    assert_eq!(shop.on_down, OnDown::Drain);
}

#[test]
fn a_drain_closes_at_its_deadline() {
    let overrides = all();
    assert_eq!(overrides.next_deadline(UnixTime(1059)), Some(UnixTime(1060)));
    assert_eq!(overrides.next_deadline(UnixTime(1060)), None);
    let disabled =
        |now| parsed(FILE, &overrides, now).config.services[&ServiceName::new("shop")].backends[0].disabled;
    assert!(!disabled(1059));
    assert!(disabled(1060));
}

#[test]
fn what_the_file_has_no_more_is_forgotten_and_said() {
    let without = FILE.replace("{name: one, address: 10.0.0.21:80}, ", "");
    let parsed = parsed(&without, &all(), 1001);
    let overrides = &parsed.config.overrides;
    assert!(overrides.weights.is_empty() && overrides.backends.len() == 1);
    let warnings = parsed.warnings.to_string();
    assert!(warnings.contains("backend shop/one was drained by uid 0 pid 7"), "{warnings}");
    assert!(warnings.contains("backend shop/one was weight 5"), "{warnings}");
}

#[test]
fn nodes_agree_only_if_they_have_the_same() {
    let digest = |overrides: &Overrides| parsed(FILE, overrides, 1001).config.shared;
    assert_eq!(
        digest(&Overrides::default()),
        parse_after(FILE, "", "lb-1", &Before::default()).unwrap().config.shared
    );
    assert_ne!(digest(&all()), digest(&Overrides::default()));
    // A deadline that is over here, and not yet there, is no difference.
    assert_eq!(digest(&all()), parsed(FILE, &all(), 2000).config.shared);
}

#[test]
fn the_difference_names_them() {
    let (old, new) = (parsed(FILE, &Overrides::default(), 1).config, parsed(FILE, &all(), 1).config);
    let lines: Vec<String> = crate::difference(&old, &new).iter().map(ToString::to_string).collect();
    assert!(lines.contains(&"lb-node lb-1: drained: false is now true".to_owned()), "{lines:?}");
    assert!(lines.contains(&"pool public: drained: false is now true".to_owned()), "{lines:?}");
    assert!(lines.contains(&"service shop: backend one: weight: 1 is now 5".to_owned()), "{lines:?}");
}

#[test]
fn a_drained_pool_hands_nothing_out_and_takes_nothing_back() {
    let asks = format!("{FILE}  more:\n    vip: auto\n    port: 81\n    backends: [10.0.0.21:81]\n");
    let first = parse_after(&asks, "", "lb-1", &Before::default()).unwrap().config;
    let drained = Arc::new(all());
    let before =
        Before { allocations: Arc::clone(&first.allocations), overrides: drained, ..Before::default() };
    assert_eq!(parse_after(&asks, "", "lb-1", &before).unwrap().config.allocations, first.allocations);
    let another = format!("{asks}  third:\n    vip: auto\n    port: 82\n    backends: [10.0.0.21:82]\n");
    let refused = parse_after(&another, "", "lb-1", &before).unwrap_err().to_string();
    assert!(
        refused.contains("pool `public` is drained ('fulcrum undrain pool public' ends that)"),
        "{refused}"
    );
}
