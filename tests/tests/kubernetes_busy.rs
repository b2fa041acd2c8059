//! An API server that takes its time with what we write holds nothing else up, with a real kube-apiserver.
#![allow(clippy::indexing_slicing, reason = "JSON")]

use fulcrum_tests::lab::kubernetes::{LONG, Scene, service};
use fulcrum_tests::lab::{Fulcrum, Lab};
use fulcrum_tests::wait::{run_for, wait_until};
use serde_json::{Value, json};
use std::time::Duration;

/// What our account writes waits, for a quarter of a minute, and is refused then.
const QUEUE: &str = "apiVersion: flowcontrol.apiserver.k8s.io/v1\n\
    kind: PriorityLevelConfiguration\nmetadata: {name: queue}\n\
    spec: {type: Limited, limited: {nominalConcurrencyShares: 0, lendablePercent: 0, borrowingLimitPercent: 0, \
    limitResponse: {type: Queue, queuing: {queues: 1, handSize: 1, queueLengthLimit: 50}}}}\n\
    ---\napiVersion: flowcontrol.apiserver.k8s.io/v1\nkind: FlowSchema\nmetadata: {name: queue}\n\
    spec:\n  priorityLevelConfiguration: {name: queue}\n  matchingPrecedence: 2\n  rules:\n\
    \x20 - subjects: [{kind: ServiceAccount, serviceAccount: {name: fulcrum, namespace: fulcrum-system}}]\n\
    \x20   resourceRules: [{verbs: [patch, create], apiGroups: [\"*\"], resources: [\"*\"], namespaces: [\"*\"]}]\n";

fn failed(scene: &Scene) -> u64 {
    let of =
        |node: &Fulcrum| Scene::seen(node).iter().filter_map(|it| it["write_errors"].as_u64()).sum::<u64>();
    scene.nodes.iter().map(of).sum()
}

#[test]
fn a_status_that_can_not_be_written_yet_holds_no_change_of_backends_up() {
    Lab::run(|lab| {
        let mut scene = Scene::new(lab)?;
        for port in 30080..=30081 {
            scene.node_port("tcp", port, 80)?;
        }
        scene.api.apply(&service("web", 30080))?;
        let address = scene.address("web")?;
        scene.wait_who(address, 80, &["web1", "web2"])?;
        let is_told = |it: Value| it["status"]["conditions"][0]["reason"] == "Served";
        wait_until("web to be told all", LONG, || scene.service("web").is_ok_and(is_told))?;

        scene.api.apply(QUEUE)?;
        run_for(Duration::from_secs(2));
        let before = failed(&scene);
        scene.api.apply(&service("late", 30081))?;
        wait_until("the new one to be applied", LONG, || {
            let has =
                |it: &Fulcrum| it.status().is_ok_and(|it| it.service("prod/default/late:http").is_some());
            scene.nodes.iter().all(has)
        })?;
        let label = "node.kubernetes.io/exclude-from-external-load-balancers=";
        scene.api.kubectl(&["label", "node", "web1", label])?;
        wait_until("web1 to get nothing any more", LONG, || {
            let lists = |it: &Fulcrum, name: &str| {
                let status = it.status().ok();
                status.and_then(|it| {
                    it.service("prod/default/web:http").map(|it| it["backends"].to_string().contains(name))
                })
            };
            scene.nodes.iter().all(|it| lists(it, "web1") == Some(false) && lists(it, "web2") == Some(true))
        })?;
        assert_eq!(scene.service("late")?["status"]["loadBalancer"], json!({}), "its status still waits");
        assert_eq!(failed(&scene), before, "and was not given up");

        scene.api.kubectl(&["delete", "flowschema,prioritylevelconfiguration", "queue"])?;
        scene.answers(scene.address("late")?, 80).map(drop)
    });
}
