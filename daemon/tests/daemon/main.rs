//! The real daemon, alone in a network namespace of its own: start, reload, roles, signals, bad days.
//!
//! Needs root, `unshare` and `ip`, as all tests of whole nodes do.
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test ends by it")]

mod node;

use node::{Node, config, said};
use rustix::process::Signal;

#[test]
fn it_leads_alone_and_stops_in_good_order() {
    let mut node = Node::start(&config(""));
    let status = node.wait("it leads", |status| status["groups"][0]["role"] == "leader");
    assert_eq!(status["ready"], true, "{status}");
    assert_eq!(status["guard"], true);
    assert_eq!(status["node"], "lb-1");
    assert_eq!(status["config"]["state"], "current");
    assert_eq!(status["groups"][0]["leader"]["node"], "lb-1");
    assert_eq!(status["groups"][0]["addresses"][0]["state"], "answering");
    assert_eq!(status["services"][0]["up"], false, "nothing listens on its backend");
    assert!(node.addresses().contains("10.9.0.100"), "{}", node.addresses());

    let table = node.command(&["status"]);
    for word in ["leader", "lb-1", "10.9.0.100", "refuses", "connection refused"] {
        assert!(table.contains(word), "'{word}' is not in:\n{table}");
    }
    node.signal(Signal::TERM);
    assert_eq!(node.wait_for_end(), Some(0), "{}", node.log());
    assert!(!node.socket().exists());
    assert!(node.log().contains("every group is resigned"), "{}", node.log());
}

#[test]
fn a_second_one_is_refused_and_names_the_first() {
    let node = Node::start(&config(""));
    node.wait("it is up", |status| status["ready"] == true);
    let second = node.second();
    assert_eq!(second.status.code(), Some(1));
    assert!(said(&second).contains(&format!("process {}", node.pid())), "{}", said(&second));
    node.wait("the first is unharmed", |status| status["groups"][0]["role"] == "leader");
}

#[test]
fn a_second_one_with_a_socket_of_its_own_is_refused_too() {
    let node = Node::start(&config(""));
    node.wait("it is up", |status| status["ready"] == true);
    let second = node.other_here(&config(""));
    assert_eq!(second.status.code(), Some(1), "{}", said(&second));
    for word in ["network namespace", &format!("process {}", node.pid())] {
        assert!(said(&second).contains(word), "'{word}' is not in: {}", said(&second));
    }
    node.wait("the first is unharmed", |status| status["groups"][0]["role"] == "leader");
}

#[test]
fn a_reload_applies_the_difference_or_nothing() {
    let node = Node::start(&config(""));
    let before = node.wait("it leads", |status| status["groups"][0]["role"] == "leader");
    let told = node.command(&["reload"]);
    assert!(told.starts_with("nothing changed\nread and checked in "), "{told}");

    node.write(&config("").replace("port: 80,", "port: 81,"));
    let told: serde_json::Value = serde_json::from_str(&node.command(&["reload", "--json"])).unwrap();
    assert_eq!(told["changes"][0]["what"], "service web", "{told}");
    assert!(told["changes"][0]["how"].as_str().unwrap().contains("81"), "{told}");
    for time in ["read_ms", "applied_ms"] {
        assert!(told[time].as_f64().unwrap() > 0.0, "{told}");
    }
    let status = node.status();
    assert_eq!(status["services"][0]["ports"], "81");
    assert_eq!(status["groups"][0]["transitions"], before["groups"][0]["transitions"], "no VIP moved");

    let other_log = config("log: json, ").replace("port: 80,", "port: 81,");
    node.write(&other_log);
    for time in ["first", "second"] {
        let told = node.command(&["reload"]);
        assert!(told.contains("when the daemon is started again"), "the {time} time: {told}");
    }
    node.write("groups: [\n");
    let refused = node.try_command(&["reload"]);
    assert_eq!(refused.status.code(), Some(1));
    for word in ["not YAML", "running configuration stays"] {
        assert!(said(&refused).contains(word), "{}", said(&refused));
    }
    let status = node.status();
    assert_eq!(status["services"][0]["ports"], "81", "the running one stays");
    assert_eq!(status["config"]["state"], "current");
    assert!(status["alarms"].to_string().contains("was refused"), "{status}");

    node.write(&config("").replace("node: lb-1", "node: lb-2"));
    let refused = node.try_command(&["reload"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused).contains("this daemon runs as lb-1"), "{}", said(&refused));

    node.write(&config(""));
    node.signal(Signal::HUP);
    let status = node.wait("SIGHUP reloads", |status| status["config"]["generation"] == 6);
    assert_eq!(status["services"][0]["ports"], "80");
    assert!(!status["alarms"].to_string().contains("was refused"), "{status}");
    node.wait_until("it is audited", || node.log().contains("SIGHUP"));
}

