//! Addresses, ports and nodes of a Kubernetes cluster's Services as they change, with a real kube-apiserver and real traffic.
#![allow(clippy::indexing_slicing, reason = "JSON, and machines that there are")]

use fulcrum_tests::Result;
use fulcrum_tests::lab::kubernetes::{LONG, Scene};
use fulcrum_tests::lab::{Echo, Lab, Machine};
use fulcrum_tests::probe::Session;
use fulcrum_tests::wait::{run_for, wait_until};
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(1);
const DATAGRAMS: u16 = 5300;
const HTTP: &str = "{name: http, port: 80, nodePort: 30080}";

fn service(name: &str, annotations: &str, spec: &str, ports: &str) -> String {
    format!(
        "---\n{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: default, \
         annotations: {{{annotations}}}}}, spec: {{type: LoadBalancer, loadBalancerClass: fulcrum.dev/lb, \
         selector: {{app: web}}, {spec} ports: [{ports}]}}}}\n"
    )
}

/// With both families, and a pool of one address.
fn scene(lab: &Lab) -> Result<Scene> {
    let prod = "prod: {kubeconfig: KUBECONFIG, annotations: {reports: [fulcrum.dev/pool]}}";
    let mut scene = Scene::with(lab, prod, |cluster| {
        cluster.networks.push_str(", \"fd77::/64\"");
        cluster.pools = "public: {addresses: [10.77.0.100-10.77.0.149, \"fd77::1:0/112\"]}, \
            small: {addresses: [10.77.0.190], auto_assign: false}"
            .to_owned();
        Ok(())
    })?;
    for port in 30080..=30089 {
        scene.node_port("tcp", port, 80)?;
    }
    scene.node_port("udp", 30053, DATAGRAMS)?;
    Ok(scene)
}

/// Whether a datagram is answered.
fn is_echoed(machine: &Machine, target: SocketAddr) -> Result<bool> {
    let socket = machine.namespace().enter(|| UdpSocket::bind("0.0.0.0:0"))??;
    socket.set_read_timeout(Some(Duration::from_millis(300)))?;
    socket.connect(target)?;
    let mut buffer = [0; 64];
    // A refusal is no answer either.
    Ok(socket.send(b"1").and_then(|_| socket.recv(&mut buffer)).is_ok())
}

fn change(scene: &Scene, name: &str, spec: &Value) -> Result<()> {
    scene.api.patch("service", name, &[], &json!({ "spec": spec }))
}

#[test]
fn services_get_keep_share_and_give_back_addresses_as_they_ask() {
    Lab::run(|lab| {
        let scene = scene(lab)?;
        let _echoes = scene
            .cluster
            .web
            .iter()
            .map(|web| Echo::start(&web.machine, SocketAddr::new(web.machine.ipv4(), DATAGRAMS)))
            .collect::<Result<Vec<_>>>()?;
        let ports = |node_ports: [u16; 2]| {
            format!(
                "{{name: a, port: 80, nodePort: {}}}, {{name: b, port: 81, nodePort: {}}}",
                node_ports[0], node_ports[1]
            )
        };
        let small = "metallb.io/address-pool: small";
        let shared = "metallb.io/allow-shared-ip: key";
        scene.api.apply(
            &[
                service("both", "", "ipFamilyPolicy: RequireDualStack, ", HTTP),
                service(
                    "several",
                    "metallb.io/loadBalancerIPs: 10.77.0.140",
                    "",
                    &format!(
                        "{}, {{name: dns, port: 53, protocol: UDP, nodePort: 30053}}",
                        ports([30081, 30082])
                    ),
                ),
                service("small-1", small, "", "{port: 80, nodePort: 30083}"),
                service("shares-1", shared, "", "{port: 80, nodePort: 30084}"),
            ]
            .concat(),
        )?;
        let small_1 = scene.address("small-1")?;
        // Who came first is known by seconds.
        run_for(Duration::from_millis(1100));
        scene.api.apply(
            &[
                service("small-2", small, "", "{port: 80, nodePort: 30085}"),
                service("shares-2", shared, "", "{port: 81, nodePort: 30086}"),
                service("shares-3", shared, "", "{port: 80, nodePort: 30087}"),
            ]
            .concat(),
        )?;
        both_families(&scene)?;
        several_ports(&scene)?;

        let first = scene.address("shares-1")?;
        assert_eq!(scene.address("shares-2")?, first);
        scene.answers(first, 80)?;
        scene.answers(first, 81)?;
        let why = scene.told("shares-3", "PortTaken")?;
        assert!(why.contains("default/shares-1"), "{why}");
        scene.api.kubectl(&["delete", "service", "shares-1", "--timeout=20s"])?;
        assert_eq!(scene.address("shares-3")?, first, "it gets the port that became free");
        scene.answers(first, 80)?;

        let why = scene.told("small-2", "SetAside")?;
        assert!(why.contains("small"), "{why}");
        scene.answers(small_1, 80)?;
        scene.api.kubectl(&["delete", "service", "small-1", "--timeout=20s"])?;
        assert_eq!(scene.address("small-2")?, small_1, "who waits gets what becomes free");
        scene.answers(small_1, 80)?;
        Ok(())
    });
}

