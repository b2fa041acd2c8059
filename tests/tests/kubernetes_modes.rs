//! Services of a Kubernetes cluster in every mode, with a real kube-apiserver and real traffic.
#![allow(clippy::indexing_slicing, reason = "JSON, and machines that there are")]

use fulcrum_tests::lab::kubernetes::{Endpoint, LONG, Scene};
use fulcrum_tests::lab::{Cluster, Lab, Machine, add_to_loopback, ipv4};
use fulcrum_tests::probe::{Sample, Session};
use fulcrum_tests::wait::wait_until;
use fulcrum_tests::{LabError, Result};
use serde_json::json;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(1);
/// The clients that a Service in mode nat is for: they are behind a network of their own.
const FAR: &str = "192.0.2.50";
/// The Kubernetes nodes' way to them: it moves with the VIPs of its group.
const GATEWAY: &str = "10.77.0.160";
/// One API, several clusters: each serves a class of its own.
const CLUSTERS: &str = "auto: {kubeconfig: KUBECONFIG, class: example.com/auto, mode_local: dsr}\n\
    dsr: {kubeconfig: KUBECONFIG, class: example.com/dsr, mode: dsr}\n\
    fullnat: {kubeconfig: KUBECONFIG, class: example.com/fullnat, mode: fullnat}\n\
    nat: {kubeconfig: KUBECONFIG, class: example.com/nat, mode: nat}\n\
    pods: {kubeconfig: KUBECONFIG, class: example.com/pods, backends: pods}";

/// With what mode nat needs: a group with a gateway, and a pool of that group.
fn prepare(cluster: &mut Cluster) -> Result<()> {
    cluster.networks.push_str(", \"fd77::/64\"");
    cluster
        .pools
        .push_str(", six: {addresses: [\"fd77::1:0/112\"]}, routed: {addresses: [10.77.0.150-10.77.0.159], group: routed, auto_assign: false}");
    // Writing to a String does not fail.
    writeln!(cluster.sections, "groups: {{routed: {{vips: [{GATEWAY}]}}}}").ok();
    add_to_loopback(&cluster.client, FAR, "32")?;
    cluster.client.run("ip", &["route", "add", "10.77.0.150/31", "dev", "eth0", "src", FAR])?;
    let client = cluster.client.ipv4().to_string();
    for node in &cluster.nodes {
        node.set("net/ipv4/ip_forward", "1")?;
        node.run("ip", &["route", "add", "192.0.2.0/24", "via", &client])?;
    }
    for web in &cluster.web {
        web.machine.run("ip", &["route", "add", "192.0.2.0/24", "via", GATEWAY])?;
    }
    Ok(())
}

/// A Service of this class; `further` are keys of its spec.
fn service(name: &str, class: &str, node_port: u16, further: &str) -> String {
    let annotations = if class == "nat" { "annotations: {metallb.io/address-pool: routed}" } else { "" };
    let port = if node_port == 0 { String::new() } else { format!(", nodePort: {node_port}") };
    format!(
        "---\n{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: default, {annotations}}}, spec: {{\
         type: LoadBalancer, loadBalancerClass: example.com/{class}, selector: {{app: {name}}}, {further}\
         ports: [{{name: http, port: 80{port}}}]}}}}\n"
    )
}

fn backend_and_client(sample: &Sample) -> Result<(String, IpAddr)> {
    let (backend, via) = (sample.backend(), sample.via());
    let both = backend.map(str::to_owned).zip(via);
    both.ok_or_else(|| LabError::new(format!("no answer: {sample:?}")))
}

fn ip_mode(scene: &Scene, name: &str) -> Result<serde_json::Value> {
    Ok(scene.service(name)?["status"]["loadBalancer"]["ingress"][0]["ipMode"].clone())
}