#[test]
fn a_configuration_that_can_not_work_is_taken_back() {
    // The plain metrics listener of the daemon itself stands in the new service's way.
    let taken = config("metrics: '0.0.0.0:9100', ");
    let node = Node::start(&taken);
    let before = node.wait("it leads", |status| status["groups"][0]["role"] == "leader");
    node.write(&taken.replace("port: 80,", "port: 9100,"));
    let refused = node.try_command(&["reload"]);
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    for word in ["10.9.0.100:9100", "listeners did not stand", "runs on"] {
        assert!(said(&refused).contains(word), "'{word}' is not in: {}", said(&refused));
    }
    let status = node.wait("the one before serves", |status| status["ready"] == true);
    assert_eq!(status["services"][0]["ports"], "80");
    assert_eq!(status["groups"][0]["transitions"], before["groups"][0]["transitions"], "no VIP moved");
}

#[test]
fn a_refused_reload_moves_no_address() {
    let small = config("metrics: '0.0.0.0:9100', ");
    let group = "  web: {vrid: 60, vips: [10.9.0.100]}\n";
    let both = small.replace(group, &format!("{group}  api: {{vrid: 61, vips: [10.9.0.101]}}\n"));
    let node = Node::start(&both);
    let leads = |status: &serde_json::Value| {
        status["groups"].as_array().is_some_and(|groups| groups.iter().all(|group| group["role"] == "leader"))
    };
    let before = node.wait("it leads both", |status| status["ready"] == true && leads(status));
    // Drops a group, and adds a service where the metrics are.
    let service = "  more: {vip: 10.9.0.100, port: 9100, backends: [10.9.0.11:8081]}\nadmin:";
    node.write(&small.replace("admin:", service));
    let refused = node.try_command(&["reload"]);
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    assert!(said(&refused).contains("10.9.0.100:9100"), "{}", said(&refused));
    assert!(node.addresses().contains("10.9.0.101"), "{}", node.addresses());
    let after = node.status();
    assert!(leads(&after), "{after}");
    assert_eq!(after["groups"].as_array().map(Vec::len), Some(2));
    for index in [0, 1] {
        for what in ["name", "role", "transitions", "epoch", "reason"] {
            assert_eq!(after["groups"][index][what], before["groups"][index][what], "{what}: {after}");
        }
    }
}

#[test]
fn a_listener_that_nobody_needs_does_not_keep_the_node_down() {
    // The service is in the way of the metrics, and the files of the TLS listener are not there.
    let tls = "tcp: {listen: '127.0.0.1:9443', certificate: /nowhere/c.pem, key: /nowhere/k.pem, \
               viewer_ca: /nowhere/v.pem, operator_ca: /nowhere/o.pem}, ";
    // Without a check its backend stays up, and the service listens.
    let taken = config(&format!("metrics: '0.0.0.0:80', {tls}"));
    let taken = taken.replace("check: {type: tcp, interval: 1s, timeout: 1s}, ", "");
    let node = Node::start(&taken);
    let status = node.wait("it leads", |status| {
        status["groups"][0]["role"] == "leader" && status["alarms"].to_string().contains("admin.metrics")
    });
    for word in ["0.0.0.0:80", "in use", "/nowhere/"] {
        assert!(status["alarms"].to_string().contains(word), "'{word}' is not in {status}");
    }
    node.write(&taken.replace("port: 80,", "port: 81,"));
    node.command(&["reload"]);
    node.wait("it is tried again", |status| !status["alarms"].to_string().contains("admin.metrics"));
    assert!(node.ask_tcp("127.0.0.1:80", "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").ends_with("ok\n"));
}

#[test]
fn a_file_that_never_listened_is_not_the_last_good_one() {
    let metrics = config("metrics: '0.0.0.0:9100', ");
    let mut node = Node::start(&metrics);
    node.wait("it is up", |status| status["ready"] == true);
    node.wait_until("it is kept", || node.last_good().is_some());
    let good = node.last_good();
    // Someone else has the service's port.
    node.write(&metrics.replace("port: 80,", "port: 9200,"));
    node.restart_where_taken(9200);
    let status = node.wait("it is up", |status| status["alarms"].to_string().contains("does not listen"));
    assert_eq!(status["ready"], false);
    assert_eq!(node.last_good(), good, "the one that worked is still kept");
}

#[test]
fn a_bad_file_at_start_runs_the_last_good_one() {
    let mut node = Node::start(&config(""));
    node.wait("it is up", |status| status["ready"] == true);
    node.wait_until("it is kept", || node.last_good().is_some());
    node.signal(Signal::TERM);
    assert_eq!(node.wait_for_end(), Some(0));
    let broken = config("").replace("groups:", "gruops:");
    node.write(&broken);
    node.restart();
    let status = node.wait("it leads", |status| status["groups"][0]["role"] == "leader");
    assert_eq!(status["config"]["state"], "last-good");
    assert!(status["config"]["refused"].to_string().contains("gruops"), "{status}");
    assert!(node.log().contains("THE FILE IS BAD"), "{}", node.log());
    let page = node.get("/metrics");
    assert!(page.contains("fulcrum_config_stale 1"), "{page}");

    node.write(&config(""));
    node.command(&["reload"]);
    assert_eq!(node.status()["config"]["state"], "current");
}

