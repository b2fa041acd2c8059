use super::*;

#[test]
fn times_show_their_two_largest_units() {
    assert_eq!(time(0), "0s");
    assert_eq!(time(59), "59s");
    assert_eq!(time(725), "12m 5s");
    assert_eq!(time(3_600), "1h 0m");
    assert_eq!(time(86_400 * 3 + 4 * 3_600 + 59), "3d 4h");
}

#[test]
fn one_is_not_many() {
    let told = [0, 1, 2].map(|count| counted(count, "group"));
    assert_eq!(told, ["0 groups", "1 group", "2 groups"]);
}

fn two_services(forwarded: serde_json::Value) -> Status {
    let backend = serde_json::json!({
        "name": "a", "address": "10.1.0.1:80", "state": "down", "reason": "", "since_seconds": 1, "weight": 1.0,
        "backup": false, "connections": 0, "stats": {}, "served_as": "live",
    });
    let service = serde_json::json!({
        "name": "web", "group": "g", "vips": [], "protocol": "tcp", "ports": "80", "mode": "nat", "mode_reason": "",
        "up": true, "connections": 0, "stats": {}, "errors": [], "backends": [backend], "forwarded": forwarded,
    });
    let mut proxied = service.clone();
    proxied["name"] = "api".into();
    proxied["forwarded"] = serde_json::Value::Null;
    let config = serde_json::json!({
        "file": "f", "state": "current", "loaded_seconds_ago": 4, "generation": 2, "warnings": [], "refused": [],
    });
    serde_json::from_value(serde_json::json!({
        "node": "lb1", "version": "1", "uptime_seconds": 5, "config": config, "groups": [],
        "services": [service, proxied], "guard": true, "ready": true, "not_ready": [], "alarms": [],
        "settings": [], "limits": {}, "counters": {},
    }))
    .expect("a status")
}

#[test]
fn what_two_nodes_disagree_about_is_said() {
    let tables = |in_sync: bool, what: &str| serde_json::json!([{"peer": "lb2", "in_sync": in_sync, "what": what, "since_seconds": 1}]);
    let of = |verdicts_of: &str, disputed: &[&str], tables| {
        two_services(serde_json::json!({
            "verdicts_of": verdicts_of, "kept_seconds": null, "disputed": disputed, "tables": tables,
        }))
    };
    let same = of("lb2", &[], tables(true, "in sync"));
    assert_eq!(
        (super::tables(&same, "lb2").as_str(), super::tables(&same, "lb3").as_str()),
        (", tables in sync", "")
    );
    assert_eq!(verdicts(&same.services[0]), None);
    let differ = of("lb2", &["a"], tables(false, "why"));
    assert_eq!(super::tables(&differ, "lb2"), ", TABLES NOT IN SYNC: web (why)");
    let said = "by the verdicts of lb2; a is live by them, down by this node's own";
    assert_eq!(verdicts(&differ.services[0]).as_deref(), Some(said));
    assert_eq!(verdicts(&differ.services[1]), None);
    assert_eq!(verdicts(&of("own", &[], tables(true, "")).services[0]), None);
}

#[test]
fn what_would_become_of_flows_is_said() {
    let plane = |held_by: &[&str], live: u64, held: u64, by_hash: &[&str], by_unproven_hash: &[&str]| {
        let plane = serde_json::json!({
            "interfaces": {}, "not_forwarded": {}, "noted_flows": 0, "flows_held_by": held_by,
            "failover": {"live": live, "held": held, "by_hash": by_hash, "by_unproven_hash": by_unproven_hash},
        });
        failover(&serde_json::from_value(plane).expect("a plane"))
    };
    assert_eq!(plane(&[], 0, 0, &[], &[]), "");
    assert_eq!(
        plane(&["lb2"], 7, 7, &["web"], &[]),
        "flows known one by one: 7; if this node failed now, 7 would go on: lb2 knows them\n\
         flows of web: by hash; if this node failed now, all would go on\n"
    );
    assert_eq!(
        plane(&[], 7, 0, &["web", "dns"], &["web", "dns"]),
        "flows known one by one: 7; no other node knows them: if this one failed now, they would go on only by luck\n\
         flows of web, dns: by hash; they would go on if the other node's tables are the same, which it has not said\n"
    );
    let mut forwarded = two_services(serde_json::json!({
        "verdicts_of": "own", "kept_seconds": null, "disputed": [], "tables": [],
    }))
    .services;
    let [web, api] = forwarded.as_mut_slice() else { panic!("two services") };
    assert_eq!((connections(web, 0), connections(web, 3)), ("by hash".into(), "by hash, 3 noted".into()));
    assert_eq!(connections(api, 3), "3");
    web.forwarded.as_mut().expect("one").each_flow_known = true;
    assert_eq!(connections(web, 3), "3");
}

#[test]
fn by_which_path_a_backend_is_checked_is_said_where_there_are_two() {
    let mut status = two_services(serde_json::Value::Null);
    let mut said = |checks: serde_json::Value| {
        let service = &mut status.services[0];
        service.checks = serde_json::from_value(checks).expect("a path");
        service.backends[0].reason = "passes its check".to_owned();
        reason(service, &service.backends[0])
    };
    assert_eq!(said(serde_json::Value::Null), "passes its check");
    assert_eq!(said(serde_json::json!({"at_vip": true})), "passes its check, checked at the VIP");
    let elsewhere = serde_json::json!({"at_vip": false, "why": "the kernel refuses"});
    assert_eq!(said(elsewhere), "passes its check, checked at its own address");
}

#[test]
fn a_service_shows_the_pool_of_its_address_and_a_pool_what_is_left() {
    let mut status = two_services(serde_json::Value::Null);
    status.services[0].vips = vec!["10.0.0.1".to_owned(), "10.0.0.200".to_owned()];
    status.services[0].pools = [("10.0.0.200".to_owned(), "public".to_owned())].into();
    assert_eq!(vips(&status.services[0]), "10.0.0.1 10.0.0.200 (pool public)");
    assert!(!super::status(&status, false).contains("POOLS"));
    status.pools = serde_json::from_value(serde_json::json!([
        {"name": "public", "group": "g", "family": "ipv4", "auto_assign": true, "used": 2, "free": 0, "total": 2},
        {"name": "spare", "group": "g", "family": "ipv6", "auto_assign": false, "used": 0, "free": 9, "total": 9},
    ]))
    .expect("pools");
    let page = super::status(&status, false);
    let lines: Vec<Vec<&str>> = page.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(lines.contains(&vec!["public", "g", "ipv4", "2", "0", "full"]), "{page}");
    assert!(lines.contains(&vec!["spare", "g", "ipv6", "0", "9", "by", "name", "only"]), "{page}");
}
