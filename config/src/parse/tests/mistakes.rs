//! Each mistake alone: where it is reported, for which field, what is said and what is advised.
//!
//! A row changes one line of [`BASE`]; `«` marks the place that must be reported.

use super::parse;
use crate::diagnostic::Severity;

const BASE: &str = "\
nodes:
  lb-1: {addresses: [10.0.0.11], priority: 150}
  lb-2: {addresses: [10.0.0.12], priority: 100}
interfaces:
  eth0: {networks: [10.0.0.0/24]}
groups:
  web: {vrid: 51, vips: [10.0.0.100, 10.0.0.101]}
  dns: {vrid: 52, vips: [10.0.0.110]}
checks:
  tcp: {type: tcp}
backends:
  web: {members: [10.0.0.21:80, 10.0.0.22:80]}
services:
  web: {vip: 10.0.0.100, port: 80, backends: web, check: tcp}
  dns: {vip: 10.0.0.110, protocol: udp, port: 53, backends: [10.0.0.31:53]}
";

struct Row {
    from: &'static str,
    to: &'static str,
    field: &'static str,
    message: &'static str,
    help: &'static str,
}

const fn row(
    from: &'static str,
    to: &'static str,
    field: &'static str,
    message: &'static str,
    help: &'static str,
) -> Row {
    Row { from, to, field, message, help }
}

const NODE_1: &str = "{addresses: [10.0.0.11], priority: 150}";
const NODE_2: &str = "{addresses: [10.0.0.12], priority: 100}";
const WEB_GROUP: &str = "{vrid: 51, vips: [10.0.0.100, 10.0.0.101]}";
const TCP_CHECK: &str = "tcp: {type: tcp}";
const WEB: &str = "{vip: 10.0.0.100, port: 80, backends: web, check: tcp}";
const POOL: &str = "[10.0.0.21:80, 10.0.0.22:80]";

/// The text of the file itself.
const YAML: &[Row] = &[
    row(
        WEB,
        "{vip: 10.0.0.100, port: 80, «port: 81, backends: web}",
        "services.web.port",
        "`port` is there twice",
        "keep one",
    ),
    row("services:", "«checks: {}\nservices:", "checks", "`checks` is there twice", "keep one"),
    row(WEB, "«&a {vip: 10.0.0.100}", "services", "anchors, aliases and tags", "share a pool"),
    row(WEB, "«*a", "services", "this is not YAML", "check the indentation"),
    row(WEB, "«!!map {vip: 10.0.0.100}", "services", "anchors, aliases and tags", "write the value out"),
    row(WEB, "{vip: 10.0.0.100, «[a]: b}", "services.web", "a map or list stands where a key", "key: value"),
    row(
        WEB,
        "[[[[[[[[[[[[[[«[[1]]]]]]]]]]]]]]]]",
        "services.web[0][0][0][0][0][0][0][0][0][0][0][0][0]",
        "nested too deeply",
        "levels",
    ),
    row("services:", "«---\nservices:", "", "a second document", "one document"),
    row("services:", "services: a\n  b«: c", "", "this is not YAML", "indentation"),
];

/// Keys and kinds of values.
const KEYS: &[Row] = &[
    row("services:", "«servces:", "servces", "`servces` is not a key", "did you mean `services`?"),
    row(
        WEB,
        "{vip: 10.0.0.100, «prot: 80, port: 80, backends: web}",
        "services.web.prot",
        "`prot` is not",
        "did you mean `port`?",
    ),
    row(
        WEB,
        "{vip: 10.0.0.100, port: 80, backends: web, «frobnicate: 1}",
        "services.web.frobnicate",
        "is not a key",
        "the keys here are vip, vips, protocol",
    ),
    row(
        WEB,
        "{vip: 10.0.0.100, «port: [80], backends: web}",
        "services.web.port",
        "a list stands here",
        "write a port",
    ),
    row("  dns: {vrid", "  «-dns: {vrid", "groups.-dns", "`-dns` is not a name", "letters, digits"),
    row("  eth0: {", "  «eth0:1: {", "interfaces.eth0:1", "is not the name of an interface", "ip link"),
    row("  lb-2: ", "  «lb-3:\n  lb-2: ", "nodes.lb-3", "a value is missing", "addresses"),
    row(
        WEB,
        "{vip: 10.0.0.100, «port: , backends: web}",
        "services.web.port",
        "a value is missing",
        "or delete the key",
    ),
    row(WEB, "«nothing", "services.web", "a single value stands here", "write a service, as a map"),
    row(
        "web: {vip: 10.0.0.100, port: 80,",
        "«web: {vip: 10.0.0.100,",
        "services.web",
        "`port` is missing",
        "add `port:`, its port",
    ),
    row(
        "web: {vip: 10.0.0.100, port: 80,",
        "«web: {port: 80,",
        "services.web",
        "`vip` is missing",
        "one of a group's VIPs",
    ),
    row(
        WEB,
        "{vip: 10.0.0.100, «vips: [10.0.0.101], port: 80, backends: web}",
        "services.web.vips",
        "both `vip` and `vips`",
        "write all addresses",
    ),
];

