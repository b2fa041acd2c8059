//! Services of a Kubernetes cluster, with a real kube-apiserver: from `kubectl apply` to an answer, and back.
#![allow(clippy::indexing_slicing, clippy::expect_used, reason = "JSON, and nodes that there are")]

use fulcrum_tests::lab::Lab;
use fulcrum_tests::lab::kubernetes::{LONG, Scene};
use fulcrum_tests::probe::request;
use fulcrum_tests::wait::{run_for, wait_for, wait_until};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;

const SERVICE: &str = "{apiVersion: v1, kind: Service, metadata: {name: web, namespace: default}, spec: {\
    type: LoadBalancer, loadBalancerClass: fulcrum.dev/lb, selector: {app: web},\
    ports: [{name: http, port: 80, nodePort: 30080}]}}";

/// With a node port for the Service.
fn scene(lab: &Lab) -> fulcrum_tests::Result<Scene> {
    let mut scene = Scene::new(lab)?;
    scene.node_port("tcp", 30080, 80)?;
    Ok(scene)
}

#[test]
fn a_service_gets_an_address_that_answers_whatever_dies_and_gives_it_back() {
    Lab::run(|lab| {
        let mut scene = scene(lab)?;
        scene.api.apply(SERVICE)?;
        let address = scene.address("web")?;
        scene.answers(address, 80)?;

        let service = scene.service("web")?;
        let ingress =
            json!([{ "ip": address, "ipMode": "Proxy", "ports": [{ "port": 80, "protocol": "TCP" }] }]);
        assert_eq!(service["status"]["loadBalancer"]["ingress"], ingress);
        assert_eq!(service["metadata"]["finalizers"], json!(["fulcrum.dev/lb"]));
        let condition = &service["status"]["conditions"][0];
        assert_eq!(
            (&condition["type"], &condition["reason"]),
            (&json!("fulcrum.dev/Served"), &json!("Served"))
        );
        let events = || scene.api.get(&["events.events.k8s.io"]).ok().filter(|it| it["items"][0].is_object());
        let event = wait_for("an event", LONG, events)?;
        assert_eq!(event["items"][0]["reason"], "Served", "{event}");

        // Each once, and nothing at rest.
        let expected = ["patch services web", "patch services/status web", "create events"];
        assert_eq!(scene.written(), expected);
        run_for(Duration::from_secs(3));
        assert_eq!(scene.written(), expected);

        // The node that leads is lost: the other one answers, and nothing flaps.
        let leader = scene.leader_of(address)?;
        scene.nodes[leader].process().kill_with_children()?;
        let dead = scene.nodes.remove(leader);
        scene.answers(address, 80)?;
        scene.wait_clusters("the other node to write", |seen| seen["writes"] == true)?;
        run_for(Duration::from_secs(2));
        assert_eq!(scene.written(), expected, "no status flaps");

        // Without the API all goes on, and it is said.
        scene.api.server()?.kill()?;
        scene.wait_clusters("the API to be missed", |seen| seen["stale_since"].is_number())?;
        scene.answers(address, 80)?;
        let machine = dead.machine.clone();
        drop(dead);
        scene.nodes.push(scene.cluster.start(&machine)?);
        scene.leader_of(address)?;
        scene.answers(address, 80)?;
        scene.api.server()?.restart()?;
        scene.wait_clusters("the API to answer again", |seen| seen["reached_since"].is_number())?;
        assert_eq!(scene.service("web")?["status"]["loadBalancer"]["ingress"], ingress);

        // Deleted: the address is given back before the object goes.
        scene.api.kubectl(&["delete", "service", "web", "--timeout=20s"])?;
        for node in &scene.nodes {
            wait_until("the service to be gone", LONG, || {
                node.status().is_ok_and(|status| status.service("prod/default/web:http").is_none())
            })?;
        }
        let asked = request(&scene.cluster.client, SocketAddr::new(address, 80), Duration::from_millis(500));
        assert!(!asked.is_ok_and(|it| it.is_answer()), "{address} still answers");
        Ok(())
    });
}

