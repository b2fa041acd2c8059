use super::*;
use fulcrum_lifecycle::Status;
use serde_json::json;
use std::fmt::Write;

/// A status that has at least one of everything.
fn status() -> Status {
    serde_json::from_value(json!({
        "node": "lb1", "version": "1.2.3", "uptime_seconds": 5,
        "config": {
            "file": "f", "state": "current", "loaded_seconds_ago": 4, "generation": 2,
            "warnings": [], "refused": [],
        },
        "groups": [{
            "name": "web", "class": "workload", "vrid": 51, "role": "leader", "since_seconds": 3,
            "reason": "r", "leader": null, "priority": 100, "epoch": 7, "transitions": 2,
            "takeover_ms": 1.5,
            "addresses": [{
                "address": "10.0.0.1", "state": "absent",
                "proof": {"state": "answered-twice", "since_seconds": 9, "answered_seconds_ago": 11, "by": ["02:00:00:00:00:66"]},
            }],
            "tracks": [{"what": "link eth0", "good": true}],
            "links": [{
                "interface": "eth0", "family": "ipv4", "up": true, "address": null,
                "counters": {"adverts_sent": 11},
            }],
            "standing_down": false,
        }],
        "services": [{
            "name": "http", "group": "web", "vips": [], "protocol": "tcp", "ports": "80", "mode": "proxy",
            "mode_reason": "", "up": true, "connections": 9, "stats": {"accepted": 12}, "errors": [],
            "backends": [{
                "name": "a", "address": "10.1.0.1:80", "state": "down", "reason": "", "since_seconds": 1,
                "weight": 1.0, "backup": false, "connections": 3, "stats": {"connected": 4},
            }],
            "forwarded": {
                "verdicts_of": "lb2", "kept_seconds": null, "disputed": ["a"],
                "tables": [{"peer": "lb2", "in_sync": true, "what": "in sync", "since_seconds": 1}],
            },
        }],
        "pools": [{
            "name": "public", "group": "web", "family": "ipv4", "auto_assign": true, "used": 3, "free": 17, "total": 20,
        }],
        "fence": [{"interface": "eth0", "kernel": true, "what": "kernel (tcx)"}],
        "plane": {"interfaces": {"eth0": "tcx"}, "not_forwarded": {"group_silent": 5}, "checks": {"asked": 7}, "noted_flows": 8, "flows_held_by": ["lb2"],
            "flows_in_sync": true, "flow_counters": {"told": 21},
            "failover": {"live": 7, "held": 6, "by_hash": [], "by_unproven_hash": []}},
        "peer_link": {
            "state": "on", "key": null, "config_digest": "d1",
            "peers": [{
                "name": "lb2", "state": "up", "since_seconds": 8, "reason": "", "address": "10.0.0.2:4747",
                "round_trip_ms": 2.5, "version": "1.2.3", "config_generation": 1, "config_digest": "d2",
                "config_agrees": false, "counters": {"beats_sent": 13},
            }],
        },
        "votes": {"votes": 2, "nodes": 3, "leads_on": true, "takes_over": true, "witness": "etcd at http://e:2379",
            "witness_error": null, "lock_holder": "lb1"},
        "guard": true, "ready": true, "not_ready": [],
        "alarms": [{"severity": "critical", "what": "w", "affected": "a", "do": "d"}],
        "settings": [], "limits": {"connections": {"used": 1, "limit": 2, "reached": 3}},
        "overrides": [{"of": "backend web/a", "what": "drained", "by": "uid 0", "since": 1000, "connections": 2}],
        "sources": [{"name": "prod", "by": "uid 0", "since": 1000, "serial": 3, "services": 7, "set_aside": {"prod/a/b": "why"}}],
        "kubernetes": [{"cluster": "prod", "access": "in-cluster", "class": "fulcrum.dev/lb", "reached_since": 5, "writes": true,
            "services": 7, "not_served": 1, "nodes": 3, "endpoint_slices": 9, "writes_total": 14, "write_errors": 0, "events_left_out": 0}],
        "hooks": [{"name": "tell", "on": ["fault"], "command": ["/bin/tell"], "waiting": 2, "running": [],
            "runs": {"succeeded": 3, "killed": 1}, "run_seconds": 10.5, "left_out": {"superseded": 4}, "last": []}],
        "counters": {"health": {"probes": 21}, "vip_manager": {"stalls": 1}, "peer": {"strangers": 6}},
    }))
    .expect("a status")
}

