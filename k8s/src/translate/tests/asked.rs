//! Who is served, and which addresses it asks for.

use super::*;

const CLASS: &str = "  loadBalancerClass: fulcrum.dev/lb\n";

#[test]
fn only_services_of_the_class_are_served() {
    let ours = |world: World| !world.translate().outcomes.is_empty();
    assert!(ours(World::new()));
    assert!(!ours(World::new().object(CLASS, "")));
    assert!(ours(World::new().object(CLASS, "").cluster("unclassed: true")));
    assert!(!ours(
        World::new().object(CLASS, "  loadBalancerClass: other.example/lb\n").cluster("unclassed: true")
    ));
    assert!(ours(
        World::new()
            .object(CLASS, "  loadBalancerClass: other.example/lb\n")
            .cluster("class: other.example/lb")
    ));
    assert!(!ours(World::new().object("type: LoadBalancer", "type: NodePort")));
    let deleted =
        World::new().object("uid: 7d0c", "deletionTimestamp: \"2026-11-21T00:00:00Z\"\n  uid: 7d0c");
    assert!(!ours(deleted));
}

#[test]
fn an_address_is_asked_for_in_each_of_the_ways_that_there_are() {
    for world in [
        World::new().spec("loadBalancerIP: 10.0.1.7"),
        World::new().annotation("metallb.io/loadBalancerIPs: 10.0.1.7"),
        World::new().annotation("metallb.universe.tf/loadBalancerIPs: \" 10.0.1.7\""),
        World::new().annotation("kube-vip.io/loadbalancerIPs: 10.0.1.7").spec("loadBalancerIP: 10.0.1.7"),
    ] {
        assert_eq!(world.service()["vip"], json!({ "families": ["ipv4"], "address": "10.0.1.7" }));
    }
}

#[test]
fn a_wish_that_can_t_be_is_told_and_not_guessed() {
    for (world, reason) in [
        (World::new().spec("loadBalancerIP: nonsense"), "BadAddress"),
        (World::new().annotation("kube-vip.io/loadbalancerIPs: 0.0.0.0"), "BadAddress"),
        (World::new().annotation("metallb.io/loadBalancerIPs: \"10.0.1.7,10.0.1.8\""), "BadAddress"),
        (
            World::new().annotation("metallb.io/loadBalancerIPs: \"10.0.1.7,2001:db8::1:7\""),
            "AddressOfOtherFamily",
        ),
        (
            World::new().annotation("metallb.io/loadBalancerIPs: 10.0.1.7").spec("loadBalancerIP: 10.0.1.8"),
            "BadAddress",
        ),
        (World::new().spec("loadBalancerIP: \"2001:db8::1:7\""), "AddressOfOtherFamily"),
        (World::new().annotation("metallb.io/address-pool: nowhere"), "NoSuchPool"),
    ] {
        let problem = world.problem();
        assert_eq!(problem.reason, reason, "{}", problem.message);
    }
}

#[test]
fn an_annotation_that_is_no_wish_here_is_not_read_and_said() {
    let with = |policy: &str| World::new().annotation("metallb.io/loadBalancerIPs: 10.0.1.7").cluster(policy);
    for policy in ["annotations: {wishes: [\"metallb.io/*\"]}", "annotations: {reports: [fulcrum.dev/pool]}"]
    {
        assert_eq!(with(policy).service()["vip"]["address"], "10.0.1.7", "{policy}");
    }
    for policy in ["annotations: {wishes: [\"*/address-pool\"]}", "annotations: {wishes: []}"] {
        let world = with(policy);
        assert_eq!(world.service()["vip"], json!({ "families": ["ipv4"] }), "{policy}");
        let notes = &world.translate().outcomes[&web()].notes;
        assert!(
            notes.iter().any(|note| note.contains("metallb.io/loadBalancerIPs is not read")),
            "{notes:?}"
        );
    }
}

#[test]
fn a_pool_is_asked_for_by_its_name() {
    for key in ["metallb.io/address-pool", "metallb.universe.tf/address-pool"] {
        let service = World::new().annotation(&format!("{key}: inside")).service();
        assert_eq!(service["vip"], json!({ "families": ["ipv4"], "pool": "inside" }));
    }
}

fn dual(policy: &str) -> World {
    World::new()
        .object("ipFamilies: [IPv4]", "ipFamilies: [IPv6, IPv4]")
        .object("ipFamilyPolicy: SingleStack", &format!("ipFamilyPolicy: {policy}"))
}

#[test]
fn two_families_are_one_of_each() {
    let service = dual("RequireDualStack").service();
    assert_eq!(service["vip"]["families"], json!(["ipv6", "ipv4"]));
    assert_eq!(shown(&service)[0], "2001:db8::21:30080 worker-1");
}

#[test]
fn preferred_families_are_those_that_there_are() {
    // Which of them it gets only the pools know.
    let both = dual("PreferDualStack");
    assert_eq!(both.service()["vip"], json!({ "families": ["ipv6", "ipv4"], "prefer_families": true }));
    let named = both.annotation("metallb.io/loadBalancerIPs: \"10.0.1.7,2001:db8::1:7\"");
    assert_eq!(named.service()["vip"]["prefer_families"], Json::Null);
    assert_eq!(dual("RequireDualStack").service()["vip"]["prefer_families"], Json::Null);
    let only_v4 = dual("PreferDualStack").annotation("metallb.io/address-pool: inside");
    assert_eq!(only_v4.service()["vip"], json!({ "families": ["ipv4"], "pool": "inside" }));
    assert!(only_v4.translate().outcomes[&web()].notes[0].contains("other family than IPv4"));
}

