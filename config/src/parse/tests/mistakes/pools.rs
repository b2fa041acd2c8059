//! Pools of addresses, and services that ask for them.

use super::{Row, parse, row};
use crate::model::{Allocations, PoolName, ServiceName};
use crate::{Before, parse_after};
use std::sync::Arc;

pub(super) const BASE: &str = "\
nodes:
  lb-1: {addresses: [10.0.0.11, \"2001:db8::11\"], priority: 150}
  lb-2: {addresses: [10.0.0.12, \"2001:db8::12\"], priority: 100}
interfaces:
  eth0: {networks: [10.0.0.0/24, \"2001:db8::/64\"]}
  eth1: {networks: [10.1.0.0/24]}
groups:
  api: {class: control-plane, vrid: 50, vips: [10.0.0.100]}
  web: {vrid: 51, vips: [10.0.0.101], track: [{gateway: 10.0.0.1}]}
  dns: {vrid: 52, vips: [10.0.0.110]}
pools:
  public: {addresses: [10.0.0.200-10.0.0.201, \"2001:db8::8:0/112\"], group: web, quotas: {shop: 1}}
  named: {addresses: [10.0.0.208/29], group: dns, auto_assign: false}
services:
  one: {vip: auto, port: 80, backends: [10.0.0.21:80]}
  two: {vip: {pool: named}, port: 80, backends: [10.0.0.21:80]}
  old: {vip: 10.0.0.101, port: 80, backends: [10.0.0.21:80]}
";

const RANGE: &str = "[10.0.0.200-10.0.0.201, \"2001:db8::8:0/112\"]";
const GROUP: &str = "group: web, quotas";
const ONE: &str = "one: {vip: auto,";
const TWO: &str = "{vip: {pool: named}, port: 80,";

pub(super) const POOLS: &[Row] = &[
    row(TWO, "{vip: {within: []}, port: 80,", "services.two.vip.within", "the list is empty", "write ranges"),
    row(
        TWO,
        "{vip: {prefer: []}, port: 80,",
        "services.two.vip.prefer",
        "the list is empty",
        "write addresses",
    ),
    row(
        TWO,
        "{vip: {within: [«10.0.0.209-10.0.0.208]}, port: 80,",
        "services.two.vip.within[0]",
        "ends before it begins",
        "`10.0.0.208-10.0.0.209`",
    ),
    row(
        TWO,
        "{vip: {within: [10.0.0.210], address: «10.0.0.209}, port: 80,",
        "services.two.vip.address",
        "does not lie `within` these ranges",
        "change one",
    ),
    row(
        TWO,
        "{«vip: {within: [10.0.0.1-10.0.0.9]}, port: 80,",
        "services.two.vip",
        "no pool that is for this service has addresses within 10.0.0.1-10.0.0.9",
        "add them",
    ),
    row(RANGE, "[]", "pools.public.addresses", "the pool has no address", "write networks"),
    row(RANGE, "[«10.0.0.200-2001:db8::9]", "pools.public.addresses[0]", "is not a range", "of one family"),
    row(
        RANGE,
        "[«10.0.0.201-10.0.0.200]",
        "pools.public.addresses[0]",
        "ends before it begins",
        "`10.0.0.200-10.0.0.201`",
    ),
    row(
        RANGE,
        "[«10.0.0.129/25]",
        "pools.public.addresses[0]",
        "bits set beyond its prefix",
        "`10.0.0.128/25`",
    ),
    row(
        RANGE,
        "[«many]",
        "pools.public.addresses[0]",
        "`many` is not a range of addresses",
        "10.0.0.100-10.0.0.150",
    ),
    row(
        RANGE,
        "[«10.9.0.0/24]",
        "pools.public.addresses[0]",
        "in one network of an interface",
        "which has: 10.0.0.0/24",
    ),
    row(
        RANGE,
        "[«10.0.0.250-10.0.1.5]",
        "pools.public.addresses[0]",
        "in one network of an interface",
        "add its network",
    ),
    row(RANGE, "[«224.0.0.1-224.0.0.9]", "pools.public.addresses[0]", "a multicast address", "one machine"),
    row(
        RANGE,
        "[10.0.0.200, «10.0.0.192/28]",
        "pools.public.addresses[1]",
        "`10.0.0.192/28` overlaps `10.0.0.200`",
        "once",
    ),
    row(
        "[10.0.0.208/29]",
        "[«10.0.0.201]",
        "pools.named.addresses[0]",
        "overlaps `10.0.0.200-10.0.0.201` of pool `public`",
        "once",
    ),
    row(
        "[10.0.0.208/29]",
        "[«10.0.0.12-10.0.0.20]",
        "pools.named.addresses[0]",
        "has 10.0.0.12, node `lb-2`'s own address",
        "before it and",
    ),
    row(
        "[10.0.0.208/29]",
        "[«10.0.0.96-10.0.0.100]",
        "pools.named.addresses[0]",
        "has 10.0.0.100, a VIP of group `api`, of class control-plane",
        "leave it out",
    ),
    row(
        "[10.0.0.208/29]",
        "[«10.0.0.101]",
        "pools.named.addresses[0]",
        "has 10.0.0.101, a VIP of group `web`",
        "leave it out",
    ),
    row(
        "[10.0.0.208/29]",
        "[«10.0.0.1-10.0.0.9]",
        "pools.named.addresses[0]",
        "a gateway that group `web` tracks",
        "leave it out",
    ),
    row(
        "[10.0.0.208/29]",
        "[10.0.0.0]",
        "pools.named.addresses",
        "is reserved: the pool has nothing",
        "addresses of machines",
    ),
    row(GROUP, "group: «wep, quotas", "pools.public.group", "there is no VIP group named `wep`", "`web`"),
    row(
        GROUP,
        "group: «api, quotas",
        "pools.public.group",
        "group `api` is of class control-plane",
        "of class workload",
    ),
    row(
        "vips: [10.0.0.110]}",
        "vips: [10.0.0.110], accept: false}",
        "pools.named.group",
        "has `accept: false`",
        "delete",
    ),
    row(
        "vips: [10.0.0.110]}",
        "vips: [10.0.0.110], priorities: {lb-1: 255}}",
        "pools.named.group",
        "a node of priority 255",
        "at most 254",
    ),
    row(
        GROUP,
        "interface: «eth9, group: web, quotas",
        "pools.public.interface",
        "no interface named `eth9`",
        "eth0",
    ),
    row(GROUP, "«allow: [], group: web, quotas", "pools.public.allow", "the list is empty", "all may"),
    row(
        GROUP,
        "allow: [«{services: []}], group: web, quotas",
        "pools.public.allow[0]",
        "fits every service",
        "`labels`",
    ),
    row(
        "  named: {",
        "  spare: {addresses: [10.0.0.220], group: «wbe}\n  named: {",
        "pools.spare.group",
        "no VIP group named `wbe`",
        "web",
    ),
    row(
        "  dns: {vrid: 52, vips: [10.0.0.110]}",
        "  dns: {vrid: 52}\n  «empty: {vrid: 53}",
        "groups.empty",
        "`vips` is missing",
        "`pools`",
    ),
    row(
        "  dns: {vrid: 52, vips: [10.0.0.110]}",
        "  dns: {vrid: 52}\n  other: {vrid: «52, vips: [10.0.0.120]}",
        "groups.other.vrid",
        "VRID 52 is group `dns`'s on eth0 already",
        "no other group",
    ),
    row(ONE, "one: {vip: «automatic,", "services.one.vip", "`automatic` is not an address", "or `auto`"),
    row(
        ONE,
        "one: {vip: {pool: «publik},",
        "services.one.vip.pool",
        "no pool of addresses named `publik`",
        "`public`",
    ),
    row(
        ONE,
        "one: {«vip: {address: 10.0.0.77},",
        "services.one.vip",
        "`10.0.0.77` is of no pool",
        "of a pool",
    ),
    row(
        ONE,
        "one: {«vip: {pool: named, address: 10.0.0.200},",
        "services.one.vip",
        "`10.0.0.200` is of pool `public`",
        "leave `pool` out",
    ),
    row(
        ONE,
        "one: {vip: {address: «10.0.0.200, families: [ipv6]},",
        "services.one.vip.address",
        "is of none of the `families`",
        "add its family",
    ),
    row(
        ONE,
        "one: {vip: {families: [ipv6, «ipv6]},",
        "services.one.vip.families[1]",
        "IPv6 is there twice",
        "delete",
    ),
    row(
        ONE,
        "one: {vip: «10.0.0.200,",
        "services.one.vip",
        "`10.0.0.200` is not a VIP of any group",
        "`vip: {address: 10.0.0.200}`",
    ),
    row(
        ONE,
        "one: {vip: 10.0.0.110, «share: web,",
        "services.one.share",
        "for a service whose address is of a pool",
        "delete",
    ),
    row(
        ONE,
        "nine: {vip: auto, tenant: shop, port: 1, backends: [10.0.0.21:80]}\n  one: {«vip: {pool: public}, tenant: shop,",
        "services.one.vip",
        "tenant `shop` has as many addresses of pool `public`",
        "add addresses",
    ),
    row(
        ONE,
        "a: {vip: auto, port: 1, backends: []}\n  b: {vip: auto, port: 2, backends: []}\n  one: {vip: «auto,",
        "services.one.vip",
        "pool `public` has no free IPv4 address (2 of 2 are in use)",
        "share an address",
    ),
    row(
        TWO,
        "{«vip: {pool: named, families: [ipv6]}, port: 80,",
        "services.two.vip",
        "pool `named` has no IPv6 address for this",
        "families",
    ),
    row(
        ONE,
        "one: {vip: {address: 10.0.0.209}, port: 80, backends: []}\n  win: {«vip: {address: 10.0.0.209},",
        "services.win.vip",
        "service `one` has it",
        "same `share`",
    ),
    row(
        "old: {vip: 10.0.0.101, port: 80, backends: [10.0.0.21:80]}",
        "old: {vip: 10.0.0.101, port: 80, backends: [«10.0.0.201:80]}",
        "services.old.backends[0]",
        "lies in pool `public`",
        "leave it out of the pool",
    ),
    row(
        TWO,
        "{«vip: {address: 10.0.0.100}, port: 80,",
        "services.two.vip",
        "`10.0.0.100` is of no pool",
        "an address of a pool",
    ),
    row(
        "old: {vip: 10.0.0.101, port: 80,",
        "old: {vip: 10.0.0.100, tenant: «shop, port: 80,",
        "services.old.tenant",
        "of class control-plane, are reserved",
        "an address of a pool",
    ),
    row(
        "auto_assign: false",
        "auto_assign: false, allow: [{tenants: [ops]}]",
        "services.two.vip",
        "pool `named` is not for this service",
        "`tenant`",
    ),
    row(
        "quotas: {shop: 1}",
        "allow: [{labels: {a: b}}]",
        "services.one.vip",
        "no pool is for this service",
        "name a pool",
    ),
];

fn kept(text: &str) -> Arc<Allocations> {
    parse(text, "fulcrum.yaml", "lb-1").unwrap_or_else(|wrong| panic!("{wrong}")).config.allocations
}

#[test]
fn a_pool_that_loses_a_live_address_is_refused_with_the_service() {
    let before = Before { allocations: kept(BASE), give_up: false, ..Before::default() };
    let smaller = BASE.replace("10.0.0.200-10.0.0.201", "10.0.0.201");
    let refused = parse_after(&smaller, "fulcrum.yaml", "lb-1", &before).expect_err("the address is in use");
    let text = refused.to_string();
    assert!(text.contains("service `one` has 10.0.0.200 of pool `public`, and can't keep it"), "{text}");
    assert!(text.contains("services.one.vip") && text.contains("the pool"), "{text}");
    assert!(text.contains("--give-up-addresses"), "{text}");

    let before = Before { give_up: true, ..before };
    let parsed =
        parse_after(&smaller, "fulcrum.yaml", "lb-1", &before).unwrap_or_else(|wrong| panic!("{wrong}"));
    let warning = parsed.warnings.to_string();
    assert!(warning.contains("it has 10.0.0.201 now"), "{warning}");
    let web = parsed.config.groups.values().find(|group| group.name.as_str() == "web").unwrap();
    assert_eq!(web.vips.iter().filter(|vip| vip.address.to_string() == "10.0.0.201").count(), 1);
}

#[test]
fn what_services_have_is_part_of_what_the_nodes_share() {
    let config = |before: &Before| parse_after(BASE, "f", "lb-1", before).unwrap().config;
    let fresh = config(&Before::default());
    let mut other = Allocations::default();
    other.insert(ServiceName::new("one"), "10.0.0.201".parse().unwrap(), PoolName::new("public"));
    let moved = config(&Before { allocations: Arc::new(other), give_up: false, ..Before::default() });
    assert_ne!(fresh.shared, moved.shared);
    assert_eq!(fresh.services.len(), moved.services.len());
    let again =
        config(&Before { allocations: Arc::clone(&moved.allocations), give_up: false, ..Before::default() });
    assert_eq!(again, moved);
}

#[test]
fn a_group_without_an_address_in_use_is_left_out_until_it_has_one() {
    let text = BASE.replace("  dns: {vrid: 52, vips: [10.0.0.110]}", "  dns: {vrid: 52}");
    let groups =
        |text: &str| parse(text, "f", "lb-1").unwrap_or_else(|wrong| panic!("{wrong}")).config.groups;
    assert!(groups(&text).keys().any(|name| name.as_str() == "dns"));
    let unused = text.replace(TWO, "{vip: 10.0.0.101, port: 81,");
    assert!(!groups(&unused).keys().any(|name| name.as_str() == "dns"));
}

#[test]
fn names_in_what_was_kept_are_checked() {
    let good: Allocations = serde_json::from_str(r#"{"web":{"10.0.0.1":"p"}}"#).unwrap();
    assert_eq!(serde_json::to_string(&good).unwrap(), r#"{"web":{"10.0.0.1":"p"}}"#);
    assert!(serde_json::from_str::<Allocations>("{\"w\\u001b[2J\":{\"10.0.0.1\":\"p\"}}").is_err());
    assert!(serde_json::from_str::<Allocations>(r#"{"web":{"10.0.0.1":""}}"#).is_err());
}
