use super::*;
use crate::model::{Config, ServiceName};
use crate::{Before, difference, parse_after};
use std::fmt::Write;
use std::net::Ipv4Addr;

const NODES: &str = "\
nodes:
  lb-1: {addresses: [10.0.0.11], keys: [\"sha256:lXmoZ1C3sy9NRGzHkvNSlTxCk9vVNZ9VTWK6a0NO9mY=\"], priority: 120}
  lb-2: {addresses: [10.0.0.12], keys: [\"sha256:Wk9vCzGrVPt6j1xFCjTmkrOmx2bqVQnIwmpTQyPPOjA=\"]}
interfaces:
  eth0: {networks: [10.0.0.0/16, \"2001:db8::/64\"]}
timing: {advert_interval: 200ms}
";

fn after(text: &str, before: &Before) -> Config {
    let text = format!("{NODES}{text}");
    parse_after(&text, "f", "lb-1", before).unwrap_or_else(|wrong| panic!("{wrong}")).config
}

fn config(text: &str) -> Config {
    after(text, &Before::default())
}

/// Each group with its addresses.
fn groups(config: &Config) -> Vec<String> {
    let shown = |group: &Arc<Group>| {
        let vips: Vec<String> = group.vips.iter().map(|vip| vip.address.to_string()).collect();
        format!("{}: {}", group.name, vips.join(" "))
    };
    config.groups.values().map(shown).collect()
}

fn group_of<'a>(config: &'a Config, service: &str) -> &'a str {
    config.services[&ServiceName::new(service)].group.as_str()
}

/// Services, each with what it says of its addresses and a port of its own.
fn services(vips: &[&str]) -> String {
    let mut text = String::from("services:\n");
    for (number, vip) in (1..).zip(vips) {
        writeln!(text, "  s{number}: {{{vip}, port: {number}, backends: [10.0.9.1:80]}}").unwrap();
    }
    text
}

#[test]
fn an_address_that_no_group_lists_is_a_group_of_its_own() {
    let rows: &[(&[&str], &[&str])] = &[
        (&["vip: 10.0.1.1"], &["10.0.1.1: 10.0.1.1"]),
        // Services that share an address share its group.
        (&["vip: 10.0.1.1", "vip: 10.0.1.1"], &["10.0.1.1: 10.0.1.1"]),
        (&["vip: 10.0.1.2", "vip: 10.0.1.1"], &["10.0.1.1: 10.0.1.1", "10.0.1.2: 10.0.1.2"]),
        (
            &["vip: 10.0.1.1", "vip: \"2001:db8::1:1\""],
            &["10.0.1.1: 10.0.1.1", "2001:db8::1:1: 2001:db8::1:1"],
        ),
        // What one service has moves together, whatever the order.
        (&["vips: [\"2001:db8:0::01:1\", 10.0.1.1]"], &["10.0.1.1: 10.0.1.1 2001:db8::1:1"]),
        (
            &["vip: \"2001:db8::1:1\"", "vips: [10.0.1.1, \"2001:db8::1:1\"]"],
            &["10.0.1.1: 10.0.1.1 2001:db8::1:1"],
        ),
        (
            &["vips: [10.0.1.3, 10.0.1.4]", "vips: [10.0.1.2, 10.0.1.3]", "vips: [10.0.1.5]"],
            &["10.0.1.2: 10.0.1.2 10.0.1.3 10.0.1.4", "10.0.1.5: 10.0.1.5"],
        ),
    ];
    for (vips, expected) in rows {
        let config = config(&services(vips));
        assert_eq!(groups(&config), *expected, "{vips:?}");
        assert_eq!(config.services.len(), vips.len());
        for service in config.services.values() {
            let group = &config.groups[&service.group];
            let has = |address: &IpAddr| group.vips.iter().any(|vip| vip.address == *address);
            assert!(service.vips.iter().all(has), "{vips:?}");
        }
    }
}

#[test]
fn it_is_as_a_listed_group_of_which_nothing_is_written() {
    let own = config(&services(&["vip: 10.0.1.1"]));
    let listed = config(&format!("groups: {{one: {{vips: [10.0.1.1]}}}}\n{}", services(&["vip: 10.0.1.1"])));
    let [own, listed] = [own, listed].map(|config| (**config.groups.values().next().unwrap()).clone());
    assert_eq!(own, Group { name: own.name.clone(), ..listed });
}

#[test]
fn a_group_that_lists_the_address_wins() {
    let text = services(&["vip: 10.0.1.1", "vip: 10.0.1.2", "vip: 10.0.1.3"]);
    let listed = "groups: {api: {class: control-plane, vrid: 9, vips: [10.0.1.1]}, 10.0.1.2: {vips: [10.0.1.2, 10.0.1.9]}}\n";
    let config = config(&format!("{listed}{text}"));
    assert_eq!(groups(&config), ["10.0.1.2: 10.0.1.2 10.0.1.9", "10.0.1.3: 10.0.1.3", "api: 10.0.1.1"]);
    assert_eq!(group_of(&config, "s1"), "api");
    assert_eq!(config.groups[&GroupName::new("api")].class, Class::ControlPlane);
}

#[test]
fn each_address_of_a_pool_without_a_group_is_one_of_its_own() {
    let pool = "pools: {p: {addresses: [10.0.1.1-10.0.1.9, \"2001:db8::1:0/112\"]}}\n";
    let text = services(&[
        "vip: auto",
        "vip: auto, share: k",
        "vip: auto, share: k",
        "vip: {families: [ipv4, ipv6]}",
        "vip: {address: 10.0.1.9}",
        "vip: 10.0.2.1",
    ]);
    let first = config(&format!("{pool}{text}"));
    let expected = [
        "10.0.1.1: 10.0.1.1",
        "10.0.1.2: 10.0.1.2",
        "10.0.1.3: 10.0.1.3 2001:db8::1:0",
        "10.0.1.9: 10.0.1.9",
        "10.0.2.1: 10.0.2.1",
    ];
    assert_eq!(groups(&first), expected);
    assert_eq!((group_of(&first, "s2"), group_of(&first, "s3")), ("10.0.1.2", "10.0.1.2"));
    assert_eq!(group_of(&first, "s4"), "10.0.1.3");
    // It stays through an edit, and is gone with its last service.
    let before = Before { allocations: Arc::clone(&first.allocations), give_up: false, ..Before::default() };
    let fewer = text.replace("vip: auto, port: 1", "vip: 10.0.2.1, port: 1").replace("  s3: ", "  s7: ");
    let later = after(&format!("{pool}{fewer}"), &before);
    assert_eq!(groups(&later), expected[1..]);
    // With a group of the pool's, all are in that one.
    let grouped = format!("groups: {{g: {{}}}}\n{}{text}", pool.replace("p: {", "p: {group: g, "));
    let grouped = after(&grouped, &before);
    assert_eq!(group_of(&grouped, "s5"), "g");
    assert_eq!(grouped.allocations, first.allocations);
    assert_eq!(grouped.groups.len(), 2);
}

#[test]
fn a_service_has_addresses_of_pools_without_a_group_or_of_one_group() {
    let pools = "\
groups: {g: {}}
pools:
  a: {addresses: [10.0.1.1-10.0.1.9], group: g, priority: 200}
  b: {addresses: [10.0.2.1-10.0.2.9]}
  c: {addresses: [\"2001:db8::1:0/112\"]}
";
    let config = config(&format!("{pools}{}", services(&["vip: {families: [ipv4, ipv6]}", "vip: auto"])));
    assert_eq!(groups(&config), ["10.0.2.1: 10.0.2.1 2001:db8::1:0", "g: 10.0.1.1"]);
}

#[test]
fn what_an_edit_changes_is_told() {
    let changes = |old: &str, new: &str| -> Vec<String> {
        difference(&config(old), &config(new)).iter().map(ToString::to_string).collect()
    };
    let (one, two) = (services(&["vip: 10.0.1.1"]), services(&["vip: 10.0.1.1", "vip: 10.0.1.2"]));
    assert_eq!(changes(&one, &two), ["group 10.0.1.2: added", "service s2: added"]);
    assert_eq!(changes(&two, &one), ["group 10.0.1.2: removed", "service s2: removed"]);
    assert_eq!(
        changes(&one, &format!("groups: {{web: {{vips: [10.0.1.1]}}}}\n{one}")),
        [
            "group 10.0.1.1: removed",
            "group web: added",
            "address 10.0.1.1: moves from group 10.0.1.1 to group web",
            "service s1: group: 10.0.1.1 is now web"
        ]
    );
}

/// So many addresses, each of a service.
fn many(count: usize) -> String {
    let vips = (0x0a00_1400_u32..).take(count).map(|number| format!("vip: {}", Ipv4Addr::from(number)));
    let vips: Vec<String> = vips.collect();
    services(&vips.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn there_are_as_many_as_the_fence_has_room_for() {
    assert_eq!(config(&many(MAX_GROUPS)).groups.len(), MAX_GROUPS);
    let refused = crate::parse(&format!("{NODES}{}", many(MAX_GROUPS + 1)), "f", "lb-1").unwrap_err();
    assert!(refused.to_string().contains("there are 4096 groups, as many as can be"), "{refused}");
}

#[test]
fn what_moves_together_is_found_however_long_the_lists_are() {
    let address = |number: u32| IpAddr::from(Ipv4Addr::from(number));
    let chain: Vec<Vec<IpAddr>> = (0..50_000).rev().map(|it| vec![address(it), address(it + 1)]).collect();
    assert_eq!(together(&chain).len(), 1);
    let wide: Vec<IpAddr> = (0..50_000).map(address).collect();
    assert_eq!(together(&[wide.clone(), wide]).len(), 1);
    let apart: Vec<Vec<IpAddr>> = (0..50_000).map(|it| vec![address(it)]).collect();
    assert_eq!(together(&apart).len(), 50_000);
}