fn both_families(scene: &Scene) -> Result<()> {
    let addresses = scene.addresses("both")?;
    let families: Vec<bool> = addresses.iter().map(IpAddr::is_ipv4).collect();
    assert_eq!(families, [true, false], "{addresses:?}");
    for address in addresses {
        scene.answers(address, 80)?;
        scene.wait_who(address, 80, &["web1", "web2"])?;
    }
    // One family less, and the other one stays.
    let before = scene.address("both")?;
    change(
        scene,
        "both",
        &json!({"ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv4"], "clusterIPs": null}),
    )?;
    wait_until("one family", LONG, || scene.addresses("both").is_ok_and(|it| it == [before]))?;
    scene.answers(before, 80).map(drop)
}

/// What others keep in a Service stays, and each change is told once.
fn several_ports(scene: &Scene) -> Result<()> {
    let address = scene.address("several")?;
    assert_eq!(address.to_string(), "10.77.0.140", "as it wished");
    scene.answers(address, 80)?;
    scene.answers(address, 81)?;
    let dns = SocketAddr::new(address, 53);
    wait_until("datagrams to be answered", LONG, || is_echoed(&scene.cluster.client, dns).unwrap_or(false))?;

    // A report of ours: what the file asks for, and no other.
    let pool = || scene.service("several").unwrap_or_default()["metadata"]["annotations"].take();
    wait_until("its pool to be told", LONG, || pool()["fulcrum.dev/pool"] == "public")?;
    assert!(pool().get("fulcrum.dev/addresses").is_none(), "{}", pool());

    let theirs = json!({"metadata": {"finalizers": ["example.com/theirs"], "annotations": {"example.com/theirs": "1"}}});
    scene.api.patch("service", "several", &[], &theirs)?;
    let condition = json!({"type": "example.com/Theirs", "status": "True", "reason": "Theirs", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z"});
    scene.api.patch(
        "service",
        "several",
        &["--subresource=status"],
        &json!({"status": {"conditions": [condition]}}),
    )?;
    let told = || scene.written().iter().filter(|it| *it == "patch services/status several").count();
    run_for(SOON);
    assert_eq!(told(), 1, "{:?}", scene.written());

    // Another port: the address stays, the old port does not.
    let ports = json!({"ports": [{"name": "a", "port": 80, "$patch": "delete"}, {"name": "a", "port": 8080, "nodePort": 30081}]});
    change(scene, "several", &ports)?;
    scene.answers(address, 8080)?;
    wait_until("the old port to be closed", LONG, || {
        scene.ask(address, 80).is_none_or(|it| !it.is_answer())
    })?;
    wait_until("the change to be told", LONG, || told() >= 2)?;
    run_for(SOON);
    assert_eq!(told(), 2, "one change, one write: {:?}", scene.written());

    // It is no load balancer for a while.
    change(scene, "several", &json!({"type": "ClusterIP", "loadBalancerClass": null}))?;
    wait_until("it to be let go", LONG, || {
        let service = scene.service("several").unwrap_or_default();
        service["metadata"]["finalizers"] == json!(["example.com/theirs"])
            && service["status"]["loadBalancer"] == json!({})
    })?;
    let theirs = scene.service("several")?;
    assert_eq!(theirs["status"]["conditions"], json!([condition]));
    assert_eq!(theirs["metadata"]["annotations"]["example.com/theirs"], "1");
    assert!(theirs["metadata"]["annotations"].get("fulcrum.dev/pool").is_none(), "{theirs}");
    assert!(scene.ask(address, 8080).is_none_or(|it| !it.is_answer()), "{address} still answers");
    change(
        scene,
        "several",
        &json!({"type": "LoadBalancer", "loadBalancerClass": "fulcrum.dev/lb",
        "ports": [{"port": 8080, "nodePort": 30081}]}),
    )?;
    assert_eq!(scene.address("several")?, address);
    scene.answers(address, 8080).map(drop)
}

#[test]
fn nodes_that_go_come_lie_or_are_cordoned_get_what_the_page_says() {
    Lab::run(|lab| {
        let scene = scene(lab)?;
        scene.api.apply(&service("web", "", "", HTTP))?;
        let address = scene.address("web")?;
        let both = ["web1", "web2"];
        scene.wait_who(address, 80, &both)?;
        wait_until("the event", LONG, || scene.written().len() == 3)?;
        let written = scene.written();

        let taint = |key: &str, effect: &str| json!({"spec": {"taints": [{"key": key, "effect": effect}]}});
        let no_taint = json!({"spec": {"taints": null}});
        let node = |patch: &Value| scene.api.patch("node", "web1", &[], patch);
        let drains = |what: &str| -> Result<()> {
            scene.wait_who(address, 80, &["web2"])?;
            for node in &scene.nodes {
                let drains =
                    || node.status().is_ok_and(|it| it.backends("prod/default/web:http", "draining") == 1);
                wait_until(&format!("{what}: web1 to drain"), LONG, drains)?;
            }
            Ok(())
        };

        // Not ready: its connections stay, new ones go elsewhere.
        let mut session = loop {
            let session = Session::open(&scene.cluster.client, SocketAddr::new(address, 80), SOON)?;
            if session.backend() == "web1" {
                break session;
            }
        };
        scene.api.set_node_ready("web1", false)?;
        drains("not ready")?;
        assert_eq!(session.ask()?, "web1");
        // None is: more likely nobody hears them.
        scene.api.set_node_ready("web2", false)?;
        scene.wait_who(address, 80, &both)?;
        scene.api.set_node_ready("web1", true)?;
        scene.api.set_node_ready("web2", true)?;

        for (key, effect) in [
            ("ToBeDeletedByClusterAutoscaler", "NoSchedule"),
            ("karpenter.sh/disrupted", "NoSchedule"),
            ("node.kubernetes.io/out-of-service", "NoExecute"),
            ("node.cloudprovider.kubernetes.io/shutdown", "NoSchedule"),
        ] {
            node(&taint(key, effect))?;
            drains(key)?;
            node(&no_taint)?;
            scene.wait_who(address, 80, &both)?;
        }
        node(&taint("node.cloudprovider.kubernetes.io/uninitialized", "NoSchedule"))?;
        scene.wait_who(address, 80, &["web2"])?;
        assert_eq!(scene.nodes[0].status()?.backends("prod/default/web:http", "draining"), 0);
        node(&no_taint)?;
        scene.wait_who(address, 80, &both)?;

        let excluded = "node.kubernetes.io/exclude-from-external-load-balancers";
        scene.api.kubectl(&["label", "node", "web1", &format!("{excluded}=false")])?;
        scene.wait_who(address, 80, &["web2"])?;
        scene.api.kubectl(&["label", "node", "web1", &format!("{excluded}-")])?;
        scene.wait_who(address, 80, &both)?;

        scene.api.kubectl(&["cordon", "web1"])?;
        node(&taint("node.kubernetes.io/unschedulable", "NoSchedule"))?;
        run_for(SOON);
        assert_eq!(scene.who(address, 80, 12)?.len(), 2, "a cordon changes nothing");
        node(&no_taint)?;

        // A node can say anything of itself.
        let lies = [
            "10.77.0.11",
            "10.77.0.12",
            "10.77.0.100",
            "127.0.0.1",
            "10.77.0.82",
            "169.254.1.1",
            "fd77::11",
            "::1",
        ];
        let lies: Vec<IpAddr> = lies.iter().filter_map(|it| it.parse().ok()).collect();
        scene.api.add_node_at("a-liar", &lies)?;
        let long = vec!["node"; 50].join(".");
        scene.api.add_node_at(&long, &[lies[3]])?;
        scene.api.add_node_at("10.77.0.81", &["10.77.0.83".parse().unwrap_or(lies[0])])?;
        scene.wait_clusters("the nodes to be seen", |it| it["nodes"] == 5)?;
        run_for(SOON);
        scene.wait_who(address, 80, &both)?;
        assert_eq!(scene.told("web", "Served")?, format!("Fulcrum answers at {address}"));
        for name in ["a-liar", &long, "10.77.0.81"] {
            scene.api.kubectl(&["delete", "node", name])?;
        }

        scene.api.kubectl(&["delete", "node", "web1"])?;
        scene.wait_who(address, 80, &["web2"])?;
        scene.api.add_node(&scene.cluster.web[0].machine)?;
        scene.wait_who(address, 80, &both)?;
        assert_eq!(scene.written(), written, "nodes are no news for a Service");
        Ok(())
    });
}
