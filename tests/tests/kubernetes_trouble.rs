//! What goes wrong between a Kubernetes cluster and us, with a real kube-apiserver: nothing moves, and it is said.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a test"
)]

use fulcrum_tests::lab::kubernetes::{LONG, RBAC, Scene, USER};
use fulcrum_tests::lab::{Fulcrum, Lab, Machine};
use fulcrum_tests::wait::{now, run_for, wait_for, wait_until};
use fulcrum_tests::{LabError, Result};
use serde_json::{Value, json};
use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

/// Resources of the manifest, and how kubectl asks for the rights to them.
const STATUS: (&str, &[&str]) = ("services/status", &["patch", "services", "--subresource=status"]);
const EVENTS: (&str, &[&str]) = ("events", &["create", "events.events.k8s.io"]);
const NODES: (&str, &[&str]) = ("nodes", &["list", "nodes"]);
/// Of requests with our account one at a time is let through, and one stands there for long: the others are refused.
const THROTTLE: &str = "apiVersion: flowcontrol.apiserver.k8s.io/v1\n\
    kind: PriorityLevelConfiguration\nmetadata: {name: none}\n\
    spec: {type: Limited, limited: {nominalConcurrencyShares: 0, lendablePercent: 0, borrowingLimitPercent: 0, \
    limitResponse: {type: Reject}}}\n\
    ---\napiVersion: flowcontrol.apiserver.k8s.io/v1\nkind: FlowSchema\nmetadata: {name: none}\n\
    spec:\n  priorityLevelConfiguration: {name: none}\n  matchingPrecedence: 2\n  rules:\n\
    \x20 - subjects: [{kind: ServiceAccount, serviceAccount: {name: fulcrum, namespace: fulcrum-system}}]\n\
    \x20   resourceRules: [{verbs: [\"*\"], apiGroups: [\"*\"], resources: [\"*\"], clusterScope: true, namespaces: [\"*\"]}]\n\
    \x20   nonResourceRules: [{verbs: [\"*\"], nonResourceURLs: [\"*\"]}]\n";

fn service(name: &str, annotations: &str, spec: &str, node_port: u16) -> String {
    format!(
        "---\n{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: default, \
         annotations: {{{annotations}}}}}, spec: {{type: LoadBalancer, loadBalancerClass: fulcrum.dev/lb, \
         selector: {{app: web}}, {spec} ports: [{{name: http, port: 80, nodePort: {node_port}}}]}}}}\n"
    )
}

/// With a Service that is served. One node leads all, so that nothing moves for an even spread.
fn scene(lab: &Lab) -> Result<(Scene, IpAddr)> {
    let mut scene = Scene::with(lab, "prod: {kubeconfig: KUBECONFIG}", |cluster| {
        cluster.of_nodes.insert("lb2".to_owned(), "weight: 0".to_owned());
        Ok(())
    })?;
    // The other one may have been there first.
    wait_until("lb1 to write", LONG, || scene.writer().is_ok_and(|it| it == 0))?;
    for port in 30080..=30089 {
        scene.node_port("tcp", port, 80)?;
    }
    scene.api.apply(&service("web", "", "", 30080))?;
    let address = scene.address("web")?;
    scene.answers(address, 80)?;
    Ok((scene, address))
}

/// Until a node says that this does not work: the one that writes, which may change.
fn wait_error(scene: &Scene, words: &[&str]) -> Result<String> {
    let mut last = Vec::new();
    let found = wait_for(&format!("{words:?}"), LONG, || {
        last = scene.nodes.iter().flat_map(Scene::seen).collect();
        let errors = last.iter().filter_map(|it: &Value| it["error"].as_str());
        errors.into_iter().find(|it| words.iter().all(|word| it.contains(word))).map(str::to_owned)
    });
    found.map_err(|error| LabError::new(format!("{error}: {last:?}")))
}