#[test]
fn a_viewer_may_look_and_an_operator_may_change() {
    let node = Node::start(&config("viewer_group: '65534', "));
    node.wait("it is up", |status| status["ready"] == true);
    let looked = node.command_as(65_534, &["status", "--json"]);
    assert_eq!(looked.status.code(), Some(0), "{}", said(&looked));
    for change in [&["reload"][..], &["handover", "web"]] {
        let refused = node.command_as(65_534, change);
        assert_eq!(refused.status.code(), Some(4), "{}", said(&refused));
        assert!(said(&refused).contains("viewer"), "{}", said(&refused));
    }
    let stranger = node.command_as(65_533, &["status"]);
    assert_eq!(stranger.status.code(), Some(4), "{}", said(&stranger));
    assert!(node.log().contains("refused: not an operator"), "it is audited: {}", node.log());
}

#[test]
fn the_plain_listener_shows_metrics_and_nothing_else() {
    let node = Node::start(&config("metrics: '127.0.0.1:9100', "));
    node.wait("it leads", |status| status["groups"][0]["role"] == "leader");
    let ask = |request: &str| node.ask_tcp("127.0.0.1:9100", request);
    let get = |path: &str| ask(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert!(get("/metrics").contains("fulcrum_vrrp_state{group=\"web\"} 2"), "{}", get("/metrics"));
    assert!(get("/healthz").ends_with("ok\n"));
    assert!(get("/readyz").ends_with("ready\n"));
    assert!(get("/v1/status").starts_with("HTTP/1.1 404"));
    assert!(ask("POST /v1/reload HTTP/1.1\r\nHost: x\r\n\r\n").starts_with("HTTP/1.1 404"));
    assert!(ask("POST /metrics HTTP/1.1\r\nHost: x\r\n\r\n").starts_with("HTTP/1.1 405"));
    let large = format!("GET /metrics HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    assert!(ask(&large).starts_with("HTTP/1.1 431"), "{}", ask(&large));
    assert!(ask("garbage\r\n\r\n").starts_with("HTTP/1.1 400"));
}

#[test]
fn a_handover_that_nobody_takes_is_taken_back() {
    let node = Node::start(&config(""));
    node.wait("it leads", |status| status["groups"][0]["role"] == "leader");
    let unknown = node.try_command(&["handover", "wbe"]);
    assert!(said(&unknown).contains("there is no group wbe; there are: web"), "{}", said(&unknown));
    let refused = node.try_command(&["handover", "web"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused).contains("nobody took group web"), "{}", said(&refused));
    let status = node.wait("it leads again", |status| status["groups"][0]["role"] == "leader");
    assert_eq!(status["groups"][0]["standing_down"], false);
}

#[test]
fn a_killed_daemon_leaves_no_address_and_can_start_again() {
    let mut node = Node::start(&config(""));
    node.wait("it leads", |status| status["groups"][0]["role"] == "leader");
    let namespace = node.hold_namespace();
    node.signal(Signal::KILL);
    node.wait_for_end();
    node.wait_until("the guard withdraws the address", || !namespace.addresses().contains("10.9.0.100"));
    node.restart();
    node.wait("it leads again", |status| status["groups"][0]["role"] == "leader");
}

#[test]
fn a_tcp_listener_stands_before_its_address_and_serves_it_whenever_it_is_there() {
    let node = Node::start(&config("metrics: '10.9.0.100:9100', "));
    let status = node.wait("it leads", |status| status["groups"][0]["role"] == "leader");
    assert!(!status["alarms"].to_string().contains("admin.metrics"), "{status}");
    let ask = || node.ask_tcp("10.9.0.100:9100", "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(ask().ends_with("ok\n"), "by the VIP, which came after the listener");

    let foreign = Node::start(&config("metrics: '10.9.0.55:9100', "));
    foreign.wait("it is up without the address", |status| {
        status["ready"] == true && !status["alarms"].to_string().contains("admin.metrics")
    });
    let ask = || foreign.ask_tcp("10.9.0.55:9100", "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    for time in ["first", "second"] {
        foreign.ip(&["address", "add", "10.9.0.55/32", "dev", "lo"]);
        assert!(ask().ends_with("ok\n"), "the {time} time");
        foreign.ip(&["address", "delete", "10.9.0.55/32", "dev", "lo"]);
    }
}
