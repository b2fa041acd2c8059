//! How a Service is served: ports, backends, checks and modes.

use super::*;

#[test]
fn a_service_gets_an_address_of_a_pool_and_the_node_ports() {
    let translation = World::new().translate();
    let services = parsed(&translation);
    assert_eq!(services.keys().collect::<Vec<_>>(), ["prod/shop/web:http"]);
    let service = &services["prod/shop/web:http"];
    assert_eq!(service["vip"], json!({ "families": ["ipv4"] }));
    assert_eq!(
        (&service["port"], &service["protocol"], &service["mode"]),
        (&json!(80), &json!("tcp"), &json!("auto"))
    );
    assert_eq!((&service["tenant"], &service["check"]), (&json!("prod"), &json!({ "type": "tcp" })));
    assert_eq!(service["labels"], json!({ "kubernetes.io/namespace": "shop" }));
    assert_eq!(
        shown(service),
        ["10.0.0.21:30080 worker-1", "10.0.0.22:30080 worker-2", "10.0.0.23:30080 worker-3"]
    );
    let outcome = &translation.outcomes[&web()];
    assert_eq!((outcome.ip_mode, outcome.problem.clone(), outcome.notes.len()), (IpMode::Proxy, None, 0));
}

#[test]
fn endpoints_that_come_and_go_change_nothing_where_the_cluster_spreads() {
    let before = World::new().translate();
    let after = World::new().object("[10.244.1.6]", "[10.244.1.7]").translate();
    assert_eq!(before, after);
}

#[test]
fn all_ports_of_a_service_share_one_address() {
    let more = "nodePort: 30080, protocol: TCP}\n    - {name: https, port: 443, nodePort: 30443}\n    - {name: quic, port: 443, nodePort: 30443, protocol: UDP}";
    let services = parsed(&World::new().object("nodePort: 30080, protocol: TCP}", more).translate());
    assert_eq!(
        services.keys().collect::<Vec<_>>(),
        ["prod/shop/web:http", "prod/shop/web:https", "prod/shop/web:quic"]
    );
    let words: BTreeSet<_> = services.values().map(|service| service["share"].as_str().unwrap()).collect();
    assert_eq!(words.len(), 1, "{words:?}");
    assert_eq!(services["prod/shop/web:quic"]["protocol"], "udp");
    assert_eq!(services["prod/shop/web:quic"]["check"], "none");
}

#[test]
fn a_port_without_a_name_has_the_services() {
    let services = parsed(&World::new().object("{name: http, port: 80, ", "{port: 80, ").translate());
    assert_eq!(services.keys().collect::<Vec<_>>(), ["prod/shop/web"]);
}

#[test]
fn whose_ports_are_renamed_keeps_its_address_also_while_it_is_not_served() {
    let renamed = |name: &str| World::new().object("{name: http, port: 80, ", &format!("{{{name}port: 80, "));
    for name in ["name: web, ", ""] {
        let vip = renamed(name).held("10.0.1.77").service()["vip"].clone();
        assert_eq!(vip, json!({ "families": ["ipv4"], "prefer": ["10.0.1.77"] }));
        // Its place is that of the name which has the address.
        let world = renamed(name).held("10.0.1.77").spec("loadBalancerIP: 0.0.0.0");
        let config = world.config();
        let cluster = config.kubernetes.values().next().unwrap();
        let translation = translate(cluster, &config, &world.read());
        let services = parsed(&translation);
        assert_eq!(services.keys().collect::<Vec<_>>(), ["prod/shop/web:http"]);
        assert!(services["prod/shop/web:http"]["BadAddress"].is_string(), "{services:?}");
    }
    // What a Service of a longer name has is none of its own.
    let config = World::new().held("10.0.1.77").config();
    assert_eq!(config.allocations.of_ports("prod/shop/we").count(), 0);
    assert_eq!(config.allocations.of_ports("prod/shop/web").count(), 1);
}

#[test]
fn a_protocol_that_is_not_served_is_named_and_the_others_are() {
    let more =
        "nodePort: 30080, protocol: TCP}\n    - {name: sctp, port: 99, nodePort: 30099, protocol: SCTP}";
    let translation = World::new().object("nodePort: 30080, protocol: TCP}", more).translate();
    assert_eq!(parsed(&translation).len(), 1);
    let outcome = &translation.outcomes[&web()];
    assert_eq!(outcome.notes, ["port 99 is not served: SCTP can't be"]);
    assert_eq!(outcome.ports[1], Port { service: None, number: 99, protocol: "SCTP".to_owned() });
    let alone = World::new().object("nodePort: 30080, protocol: TCP}", "nodePort: 30080, protocol: SCTP}");
    assert_eq!(alone.problem().reason, "ProtocolNotServed");
}

