//! The text of the file itself, keys and kinds of values.

use super::{Row, WEB, row};

/// The text of the file itself.
pub(super) const YAML: &[Row] = &[
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
pub(super) const KEYS: &[Row] = &[
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
        "the keys here are vip, vips, share, tenant",
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
