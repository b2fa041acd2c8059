//! What the forwarding plane can't do.

use super::{Row, WEB, row};

pub(super) const FORWARDING: &[Row] = &[
    row(
        WEB,
        "{vip: 10.0.0.100, port: 80, backends: web, mode: nat, «proxy_protocol: {send: v2}}",
        "services.web.proxy_protocol",
        "adds nothing",
        "write `mode: proxy` in place of `mode: nat`",
    ),
    row(
        WEB,
        "{vip: 10.0.0.100, port: 80, backends: web, mode: nat, «timeouts: {idle: 5s}}",
        "services.web.timeouts",
        "ends no connection",
        "write `mode: proxy` in place of `mode: nat`",
    ),
    row(
        WEB,
        "{vip: 10.0.0.100, port: 80, backends: web, mode: nat, «limits: {connections: 5}}",
        "services.web.limits",
        "counts no connections",
        "write `mode: proxy` in place of `mode: nat`",
    ),
    row(
        WEB,
        "{vip: 10.0.0.100, port: 80, backends: web, mode: nat, «sources: [10.0.0.0/8]}",
        "services.web.sources",
        "for everybody",
        "write `mode: proxy` in place of `mode: nat`",
    ),
    row(
        WEB,
        "{vip: 10.0.0.100, port: 80, backends: web, mode: nat, «log: true}",
        "services.web.log",
        "logs none",
        "write `mode: proxy` in place of `mode: nat`",
    ),
    row(
        WEB,
        "{vip: 10.0.0.100, port: 80, backends: web, mode: nat, «transparent: true}",
        "services.web.transparent",
        "have the client's address anyway",
        "write `mode: proxy` in place of `mode: nat`",
    ),
    row(
        WEB,
        "{vip: 10.0.0.100, port: 80, backends: web, mode: fullnat, «transparent: true}",
        "services.web.transparent",
        "in modes nat and dsr they keep the client's",
        "write `mode: proxy` in place of `mode: fullnat`",
    ),
    row(
        "port: 53,",
        "port: 53, mode: dsr, «udp: {idle: 5s},",
        "services.dns.udp",
        "keeps no sessions",
        "in place of `mode: dsr`",
    ),
    row(
        WEB,
        "{vip: 10.0.0.100, port: 80, backends: web, mode: dsr, balance: «round-robin}",
        "services.web.balance",
        "both nodes choose alike",
        "`maglev` or `source`",
    ),
    row(
        WEB,
        "{vip: 10.0.0.100, port: 81, backends: «web, mode: dsr}",
        "services.web.backends",
        "listens on port 80, but in mode dsr",
        "`mode: nat`",
    ),
    row(
        WEB,
        "{vip: 10.0.0.100, port: 80, mode: nat, «backends: [\"[2001:db8::1]:80\"]}",
        "services.web.backends",
        "packets of the other family in mode nat",
        "for each family",
    ),
    row(
        "  dns: {vip",
        "  one: {vip: 10.0.0.100, port: 81, backends: web, mode: nat}\n  two: {vip: 10.0.0.100, port: 82, backends: «web, mode: nat}\n  dns: {vip",
        "services.two.backends",
        "whose replies are its replies?",
        "its own ports on the backends",
    ),
    row(
        WEB,
        "{vips: [10.0.0.100, 10.0.0.101], port: 80, backends: «web, mode: nat}",
        "services.web.backends",
        "serves service `web` at another address",
        "its own ports",
    ),
];
