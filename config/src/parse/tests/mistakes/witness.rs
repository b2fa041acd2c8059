//! Groups that are to have no leader rather than two, and what decides for them.

use super::{Row, row};

pub(super) const BASE: &str = "\
nodes:
  lb-1: {addresses: [10.0.0.11], keys: [\"sha256:lXmoZ1C3sy9NRGzHkvNSlTxCk9vVNZ9VTWK6a0NO9mY=\"]}
  lb-2: {addresses: [10.0.0.12], keys: [\"sha256:Wk9vCzGrVPt6j1xFCjTmkrOmx2bqVQnIwmpTQyPPOjA=\"]}
interfaces:
  eth0: {networks: [10.0.0.0/24]}
groups:
  web: {vips: [10.0.0.100], on_split: one}
  old: {vrid: 50, vips: [10.0.0.101], priorities: {lb-2: 90}}
witness: {etcd: {endpoints: [\"http://10.0.0.21:2379\"]}}
";

const ETCD: &str = "{etcd: {endpoints: [\"http://10.0.0.21:2379\"]}}";
const ENDPOINT: &str = "[\"http://10.0.0.21:2379\"]";

pub(super) const WITNESS: &[Row] = &[
    row("vrid: 50,", "vrid: 50, on_split: «one,", "groups.old.on_split", "VRRP can't", "delete `vrid`"),
    row(
        "on_split: one",
        "proof: {on_failure: «restart}",
        "groups.web.proof.on_failure",
        "`restart` is not",
        "`alarm` or `hand-over`",
    ),
    row("on_split: one", "on_split: «two", "groups.web.on_split", "`two` is not", "`serve` or `one`"),
    row(ETCD, "{}", "witness", "clear what the witness is", "one of `gateway`, `etcd`"),
    row(
        ETCD,
        "{gateway: 10.0.0.1, etcd: {endpoints: [\"http://10.0.0.21:2379\"]}}",
        "witness",
        "clear what the witness is",
        "one of `gateway`, `etcd`",
    ),
    row(ETCD, "{kubernetes: {}}", "witness.kubernetes", "nothing says how the cluster", "in_cluster: true"),
    row(
        ETCD,
        "{kubernetes: {kubeconfig: /a, in_cluster: true}}",
        "witness.kubernetes",
        "both `kubeconfig` and `in_cluster`",
        "delete one",
    ),
    row(
        ETCD,
        "{kubernetes: {kubeconfig: /a, name: «Big_One}}",
        "witness.kubernetes.name",
        "no name in Kubernetes",
        "small letters",
    ),
    row(ETCD, "{kubernetes: {kubeconfig: /a, ttl: «1s}}", "witness.kubernetes.ttl", "1s", "5s"),
    row(ETCD, "{gateway: «10.9.0.1}", "witness.gateway", "the networks of no interface", "interface:"),
    row(ETCD, "{gateway: «10.0.0.12}", "witness.gateway", "node `lb-2`'s own address", "a router"),
    row(ETCD, "{gateway: 10.0.0.1, interface: eth7}", "witness.gateway", "no interface", "interface:"),
    row(ENDPOINT, "[]", "witness.etcd", "there are 0 endpoints", "https://10.0.0.21:2379"),
    row(ENDPOINT, "[«10.0.0.21:2379]", "witness.etcd.endpoints[0]", "an address of a web server", "http://"),
    row(
        ENDPOINT,
        "[«\"http://10.0.0.21\"]",
        "witness.etcd.endpoints[0]",
        "an address of a web server",
        "http://",
    ),
    row(
        ENDPOINT,
        "[«\"http://a:b@c:1\"]",
        "witness.etcd.endpoints[0]",
        "an address of a web server",
        "http://",
    ),
    row(
        ENDPOINT,
        "[«\"http://a:1/x\"]",
        "witness.etcd.endpoints[0]",
        "an address of a web server",
        "http://",
    ),
    row(
        ENDPOINT,
        "[«\"https://10.0.0.21:2379\"]",
        "witness.etcd.endpoints[0]",
        "which authorities are trusted",
        "add `ca:`",
    ),
    row(
        ENDPOINT,
        "[\"http://10.0.0.21:2379\"], client_key: /a",
        "witness.etcd",
        "a certificate and its key go together",
        "or none",
    ),
    row(
        ENDPOINT,
        "[\"http://10.0.0.21:2379\"], user: fulcrum",
        "witness.etcd",
        "a user and a password go together",
        "or none",
    ),
    row(ENDPOINT, "[\"http://a:1\"], ttl: «1s", "witness.etcd.ttl", "1s", "5s"),
    row(ENDPOINT, "[\"http://a:1\"], key: «\"a b\"", "witness.etcd.key", "a key in etcd", "without spaces"),
];