fn local() -> World {
    World::new().object(
        "externalTrafficPolicy: Cluster",
        "externalTrafficPolicy: Local\n  healthCheckNodePort: 31000",
    )
}

#[test]
fn local_goes_to_nodes_with_endpoints_by_their_number() {
    let world = local().cluster("mode_local: nat");
    let service = world.service();
    assert_eq!(service["mode"], "nat");
    assert_eq!(service["check"], json!({ "type": "http", "port": 31000, "path": "/healthz" }));
    let expected =
        ["10.0.0.21:30080 worker-1 *2", "10.0.0.22:30080 worker-2", "10.0.0.23:30080 worker-3 drain"];
    assert_eq!(shown(&service), expected);
}

#[test]
fn local_without_an_endpoint_has_no_backend() {
    let gone =
        OBJECTS.split("apiVersion: discovery").next().unwrap().trim_end().trim_end_matches("---").to_owned();
    let mut world = local().cluster("mode_local: nat");
    world.objects = gone.replace(
        "externalTrafficPolicy: Cluster",
        "externalTrafficPolicy: Local\n  healthCheckNodePort: 31000",
    );
    assert_eq!(world.backends(), [""; 0]);
}

#[test]
fn local_is_not_served_where_the_clients_address_would_be_lost() {
    let problem = local().problem();
    assert_eq!(problem.reason, "ClientAddressWouldBeLost");
    assert!(problem.message.contains("`mode_local` of cluster `prod`"), "{}", problem.message);
    assert_eq!(local().cluster("mode_local: proxy").service()["mode"], "proxy");
    assert_eq!(local().cluster("mode: dsr").service()["mode"], "dsr");
}

#[test]
fn in_mode_dsr_nodes_get_the_vip_itself() {
    let world = World::new().cluster("mode: dsr");
    assert_eq!(world.backends(), ["10.0.0.21 worker-1", "10.0.0.22 worker-2", "10.0.0.23 worker-3"]);
    assert_eq!(world.translate().outcomes[&web()].ip_mode, IpMode::Vip);
    let without = World::new().cluster("mode: dsr").object(" nodePort: 30080,", "");
    assert_eq!(without.backends().len(), 3);
    // kube-proxy does not answer for its own health at the VIP.
    assert_eq!(local().cluster("mode: dsr").service()["check"], json!({ "type": "tcp" }));
}

#[test]
fn pods_are_reached_at_their_own_port_and_drain_while_they_end() {
    let world = World::new().cluster("backends: pods").object(" nodePort: 30080,", "");
    assert_eq!(
        world.backends(),
        ["10.244.1.5:8080", "10.244.1.6:8080", "10.244.2.5:8080", "10.244.3.5:8080 drain"]
    );
}

#[test]
fn without_node_ports_it_says_what_to_do() {
    let problem =
        World::new().object(" nodePort: 30080,", "").spec("allocateLoadBalancerNodePorts: false").problem();
    assert_eq!(problem.reason, "NoNodePorts");
    assert!(problem.message.contains("allocateLoadBalancerNodePorts"), "{}", problem.message);
}

#[test]
fn affinity_is_by_the_clients_address() {
    let world = World::new().object(
        "sessionAffinity: None",
        "sessionAffinity: ClientIP\n  sessionAffinityConfig: {clientIP: {timeoutSeconds: 10800}}",
    );
    assert_eq!(world.service()["balance"], "source");
    assert_eq!(World::new().service().get("balance"), None);
}

#[test]
fn sources_are_enforced_or_it_is_not_served() {
    let ranges = "loadBalancerSourceRanges: [\"192.0.2.0/24 \", 10.9.9.9/16]";
    assert_eq!(World::new().spec(ranges).service()["sources"], json!(["10.9.0.0/16", "192.0.2.0/24"]));
    assert_eq!(World::new().spec("loadBalancerSourceRanges: [0.0.0.0/0]").service().get("sources"), None);
    let annotated = World::new().annotation(
        "service.beta.kubernetes.io/load-balancer-source-ranges: \"192.0.2.0/24,198.51.100.0/24\"",
    );
    assert_eq!(annotated.service()["sources"], json!(["192.0.2.0/24", "198.51.100.0/24"]));
    let problem = World::new().cluster("mode: fullnat").spec(ranges).problem();
    assert_eq!(problem.reason, "SourceRangesNotServed");
    assert_eq!(
        World::new().spec("loadBalancerSourceRanges: [somewhere]").problem().reason,
        "BadSourceRanges"
    );
}

#[test]
fn a_named_check_is_that_of_all() {
    assert_eq!(World::new().cluster("check: health").service()["check"], "health");
    assert_eq!(World::new().cluster("check: none").service()["check"], "none");
}
