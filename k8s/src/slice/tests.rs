use super::*;
use serde_json::{Value as Json, json};

fn slice(endpoints: &Json) -> Slice {
    let ports = json!([
        { "port": 8080 },
        { "name": "dns", "protocol": "UDP", "port": 53 },
        { "name": "calls", "protocol": "SCTP", "port": 9 },
        { "name": "any" },
        { "name": "none", "port": 0 },
    ]);
    let slice = json!({ "metadata": {}, "addressType": "IPv4", "ports": ports, "endpoints": endpoints });
    Slice::of(&serde_json::from_value(slice).unwrap())
}

#[test]
fn only_endpoints_that_take_connections_are_kept() {
    let endpoint = |address: &str, conditions: Json| json!({ "addresses": [address], "nodeName": "a", "conditions": conditions });
    let slice = slice(&json!([
        endpoint("10.0.0.1", json!({})),
        endpoint("10.0.0.2", json!({ "ready": true, "terminating": true, "serving": true })),
        endpoint("10.0.0.3", json!({ "ready": false, "terminating": true, "serving": true })),
        endpoint("10.0.0.4", json!({ "ready": false, "terminating": true, "serving": false })),
        endpoint("10.0.0.5", json!({ "ready": false })),
        { "addresses": ["a.example"] },
        { "addresses": ["10.0.0.6", "10.0.0.7"] },
    ]));
    let pod = |address: &str, node: Option<&str>, terminates: bool| Pod {
        address: address.parse().ok(),
        node: node.map(Box::from),
        terminates,
    };
    let wanted = [
        pod("10.0.0.1", Some("a"), false),
        pod("10.0.0.2", Some("a"), false),
        pod("10.0.0.3", Some("a"), true),
        pod("a.example", None, false),
        pod("10.0.0.6", None, false),
    ];
    assert_eq!(*slice.pods, wanted);
}

#[test]
fn ports_are_found_by_name_and_protocol() {
    let slice = slice(&json!([]));
    assert_eq!(slice.number("", Protocol::Tcp), Some(8080));
    assert_eq!(slice.number("dns", Protocol::Udp), Some(53));
    assert_eq!(slice.number("dns", Protocol::Tcp), None);
    for name in ["calls", "any", "none"] {
        assert_eq!(slice.number(name, Protocol::Tcp), None, "{name}");
    }
}