#[test]
fn what_can_not_be_served_is_told_and_costs_nobody_else_anything() {
    Lab::run(|lab| {
        let scene = scene(lab)?;
        let wrong =
            SERVICE.replace("name: web,", "name: wrong, annotations: {metallb.io/address-pool: nowhere},");
        scene.api.apply(&wrong.replace("30080", "30081"))?;
        // Asks for an address that is not free: that of the file's own service.
        let taken = SERVICE
            .replace("name: web,", "name: taken, annotations: {metallb.io/loadBalancerIPs: 10.77.0.100},");
        scene.api.apply(&taken.replace("30080", "30082"))?;
        scene.api.apply(
            &SERVICE
                .replace("name: web,", "name: other,")
                .replace("fulcrum.dev/lb", "example.com/lb")
                .replace("30080", "30083"),
        )?;
        scene.api.apply(SERVICE)?;
        scene.answers(scene.address("web")?, 80)?;
        let by_hand = scene.nodes[0].command(&["source", "remove", "prod"]);
        let by_hand = by_hand.expect_err("what is the cluster's").to_string();
        assert!(by_hand.contains("comes from the cluster of that name"), "{by_hand}");
        for (name, reason, words) in
            [("wrong", "NoSuchPool", "there is no pool `nowhere`"), ("taken", "SetAside", "10.77.0.100")]
        {
            let condition = wait_for("a condition", LONG, || {
                let service = scene.api.get(&["service", name]).ok()?;
                service["status"]["conditions"].get(0).cloned()
            })?;
            assert_eq!(
                (&condition["status"], &condition["reason"]),
                (&json!("False"), &json!(reason)),
                "{condition}"
            );
            assert!(condition["message"].as_str().is_some_and(|it| it.contains(words)), "{condition}");
        }
        let other = scene.api.get(&["service", "other"])?;
        assert_eq!(other["status"], json!({ "loadBalancer": {} }), "another's");
        assert_eq!(other["metadata"].get("finalizers"), None);
        scene.wait_clusters("two to be counted", |seen| seen["services"] == 3)?;

        // Corrected, it is served.
        scene.api.kubectl(&["annotate", "service", "wrong", "metallb.io/address-pool-"])?;
        wait_until("the corrected one to be served", LONG, || {
            let service = scene.api.get(&["service", "wrong"]).unwrap_or_default();
            service["status"]["conditions"][0]["status"] == "True"
        })?;

        // No class is given up by a change of type: all that was ours goes.
        let patch = "{\"spec\":{\"type\":\"ClusterIP\",\"loadBalancerClass\":null}}";
        scene.api.kubectl(&["patch", "service", "web", "--patch", patch])?;
        wait_until("the Service to be let go", LONG, || {
            let service = scene.service("web").unwrap_or_default();
            service["metadata"].get("finalizers").is_none()
                && service["status"]["loadBalancer"].get("ingress").is_none()
                && service["status"]["conditions"].as_array().is_none_or(Vec::is_empty)
        })?;
        let refused = scene
            .account
            .run(&["delete", "service", "web"])
            .map_or_else(|it| it.to_string(), |_| "deleted".into());
        assert!(refused.contains("cannot delete resource"), "it has more rights than it needs: {refused}");
        Ok(())
    });
}

#[test]
fn an_api_that_hangs_or_refuses_moves_nothing_and_is_heard_again() {
    Lab::run(|lab| {
        let mut scene = scene(lab)?;
        scene.api.apply(SERVICE)?;
        let address = scene.address("web")?;
        scene.answers(address, 80)?;
        let says = |words: &'static str| {
            move |seen: &Value| {
                seen["error"].as_str().is_some_and(|it| it.contains(words)) && seen["stale_since"].is_number()
            }
        };
        let reached = |seen: &Value| seen["reached_since"].is_number() && seen["error"].is_null();

        scene.api.server()?.process()?.signal(Signal::STOP)?;
        scene.wait_clusters("the API to be missed", says("has not answered"))?;
        scene.answers(address, 80)?;
        scene.api.server()?.process()?.signal(Signal::CONT)?;
        scene.wait_clusters("the API to be heard again", reached)?;

        // The token is revoked; another one comes into the same file.
        scene.api.kubectl(&["delete", "serviceaccount", "fulcrum", "--namespace=fulcrum-system"])?;
        scene.wait_clusters("the token to be refused", says("Unauthorized"))?;
        scene.answers(address, 80)?;
        let events = scene.nodes.iter().all(|node| {
            node.status()
                .is_ok_and(|it| it.alarms().iter().any(|what| what.contains("Kubernetes cluster prod")))
        });
        assert!(events, "it is an alarm");
        scene.api.service_account("fulcrum-system", "fulcrum", "1h")?;
        scene.wait_clusters("the new token to be used", reached)?;

        // What has changed meanwhile, and from now on, is done.
        scene.api.apply(&SERVICE.replace("port: 80,", "port: 81,"))?;
        scene.answers(address, 81)?;
        assert_eq!(scene.address("web")?, address);
        Ok(())
    });
}
