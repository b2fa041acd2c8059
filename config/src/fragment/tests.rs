use crate::model::{Allocations, Config, Fragments, Noted, ServiceName, SourceName, UnixTime};
use crate::{Before, parse_after};
use proptest::prelude::*;
use std::fmt::Write;
use std::sync::Arc;

const FILE: &str = "\
nodes:
  lb-1: {addresses: [10.0.0.11], keys: [\"sha256:lXmoZ1C3sy9NRGzHkvNSlTxCk9vVNZ9VTWK6a0NO9mY=\"], priority: 120}
  lb-2: {addresses: [10.0.0.12], keys: [\"sha256:Wk9vCzGrVPt6j1xFCjTmkrOmx2bqVQnIwmpTQyPPOjA=\"]}
interfaces:
  eth0: {networks: [10.0.0.0/16, \"2001:db8::/64\"]}
groups:
  api: {class: control-plane, vips: [10.0.3.1]}
  web: {vips: [10.0.3.2]}
pools:
  public: {addresses: [10.0.1.0-10.0.1.9]}
  tiny: {addresses: [10.0.2.1-10.0.2.2], auto_assign: false}
checks:
  ping: {type: tcp}
services:
  own: {vip: {address: 10.0.1.5}, port: 443, backends: [10.0.9.1:80]}
  api: {vip: 10.0.3.1, port: 6443, backends: [10.0.9.7:6443]}
  web: {vip: 10.0.3.2, port: 80, backends: [10.0.9.8:80]}
  alone: {vip: 10.0.4.1, port: 80, backends: [10.0.9.8:80]}
  two: {vips: [10.0.4.2, 10.0.4.3], port: 80, backends: [10.0.9.8:80]}
";

fn source() -> SourceName {
    SourceName::new("prod")
}

fn fragments(text: &str) -> Arc<Fragments> {
    let text = Noted { what: Arc::from(text), by: "root".to_owned(), since: UnixTime(1) };
    Arc::new(Fragments::default().with(source(), Some(text)).unwrap())
}

/// With what services had, and each of `services` as `name: what` after `prod/a/`.
fn after(allocations: &Arc<Allocations>, services: &[&str]) -> Config {
    let mut text = String::from("services:\n");
    services.iter().for_each(|service| writeln!(text, "  prod/a/{service}").unwrap());
    with(allocations, &text)
}

fn with(allocations: &Arc<Allocations>, text: &str) -> Config {
    of(FILE, allocations, text)
}

fn of(file: &str, allocations: &Arc<Allocations>, text: &str) -> Config {
    let before =
        Before { allocations: Arc::clone(allocations), fragments: fragments(text), ..Before::default() };
    let config = parse_after(file, "f", "lb-1", &before).unwrap_or_else(|wrong| panic!("{wrong}")).config;
    // What another node makes of it is the same.
    let again = Before { allocations: Arc::clone(&config.allocations), ..before };
    assert_eq!(parse_after(file, "f", "lb-1", &again).unwrap().config, config);
    config
}

fn config(services: &[&str]) -> Config {
    after(&Arc::default(), services)
}

fn name(name: &str) -> ServiceName {
    ServiceName::new(&format!("prod/a/{name}"))
}

fn addresses(config: &Config, service: &str) -> String {
    let addresses = config.services.get(&name(service)).map(|it| it.vips.clone()).unwrap_or_default();
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// Those that are set aside, and why.
fn aside(config: &Config) -> Vec<String> {
    config.sources.set_aside.iter().map(|(name, why)| format!("{name}: {why}")).collect()
}

const GOOD: &str = "good: {vip: auto, port: 80, backends: [10.0.9.2:30080], check: ping}";

#[test]
fn services_of_a_source_stand_beside_those_of_the_file() {
    let config = config(&[GOOD, "web:https: {vip: {address: 10.0.1.7}, port: 443, backends: []}"]);
    assert_eq!(aside(&config), [""; 0]);
    assert_eq!(addresses(&config, "good"), "10.0.1.0");
    assert_eq!(addresses(&config, "web:https"), "10.0.1.7");
    assert_eq!(config.services.len(), 7);
    assert_eq!(config.services[&name("good")].check.as_ref().unwrap().rise, 2);
    assert_eq!(config.services_of(&source()).count(), 2);
    // The group of its own of an address of the pool.
    assert!(config.groups.contains_key(&crate::GroupName::new("10.0.1.0")));
}

#[test]
fn each_wrong_service_is_set_aside_alone() {
    let rows = [
        ("bad: {vip: auto, backends: []}", "`port` is missing"),
        ("bad: {vip: auto, port: 0, backends: []}", "port: `0` is not"),
        ("bad: {vip: auto, port: 80, backends: [10.0.9.2:80, 10.0.9.300:80]}", "backends[1]: "),
        ("bad: {vip: auto, port: 80, backends: [], colour: red}", "`colour` is not a key of this section"),
        ("bad: 7", "a single value stands here"),
        ("bad/worse: {vip: auto, port: 80, backends: []}", "this is no name of a service of this source"),
        // File wins.
        (
            "bad: {vip: 10.0.3.2, port: 80, backends: []}",
            "service `web` listens on 10.0.3.2:80 (TCP) already",
        ),
        (
            "bad: {vip: 10.0.4.1, port: 80, backends: []}",
            "service `alone` listens on 10.0.4.1:80 (TCP) already",
        ),
        ("bad: {vip: {address: 10.0.1.5}, port: 80, backends: []}", "service `own` has it"),
        ("bad: {vips: [10.0.4.1, 10.0.4.2], port: 81, backends: []}", "addresses of different groups"),
        ("bad: {vips: [10.0.4.1, 10.0.4.9], port: 81, backends: []}", "`10.0.4.9` is not a VIP of any group"),
        ("bad: {vip: 10.0.9.8, port: 81, backends: []}", "`10.0.9.8` is a VIP of group `10.0.9.8`"),
        ("bad: {vip: 10.0.0.12, port: 81, backends: []}", "node `lb-2`'s own address"),
        ("bad: {vip: 10.0.3.1, port: 81, backends: []}", "of class control-plane"),
        ("bad: {vip: auto, port: 80, backends: [10.0.3.1:80]}", "connections would go round in a loop"),
        ("bad: {vip: auto, port: 80, backends: [10.0.1.9:80]}", "lies in pool `public`"),
        ("bad: {vip: {pool: nowhere}, port: 80, backends: []}", "no pool of addresses named `nowhere`"),
        ("bad: {vip: auto, port: 80, backends: [], check: pong}", "there is no check named `pong`"),
        (
            "bad: {vip: auto, port: 80, backends: [], check: {type: script, command: [/bin/true]}}",
            "a check of type script can't come from outside the file",
        ),
        ("bad: {vip: 10.99.0.1, port: 80, backends: []}", "in no network of an interface"),
    ];
    let without = config(&[GOOD]);
    for (bad, why) in rows {
        let config = config(&[bad, GOOD]);
        let aside = aside(&config);
        assert!(matches!(aside.as_slice(), [one] if one.contains(why)), "{bad}: {aside:?}");
        assert_eq!(config.services, without.services, "{bad}");
        assert_eq!(config.groups, without.groups, "{bad}");
    }
}

#[test]
fn of_two_that_can_not_both_be_the_first_is() {
    let all = [
        "c: {vip: 10.0.3.2, port: \"12-20\", backends: []}",
        "a: {vip: 10.0.3.2, port: \"1-10\", backends: []}",
        "b: {vip: 10.0.3.2, port: \"5-15\", backends: []}",
    ];
    let config_of = |some: &[&str]| config(some);
    let all_of_them = config_of(&all);
    assert_eq!(aside(&all_of_them).len(), 1);
    assert!(
        aside(&all_of_them)[0]
            .starts_with("prod/a/b: port: service `prod/a/a` listens on 10.0.3.2:5 (TCP) already")
    );
    // One that is wrong anyway is in nobody's way.
    let worse = ["a: {vip: 10.0.3.2, port: \"1-10\", backends: [10.0.3.1]}", all[0], all[2]];
    let config = config_of(&worse);
    let aside = aside(&config);
    assert!(aside.len() == 2 && aside[1].starts_with("prod/a/c: port: service `prod/a/b`"), "{aside:?}");
}

#[test]
fn what_is_no_fragment_refuses_it_whole_and_nothing_else() {
    let without = with(&Arc::default(), "services: {}");
    for (text, why) in [
        ("", "a value is missing"),
        ("services: [", "line 2, column 1: this is not YAML"),
        ("services: []", "a list stands here"),
        ("services: {}\nnodes: {}", "`nodes` is not a key of this section"),
        ("services: {}\ngroups: {g: {vrid: 1, vips: [10.0.5.1]}}", "`groups` is not a key"),
        ("services: {prod/a/b: {port: 1}, prod/a/b: {port: 1}}", "`prod/a/b` is there twice"),
        ("services: &a {}", "anchors"),
    ] {
        let config = with(&Arc::default(), text);
        let refused = config.sources.refused.get(&source()).expect(text);
        assert!(refused.contains(why), "{text}: {refused}");
        assert_eq!((&config.services, &config.groups), (&without.services, &without.groups));
    }
}

#[test]
fn a_file_has_no_names_of_a_source() {
    let file = format!("{FILE}  prod/a/b: {{vip: auto, port: 80, backends: []}}\n");
    let wrong = parse_after(&file, "f", "lb-1", &Before::default()).unwrap_err().to_string();
    assert!(wrong.contains("`prod/a/b` is not a name"), "{wrong}");
}

#[test]
fn a_bad_file_is_refused_whatever_comes_from_outside() {
    let file = FILE.replace("port: 6443", "port: 64430000");
    let before = Before { fragments: fragments("services: {a: 1, prod/a/b: 7}"), ..Before::default() };
    let wrong = parse_after(&file, "f", "lb-1", &before).unwrap_err();
    assert_eq!(wrong.len(), 1, "{wrong}");
}

#[test]
fn a_pool_that_is_full_sets_those_aside_that_do_not_fit() {
    let tiny = |name| format!("{name}: {{vip: {{pool: tiny}}, port: 80, backends: []}}");
    let (one, two, three) = (tiny("one"), tiny("two"), tiny("three"));
    let full = config(&[&one, &two, &three, GOOD]);
    assert_eq!(aside(&full).len(), 1);
    assert!(
        aside(&full)[0].contains("prod/a/two: vip: pool `tiny` has no free IPv4 address"),
        "{:?}",
        aside(&full)
    );
    assert_eq!(addresses(&full, "good"), "10.0.1.0");
    // One that is wrong by itself takes nothing away.
    let config_of_bad = config(&[&one, &two.replace("80", "x"), &three]);
    assert_eq!(addresses(&config_of_bad, "three"), "10.0.2.2");
    // What is given back is given to the next.
    let next = after(&full.allocations, &[&two, &three]);
    assert_eq!(
        (addresses(&next, "three"), addresses(&next, "two")),
        ("10.0.2.2".to_owned(), "10.0.2.1".to_owned())
    );
}

#[test]
fn addresses_stay_whatever_else_changes() {
    let service = |name: &str| format!("{name}: {{vip: auto, port: 80, backends: []}}");
    let (b, c) = (service("b"), service("c"));
    let first = config(&[&b, &c]);
    assert_eq!((addresses(&first, "b"), addresses(&first, "c")), ("10.0.1.0".into(), "10.0.1.1".into()));
    let second = after(&first.allocations, &[&service("a"), &c]);
    assert_eq!((addresses(&second, "a"), addresses(&second, "c")), ("10.0.1.0".into(), "10.0.1.1".into()));
    // One that is wrong for a while gets its own back.
    let wrong = after(&second.allocations, &[&service("a"), &c.replace("80", "0"), &service("d")]);
    assert_eq!((addresses(&wrong, "c"), addresses(&wrong, "d")), (String::new(), "10.0.1.2".into()));
    assert!(!wrong.groups.contains_key(&crate::GroupName::new("10.0.1.1")));
    let unread = with(&wrong.allocations, "services: [");
    assert_eq!(unread.allocations.len(), 5 - 1);
    let right = after(&unread.allocations, &[&service("a"), &c, &service("d")]);
    assert_eq!(addresses(&right, "c"), "10.0.1.1");
}

#[test]
fn a_service_that_is_set_aside_keeps_its_address_under_the_former_name_of_its_port() {
    let other = "other: {vip: {address: 10.0.1.9}, port: 80, backends: []}";
    let web = |port: &str, vip: &str| format!("web:{port}: {{vip: {vip}, port: 80, backends: []}}");
    let first = config(&[other, &web("http", "{address: 10.0.1.3}")]);
    // One edit renames its port and asks for what another has.
    let renamed = web("web", "{address: 10.0.1.9}");
    let new = "new: {vip: {within: [10.0.1.3-10.0.1.4]}, port: 80, backends: []}";
    let wrong = after(&first.allocations, &[other, &renamed, new]);
    assert!(
        matches!(aside(&wrong).as_slice(), [one] if one.contains("service `prod/a/other` has it")),
        "{:?}",
        aside(&wrong)
    );
    let of = |config: &Config, service: &str| {
        let addresses = config.allocations.of(&name(service)).into_iter().flatten();
        addresses.map(|(address, _)| address.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(of(&wrong, "web:http"), ["10.0.1.3"]);
    assert_eq!(addresses(&wrong, "new"), "10.0.1.4");
    // Without that wish it gets it back, and the former name goes.
    let right = after(&wrong.allocations, &[other, &web("web", "{prefer: [10.0.1.3]}"), new]);
    assert_eq!((aside(&right).len(), addresses(&right, "web:web")), (0, "10.0.1.3".to_owned()));
    assert_eq!(of(&right, "web:http"), [""; 0]);
    // So it does when the Service is deleted.
    assert_eq!(of(&after(&wrong.allocations, &[other, new]), "web:http"), [""; 0]);
    // A port that is served has the Service's address, whatever becomes of the others.
    let ports = [web("web", "{prefer: [10.0.1.3]}"), web("more", "{address: 10.0.1.9}")];
    let partly = after(&first.allocations, &[other, &ports[0], &ports[1], new]);
    assert_eq!((aside(&partly).len(), addresses(&partly, "web:web")), (1, "10.0.1.3".to_owned()));
}

#[test]
fn services_of_one_source_share_addresses_and_none_of_the_files() {
    let file = FILE.replace("own: {vip: {address: 10.0.1.5}", "own: {share: s, vip: {address: 10.0.1.5}");
    let text = "services:\n  prod/a/x: {vip: auto, share: s, port: 80, backends: []}\n  \
                prod/a/y: {vip: auto, share: s, port: 81, backends: []}\n  \
                prod/a/z: {vip: {address: 10.0.1.5}, share: s, port: 81, backends: []}\n";
    let config = of(&file, &Arc::default(), text);
    assert_eq!((addresses(&config, "x"), addresses(&config, "y")), ("10.0.1.0".into(), "10.0.1.0".into()));
    assert!(aside(&config)[0].starts_with("prod/a/z: "), "{:?}", aside(&config));
}

#[test]
fn a_service_of_the_file_takes_the_address_that_it_asks_for() {
    let first = config(&[GOOD]);
    let file = FILE.replace("address: 10.0.1.5", "address: 10.0.1.0");
    let second = of(&file, &first.allocations, &format!("services:\n  prod/a/{GOOD}\n"));
    assert!(aside(&second)[0].contains("service `own` of the file asks for it"), "{:?}", aside(&second));
    // It gets it back.
    assert_eq!(addresses(&after(&second.allocations, &[GOOD]), "good"), "10.0.1.0");
}

#[test]
fn one_bad_among_thousands_is_found() {
    let file = FILE.replace(
        "public: {addresses: [10.0.1.0-10.0.1.9]}",
        "public: {addresses: [\"2001:db8::1:0-2001:db8::1:3\"]}\n  big: {addresses: [10.0.128.0-10.0.255.254], group: web}",
    );
    let file = file.replace("own: {vip: {address: 10.0.1.5}", "own: {vip: {address: \"2001:db8::1:2\"}");
    let mut text = String::from("services:\n");
    for number in 0..5_000 {
        let port = 1 + number;
        let backends = if number == 4_321 { "[10.0.3.1]" } else { "[10.0.9.2:30080, 10.0.9.3:30080]" };
        writeln!(
            text,
            "  prod/a/s{number}: {{vip: {{pool: big}}, share: x, port: {port}, backends: {backends}}}"
        )
        .unwrap();
    }
    let config = of(&file, &Arc::default(), &text);
    assert_eq!(aside(&config).len(), 1);
    assert!(aside(&config)[0].starts_with("prod/a/s4321: "));
    assert_eq!(config.services_of(&source()).count(), 4_999);
}

#[test]
fn there_are_bounds() {
    let text = |text: &str| Some(Noted { what: Arc::from(text), by: String::new(), since: UnixTime(1) });
    let name = |number: usize| SourceName::new(&format!("s{number}"));
    let mut fragments = Fragments::default();
    for number in 0..Fragments::COUNT {
        fragments = fragments.with(name(number), text("services: {}")).unwrap();
    }
    assert!(fragments.with(name(Fragments::COUNT), text("services: {}")).is_err());
    assert!(fragments.with(name(0), text(&" ".repeat(Fragments::SIZE))).is_err());
    assert!(Fragments::default().with(SourceName::new("a/b"), text("services: {}")).is_err());
    assert_eq!(fragments.with(name(0), None).unwrap().iter().count(), Fragments::COUNT - 1);
    let json = serde_json::to_string(&fragments).unwrap();
    assert_eq!(serde_json::from_str::<Fragments>(&json).unwrap(), fragments);
}

/// A word that a service may have somewhere, well or badly placed.
fn any_word() -> impl Strategy<Value = String> {
    let words = [
        "auto",
        "10.0.1.3",
        "10.0.3.1",
        "10.0.3.2",
        "10.0.4.2",
        "80",
        "443",
        "0",
        "[]",
        "{}",
        "ping",
        "nat",
        "dsr",
        "{pool: tiny}",
        "{address: 10.0.1.5}",
        "{families: [ipv4, ipv6]}",
        "[10.0.9.2:80]",
        "[10.0.3.1:80]",
        "\"1-9\"",
    ];
    proptest::sample::select(words.map(ToOwned::to_owned).to_vec())
}

prop_compose! {
    fn any_service(number: u32)(
        name in prop_oneof![5 => Just(format!("prod/a/s{number}")), 1 => Just(format!("other/a/s{number}"))],
        vip in any_word(), port in any_word(), backends in any_word(),
        more in proptest::option::of((
            proptest::sample::select(vec!["share", "check", "mode", "tenant", "quorum", "vips", "odd"]), any_word(),
        )),
    ) -> String {
        let more = more.map(|(key, word)| format!(", {key}: {word}")).unwrap_or_default();
        format!("  {name}: {{vip: {vip}, port: {port}, backends: {backends}{more}}}\n")
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_from_outside_the_file_stays_as_it_is(
        services in (any_service(1), any_service(2), any_service(3), any_service(4), any_service(5)),
    ) {
        let (one, two, three, four, five) = services;
        let without = with(&Arc::default(), "services: {}");
        // Each service is in force or set aside, and what another node makes of it is the same.
        let config = with(&Arc::default(), &format!("services:\n{one}{two}{three}{four}{five}"));
        let known = config.services_of(&source()).count().checked_add(config.sources.set_aside.len());
        prop_assert_eq!(known, Some(5));
        for (name, service) in &without.services {
            prop_assert_eq!(config.services.get(name), Some(service));
        }
        for (name, group) in &without.groups {
            prop_assert_eq!(config.groups.get(name), Some(group));
        }
    }

    #[test]
    fn any_text_from_outside_never_panics_and_never_refuses_the_file(text in any::<String>()) {
        let Ok(fragments) = Fragments::default().with(
            source(),
            Some(Noted { what: Arc::from(text), by: String::new(), since: UnixTime(1) }),
        ) else { return Ok(()) };
        let before = Before { fragments: Arc::new(fragments), ..Before::default() };
        prop_assert!(parse_after(FILE, "f", "lb-1", &before).is_ok());
    }
}
