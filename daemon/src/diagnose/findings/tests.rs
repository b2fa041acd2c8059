use super::*;
use serde_json::{Value, json};

fn backend(name: &str, state: &str) -> Value {
    json!({
        "name": name, "address": "10.1.0.1:80", "state": state, "reason": "no answer", "since_seconds": 1, "weight": 1.0,
        "backup": false, "connections": 0, "stats": {},
    })
}

/// A node of which nothing is broken.
fn status() -> Value {
    let service = json!({
        "name": "shop", "group": "web", "vips": ["10.0.0.100"], "protocol": "tcp", "ports": "80", "mode": "nat",
        "mode_reason": "", "up": true, "connections": 0, "stats": {}, "errors": [],
        "backends": [backend("a", "up"), backend("b", "unchecked"), backend("c", "draining")],
    });
    let group = json!({
        "name": "web", "class": "workload", "vrid": 51, "role": "leader", "since_seconds": 1, "reason": "nobody else was heard",
        "leader": {"node": "lb1", "address": "10.0.0.11", "priority": 150}, "priority": 150, "epoch": 1, "transitions": 1,
        "takeover_ms": null, "standing_down": false,
        "addresses": [{"address": "10.0.0.100", "state": "answering", "proof": {"state": "answered", "since_seconds": 1, "answered_seconds_ago": 1}}],
        "tracks": [{"what": "gateway 10.0.0.1", "good": true}],
        "links": [{"interface": "eth0", "family": "ipv4", "up": true, "address": "10.0.0.11", "counters": {}}],
    });
    json!({
        "node": "lb1", "version": "1", "uptime_seconds": 5, "guard": true, "ready": true, "not_ready": [], "alarms": [],
        "config": {"file": "f.yaml", "state": "current", "loaded_seconds_ago": 4, "generation": 2, "warnings": [], "refused": []},
        "groups": [group], "services": [service], "settings": [], "limits": {}, "counters": {},
        "fence": [{"interface": "eth0", "kernel": true, "what": "kernel (tcx)"}],
        "plane": {"interfaces": {"eth0": "tcx"}, "not_forwarded": {}, "noted_flows": 0},
        "peer_link": {"state": "on", "key": null, "config_digest": "", "peers": [{
            "name": "lb2", "state": "up", "since_seconds": 1, "reason": "", "address": null, "round_trip_ms": null,
            "version": null, "config_generation": null, "config_digest": null, "config_agrees": true, "counters": {},
        }]},
    })
}

fn found(status: Value) -> Vec<Finding> {
    findings(&serde_json::from_value(status).unwrap())
}

#[test]
fn of_a_good_node_nothing_is_found() {
    assert_eq!(found(status()), []);
}

