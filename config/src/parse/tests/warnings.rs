//! What is taken, and yet somebody should look at.

use super::{example, parse};

#[test]
fn each_warning_has_its_place_and_its_advice() {
    let pair = example("pair.yaml");
    let rows: &[(&str, &str, &str, &str)] = &[
        ("  lb-2: {addresses: [10.0.0.12], priority: 100}\n", "", "nodes", "there is only one node"),
        ("priority: 150", "priority: 100", "groups.web", "`lb-1` and `lb-2` have the same priority, 100"),
        ("priority: 150", "priority: 255", "groups.web", "`lb-1` has priority 255, though not all VIPs"),
        ("[10.0.0.21:80, 10.0.0.22:80]", "[]", "services.web.backends", "there is no backend"),
        (
            "[10.0.0.21:80, 10.0.0.22:80]",
            "[{address: 10.0.0.21, drain: true}, {address: 10.0.0.22, weight: 0}]",
            "services.web.backends",
            "no backend takes new connections",
        ),
        (
            "{type: http, path: /}",
            "{type: https, tls: {ca: /ca.pem}}",
            "services.web.check.tls.ca",
            "`ca` without `verify: true` does nothing",
        ),
        (
            "{vrid: 51, vips: [10.0.0.100]}\n\nservices:\n  web:\n",
            "{vrid: 51, class: control-plane, vips: [10.0.0.100]}\n\nservices:\n  web:\n    quorum: 2\n",
            "services.web.quorum",
            "refused while fewer backends are up",
        ),
        (
            "{vrid: 51, vips: [10.0.0.100]}\n\nservices:\n  web:\n",
            "{vrid: 51, class: control-plane, vips: [10.0.0.100]}\n\nservices:\n  api: {vip: 10.0.0.100, port: 6443, \
             backends: [10.0.0.31:6443]}\n  web:\n",
            "services.web",
            "no machine is behind both",
        ),
        (
            "    port: 80\n",
            "    port: 80\n    mode: nat\n    balance: round-robin\n",
            "services.web.balance",
            "no other node knows which backend has a connection",
        ),
        (
            "\nservices:\n",
            "\nkubernetes: {prod: {in_cluster: true}}\nservices:\n",
            "kubernetes",
            "reaches one node alone",
        ),
    ];
    for (from, to, field, message) in rows {
        assert_eq!(pair.matches(from).count(), 1, "`{from}` must be there once");
        let text = pair.replace(from, to);
        let parsed = parse(&text, "f", "lb-1").unwrap_or_else(|wrong| panic!("{to}:\n{wrong}"));
        let found: Vec<_> = parsed.warnings.iter().collect();
        let [warning] = found.as_slice() else { panic!("{to}:\n{}", parsed.warnings) };
        assert_eq!(warning.path, *field, "{to}");
        assert!(warning.message.contains(message), "{warning}");
        assert!(warning.help.is_some(), "{warning}");
    }
}

#[test]
fn an_owner_of_the_addresses_may_have_them_with_a_warning() {
    let text = example("pair.yaml").replace("[10.0.0.11], priority: 150", "[10.0.0.100], priority: 255");
    let parsed = parse(&text, "f", "lb-1").unwrap_or_else(|wrong| panic!("{wrong}"));
    assert_eq!(parsed.warnings.len(), 1);
    assert!(parsed.warnings.to_string().contains("takes the group back whenever it returns"));
}

#[test]
fn a_file_without_groups_runs_and_is_told() {
    let text = "nodes: {lb-1: {addresses: [10.0.0.1]}, lb-2: {addresses: [10.0.0.2]}}";
    let parsed = parse(text, "f", "lb-1").unwrap_or_else(|wrong| panic!("{wrong}"));
    assert!(parsed.warnings.to_string().contains("there is no VIP group"), "{}", parsed.warnings);
}