/// Single values.
const VALUES: &[Row] = &[
    row(
        WEB,
        "{vip: 10.0.0.100, port: «0, backends: web}",
        "services.web.port",
        "`0` is not a port",
        "1 to 65535",
    ),
    row(
        WEB,
        "{vip: 10.0.0.100, port: «90-80, backends: web}",
        "services.web.port",
        "`90-80` is not a port",
        "range such as",
    ),
    row(
        WEB,
        "{vip: 10.0.0.100, port: «1000-2024, backends: web}",
        "services.web.port",
        "is not a range of at most 1024 ports",
        "a smaller range",
    ),
    row(
        WEB,
        "{vip: 10.0.0.100, port: 80, backends: web, balance: «maglv}",
        "services.web.balance",
        "`maglv` is not a way",
        "did you mean `maglev`?",
    ),
    row(
        WEB,
        "{vip: 10.0.0.100, port: 80, backends: web, mode: «dsr}",
        "services.web.mode",
        "the forwarding plane is not in this version",
        "use `proxy` or `auto`",
    ),
    row(
        WEB,
        "{vip: 10.0.0.100, port: 80, backends: web, slow_start: «30}",
        "services.web.slow_start",
        "`30` has no unit",
        "`30s` for seconds or `30ms`",
    ),
    row(
        WEB,
        "{vip: 10.0.0.100, port: 80, backends: web, slow_start: «fast}",
        "services.web.slow_start",
        "is not a duration",
        "100ms, 30s",
    ),
    row(
        WEB,
        "{vip: 10.0.0.100, port: 80, backends: web, timeouts: {connect: «0s}}",
        "services.web.timeouts.connect",
        "`0s` is too short",
        "from 1ms to 10m",
    ),
    row(
        WEB,
        "{vip: 10.0.0.100, port: 80, backends: web, transparent: «yes}",
        "services.web.transparent",
        "`yes` is not true or false",
        "`true` or `false`",
    ),
    row(
        WEB,
        "{vip: 10.0.0.100, port: 80, backends: web, limits: {rate: «100}}",
        "services.web.limits.rate",
        "`100` is not a rate",
        "100/s",
    ),
    row(
        WEB,
        "{vip: 10.0.0.100, port: 80, backends: web, sources: [10.0.0.0/8, «10.1.2.3/8]}",
        "services.web.sources[1]",
        "bits set beyond its prefix",
        "write `10.0.0.0/8`",
    ),
    row(
        WEB,
        "{vip: 10.0.0.100, port: 80, backends: web, proxy_protocol: {send: «v3}}",
        "services.web.proxy_protocol.send",
        "`v3` is not a version",
        "did you mean `v1`?",
    ),
    row(
        POOL,
        "[10.0.0.21:80, «10.0.0.22:http]",
        "backends.web.members[1]",
        "`10.0.0.22:http` is not a backend",
        "10.0.0.21:6443",
    ),
    row(
        POOL,
        "[10.0.0.21:80, {address: 10.0.0.22, weight: «257}]",
        "backends.web.members[1].weight",
        "`257` is not a weight",
        "from 0 to 256",
    ),
    row(
        POOL,
        "[{address: 10.0.0.22:80, port: «81}]",
        "backends.web.members[0].port",
        "stands in `address` already",
        "delete one",
    ),
    row(
        "10.0.0.11]",
        "«10.0.0.300]",
        "nodes.lb-1.addresses[0]",
        "`10.0.0.300` is not an address",
        "IPv4 or IPv6",
    ),
    row(
        "10.0.0.11]",
        "10.0.0.11, «\"::ffff:10.0.0.1\"]",
        "nodes.lb-1.addresses[1]",
        "in IPv6 clothes",
        "write `10.0.0.1`",
    ),
    row(
        "10.0.0.0/24",
        "10.0.0.0/24, «10.1.0.5/24",
        "interfaces.eth0.networks[1]",
        "bits set beyond",
        "write `10.1.0.0/24`",
    ),
    row("priority: 150", "priority: «0", "nodes.lb-1.priority", "`0` is not a priority", "from 1 to 255"),
    row("vrid: 51", "vrid: «256", "groups.web.vrid", "`256` is not a VRID", "from 1 to 255"),
    row(
        WEB_GROUP,
        "{vrid: 51, vips: [10.0.0.100], advert_interval: «15ms}",
        "groups.web.advert_interval",
        "steps of 10ms",
        "hundredths",
    ),
    row(
        WEB_GROUP,
        "{vrid: 51, vips: [10.0.0.100], advert_interval: «0ms}",
        "groups.web.advert_interval",
        "`0ms` is not",
        "write 10ms to 40950ms",
    ),
    row(
        TCP_CHECK,
        "tcp: {type: «tpc}",
        "checks.tcp.type",
        "`tpc` is not a type of check",
        "did you mean `tcp`?",
    ),
    row(
        "services:",
        "timing: «quick\nservices:",
        "timing",
        "`quick` is not a timing profile",
        "`default` or `fast`",
    ),
    row(
        "services:",
        "timing: {announce: {refresh: «10m}}\nservices:",
        "timing.announce.refresh",
        "`10m` is too long",
        "from 1s to 250s",
    ),
    row(
        "services:",
        "admin: {socket: «run/x.sock}\nservices:",
        "admin.socket",
        "is not an absolute path",
        "from `/` on",
    ),
    row(
        "services:",
        "admin: {metrics: «9127}\nservices:",
        "admin.metrics",
        "`9127` is not an address with a port",
        "127.0.0.1:9127",
    ),
];

