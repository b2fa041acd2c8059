use super::*;
use crate::parse;

fn config(text: &str) -> Config {
    parse(text, "fulcrum.yaml", "lb-1").unwrap_or_else(|diagnostics| panic!("{diagnostics}")).config
}

fn changes(from: &str, to: &str) -> Vec<String> {
    let full = include_str!("../../examples/full.yaml");
    assert_eq!(full.matches(from).count(), 1, "`{from}` must be there once");
    let changes = difference(&config(full), &config(&full.replace(from, to)));
    changes.iter().map(ToString::to_string).collect()
}

#[test]
fn equal_configurations_have_no_difference() {
    let full = config(include_str!("../../examples/full.yaml"));
    assert_eq!(difference(&full, &full.clone()), []);
}

#[test]
fn each_change_is_told_in_words() {
    let rows: &[(&str, &str, &[&str])] = &[
        (
            "- {name: shop-2, address: 192.168.1.22, weight: 3}",
            "- {name: shop-4, address: 192.168.1.24}",
            &[
                "service node-ports: backend shop-2 removed",
                "service node-ports: backend shop-4 added",
                "service shop: backend shop-2 removed",
                "service shop: backend shop-4 added",
            ],
        ),
        (
            "port: 6443, weight: 2,",
            "port: 6444, weight: 5,",
            &[
                "service api: backend cp-3: address: 10.0.0.23:6443 is now 10.0.0.23:6444",
                "service api: backend cp-3: weight: 2 is now 5",
            ],
        ),
        (
            "balance: least-connections",
            "balance: source",
            &["service shop: balance: least-connections is now source"],
        ),
        (
            "\"30000-30100\"\n    backends: shop",
            "\"30000-30200\"\n    backends: shop",
            &["service node-ports: ports: 30000-30100 is now 30000-30200"],
        ),
        (
            "addresses: [192.168.1.200-192.168.1.220, 192.168.1.240/29]",
            "addresses: [192.168.1.200-192.168.1.230, 192.168.1.240/29]",
            &[
                "pool public: range 192.168.1.200-192.168.1.220 removed",
                "pool public: range 192.168.1.200-192.168.1.230 added",
            ],
        ),
        ("quotas: {marketing: 5}", "quotas: {marketing: 6}", &["pool public: quotas changed"]),
        (
            "address: 192.168.1.205, ",
            "address: 192.168.1.206, ",
            &[
                "group workload: VIP 192.168.1.205 on eth1 removed",
                "group workload: VIP 192.168.1.206 on eth1 added",
                "service campaign: VIP 192.168.1.205 removed",
                "service campaign: VIP 192.168.1.206 added",
            ],
        ),
        ("slow_start: 30s", "slow_start: 90s", &["service api: slow start: 30s is now 90s"]),
        ("idle: 1h", "idle: 30m", &["service api: idle: 1h is now 30m"]),
        ("path: /readyz", "path: /livez", &["service api: check changed"]),
        (
            "  mail: {vip: 192.168.1.101, port: 25, backends: [192.168.1.51:25], check: connect, balance: random-two}\n",
            "",
            &["service mail: removed"],
        ),
        ("  mail: {", "  smtp: {", &["service mail: removed", "service smtp: added"]),
        (
            "vips: [192.168.1.100, 192.168.1.101]",
            "vips: [192.168.1.101, 192.168.1.100, 192.168.1.102]",
            &["group workload: VIP 192.168.1.102 on eth1 added"],
        ),
        (
            "vips: [192.168.1.100, 192.168.1.101]",
            "vips: [192.168.1.101, 192.168.1.100]",
            &["group workload: VIPs are in another order"],
        ),
        (
            "priorities: {lb-2: 200}",
            "priorities: {lb-2: 210}",
            &["group control-plane: priority of lb-2: 200 is now 210"],
        ),
        ("drain: 10m", "drain: 20m", &["group workload: drain: 10m is now 20m"]),
        (
            "proof: {interval: 2s, ports: true, on_failure: alarm}",
            "proof: false",
            &["group control-plane: proof: every 2s is now none"],
        ),
        ("preempt: {delay: 30s}", "preempt: false", &["group workload: preempt: after 30s is now false"]),
        (
            "- {data_plane: true, lower: 30}",
            "- {data_plane: true, lower: 40}",
            &[
                "group workload: track data plane (lowers by 30) removed",
                "group workload: track data plane (lowers by 40) added",
            ],
        ),
        ("track_damping: 3s", "track_damping: 4s", &["timing: track damping: 3s is now 4s"]),
        (
            "metrics: 127.0.0.1:9127",
            "metrics: 127.0.0.1:9128",
            &["admin: metrics: 127.0.0.1:9127 is now 127.0.0.1:9128"],
        ),
        ("unclassed: false", "unclassed: true", &["kubernetes prod: unclassed: false is now true"]),
        ("metallb: false", "metallb: true", &["kubernetes prod: metallb: false is now true"]),
        (
            "reports: [fulcrum.dev/pool]",
            "reports: [\"fulcrum.dev/*\"]",
            &[
                "kubernetes prod: annotations: wishes metallb.io/* service.beta.kubernetes.io/*, reports fulcrum.dev/pool is now wishes metallb.io/* service.beta.kubernetes.io/*, reports fulcrum.dev/addresses fulcrum.dev/pool",
            ],
        ),
        ("own_node: false", "own_node: true", &["kubernetes prod: own node: false is now true"]),
        (
            "domain_label: example.com/rack",
            "domain_label: example.com/room",
            &["kubernetes prod: domain label: example.com/rack is now example.com/room"],
        ),
        (
            "namespace: machines",
            "namespace: others",
            &[
                "kubernetes prod: machines: of /etc/fulcrum/management.kubeconfig, namespace machines, cluster prod is now of /etc/fulcrum/management.kubeconfig, namespace others, cluster prod",
            ],
        ),
        ("virtual_mac: false", "virtual_mac: true", &["interface eth0: virtual mac: false is now true"]),
    ];
    for (from, to, expected) in rows {
        assert_eq!(changes(from, to), *expected, "{to}");
    }
}

#[test]
fn equal_things_are_shared_and_changed_ones_are_not() {
    let full = include_str!("../../examples/full.yaml");
    let old = config(full);
    let changed = "- {name: shop-2, address: 192.168.1.22, weight: 3}";
    let mut new = config(&full.replace(changed, "- {name: shop-2, address: 192.168.1.22, weight: 4}"));
    let expected = new.clone();
    new.share(&old);
    assert_eq!(new, expected);
    let is_shared = |name: &str| {
        let name = crate::ServiceName::new(name);
        Arc::ptr_eq(&old.services[&name], &new.services[&name])
    };
    assert!(is_shared("api"));
    assert!(!is_shared("shop"));
    assert!(new.groups.iter().all(|(name, group)| Arc::ptr_eq(group, &old.groups[name])));
}