/// Takes the rights to a resource from our account, and waits until the API server knows.
fn remove_right(scene: &Scene, (resource, question): (&str, &[&str])) -> Result<()> {
    let mut rules = scene.api.get(&["clusterrole", "fulcrum"])?["rules"].take();
    for rule in rules.as_array_mut().into_iter().flatten() {
        if let Some(resources) = rule["resources"].as_array_mut() {
            resources.retain(|it| it != resource);
        }
    }
    if let Some(rules) = rules.as_array_mut() {
        rules.retain(|rule| rule["resources"] != json!([]));
    }
    let patch = json!({ "rules": rules }).to_string();
    scene.api.kubectl(&["patch", "clusterrole", "fulcrum", "--type=merge", "--patch", &patch])?;
    let question = [&["auth", "can-i"], question].concat();
    wait_until("the right to be gone", LONG, || scene.account.run(&question).is_err())
}

fn is_well(seen: &Value) -> bool {
    seen["reached_since"].is_number() && seen["error"].is_null()
}

#[test]
fn what_changes_while_the_api_is_cut_off_and_starts_anew_is_done_soon_after() {
    Lab::run(|lab| {
        let (mut scene, address) = scene(lab)?;
        scene.api.apply(&[service("goes", "", "", 30081), service("stays", "", "", 30082)].concat())?;
        let (goes, stays) = (scene.address("goes")?, scene.address("stays")?);
        scene.answers(goes, 80)?;
        let machine = scene.api.server()?.machine.clone();
        for node in &scene.cluster.nodes {
            lab.switch().part(node, &machine)?;
        }
        // Nobody tells them: neither what changes, nor that their connections are gone, as after a power cut.
        machine.set("net/ipv4/tcp_orphan_retries", "1")?;
        scene.api.kubectl(&["delete", "service", "goes", "--wait=false"])?;
        scene.api.apply(&service("comes", "", "", 30083))?;
        scene.api.apply(&service("web", "", "", 30080).replace("port: 80,", "port: 81,"))?;
        scene.api.server()?.kill()?;
        scene.api.server()?.restart()?;
        scene.answers(address, 80)?;
        lab.switch().heal()?;
        let healed = now();
        scene.answers(scene.address("comes")?, 80)?;
        scene.answers(address, 81)?;
        wait_until("the deleted one to be gone", LONG, || scene.service("goes").is_err())?;
        wait_until("nobody to serve it", LONG, || {
            let gone =
                |node: &Fulcrum| node.status().is_ok_and(|it| it.service("prod/default/goes:http").is_none());
            scene.nodes.iter().all(gone)
        })?;
        scene.answers(stays, 80)?;
        scene.wait_clusters("the API to answer", is_well)?;
        eprintln!("done {:?} after the cut healed", healed.elapsed());
        a_cluster_is_taken_out_of_the_file(&mut scene, stays)
    });
}

#[test]
fn a_standby_that_heard_nothing_of_the_api_takes_nothing_back_when_it_becomes_the_writer() {
    Lab::run(|lab| {
        let (mut scene, address) = scene(lab)?;
        let machine = scene.api.server()?.machine.clone();
        lab.switch().part(&scene.nodes[1].machine, &machine)?;
        wait_until("lb2 to say that it hears nothing", LONG, || {
            Scene::seen(&scene.nodes[1]).iter().any(|it| it["stale_since"].is_number())
        })?;
        scene.api.apply(&service("late", "", "", 30081))?;
        let late = scene.address("late")?;
        scene.answers(late, 80)?;

        scene.nodes[0].process().kill_with_children()?;
        drop(scene.nodes.remove(0));
        wait_until("lb2 to be the one that writes", LONG, || {
            Scene::seen(&scene.nodes[0]).iter().any(|it| it["writes"] == true)
        })?;
        scene.answers(late, 80)?;
        let until = now() + Duration::from_secs(3);
        while now() < until {
            let status = scene.nodes[0].status()?;
            assert!(status.service("prod/default/late:http").is_some(), "it was taken back");
            run_for(Duration::from_millis(100));
        }
        lab.switch().heal()?;
        scene.wait_clusters("the API to answer", is_well)?;
        scene.api.apply(&service("new", "", "", 30082))?;
        scene.answers(scene.address("new")?, 80)?;
        scene.answers(late, 80)?;
        scene.answers(address, 80).map(drop)
    });
}