/// What has to fit together: nodes, interfaces and groups.
const TOPOLOGY: &[Row] = &[
    row("nodes:", "node: «lb-3\nnodes:", "node", "there is no node named `lb-3`", "did you mean `lb-1`?"),
    row(
        "nodes:\n  lb-1: {",
        "«nodes:\n  node-7: {",
        "nodes",
        "this host is called `lb-1`, and no node is",
        "`node: lb-2`",
    ),
    row(
        NODE_1,
        "{«addresses: [10.0.0.11], foreign: true}",
        "nodes.lb-1.addresses",
        "this node, and foreign",
        "delete `foreign`",
    ),
    row(NODE_1, "{«addresses: []}", "nodes.lb-1.addresses", "there is no address", "of its own"),
    row(
        NODE_1,
        "{addresses: [10.0.0.11, «127.0.0.1]}",
        "nodes.lb-1.addresses[1]",
        "a loopback address",
        "of its own",
    ),
    row(
        NODE_2,
        "{addresses: [10.0.0.12, «10.0.0.11]}",
        "nodes.lb-2.addresses[1]",
        "an address of node `lb-1` already",
        "one node",
    ),
    row(
        NODE_2,
        "{addresses: [10.0.0.12, «10.0.0.13]}",
        "nodes.lb-2.addresses[1]",
        "two addresses in 10.0.0.0/24",
        "sends adverts from",
    ),
    row(
        NODE_2,
        "{«addresses: [10.9.0.12]}",
        "nodes.lb-2.addresses",
        "`lb-2` has no IPv4 address in the networks of eth0",
        "one in 10.0.0.0/24",
    ),
    row(
        "10.0.0.0/24",
        "10.0.0.0/24, «10.0.0.0/28",
        "interfaces.eth0.networks[1]",
        "`10.0.0.0/28` overlaps `10.0.0.0/24`",
        "keep the larger",
    ),
    row(
        "10.0.0.101]",
        "10.0.0.101, «10.1.0.1]",
        "groups.web.vips[2]",
        "lies in no network of an interface",
        "10.0.0.0/24",
    ),
    row(
        "10.0.0.101]",
        "10.0.0.101, {address: «10.1.0.1, interface: eth0}]",
        "groups.web.vips[2].address",
        "lies in no network of eth0",
        "interfaces.eth0.networks",
    ),
    row(
        "10.0.0.101]",
        "10.0.0.101, {address: 10.0.0.102, interface: «eth1}]",
        "groups.web.vips[2].interface",
        "no interface named `eth1`",
        "did you mean `eth0`?",
    ),
    row(
        "10.0.0.101]",
        "10.0.0.101, «10.0.0.0]",
        "groups.web.vips[2]",
        "its network address",
        "another address",
    ),
    row(
        "10.0.0.101]",
        "10.0.0.101, «10.0.0.255]",
        "groups.web.vips[2]",
        "its broadcast address",
        "another address",
    ),
    row(
        "10.0.0.101]",
        "10.0.0.101, «224.0.0.18]",
        "groups.web.vips[2]",
        "a multicast address",
        "one machine",
    ),
    row(
        "10.0.0.101]",
        "10.0.0.101, «10.0.0.12]",
        "groups.web.vips[2]",
        "node `lb-2`'s own address",
        "priority 255",
    ),
    row(
        "10.0.0.101]",
        "10.0.0.101, «10.0.0.100]",
        "groups.web.vips[2]",
        "a VIP of group `web` already",
        "delete one",
    ),
    row(
        "[10.0.0.110]",
        "[10.0.0.110, «10.0.0.100]",
        "groups.dns.vips[1]",
        "a VIP of group `web` already",
        "delete one",
    ),
    row(
        "{vrid: 52, vips: [10.0.0.110]}",
        "{vrid: «51, vips: [10.0.0.110]}",
        "groups.dns.vrid",
        "VRID 51 is group `web`'s on eth0 already",
        "no other group",
    ),
    row(
        WEB_GROUP,
        "{vrid: 51, vips: [10.0.0.100], priorities: {«lb-9: 10}}",
        "groups.web.priorities.lb-9",
        "no node named `lb-9`",
        "did you mean",
    ),
    row(
        "  web: {vrid: 51, vips: [10.0.0.100, 10.0.0.101]}",
        "  «web: {vrid: 51, vips: [10.0.0.100], priorities: {lb-1: 255, lb-2: 255}}",
        "groups.web",
        "several nodes have priority 255: lb-1, lb-2",
        "at most 254",
    ),
    row(
        WEB_GROUP,
        "{vrid: 51, vips: [10.0.0.100], track: [{link: «eth9}]}",
        "groups.web.track[0].link",
        "no interface named `eth9`",
        "did you mean `eth0`?",
    ),
    row(
        WEB_GROUP,
        "{vrid: 51, vips: [10.0.0.100], track: [{gateway: «10.3.0.1}]}",
        "groups.web.track[0].gateway",
        "lies in no network",
        "10.0.0.0/24",
    ),
    row(
        WEB_GROUP,
        "{vrid: 51, vips: [10.0.0.100], track: [{gateway: «10.0.0.12}]}",
        "groups.web.track[0].gateway",
        "node `lb-2`'s own address",
        "a router",
    ),
    row(
        WEB_GROUP,
        "{vrid: 51, vips: [10.0.0.100], track: [«{lower: 10}]}",
        "groups.web.track[0]",
        "what is tracked",
        "one of `link`",
    ),
    row(
        WEB_GROUP,
        "{vrid: 51, vips: [10.0.0.100], track: [{link: eth0, «rise: 2}]}",
        "groups.web.track[0].rise",
        "for a `gateway` only",
        "delete it",
    ),
];