/// What is changed in the status of a good node, which link that breaks, and what is said.
#[test]
fn each_broken_link_is_named_with_its_cause() {
    let rows: [(&str, Value, Broken, &str); 17] = [
        (
            "/groups/0/addresses/0/state",
            json!("conflict"),
            Broken::Group,
            "VIP 10.0.0.100 of group web is not answered here because another machine has it",
        ),
        ("/groups/0/addresses/0/state", json!("failed"), Broken::Group, "could not be installed because"),
        (
            "/groups/0/leader",
            Value::Null,
            Broken::Election,
            "group web is led by nobody because this node is leader (nobody else was heard)",
        ),
        (
            "/groups/0/leader/node",
            Value::Null,
            Broken::Election,
            "led by 10.0.0.11, which is none of the nodes",
        ),
        (
            "/groups/0/role",
            json!("init"),
            Broken::Election,
            "takes no part in group web because nobody else was heard",
        ),
        ("/groups/0/tracks/0/good", json!(false), Broken::Election, "gateway 10.0.0.1 has failed"),
        ("/groups/0/links/0/up", json!(false), Broken::Neighbour, "no neighbours on eth0 (ipv4)"),
        (
            "/groups/0/addresses/0/proof/state",
            json!("not-answered"),
            Broken::Neighbour,
            "lb1 leads group web, and 10.0.0.100 is not answered",
        ),
        (
            "/groups/0/links/0/counters",
            json!({"refused_version_2": 3}),
            Broken::Neighbour,
            "on eth0 (ipv4) adverts of VRRPv2 were heard",
        ),
        (
            "/groups/0/addresses/0/proof/state",
            json!("nobody-answers"),
            Broken::Neighbour,
            "nobody at all answers this node",
        ),
        (
            "/plane",
            Value::Null,
            Broken::Plane,
            "service shop are not forwarded because the forwarding plane is at no interface",
        ),
        (
            "/services/0/errors",
            json!(["port 80 is taken"]),
            Broken::Plane,
            "service shop does not listen because port 80 is taken",
        ),
        ("/fence/0/kernel", json!(false), Broken::Plane, "at eth0 nothing silences this node"),
        (
            "/services/0/up",
            json!(false),
            Broken::Backend,
            "service shop refuses every client because 2 of 3 backends are up",
        ),
        (
            "/services/0/backends/0",
            backend("a", "down"),
            Broken::Backend,
            "service shop has 1 of 3 backends: a (10.1.0.1:80): no answer",
        ),
        ("/peer_link/peers/0/state", json!("down"), Broken::Peer, "no link with lb2"),
        (
            "/config/state",
            json!("last-good"),
            Broken::Configuration,
            "the last good configuration runs because f.yaml was refused",
        ),
    ];
    for (path, value, link, says) in rows {
        let mut status = status();
        *status.pointer_mut(path).unwrap_or_else(|| panic!("{path}")) = value;
        let found = found(status);
        assert!(found.iter().any(|it| it.link == link && it.text.contains(says)), "{path}: {found:#?}");
        assert_eq!(found.len(), 1, "{path}: one cause, one finding: {found:#?}");
        assert!(!found[0].remedy.is_empty());
    }
}

#[test]
fn why_nobody_leads_is_told_with_every_reason_that_is_known() {
    let mut status = status();
    status["groups"][0]["leader"] = Value::Null;
    status["groups"][0]["role"] = "init".into();
    status["groups"][0]["priority"] = Value::Null;
    status["groups"][0]["tracks"][0]["good"] = false.into();
    status["groups"][0]["links"][0]["up"] = false.into();
    let told = found(status.clone());
    assert_eq!(
        told[0].text,
        "group web is led by nobody because this node may not lead it while gateway 10.0.0.1 fails, and no adverts can be \
         sent on eth0 (ipv4)"
    );
    status["groups"][0]["vrid"] = Value::Null;
    status["votes"] = json!({"votes": 1, "nodes": 4, "leads_on": false, "takes_over": false, "witness": "none", "witness_error": null, "lock_holder": null});
    assert!(found(status)[0].text.contains("only 1 of 4 nodes are heard"));
}

/// The worst comes first, and of the same the one that is nearer to the client.
#[test]
fn the_worst_comes_first() {
    let mut status = status();
    status["peer_link"]["peers"][0]["state"] = "down".into();
    status["services"][0]["up"] = false.into();
    status["groups"][0]["addresses"][0]["state"] = "conflict".into();
    status["alarms"] = json!([{"severity": "warning", "what": "a", "affected": "b", "do": "c"}, {"severity": "critical", "what": "d", "affected": "e", "do": "f"}]);
    let order: Vec<_> = found(status).into_iter().map(|it| (it.severity, it.link)).collect();
    let (critical, warning) = (Severity::Critical, Severity::Warning);
    assert_eq!(
        order,
        [
            (critical, Broken::Group),
            (critical, Broken::Backend),
            (critical, Broken::Alarm),
            (warning, Broken::Peer),
            (warning, Broken::Alarm),
        ]
    );
    assert!(without_daemon("no socket").text.contains("no socket"));
}