/// What it said stays, which is told, until somebody says that it may go.
fn a_cluster_is_taken_out_of_the_file(scene: &mut Scene, address: IpAddr) -> Result<()> {
    scene.cluster.sections.clear();
    let node = scene.nodes.first().ok_or_else(|| LabError::new("there is no node"))?;
    node.reload(&scene.cluster.file(&node.machine))?;
    scene.answers(address, 80)?;
    let told = |node: &Fulcrum| {
        let is_it = |alarm: &&str| alarm.contains("Kubernetes cluster prod is not in the file any more");
        node.status().is_ok_and(|it| it.alarms().iter().any(is_it))
    };
    wait_until("an alarm on each node", LONG, || scene.nodes.iter().all(told))?;
    node.command(&["source", "remove", "prod"])?;
    wait_until("nobody to serve it", LONG, || scene.ask(address, 80).is_none_or(|it| !it.is_answer()))?;
    wait_until("no alarm", LONG, || !scene.nodes.iter().any(told))
}

#[test]
fn a_status_that_somebody_else_overwrites_too_is_no_flood() {
    Lab::run(|lab| {
        let (scene, address) = scene(lab)?;
        let patches = || scene.written().iter().filter(|it| *it == "patch services/status web").count();
        let before = patches();
        let theirs = json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}});
        let overwrite = || scene.api.patch("service", "web", &["--subresource=status"], &theirs);

        // Once is set right at once.
        overwrite()?;
        wait_until("it to be set right", LONG, || scene.address("web").is_ok_and(|it| it == address))?;
        let begun = now();
        let mut times = 0;
        while begun.elapsed() < Duration::from_secs(3) || times < 12 {
            overwrite()?;
            times += 1;
        }
        let (ours, took) = (patches() - before, begun.elapsed());
        // At once, and after 0, 1, 2, 4, 8, ... seconds.
        let most = 4 + usize::try_from(took.as_secs().ilog2()).unwrap_or_default();
        assert!(ours <= most && ours < times, "{ours} writes beside {times} of theirs in {took:?}");
        wait_error(
            &scene,
            &["Service default/web", "overwritten by somebody else", "--show-managed-fields"],
        )?;
        scene.answers(address, 80)?;
        wait_until("it to be set right", LONG, || scene.address("web").is_ok_and(|it| it == address))?;
        // Others are told at once.
        scene.api.apply(&service("other", "", "", 30081))?;
        scene.answers(scene.address("other")?, 80)?;
        Ok(())
    });
}