/// What has to fit together: checks, backends and services.
const SERVICES: &[Row] = &[
    row(
        TCP_CHECK,
        "tcp: {type: tcp, «path: /}",
        "checks.tcp.path",
        "`path` is not for a check of type tcp",
        "delete it",
    ),
    row(
        TCP_CHECK,
        "tcp: {type: tcp, interval: 1s, timeout: «2s}",
        "checks.tcp.timeout",
        "`timeout` (2s) is longer than `interval` (1s)",
        "at most 1s",
    ),
    row(
        TCP_CHECK,
        "tcp: {type: tcp, interval: 1s, fast_interval: «2s}",
        "checks.tcp.fast_interval",
        "`fast_interval` (2s) is longer",
        "at most 1s",
    ),
    row(
        TCP_CHECK,
        "tcp: {type: script, command: [«check.sh]}",
        "checks.tcp.command[0]",
        "is not an absolute path",
        "no shell",
    ),
    row(
        "tcp: {type: tcp}",
        "«tcp: {type: script}",
        "checks.tcp",
        "a script check needs a command",
        "add `command:`",
    ),
    row(TCP_CHECK, "«tcp: {type: dns}", "checks.tcp", "a dns check needs a name", "add `name:`"),
    row(TCP_CHECK, "tcp: {type: dns, name: «a..b}", "checks.tcp.name", "this is not a DNS name", "labels"),
    row(
        TCP_CHECK,
        "tcp: {type: https, tls: {verify: «true}}",
        "checks.tcp.tls.verify",
        "which authorities are trusted",
        "add `ca:`",
    ),
    row(
        TCP_CHECK,
        "tcp: {type: tls, tls: {client_key: «/k.pem}}",
        "checks.tcp.tls.client_key",
        "go together",
        "write both",
    ),
    row(TCP_CHECK, "tcp: {type: http, expect: «ok}", "checks.tcp.expect", "text stands here", "body: text"),
    row(
        TCP_CHECK,
        "tcp: {type: udp, expect: {«body: ok}}",
        "checks.tcp.expect.body",
        "of type http and https",
        "`hex`",
    ),
    row(
        TCP_CHECK,
        "tcp: {type: http, headers: {X-A: «\"a\\r\\nb: c\"}}",
        "checks.tcp.headers.X-A",
        "is not the value of a header",
        "printable ASCII",
    ),
    row(
        TCP_CHECK,
        "tcp: {type: tcp}\n  «none: {type: tcp}",
        "checks.none",
        "`none` means no check",
        "something else",
    ),
    row(
        WEB,
        "{vip: 10.0.0.100, port: 80, backends: web, check: «tpc}",
        "services.web.check",
        "no check named `tpc`",
        "did you mean `tcp`?",
    ),
    row(
        WEB,
        "{vip: 10.0.0.100, port: 80, backends: «wbe}",
        "services.web.backends",
        "no pool of backends named `wbe`",
        "did you mean `web`?",
    ),
    row(
        POOL,
        "[10.0.0.21:80, «10.0.0.21:80]",
        "backends.web.members[1]",
        "a backend `10.0.0.21:80` here already",
        "its own name",
    ),
    row(
        POOL,
        "[10.0.0.21:80, «{name: b, address: 10.0.0.21:80}]",
        "backends.web.members[1]",
        "a backend with the address 10.0.0.21:80",
        "delete one",
    ),
    row(
        POOL,
        "[10.0.0.21:80, «10.0.0.101:80]",
        "backends.web.members[1]",
        "a VIP of group `web`: connections would go round",
        "own address",
    ),
    row(POOL, "[10.0.0.21:80, «224.0.0.1:80]", "backends.web.members[1]", "a multicast address", "a server"),
    row(
        WEB,
        "{vip: «10.0.0.102, port: 80, backends: web}",
        "services.web.vip",
        "is not a VIP of any group",
        "add it to the `vips`",
    ),
    row(
        WEB,
        "{vips: [10.0.0.100, «10.0.0.110], port: 80, backends: web}",
        "services.web.vips[1]",
        "is of group `dns`, others are of `web`",
        "a service for each",
    ),
    row(
        WEB,
        "{vips: [10.0.0.100, «10.0.0.100], port: 80, backends: web}",
        "services.web.vips[1]",
        "is there twice",
        "delete one",
    ),
    row(
        WEB,
        "{«vips: [], port: 80, backends: web}",
        "services.web.vips",
        "the list is empty",
        "one of a group's VIPs",
    ),
    row(
        "vips: [10.0.0.110]}\nchecks",
        "vips: [10.0.0.110], accept: false}\nchecks",
        "services.dns.vip",
        "has `accept: false`",
        "delete `accept: false`",
    ),
    row(
        "  dns: {vip",
        "  two: {vip: 10.0.0.100, port: «70-90, backends: web}\n  dns: {vip",
        "services.two.port",
        "`two` and `web` both listen on 10.0.0.100:80 (TCP)",
        "another port",
    ),
    row(
        WEB,
        "{vip: 10.0.0.100, port: 80, backends: web, quorum: «3}",
        "services.web.quorum",
        "needs 3 backends to come up, and has 2",
        "smaller quorum",
    ),
    row(
        WEB,
        "{vip: 10.0.0.100, port: 80, backends: web, «quorum: {minimum: 1, hysteresis: 1}}",
        "services.web.quorum",
        "`hysteresis` is not less",
        "smaller",
    ),
    row(
        WEB,
        "{vip: 10.0.0.100, port: 80, backends: web, «udp: {idle: 5s}}",
        "services.web.udp",
        "for UDP services only",
        "protocol: udp",
    ),
    row(
        "port: 53,",
        "port: 53, proxy_protocol: {send: «v1},",
        "services.dns.proxy_protocol.send",
        "version 1 is for TCP services only",
        "write `v2`",
    ),
    row(
        "port: 53,",
        "port: 53, «timeouts: {idle: 5s},",
        "services.dns.timeouts",
        "for TCP services only",
        "udp: {idle: 30s}",
    ),
    row(
        WEB,
        "{vip: 10.0.0.100, port: 80, transparent: «true, backends: [\"[2001:db8::1]:80\"]}",
        "services.web.transparent",
        "can't be reached from clients of the other family",
        "for each family",
    ),
];