#[test]
fn where_the_kernel_forwards_one_family_is_served() {
    let preferred = dual("PreferDualStack").cluster("mode: fullnat");
    assert_eq!(preferred.service()["vip"]["families"], json!(["ipv6"]));
    assert_eq!(preferred.backends()[0], "2001:db8::21:30080 worker-1");
    assert_eq!(dual("RequireDualStack").cluster("mode: fullnat").problem().reason, "DualStackNotServed");
}

/// Another Service that shares the first one's address.
fn sharing(name: &str, port: u16) -> String {
    let (_, rest) = OBJECTS.split_once("kind: Service\n").unwrap();
    let (service, _) = rest.split_once("---").unwrap();
    let service = service
        .replace("name: web\n", &format!("name: {name}\n"))
        .replace("port: 80,", &format!("port: {port},"));
    let service = service.replace("nodePort: 30080", "nodePort: 30090").replace("10:00:00Z", "11:00:00Z");
    format!("apiVersion: v1\nkind: Service\n{service}")
        .replace("  labels: {tier: front}", "  annotations: {metallb.io/allow-shared-ip: together}")
}

#[test]
fn services_with_one_key_share_where_their_ports_allow_it() {
    let world =
        World::new().annotation("metallb.universe.tf/allow-shared-ip: together").with(&sharing("other", 81));
    let services = parsed(&world.translate());
    let words: BTreeSet<_> = services.values().map(|service| service["share"].as_str().unwrap()).collect();
    assert_eq!((services.len(), words.len()), (2, 1));

    let world = World::new()
        .annotation("metallb.universe.tf/allow-shared-ip: together")
        .with(&sharing("another", 80));
    let translation = world.translate();
    assert_eq!(
        parsed(&translation).keys().collect::<Vec<_>>(),
        ["prod/shop/web:http"],
        "the older one stays"
    );
    let another = ObjectName { namespace: "shop".to_owned(), name: "another".to_owned() };
    let problem = translation.outcomes[&another].problem.clone().unwrap();
    assert_eq!(problem.reason, "PortTaken");
    assert!(problem.message.contains("Service shop/web"), "{}", problem.message);
}

#[test]
fn hostile_objects_are_set_aside_and_cost_the_others_nothing() {
    let ports: Vec<String> = (1..=129)
        .map(|port| format!("{{name: p{port}, port: {port}, nodePort: {}}}", 30_100 + port))
        .collect();
    let many = sharing("many", 81).replace(
        "- {name: http, port: 81, targetPort: 8080, nodePort: 30090, protocol: TCP}",
        &format!("- {}", ports.join("\n    - ")),
    );
    let strange = sharing("strange", 82).replace("together", "\"\\\"]}\\n: evil\"");
    let wrong = sharing("wrong", 83).replace("port: 83,", "port: -7,");
    let translation = World::new().with(&many).with(&strange).with(&wrong).translate();
    assert_eq!(
        parsed(&translation).keys().collect::<Vec<_>>(),
        ["prod/shop/strange:http", "prod/shop/web:http"]
    );
    let reasons: Vec<_> =
        translation.outcomes.values().map(|outcome| outcome.problem.as_ref().map(|it| it.reason)).collect();
    assert_eq!(reasons, [Some("TooManyPorts"), None, None, Some("ProtocolNotServed")]);
}

#[test]
fn services_that_would_fill_the_text_are_set_aside_and_the_others_of_all_clusters_served() {
    let ports: Vec<String> = (1..=128)
        .map(|port| format!("{{name: p{port}, port: {port}, nodePort: {}}}", 30_100 + port))
        .collect();
    let ranges: Vec<String> =
        (0..1000).map(|index| format!("172.16.{}.{}/32", index / 250, index % 250)).collect();
    let mut world = World::new();
    for index in 0..8 {
        let service = sharing(&format!("much-{index}"), 81)
            .replace(
                "- {name: http, port: 81, targetPort: 8080, nodePort: 30090, protocol: TCP}",
                &format!("- {}", ports.join("\n    - ")),
            )
            .replace(
                "  selector: {app: web}",
                &format!("  selector: {{app: web}}\n  loadBalancerSourceRanges: [{}]", ranges.join(", ")),
            )
            .replace("allow-shared-ip: together", &format!("allow-shared-ip: with-{index}"));
        world = world.with(&service);
    }
    let small = sharing("small", 81).replace("11:00:00Z", "12:00:00Z");
    world = world.with(&small).with(&sharing("shares", 1).replace("together", "with-7"));
    let last = ObjectName { namespace: "shop".to_owned(), name: "much-7".to_owned() };
    let reasons = |world: &World| -> (usize, Vec<(String, &'static str)>) {
        let config = world.config();
        let cluster = Arc::clone(&config.kubernetes[&fulcrum_config::ClusterName::new("prod")]);
        let translation = translate(&cluster, &config, &world.read());
        let why = &translation.outcomes[&last].problem.as_ref().unwrap().message;
        assert!(why.contains("128 ports") && why.contains("KiB"), "{why}");
        let problems = translation.outcomes.iter();
        let problems =
            problems.filter_map(|(name, it)| Some((name.name.clone(), it.problem.as_ref()?.reason)));
        (translation.fragment.len(), problems.collect())
    };
    let aside =
        |from: usize| -> Vec<_> { (from..8).map(|index| (format!("much-{index}"), "TooMuchText")).collect() };
    let (size, problems) = reasons(&world);
    assert!(size <= Fragments::SIZE, "{size}");
    assert_eq!(problems, aside(6), "and nobody who came before or after them, or shares with one");

    // Another cluster has its share, whatever it needs.
    world.file.push_str("  test: {kubeconfig: /etc/fulcrum/test.kubeconfig, class: example.com/test}\n");
    let (size, problems) = reasons(&world);
    assert!(size <= Fragments::SIZE / 2, "{size}");
    assert_eq!(problems, aside(3));
}