#[test]
fn missing_rights_throttling_and_hostile_objects_are_told_and_move_nothing() {
    Lab::run(|lab| {
        let (mut scene, address) = scene(lab)?;
        hostile(&scene)?;

        // It may not write to the status.
        remove_right(&scene, STATUS)?;
        scene.api.apply(&service("late", "", "", 30081))?;
        wait_error(&scene, &["Service default/late", "forbidden", "packaging/kubernetes"])?;
        scene.answers(address, 80)?;
        scene.api.apply(RBAC)?;
        scene.answers(scene.address("late")?, 80)?;
        scene.wait_clusters("all to be well", is_well)?;

        // Nor write events: whoever is not told in one is served.
        remove_right(&scene, EVENTS)?;
        scene.api.apply(&service("quiet", "", "", 30088))?;
        wait_error(&scene, &["no event of Service default/quiet", "forbidden", "packaging/kubernetes"])?;
        scene.answers(scene.address("quiet")?, 80)?;
        scene.api.apply(RBAC)?;
        scene.api.apply(&service("loud", "", "", 30089))?;
        scene.answers(scene.address("loud")?, 80)?;
        scene.wait_clusters("all to be well", is_well)?;

        throttled(&scene, address)?;

        // It may not read nodes; watches are cut and begun anew, and one of our nodes starts anew, too.
        remove_right(&scene, NODES)?;
        scene.api.server()?.kill()?;
        scene.api.server()?.restart()?;
        scene.wait_clusters("the missing right to be told", |it| {
            it["error"]
                .as_str()
                .is_some_and(|it| it.contains("nodes can't be") && it.contains("packaging/kubernetes"))
        })?;
        let writer = scene.writer()?;
        scene.nodes[writer].process().kill_with_children()?;
        let machine = scene.nodes.remove(writer).machine.clone();
        scene.answers(address, 80)?;
        scene.nodes.push(scene.cluster.start(&machine)?);
        let error = |it: &Value| it["error"].as_str().is_some_and(|it| it.contains("nodes can't be"));
        scene.wait_clusters("it to be told by the new one, too", error)?;
        scene.wait_who(address, 80, &["web1", "web2"])?;
        scene.api.apply(RBAC)?;
        scene.wait_clusters("all to be well", is_well)?;
        scene.wait_who(address, 80, &["web1", "web2"])
    });
}

#[test]
fn an_api_server_whose_etcd_has_no_quorum_is_told_soon_and_nothing_is_written_or_moved() {
    Lab::run(|lab| {
        let (scene, address) = scene(lab)?;
        let patches = scene.written().len();
        let leader = scene.leader_of(address)?;
        let begun = now();
        add_ghost(&scene.api.etcd.machine)?;
        scene.wait_clusters("it to be told", |it| {
            it["error"].as_str().is_some_and(|it| it.contains("quorum")) && it["stale_since"].is_number()
        })?;
        eprintln!("told {:?} after the quorum was lost", begun.elapsed());
        let alarms =
            |node: &Fulcrum| node.status().is_ok_and(|it| it.alarms().iter().any(|it| it.contains("quorum")));
        wait_until("an alarm on each node", LONG, || scene.nodes.iter().all(alarms))?;
        // It stays told, also when watches end and are begun anew.
        let until = now() + Duration::from_secs(50);
        while now() < until {
            assert!(scene.nodes.iter().all(alarms), "{:?} after the quorum was lost", begun.elapsed());
            run_for(Duration::from_secs(1));
        }
        assert_eq!(scene.leader_of(address)?, leader);
        scene.answers(address, 80)?;
        assert_eq!(scene.written().len(), patches, "{:?}", scene.written());
        Ok(())
    });
}

/// A second member of etcd that does not exist: of two, one is no quorum.
fn add_ghost(machine: &Machine) -> Result<()> {
    let url = format!("http://{}:2379/v3/cluster/member/add", machine.ipv4());
    let arguments = ["--silent", "--show-error", "--fail", "--max-time", "5", "--data"];
    let member = "{\"peerURLs\": [\"http://127.0.0.1:9\"]}";
    machine.run("curl", &[&arguments[..], &[member, &url]].concat()).map(drop)
}