#[test]
fn a_group_has_a_thousand_vips_and_no_more() {
    let config = |vips: u32| {
        let addresses = (0..vips).map(|number| format!("10.0.{}.{}", 1 + number / 250, 1 + number % 250));
        let list = addresses.collect::<Vec<_>>().join(", ");
        BASE.replace("[10.0.0.0/24]", "[10.0.0.0/16]")
            .replace(WEB_GROUP, &format!("{{vrid: 51, vips: [10.0.0.100, {list}]}}"))
    };
    assert!(parse(&config(999), "fulcrum.yaml", "lb-1").is_ok());
    let Err(diagnostics) = parse(&config(1000), "fulcrum.yaml", "lb-1") else {
        panic!("1001 VIPs were taken");
    };
    let errors: Vec<_> = diagnostics.iter().filter(|found| found.severity == Severity::Error).collect();
    let [error] = errors.as_slice() else { panic!("{diagnostics}") };
    assert_eq!(error.path, "groups.web.vips");
    assert_eq!(error.message, "the group has 1001 VIPs; one group moves at most 1000");
    assert!(error.help.as_deref().is_some_and(|help| help.contains("several groups")));
}

#[test]
fn each_mistake_has_its_place_and_its_advice() {
    let mut wrong = Vec::new();
    let mut checked = 0;
    for row in [YAML, KEYS, VALUES, TOPOLOGY, SERVICES].into_iter().flatten() {
        checked += 1;
        assert_eq!(BASE.matches(row.from).count(), 1, "`{}` must be in the base once", row.from);
        let marked = BASE.replace(row.from, row.to);
        let expected = marked.lines().zip(1_u32..).find_map(|(line, number)| {
            let (before, _) = line.split_once('«')?;
            Some((number, u32::try_from(before.chars().count()).unwrap() + 1))
        });
        let text = marked.replace('«', "");
        let Err(diagnostics) = parse(&text, "fulcrum.yaml", "lb-1") else {
            wrong.push(format!("taken: {}", row.to));
            continue;
        };
        let errors: Vec<_> =
            diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).collect();
        let good = match errors.as_slice() {
            [error] => {
                expected.is_none_or(|place| place == (error.place.line, error.place.column))
                    && error.path == row.field
                    && error.message.contains(row.message)
                    && error.help.as_deref().is_some_and(|help| help.contains(row.help))
            }
            _ => false,
        };
        if !good {
            wrong.push(format!("{} -> {expected:?} {}\n{diagnostics}", row.to, row.field));
        }
    }
    assert!(wrong.is_empty(), "{} of {checked}:\n\n{}", wrong.len(), wrong.join("\n\n"));
}
