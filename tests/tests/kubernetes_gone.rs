//! The API server has forgotten what happened since a watch was asked last (410 Gone), with a real kube-apiserver and etcd.
#![allow(clippy::indexing_slicing, reason = "JSON")]

use fulcrum_tests::lab::kubernetes::{LONG, Scene, service};
use fulcrum_tests::lab::{Fulcrum, Lab, leaders};
use fulcrum_tests::probe::Session;
use fulcrum_tests::wait::{run_for, wait_until};
use fulcrum_tests::{LabError, Result};
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;

/// Longer than one watch lasts.
const A_WATCH: Duration = Duration::from_secs(75);
const KINDS: [&str; 3] = ["services", "nodes", "endpointslices"];

/// Watches are answered by etcd itself, which forgets all but the last seconds.
fn forgetful(scene: &mut Scene) -> Result<()> {
    let server = scene.api.server()?;
    server.add_argument("--watch-cache=false");
    server.add_argument("--etcd-compaction-interval=2s");
    server.kill()?;
    server.restart()?;
    scene.wait_clusters("the API to answer", is_well)
}

fn is_well(seen: &Value) -> bool {
    seen["reached_since"].is_number() && seen["error"].is_null()
}

/// How often it was told 410 of a kind.
fn told(node: &Fulcrum, kind: &str) -> usize {
    let log = node.process().log();
    let lines = log.lines().filter(|line| line.contains("(410)"));
    lines.filter(|line| line.contains(&format!("happened to {kind} "))).count()
}

#[test]
fn a_watch_that_is_answered_410_is_begun_anew_and_nothing_moves() {
    Lab::run(|lab| {
        let mut scene = Scene::new(lab)?;
        for port in 30080..=30082 {
            scene.node_port("tcp", port, 80)?;
        }
        scene.api.apply(&[service("web", 30080), service("goes", 30081)].concat())?;
        let (address, goes) = (scene.address("web")?, scene.address("goes")?);
        scene.answers(address, 80)?;
        scene.answers(goes, 80)?;
        forgetful(&mut scene)?;
        let nodes = || scene.nodes.iter().collect::<Vec<_>>();
        let (led, reached, written) = (leaders(&nodes())?, reached(&scene)?, scene.written());
        let mut session =
            Session::open(&scene.cluster.client, SocketAddr::new(address, 80), Duration::from_secs(5))?;
        let backend = session.ask()?;

        let mut unwell = Vec::new();
        wait_until("410 for each kind on each node", A_WATCH, || {
            unwell.extend(scene.nodes.iter().flat_map(Scene::seen).filter(|it| !is_well(it)));
            run_for(Duration::from_millis(100));
            nodes().into_iter().all(|node| KINDS.iter().all(|kind| told(node, kind) > 0))
        })?;
        assert!(unwell.is_empty(), "it is no trouble: {unwell:?}");
        assert_eq!(leaders(&nodes())?, led);
        assert_eq!(self::reached(&scene)?, reached, "it was never away");
        assert_eq!(scene.written(), written, "nothing was written");
        assert_eq!(session.ask()?, backend);

        // What is new is heard all the same: of Services and of nodes.
        scene.api.apply(&service("comes", 30082))?;
        scene.api.kubectl(&["delete", "service", "goes", "--wait=false"])?;
        scene.answers(scene.address("comes")?, 80)?;
        wait_until("the deleted one to be gone", LONG, || scene.service("goes").is_err())?;
        scene.wait_who(address, 80, &["web1", "web2"])?;
        scene.api.kubectl(&[
            "label",
            "node",
            "web1",
            "node.kubernetes.io/exclude-from-external-load-balancers=",
        ])?;
        let lists_only_web2 = |node: &Fulcrum| {
            let status = node.status().ok();
            let backends =
                status.and_then(|it| Some(it.service("prod/default/web:http")?["backends"].to_string()));
            backends.is_some_and(|it| it.contains("web2") && !it.contains("web1"))
        };
        wait_until("web1 to be left out", LONG, || scene.nodes.iter().all(lists_only_web2))?;
        scene.wait_who(address, 80, &["web2"])
    });
}

/// Since when each node reaches the API.
fn reached(scene: &Scene) -> Result<Vec<Value>> {
    let since = |node: &Fulcrum| {
        let seen = Scene::seen(node);
        seen.first().map(|it| it["reached_since"].clone()).ok_or_else(|| LabError::new("no cluster"))
    };
    scene.nodes.iter().map(since).collect()
}
