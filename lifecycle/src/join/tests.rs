use super::*;
use crate::alarms::tests::{facts, good};
use fulcrum_config::NodeName;
use fulcrum_vip_manager::{PeerSeen, Reason};
use serde_json::{Value, json};

fn status(snapshots: &Snapshots) -> Value {
    let now = facts().started.checked_add(Duration::from_secs(90)).expect("not the end of time");
    serde_json::to_value(join(&facts(), snapshots, now)).expect("plain data")
}

#[test]
fn the_names_that_others_parse_are_there() {
    let status = status(&good());
    assert_eq!(status["node"], "lb1");
    assert_eq!(status["config"]["state"], "current");
    assert_eq!(status["ready"], true);
    assert_eq!(status["guard"], true);
    let group = &status["groups"][0];
    assert_eq!(group["role"], "leader");
    assert_eq!(group["class"], "workload");
    assert_eq!(group["leader"], json!({"node": "lb1", "address": "", "priority": 100}));
    assert_eq!(group["addresses"], json!([{"address": "10.0.0.100", "state": "absent"}]));
    let service = &status["services"][0];
    assert_eq!(service["ports"], "80");
    assert_eq!(service["mode"], "proxy");
    assert_eq!(service["backends"][0]["address"], "10.1.0.1:8080");
    assert_eq!(service["backends"][0]["state"], "up");
    assert_eq!(status["limits"]["connections"], json!({"used": 0, "limit": 1000, "reached": 0}));
    let parsed: Status = serde_json::from_value(status).expect("what we write we can read");
    assert!(parsed.uptime_seconds >= 89);
}

#[test]
fn a_standby_says_who_leads_and_why() {
    let mut snapshots = good();
    let peer = PeerSeen {
        node: Some(NodeName::new("lb2")),
        address: "10.0.0.2".parse().expect("an address"),
        priority: 150,
    };
    for group in snapshots.vip.groups.values_mut() {
        group.role = Role::Standby;
        group.leader = Some(peer.clone());
        group.reason = Reason::BetterLeader(peer.clone());
        group.takeover = Some(Duration::from_micros(1_234));
    }
    let group = &status(&snapshots)["groups"][0];
    assert_eq!(group["leader"], json!({"node": "lb2", "address": "10.0.0.2", "priority": 150}));
    assert_eq!(group["reason"], "lb2 (10.0.0.2, priority 150) has the better claim");
    assert_eq!(group["takeover_ms"], 1.234);
}

#[test]
fn what_it_waits_for_is_named() {
    let mut snapshots = good();
    snapshots.lb.ready = false;
    snapshots.first_round_done = false;
    snapshots.vip.groups.clear();
    let status = status(&snapshots);
    assert_eq!(status["ready"], false);
    assert_eq!(status["not_ready"].as_array().map(Vec::len), Some(3));
}

#[test]
fn states_of_backends_come_from_file_and_health() {
    let mut snapshots = good();
    let mut config = (*snapshots.config).clone();
    let mut service =
        crate::fixture::service("web", ["drained", "off", "fresh"].map(crate::fixture::backend));
    let edit = |backend: &mut Arc<fulcrum_config::Backend>, f: fn(&mut fulcrum_config::Backend)| {
        f(Arc::make_mut(backend));
    };
    edit(&mut service.backends[0], |backend| backend.drain = true);
    edit(&mut service.backends[1], |backend| {
        backend.weight = fulcrum_config::Weight::new(0).expect("a weight");
    });
    config.services = [(service.name.clone(), Arc::new(service))].into();
    snapshots.config = Arc::new(config);
    let status = status(&snapshots);
    let states: Vec<&str> = status["services"][0]["backends"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|backend| backend["state"].as_str())
        .collect();
    assert_eq!(states, ["draining", "disabled", "unchecked"]);
}

#[test]
fn what_would_go_on_through_a_failover_is_counted_or_named() {
    let service = |name: &str, connections: u64, each_flow_known: bool, in_sync: Option<bool>| {
        let tables =
            in_sync.map(|in_sync| json!({"peer": "lb2", "in_sync": in_sync, "what": "", "since_seconds": 1}));
        let forwarded = json!({
            "verdicts_of": "own", "kept_seconds": null, "disputed": [], "tables": tables.as_slice(),
            "each_flow_known": each_flow_known,
        });
        let service = json!({
            "name": name, "group": "g", "vips": [], "protocol": "tcp", "ports": "80", "mode": "nat", "mode_reason": "",
            "up": true, "connections": connections, "stats": {}, "errors": [], "backends": [], "forwarded": forwarded,
        });
        serde_json::from_value::<Service>(service).expect("a service")
    };
    let mut services = vec![service("full", 40, true, Some(true)), service("web", 3, false, Some(true))];
    services.extend([service("dns", 0, false, Some(false)), service("api", 0, false, None)]);
    let mut proxied = service("ssh", 9, true, None);
    proxied.forwarded = None;
    services.push(proxied);
    let expected = |held| Failover {
        live: 43,
        held,
        by_hash: ["web", "dns", "api"].map(str::to_owned).to_vec(),
        by_unproven_hash: ["dns", "api"].map(str::to_owned).to_vec(),
    };
    assert_eq!(failover(true, &services), expected(43));
    assert_eq!(failover(false, &services), expected(0));
}
