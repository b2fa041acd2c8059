//! Services of IPv6 alone in the modes that keep the client's address, with a real kube-apiserver and real traffic.
#![allow(clippy::indexing_slicing, reason = "JSON")]

use fulcrum_tests::lab::kubernetes::{LONG, Scene};
use fulcrum_tests::lab::{Cluster, Lab, add_to_loopback};
use fulcrum_tests::wait::wait_until;
use fulcrum_tests::{LabError, Result};
use serde_json::json;
use std::fmt::Write;
use std::net::IpAddr;

/// The client of the Service in mode nat is behind a network of its own.
const FAR: &str = "2001:db8::50";
/// The Kubernetes nodes' way to it: it moves with the VIPs of its group.
const GATEWAY: &str = "fd77::160";
const CLUSTERS: &str = "dsr: {kubeconfig: KUBECONFIG, class: example.com/dsr, mode: dsr}\n\
    nat: {kubeconfig: KUBECONFIG, class: example.com/nat, mode: nat}";

fn prepare(cluster: &mut Cluster) -> Result<()> {
    cluster.networks.push_str(", \"fd77::/64\"");
    cluster
        .pools
        .push_str(", six: {addresses: [\"fd77::1:0/112\"]}, routed: {addresses: [\"fd77::2:0/124\"], group: routed, auto_assign: false}");
    // Writing to a String does not fail.
    writeln!(cluster.sections, "groups: {{routed: {{vips: [\"{GATEWAY}\"]}}}}").ok();
    add_to_loopback(&cluster.client, FAR, "128")?;
    cluster.client.run("ip", &["route", "add", "fd77::2:0/124", "dev", "eth0", "src", FAR])?;
    let client = cluster.client.ipv6().to_string();
    for node in &cluster.nodes {
        node.set("net/ipv6/conf/all/forwarding", "1")?;
        node.run("ip", &["route", "add", "2001:db8::/64", "via", &client])?;
    }
    for web in &cluster.web {
        web.machine.run("ip", &["route", "add", "2001:db8::/64", "via", GATEWAY])?;
    }
    Ok(())
}

fn service(class: &str, annotations: &str, spec: &str, port: &str) -> String {
    format!(
        "---\n{{apiVersion: v1, kind: Service, metadata: {{name: by-{class}, namespace: default, annotations: {{{annotations}}}}}, \
         spec: {{type: LoadBalancer, loadBalancerClass: example.com/{class}, selector: {{app: web}}, ipFamilies: [IPv6], {spec}\
         ports: [{{name: http, port: 80{port}}}]}}}}\n"
    )
}

/// Whom the backends see.
fn seen(scene: &Scene, address: IpAddr) -> Result<IpAddr> {
    let sample = scene.answers(address, 80)?;
    sample.via().ok_or_else(|| LabError::new(format!("no word of the client: {sample:?}")))
}

#[test]
fn services_of_ipv6_keep_the_clients_address_by_nat_and_by_dsr_also_when_their_leader_dies() {
    Lab::run(|lab| {
        let mut scene = Scene::with(lab, CLUSTERS, prepare)?;
        scene.node_port("tcp", 30081, 80)?;
        let pool = "metallb.io/address-pool: routed";
        scene.api.apply(
            &[
                service("nat", pool, "", ", nodePort: 30081"),
                service("dsr", "", "allocateLoadBalancerNodePorts: false, ", ""),
            ]
            .concat(),
        )?;
        let (by_nat, by_dsr) = (scene.address("by-nat")?, scene.address("by-dsr")?);
        // As kube-proxy has it: packets to the VIP that reach a node are the Service's.
        for proxy in &mut scene.proxies {
            proxy.ingress(by_dsr, "tcp", 80, 80)?;
        }
        let far: IpAddr = FAR.parse().map_err(|_| LabError::new("an address"))?;
        let clients =
            [(by_nat, far, "by-nat", "Proxy"), (by_dsr, scene.cluster.client.ipv6(), "by-dsr", "VIP")];
        for (address, client, name, ip_mode) in clients {
            assert!(address.is_ipv6(), "{name}: {address}");
            assert_eq!(seen(&scene, address)?, client, "{name}");
            let said = scene.service(name)?["status"]["loadBalancer"]["ingress"].take();
            assert_eq!(said[0]["ipMode"], ip_mode, "{said}");
            assert_eq!(said.as_array().map(Vec::len), Some(1), "{said}");
            scene.wait_who(address, 80, &["web1", "web2"])?;
        }

        for (address, client, name, _) in clients {
            let leads = |node: &fulcrum_tests::lab::Fulcrum| {
                let group = if name == "by-nat" { "routed".to_owned() } else { address.to_string() };
                node.status().is_ok_and(|status| status.role(&group) == Some("leader"))
            };
            let leader = scene.nodes.iter().position(leads);
            let leader = leader.ok_or_else(|| LabError::new(format!("nobody leads {address}")))?;
            scene.nodes[leader].process().kill_with_children()?;
            let machine = scene.nodes.remove(leader).machine.clone();
            assert_eq!(seen(&scene, address)?, client, "{name}, with another leader");
            scene.wait_who(address, 80, &["web1", "web2"])?;
            scene.nodes.push(scene.cluster.start(&machine)?);
            let is_back = |it: &serde_json::Value| it["reached_since"].is_number();
            scene.wait_clusters("the node to be back", is_back)?;
            wait_until("nothing to be said of it", LONG, || {
                scene.service(name).is_ok_and(|it| it["status"]["conditions"][0]["status"] == json!("True"))
            })?;
        }
        Ok(())
    });
}