#[test]
fn node_ports_and_pods_are_reached_in_every_mode_and_backends_see_whom_the_page_says() {
    Lab::run(|lab| {
        let mut scene = Scene::with(lab, CLUSTERS, prepare)?;
        for port in 30081..=30089 {
            scene.node_port("tcp", port, 80)?;
        }
        scene.api.apply(
            &[
                service("by-nat", "nat", 30081, ""),
                service("by-dsr", "dsr", 0, "allocateLoadBalancerNodePorts: false, "),
                service("by-fullnat", "fullnat", 30083, ""),
                service("by-six", "fullnat", 30087, "ipFamilies: [IPv6], "),
                service("prefers", "fullnat", 30088, "ipFamilyPolicy: PreferDualStack, "),
                service("requires", "fullnat", 30089, "ipFamilyPolicy: RequireDualStack, "),
                service("affine", "auto", 30084, "sessionAffinity: ClientIP, "),
                service("for-few", "auto", 30085, "loadBalancerSourceRanges: [10.77.0.60/32], "),
                service("to-pods", "pods", 0, "allocateLoadBalancerNodePorts: false, "),
                service("no-ports", "auto", 0, "allocateLoadBalancerNodePorts: false, "),
                service("too-few", "fullnat", 30086, "loadBalancerSourceRanges: [10.77.0.60/32], "),
            ]
            .concat(),
        )?;
        the_kernel_forwards(&mut scene)?;
        pods_are_reached(&scene)?;

        // The same backend each time; without affinity each has its turn.
        let affine = scene.address("affine")?;
        scene.answers(affine, 80)?;
        wait_until("one backend for one client", LONG, || {
            scene.who(affine, 80, 12).is_ok_and(|seen| seen.len() == 1)
        })?;
        scene.api.patch("service", "affine", &[], &json!({"spec": {"sessionAffinity": "None"}}))?;
        scene.wait_who(affine, 80, &["web1", "web2"])?;

        // Who is not among them is let go; who is, is answered; and so it is after a change.
        let few = scene.address("for-few")?;
        let chosen = lab.machine("chosen", 60)?;
        wait_until("the one that may", LONG, || {
            scene.ask_from(&chosen, few, 80).is_some_and(|it| it.is_answer())
        })?;
        let refused = scene.ask(few, 80);
        assert!(refused.as_ref().is_some_and(|it| !it.is_answer()), "{refused:?}");
        let wider = json!({"spec": {"loadBalancerSourceRanges": ["10.77.0.0/26"]}});
        scene.api.patch("service", "for-few", &[], &wider)?;
        scene.answers(few, 80)?;

        // What can't be done is said, and nothing is open that was to be closed.
        let why = scene.told("no-ports", "NoNodePorts")?;
        assert!(why.contains("backends: pods"), "{why}");
        let why = scene.told("requires", "DualStackNotServed")?;
        assert!(why.contains("`mode: proxy` for the cluster"), "{why}");
        let [only] = scene.addresses("prefers")?[..] else { panic!("one family") };
        scene.answers(only, 80)?;
        let why = scene.told("prefers", "Served")?;
        assert!(why.contains("no address of the other"), "{why}");
        let why = scene.told("too-few", "SourceRangesNotServed")?;
        assert!(why.contains("mode: proxy"), "{why}");
        assert_eq!(scene.service("too-few")?["status"]["loadBalancer"], json!({}));
        Ok(())
    });
}

fn the_kernel_forwards(scene: &mut Scene) -> Result<()> {
    let client = scene.cluster.client.ipv4();
    let (by_nat, by_dsr, by_fullnat) =
        (scene.address("by-nat")?, scene.address("by-dsr")?, scene.address("by-fullnat")?);
    let far: IpAddr = FAR.parse().map_err(|_| LabError::new("an address"))?;
    let (_, via) = backend_and_client(&scene.answers(by_nat, 80)?)?;
    assert_eq!(via, far, "nat keeps the client's address");
    assert_eq!(ip_mode(scene, "by-nat")?, "Proxy");
    scene.wait_who(by_nat, 80, &["web1", "web2"])?;

    // As kube-proxy has it: packets to the VIP that reach a node are the Service's.
    for proxy in &mut scene.proxies {
        proxy.ingress(by_dsr, "tcp", 80, 80)?;
    }
    let (_, via) = backend_and_client(&scene.answers(by_dsr, 80)?)?;
    assert_eq!(via, client, "dsr keeps the client's address");
    assert_eq!(ip_mode(scene, "by-dsr")?, "VIP");
    scene.wait_who(by_dsr, 80, &["web1", "web2"])?;

    let (_, via) = backend_and_client(&scene.answers(by_fullnat, 80)?)?;
    assert_ne!(via, client, "fullnat needs no route back");
    assert_eq!(ip_mode(scene, "by-fullnat")?, "Proxy");
    scene.wait_who(by_fullnat, 80, &["web1", "web2"])?;

    let by_six = scene.address("by-six")?;
    assert!(by_six.is_ipv6(), "{by_six}");
    let (_, via) = backend_and_client(&scene.answers(by_six, 80)?)?;
    assert!(via.is_ipv6(), "{via}");
    scene.wait_who(by_six, 80, &["web1", "web2"])
}

