use super::*;

const GOOD: &str = "node: lb-1\n\
    nodes: {lb-1: {addresses: [10.0.0.1]}, lb-2: {addresses: [10.0.0.2]}}\n\
    interfaces: {eth0: {networks: [10.0.0.0/24]}}\n\
    groups: {web: {vrid: 51, vips: [10.0.0.100, 10.0.0.101]}, mail: {vrid: 52, vips: [10.0.0.102]}}\n\
    services:\n  shop: {vip: 10.0.0.100, port: 80, backends: [10.0.0.21:80]}\n  \
    smtp: {vip: 10.0.0.102, port: 25, backends: [10.0.0.23:25]}\n";

fn config(text: &str) -> Config {
    fulcrum_config::parse(text, "fulcrum.yaml", "lb-1").unwrap_or_else(|wrong| panic!("{wrong}")).config
}

fn told(from: &str, to: &str) -> Vec<String> {
    assert_eq!(GOOD.matches(from).count(), 1, "{from}");
    let connections = BTreeMap::from([(ServiceName::new("shop"), 3)]);
    touches(&config(GOOD), &config(&GOOD.replace(from, to)), &connections)
}

#[test]
fn what_clients_would_notice_is_told() {
    assert!(told("10.0.0.21:80", "10.0.0.22:80").is_empty(), "a backend more or less breaks nothing");
    let rows: [(&str, &str, &[&str]); 5] = [
        (
            "  shop: {vip: 10.0.0.100, port: 80, backends: [10.0.0.21:80]}\n",
            "",
            &["service shop takes no new connections; it has 3 connections now"],
        ),
        (
            "port: 80",
            "port: 81",
            &["service shop takes no new connections where it did before; it has 3 connections now"],
        ),
        (
            "10.0.0.100, 10.0.0.101]",
            "10.0.0.100]",
            &[
                "address 10.0.0.101 goes unanswered, and connections to it end: its services have 0 connections now",
            ],
        ),
        (
            "10.0.0.101]}, mail: {vrid: 52, vips: [10.0.0.102]}",
            "10.0.0.103]}, mail: {vrid: 52, vips: [10.0.0.102, 10.0.0.101]}",
            &[
                "address 10.0.0.101 moves from group web to group mail, and is not answered until that has a leader, for up to a second",
                "address 10.0.0.103 is answered by whoever leads group web",
            ],
        ),
        (
            "backends: [10.0.0.21:80]",
            "mode: nat, backends: [10.0.0.21:80]",
            &["service shop is served in another way: its 3 connections may end"],
        ),
    ];
    for (from, to, expected) in rows {
        assert_eq!(told(from, to), expected, "{from} -> {to}");
    }
}