/// The API lets nobody in: few attempts, nothing moves, and all is done afterwards.
fn throttled(scene: &Scene, address: IpAddr) -> Result<()> {
    scene.api.apply(THROTTLE)?;
    run_for(Duration::from_secs(2));
    let machine = &scene.api.servers[0].machine;
    let token = scene.account.token().ok_or_else(|| LabError::new("a token"))?;
    let mut slow = Command::new("sh");
    slow.arg("-c").arg(format!(
        "sleep 60 | curl --silent --insecure --http1.1 --request POST --upload-file - --header 'Expect:' \
         --header \"Authorization: Bearer $(cat {})\" --header 'Content-Type: application/json' \
         https://{}/apis/events.k8s.io/v1/namespaces/default/events",
        token.display(),
        scene.api.address()
    ));
    let slow = machine.spawn("slow", slow)?;
    wait_error(scene, &["429", "too busy"])?;
    // Whether it is ready may be asked at all times.
    let asked = || {
        let events = scene.api.asked_by(USER);
        events.iter().filter(|event| event["requestURI"] != "/readyz").count()
    };
    let (before, begun) = (asked(), now());
    scene.api.apply(&service("throttled", "", "", 30082))?;
    run_for(Duration::from_secs(5));
    let (asked, took) = (asked() - before, begun.elapsed());
    // Each node asks every 5 s whether it is heard, and the one that writes tries again after pauses that double.
    let most = 12 + 4 * usize::try_from(took.as_secs() / 5).unwrap_or_default();
    assert!((1..=most).contains(&asked), "{asked} requests in {took:?}");
    scene.answers(address, 80)?;
    assert_eq!(scene.service("throttled")?["status"]["loadBalancer"], json!({}), "it was not let through");
    slow.kill_with_children()?;
    scene.api.kubectl(&["delete", "flowschema,prioritylevelconfiguration", "none"])?;
    scene.answers(scene.address("throttled")?, 80)?;
    scene.wait_clusters("all to be well", is_well)
}

/// What anybody who may make Services can write.
fn hostile(scene: &Scene) -> Result<()> {
    let huge = "x".repeat(200 << 10);
    let name = "n".repeat(63);
    let objects = [
        service("huge", &format!("metallb.io/loadBalancerIPs: {huge}"), "", 30084),
        service(
            "quarrels",
            "metallb.io/loadBalancerIPs: 10.77.0.120",
            "loadBalancerIP: 10.77.0.121, ",
            30085,
        ),
        service("outside", "metallb.io/loadBalancerIPs: 192.0.2.1", "", 30086),
        service(&name, &format!("example.com/huge: {huge}"), "", 30087)
            .replace("name: http", "name: fifteen-letters"),
    ];
    scene.api.apply(&objects.concat())?;
    for (name, reason) in [("huge", "BadAddress"), ("quarrels", "BadAddress"), ("outside", "SetAside")] {
        let why = scene.told(name, reason)?;
        assert!(why.len() < 400, "{why}");
        let events = || -> Result<Value> {
            scene.api.get(&[
                "events.events.k8s.io",
                &format!("--field-selector=reason={reason},regarding.name={name}"),
            ])
        };
        wait_until(&format!("an event of {name}"), LONG, || {
            events().is_ok_and(|it| it["items"][0]["type"] == "Warning")
        })?;
    }
    scene.answers(scene.address(&name)?, 80).map(drop)
}

#[test]
fn who_watches_a_service_sees_nothing_when_the_leader_dies_and_comes_back() {
    Lab::run(|lab| {
        let (mut scene, address) = scene(lab)?;
        let columns =
            "--output=custom-columns=IP:.status.loadBalancer.ingress[*].ip,AT:.metadata.resourceVersion";
        let watch = scene
            .api
            .admin()?
            .spawn("watch", &["get", "service", "web", "--watch", "--no-headers", columns])?;
        wait_until("the watch to begin", LONG, || watch.log().contains(&address.to_string()))?;
        for leader in [scene.writer()?, scene.leader_of(address)?] {
            // Both may be one.
            let Some(node) = scene.nodes.get(leader.min(scene.nodes.len() - 1)) else { continue };
            node.process().kill_with_children()?;
            let machine = scene.nodes.remove(leader.min(scene.nodes.len() - 1)).machine.clone();
            scene.answers(address, 80)?;
            scene.writer()?;
            scene.nodes.push(scene.cluster.start(&machine)?);
            scene.wait_clusters("the API to answer", is_well)?;
            scene.answers(address, 80)?;
        }
        run_for(Duration::from_secs(2));
        let seen = watch.log();
        assert_eq!(seen.lines().count(), 1, "no status flaps: {seen}");
        Ok(())
    });
}