#[test]
fn values_are_those_of_the_status() {
    let page = page(&status());
    for line in [
        "fulcrum_build_info{version=\"1.2.3\"} 1",
        "fulcrum_source_services{source=\"prod\",state=\"applied\"} 7",
        "fulcrum_source_services{source=\"prod\",state=\"set-aside\"} 1",
        "fulcrum_vrrp_state{group=\"web\"} 2",
        "fulcrum_vrrp_events_total{event=\"adverts_sent\",family=\"ipv4\",group=\"web\",interface=\"eth0\"} 11",
        "fulcrum_backend_up{backend=\"a\",service=\"http\"} 0",
        "fulcrum_service_connections{service=\"http\"} 9",
        "fulcrum_vip_proof{address=\"10.0.0.1\",group=\"web\",state=\"answered-twice\"} 1",
        "fulcrum_vip_proof_age_seconds{address=\"10.0.0.1\",group=\"web\"} 11",
        "fulcrum_pool_addresses{family=\"ipv4\",pool=\"public\",state=\"free\"} 17",
        "fulcrum_votes 2",
        "fulcrum_votes_nodes 3",
        "fulcrum_votes_enough 1",
        "fulcrum_witness_up 1",
        "fulcrum_witness_lock 1",
        "fulcrum_service_accepted_total{service=\"http\"} 12",
        "fulcrum_backend_connected_total{backend=\"a\",service=\"http\"} 4",
        "fulcrum_limit_reached_total{limit=\"connections\"} 3",
        "fulcrum_alarms{severity=\"critical\"} 1",
        "fulcrum_alarms{severity=\"warning\"} 0",
        "fulcrum_config_stale 0",
        "fulcrum_fence_kernel{interface=\"eth0\"} 1",
        "fulcrum_plane_attached{by=\"tcx\",interface=\"eth0\"} 1",
        "fulcrum_plane_not_forwarded_total{reason=\"group_silent\"} 5",
        "fulcrum_plane_checks_total{what=\"asked\"} 7",
        "fulcrum_plane_noted_flows 8",
        "fulcrum_plane_live_flows 7",
        "fulcrum_plane_surviving_flows 6",
        "fulcrum_service_packets_in_total{service=\"http\"} 0",
        "fulcrum_backend_packets_out_total{backend=\"a\",service=\"http\"} 0",
        "fulcrum_plane_flows_held{peer=\"lb2\"} 1",
        "fulcrum_plane_flows_in_sync 1",
        "fulcrum_plane_flow_news_total{what=\"told\"} 21",
        "fulcrum_tables_in_sync{peer=\"lb2\",service=\"http\"} 1",
        "fulcrum_service_verdicts{of=\"lb2\",service=\"http\"} 1",
        "fulcrum_service_disputed_backends{service=\"http\"} 1",
        "fulcrum_health_probes_total 21",
        "fulcrum_hook_runs_total{hook=\"tell\",outcome=\"killed\"} 1",
        "fulcrum_hook_run_seconds_total{hook=\"tell\"} 10.5",
        "fulcrum_hook_waiting{hook=\"tell\"} 2",
        "fulcrum_hook_left_out_total{hook=\"tell\",reason=\"superseded\"} 4",
        "fulcrum_kubernetes_up{cluster=\"prod\"} 1",
        "fulcrum_kubernetes_stale_since_seconds{cluster=\"prod\"} 0",
        "fulcrum_kubernetes_services_not_served{cluster=\"prod\"} 1",
        "fulcrum_kubernetes_writes_total{cluster=\"prod\"} 14",
        "fulcrum_vip_manager_events_total{event=\"stalls\"} 1",
        "fulcrum_peer_up{peer=\"lb2\"} 1",
        "fulcrum_peer_state_age_seconds{peer=\"lb2\"} 8",
        "fulcrum_peer_round_trip_seconds{peer=\"lb2\"} 0.0025",
        "fulcrum_peer_config_agrees{peer=\"lb2\"} 0",
        "fulcrum_peer_events_total{event=\"beats_sent\",peer=\"lb2\"} 13",
        "fulcrum_peer_refused_total{reason=\"strangers\"} 6",
    ] {
        assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
    }
}

#[test]
fn the_document_lists_what_is_exported() {
    let mut table = String::from("| metric | type | labels | what it says |\n| --- | --- | --- | --- |\n");
    for family in made(&status()).families() {
        let labels: Vec<String> = family.labels().map(|label| format!("`{label}`")).collect();
        let (name, kind, help) = (&family.name, family.kind.word(), &family.help);
        writeln!(table, "| `{name}` | {kind} | {} | {help} |", labels.join(", ")).expect("memory");
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
    let document = std::fs::read_to_string(path).unwrap_or_default();
    assert!(document.contains(&table), "docs/metrics.md should hold this table:\n{table}");
}

#[test]
fn every_counter_is_explained() {
    let page = page(&status());
    assert!(!page.contains("As its name says."), "{page}");
}