/// Pods of whose addresses no node port knows.
fn pods_are_reached(scene: &Scene) -> Result<()> {
    let pod = |web: &Machine, number: u8| -> Result<Endpoint> {
        let address = ipv4(number);
        web.run("ip", &["address", "add", &format!("{address}/32"), "dev", "eth0"])?;
        Ok(Endpoint { address, ..Endpoint::on(web) })
    };
    let web = &scene.cluster.web;
    let (first, second) = (pod(&web[0].machine, 181)?, pod(&web[1].machine, 182)?);
    let ports = [("http", "TCP", 80)];
    let address = scene.address("to-pods")?;
    let nobody = scene.ask(address, 80);
    assert!(nobody.as_ref().is_some_and(|it| !it.is_answer()), "it has no pods yet: {nobody:?}");
    scene.api.set_endpoints("default", "to-pods", &ports, &[first.clone(), second.clone()])?;
    scene.wait_who(address, 80, &["web1", "web2"])?;
    let ended = Endpoint { ready: false, ..first };
    scene.api.set_endpoints("default", "to-pods", &ports, &[ended, second])?;
    scene.wait_who(address, 80, &["web2"])
}

#[test]
fn with_policy_local_only_nodes_with_endpoints_are_asked_and_the_clients_address_is_kept() {
    Lab::run(|lab| {
        let mut scene = Scene::with(lab, CLUSTERS, prepare)?;
        let local = "externalTrafficPolicy: Local, healthCheckNodePort: ";
        for port in [30091, 30092, 30191, 30192] {
            scene.node_port("tcp", port, 80)?;
        }
        let (first, second) =
            (Endpoint::on(&scene.cluster.web[0].machine), Endpoint::on(&scene.cluster.web[1].machine));
        let ports = [("http", "TCP", 80)];
        scene.api.apply(
            &[
                service("near-nat", "nat", 30091, &format!("{local}30191, ")),
                service("near-dsr", "auto", 30092, &format!("{local}30192, ")),
                service("near-pods", "pods", 30093, "externalTrafficPolicy: Local, "),
            ]
            .concat(),
        )?;
        for name in ["near-nat", "near-dsr"] {
            scene.api.set_endpoints("default", name, &ports, std::slice::from_ref(&first))?;
        }
        let (by_nat, by_dsr) = (scene.address("near-nat")?, scene.address("near-dsr")?);
        for proxy in &mut scene.proxies {
            proxy.ingress(by_dsr, "tcp", 80, 80)?;
        }
        let why = scene.told("near-pods", "ClientAddressWouldBeLost")?;
        assert!(why.contains("set `mode_local` of cluster `pods`"), "{why}");
        assert_eq!(
            (ip_mode(&scene, "near-nat")?, ip_mode(&scene, "near-dsr")?),
            (json!("Proxy"), json!("VIP"))
        );

        let (backend, via) = backend_and_client(&scene.answers(by_nat, 80)?)?;
        assert_eq!((backend.as_str(), via.to_string().as_str()), ("web1", FAR));
        let (backend, via) = backend_and_client(&scene.answers(by_dsr, 80)?)?;
        assert_eq!((backend.as_str(), via), ("web1", scene.cluster.client.ipv4()));
        scene.wait_who(by_nat, 80, &["web1"])?;
        scene.wait_who(by_dsr, 80, &["web1"])?;

        // The first node's last endpoint ends, and serves meanwhile: its connections stay, new ones go elsewhere.
        let mut sessions = Vec::new();
        for address in [by_nat, by_dsr] {
            sessions.push(Session::open(&scene.cluster.client, SocketAddr::new(address, 80), SOON)?);
        }
        let ends = Endpoint { terminating: true, ..first.clone() };
        for name in ["near-nat", "near-dsr"] {
            scene.api.set_endpoints("default", name, &ports, &[ends.clone(), second.clone()])?;
        }
        scene.wait_who(by_nat, 80, &["web2"])?;
        scene.wait_who(by_dsr, 80, &["web2"])?;
        for session in &mut sessions {
            assert_eq!(session.ask()?, "web1");
        }
        for node in &scene.nodes {
            let drains =
                || node.status().is_ok_and(|it| it.backends("nat/default/near-nat:http", "draining") == 1);
            wait_until("web1 to drain", LONG, drains)?;
        }

        // Both have endpoints, and kube-proxy of the second says that its pods are gone before the slice does.
        for name in ["near-nat", "near-dsr"] {
            scene.api.set_endpoints("default", name, &ports, &[first.clone(), second.clone()])?;
        }
        scene.wait_who(by_nat, 80, &["web1", "web2"])?;
        scene.proxies[1].clear()?;
        scene.proxies[1].node_port("tcp", 30091, 80)?;
        scene.wait_who(by_nat, 80, &["web1"])
    });
}
