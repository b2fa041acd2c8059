//! Addresses that no group lists.

use super::{Row, row};

pub(super) const BASE: &str = "\
nodes:
  lb-1: {addresses: [10.0.0.11], keys: [\"sha256:lXmoZ1C3sy9NRGzHkvNSlTxCk9vVNZ9VTWK6a0NO9mY=\"], priority: 150}
  lb-2: {addresses: [10.0.0.12], keys: [\"sha256:Wk9vCzGrVPt6j1xFCjTmkrOmx2bqVQnIwmpTQyPPOjA=\"], priority: 90}
interfaces:
  eth0: {networks: [10.0.0.0/24, 10.2.0.0/24]}
  eth1: {networks: [10.1.0.0/24, 10.2.0.0/25]}
groups:
  web: {vips: [10.0.0.100]}
  api: {class: control-plane, vrid: 50, vips: [10.0.0.101]}
services:
  one: {vip: 10.0.0.110, port: 80, backends: [10.0.0.21:80]}
  two: {vips: [10.0.0.100], port: 80, backends: [10.0.0.21:80]}
";

const ONE: &str = "vip: 10.0.0.110, port: 80, backends: [10.0.0.21:80]";
const KEY_2: &str = ", keys: [\"sha256:Wk9vCzGrVPt6j1xFCjTmkrOmx2bqVQnIwmpTQyPPOjA=\"], priority: 90";

pub(super) const OWN: &[Row] = &[
    row(
        ONE,
        "vip: «10.9.0.1, port: 80, backends: [10.0.0.21:80]",
        "services.one.vip",
        "`10.9.0.1` is not a VIP of any group, and in no network of an interface",
        "which has: 10.0.0.0/24, 10.2.0.0/24, 10.1.0.0/24",
    ),
    row(
        ONE,
        "vip: «10.2.0.9, port: 80, backends: [10.0.0.21:80]",
        "services.one.vip",
        "in networks of several interfaces: eth0, eth1",
        "as {address: ..., interface: ...}",
    ),
    row(
        ONE,
        "vip: «10.0.0.12, port: 80, backends: [10.0.0.21:80]",
        "services.one.vip",
        "node `lb-2`'s own address",
        "that no machine has",
    ),
    row(
        ONE,
        "vip: «10.0.0.255, port: 80, backends: [10.0.0.21:80]",
        "services.one.vip",
        "its broadcast address",
        "another address",
    ),
    row(
        ONE,
        "vip: «224.0.0.18, port: 80, backends: [10.0.0.21:80]",
        "services.one.vip",
        "a multicast address",
        "one machine",
    ),
    row(
        ONE,
        "vip: 10.0.0.110, port: 80, backends: [«10.0.0.110:80]",
        "services.one.backends[0]",
        "a VIP of group `10.0.0.110`: connections would go round",
        "own address",
    ),
    row(
        "web: {vips: [10.0.0.100]}",
        "web: {vips: [10.0.0.100], track: [{gateway: 10.0.0.110}]}",
        "services.one.vip",
        "`10.0.0.110` is a gateway that group `web` tracks",
        "that no machine has",
    ),
    row(
        "vips: [10.0.0.100], port",
        "vips: [10.0.0.100, «10.0.0.111], port",
        "services.two.vips[1]",
        "`10.0.0.111` is not a VIP of any group, the service's other address is one of group `web`",
        "add it to the `vips` of group `web`",
    ),
    row(
        "vips: [10.0.0.100], port",
        "vips: [10.0.0.101, «10.0.0.111], port",
        "services.two.vips[1]",
        "is not a VIP of any group, the service's other address is one of group `api`",
        "a service for each",
    ),
    row(
        "  web: {vips: [10.0.0.100]}",
        "  web: {vips: [10.0.0.100]}\n  «10.0.0.99: {vips: [10.0.0.98]}",
        "groups.10.0.0.99",
        "has the name of 10.0.0.99, which is not one of its `vips`",
        "give it another name",
    ),
    row(
        "services:",
        "pools: {p: {addresses: [10.0.0.110-10.0.0.119]}}\nservices:",
        "services.one.vip",
        "`10.0.0.110` is not a VIP of any group",
        "`vip: {address: 10.0.0.110}`",
    ),
    row(
        "services:",
        "pools: {p: {addresses: [«10.0.0.100]}}\nservices:",
        "pools.p.addresses[0]",
        "a VIP of group `web`",
        "leave it out",
    ),
    row(
        "services:",
        "pools: {p: {addresses: [«10.0.0.101-10.0.0.109]}}\nservices:",
        "pools.p.addresses[0]",
        "of class control-plane",
        "leave it out",
    ),
];

/// The same where no leader can be elected.
pub(super) const VRRP: &str = "\
nodes:
  lb-1: {addresses: [10.0.0.11], keys: [\"sha256:lXmoZ1C3sy9NRGzHkvNSlTxCk9vVNZ9VTWK6a0NO9mY=\"], priority: 150}
  lb-2: {addresses: [10.0.0.12], keys: [\"sha256:Wk9vCzGrVPt6j1xFCjTmkrOmx2bqVQnIwmpTQyPPOjA=\"], priority: 90}
interfaces:
  eth0: {networks: [10.0.0.0/24]}
groups:
  web: {vrid: 50, vips: [10.0.0.100]}
services:
  one: {vip: «10.0.0.110, port: 80, backends: [10.0.0.21:80]}
";

pub(super) const UNELECTABLE: &[Row] = &[
    row(
        KEY_2,
        ", priority: 90",
        "services.one.vip",
        "`10.0.0.110` is not a VIP of any group, and can't be a group of its own: `lb-2` has no keys",
        "or give each node `keys` (see `fulcrum peer-key --help`): then it is a group of its own",
    ),
    row(
        KEY_2,
        ", priority: 90, foreign: true",
        "services.one.vip",
        "can't be a group of its own: `lb-2` runs another VRRP router",
        "add it to the `vips` of a group, or write one that is there",
    ),
    row(
        "priority: 150",
        "priority: 255",
        "services.one.vip",
        "can't be a group of its own: `lb-1` has priority 255, the owner's",
        "at most 254 in `nodes`: then it",
    ),
];

/// Of a pool without a group.
pub(super) const POOLS: &[Row] = &[row(
    KEY_2,
    "",
    "pools.p",
    "`group` is missing, and the addresses can't be groups of their own: `lb-2` has no keys",
    "add `group:` with the name of a group, or give each node `keys`",
)];
