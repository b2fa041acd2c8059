//! Groups of class control-plane: what operators may do to them, and what only by name.

#![allow(clippy::indexing_slicing, reason = "there are two nodes, 0 and 1")]

use fulcrum_tests::Result;
use fulcrum_tests::lab::{Cluster, Fulcrum, Lab, Status};
use fulcrum_tests::probe::request;
use fulcrum_tests::wait::{wait_for, wait_until};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(40);

/// Two nodes, each of which leads one of two control planes.
struct Scene {
    cluster: Cluster,
    nodes: Vec<Fulcrum>,
    /// What each node leads.
    led: [String; 2],
}

impl Scene {
    fn new(lab: &Lab) -> Result<Self> {
        let mut cluster = Cluster::new(lab, 2, 2)?;
        cluster.of_groups = ", class: control-plane".to_owned();
        let nodes = cluster.start_all()?;
        let mut scene = Self { cluster, nodes, led: Default::default() };
        scene.wait_ready()?;
        // They are not moved for an even spread.
        let [first, second] = ["web-1", "web-2"].map(|group| scene.leader(group));
        let (first, second) = (first?, second?);
        if first == second {
            scene.nodes[second].command(&["handover", "web-2"])?;
            scene.wait(usize::from(second == 0), "the other leader", |status| {
                status.role("web-2") == Some("leader")
            })?;
            scene.wait_ready()?;
        }
        scene.led = ["web-1".to_owned(), "web-2".to_owned()];
        if first == 1 {
            scene.led.reverse();
        }
        Ok(scene)
    }

    /// The node that leads a group.
    fn leader(&self, group: &str) -> Result<usize> {
        wait_for("a leader", LONG, || {
            let leads =
                |node: &Fulcrum| node.status().is_ok_and(|status| status.role(group) == Some("leader"));
            self.nodes.iter().position(leads)
        })
    }

    fn wait(&self, side: usize, what: &str, is_so: impl Fn(&Status) -> bool) -> Result<()> {
        wait_until(what, LONG, || self.nodes[side].status().is_ok_and(|status| is_so(&status)))
    }

    /// Both know that both are ready for both groups.
    fn wait_ready(&self) -> Result<()> {
        let both = serde_json::json!(["lb1", "lb2"]);
        for side in [0, 1] {
            self.wait(side, "both to be ready", |status| {
                let groups = ["web-1", "web-2"].into_iter();
                groups
                    .map(|group| status.group(group))
                    .all(|it| it.is_some_and(|it| it["ready_nodes"] == both))
            })?;
        }
        Ok(())
    }

    /// What an operator is told who is refused.
    fn refused(&self, side: usize, arguments: &[&str]) -> String {
        match self.nodes[side].command(arguments) {
            Ok(done) => format!("DONE: {done}"),
            Err(refusal) => refusal.to_string(),
        }
    }

    fn assert_served(&self) -> Result<()> {
        for group in 0..self.cluster.groups {
            let sample = request(&self.cluster.client, self.cluster.service(group), Duration::from_secs(3))?;
            assert!(sample.is_answer(), "group {group}: {sample:?}");
        }
        Ok(())
    }
}

#[test]
fn two_operators_at_once_move_one_control_plane_after_the_other() {
    Lab::run(|lab| {
        let scene = Scene::new(lab)?;
        let [first, second] = &scene.led;
        let answers = std::thread::scope(|scope| {
            let one = scope.spawn(|| scene.nodes[0].command(&["handover", first]));
            let other = scope.spawn(|| scene.nodes[1].command(&["handover", second]));
            [one.join(), other.join()]
        });
        for answer in answers {
            let answer = answer.map_err(|_| "an operator panicked").unwrap()?;
            assert!(answer.contains(" leads group "), "{answer}");
        }
        scene.wait(1, "the other leader", |status| status.role(first) == Some("leader"))?;
        scene.wait(0, "the other leader", |status| status.role(second) == Some("leader"))?;
        scene.wait_ready()?;
        scene.assert_served()
    });
}

#[test]
fn a_control_plane_without_a_ready_standby_stays_unless_it_is_named() {
    Lab::run(|lab| {
        let scene = Scene::new(lab)?;
        let [first, second] = &scene.led;
        // An edit that takes it away.
        let file = scene.cluster.file(&scene.nodes[0].machine);
        let without: String = file
            .lines()
            .filter(|line| !line.starts_with(&format!("  {first}:")))
            .map(|it| format!("{it}\n"))
            .collect();
        scene.nodes[0].machine.write("fulcrum.yaml", &without)?;
        for arguments in [&["reload"][..], &["reload", "--force", second], &["reload", "--local"]] {
            let told = scene.refused(0, arguments);
            assert!(told.contains(&format!("group {first}: it is gone")), "{told}");
            assert!(told.contains(&format!("'fulcrum reload --force {first}'")), "{told}");
        }
        let told = scene.refused(0, &["reload", "--force", "kubernetes"]);
        assert!(told.contains("no group kubernetes of class control-plane"), "{told}");
        scene.nodes[0].reload(&file)?;
        scene.assert_served()?;

        // The standby dies.
        scene.nodes[1].process().kill_with_children()?;
        scene.wait(0, "it leads both", |status| {
            scene.led.iter().all(|it| status.role(it) == Some("leader"))
        })?;
        let told = scene.refused(0, &["handover", first]);
        assert!(told.contains("is not known to be ready") && told.contains("lb2: "), "{told}");
        assert!(told.contains(&format!("'fulcrum handover {first} --force {first}'")), "{told}");
        let told = scene.refused(0, &["handover", first, "--force", second]);
        assert!(told.contains(&format!("--force names {second}, not {first}")), "{told}");
        let told = scene.refused(0, &["handover", first, "--force", first]);
        assert!(told.contains("nobody took group"), "it was tried: {told}");
        scene.wait(0, "an alarm", |status| {
            status.alarms().iter().any(|it| it.contains("has no standby that is known to be ready: lb2: "))
        })?;
        // What harms nothing goes on, by name also what does, and the end of the process is nobody's to refuse.
        scene.nodes[0].reload(&file.replace("port: 80,", "port: 80, timeouts: {idle: 5m},"))?;
        scene.nodes[0].machine.write("fulcrum.yaml", &without)?;
        let told = scene.nodes[0].command(&["reload", "--force", first])?;
        assert!(told.contains(first.as_str()), "{told}");
        let ended = scene.nodes[0].process().terminate(LONG)?;
        assert!(ended.success(), "{ended}");
        let log = scene.nodes[0].process().log();
        assert!(log.contains("left alone: no standby is known to be ready"), "{log}");
        Ok(())
    });
}
