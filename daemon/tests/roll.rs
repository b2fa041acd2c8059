//! `fulcrum roll` with nodes that are files: what it does when it is told to stop, and when a command does not do what it should.
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test ends by it")]
#![allow(clippy::disallowed_methods, reason = "the tests of a command start it, and wait for it")]

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(60);

/// Says what the file says, and notes what it was asked.
const NODE: &str = r#"#!/bin/sh
here=$(dirname "$0"); node=$1; shift
case "$1" in
status)
    drained=
    [ ! -e "$here/$node.drained" ] || drained="\"overrides\": [{\"of\": \"lb-node $node\", \"by\": \"uid 0\"}],"
    sed "s/^{/{$drained/" "$here/$node.json" ;;
drain) touch "$here/$node.drained"; echo "$node $*" >> "$here/asked" ;;
undrain) rm "$here/$node.drained" && echo "$node $*" >> "$here/asked" ;;
preflight) cat "$here/$node.preflight"; [ ! -s "$here/$node.preflight" ] ;;
backup) exit 2 ;;
*) echo "$node $*" >> "$here/asked" ;;
esac
"#;

/// Two nodes, of which lb-2 leads.
struct Scene {
    directory: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let scene = Self { directory: tempfile::tempdir().expect("room on the disk") };
        scene.write("node", NODE);
        let node = scene.path("node").display().to_string();
        let place = |name: &str| format!("  - {{name: {name}, fulcrum: [sh, {node}, {name}]}}\n");
        scene.write("nodes.yaml", &format!("nodes:\n{}{}", place("lb-1"), place("lb-2")));
        for node in ["lb-1", "lb-2"] {
            scene.write(&format!("{node}.preflight"), "");
            scene.say(node, |_| {});
        }
        scene.write("asked", "");
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("room on the disk");
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn say(&self, node: &str, change: impl FnOnce(&mut Value)) {
        let role = if node == "lb-2" { "leader" } else { "standby" };
        let mut status = json!({
            "node": node, "version": "0.1.0", "uptime_seconds": 0, "ready": true,
            "groups": [{"name": "web", "role": role, "priority": 100, "leader": {"node": "lb-2"}}],
        });
        change(&mut status);
        self.write(&format!("{node}.json"), &status.to_string());
    }

    fn start(&self, arguments: &[&str]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fulcrum"));
        command.arg("roll").arg("--inventory").arg(self.path("nodes.yaml")).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("the command starts")
    }

    fn wait(&self, what: &str, ready: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !ready(self) {
            assert!(begun.elapsed() < LONG, "waited in vain for {what}: {}", self.read("nodes.yaml.roll"));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// How far lb-1 is.
    fn at(&self) -> Value {
        let journal: Value = serde_json::from_str(&self.read("nodes.yaml.roll")).unwrap_or_default();
        journal["nodes"][0].clone()
    }
}

fn interrupt(child: &Child) {
    kill_process(Pid::from_child(child), Signal::INT).expect("it runs");
}

#[track_caller]
fn assert_stopped(child: Child, words: &[&str]) {
    let output: Output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    for word in words {
        assert!(said.contains(word), "'{word}' is not in: {said}");
    }
}

#[test]
fn asked_to_stop_while_the_command_runs_it_stops_after_it_and_the_node_stays_drained() {
    let scene = Scene::new();
    let (begun, go) = (scene.path("begun"), scene.path("go"));
    let script = format!(
        "echo {{node}} > {}\nwhile [ ! -e {} ]; do sleep 0.02; done\n",
        begun.display(),
        go.display()
    );
    scene.write("change", &script.replace("{node}", "$1"));
    let exec = format!("sh {} {{node}}", scene.path("change").display());
    let roll = scene.start(&["--exec", &exec]);
    scene.wait("the command", |scene| !scene.read("begun").is_empty());
    assert_eq!(scene.read("begun"), "lb-1\n");
    interrupt(&roll);
    scene.write("go", "");
    assert_stopped(roll, &["it was asked to stop", "at lb-1", "it is drained", "--resume"]);
    assert_eq!(scene.at()["step"], "return");
    assert_eq!(
        scene.read("asked"),
        "lb-1 hook before-upgrade --cause roll\nlb-1 drain lb-node lb-1 --deadline 300s\n"
    );
    // It goes on there, and does not run the command again; lb-2 leads and can't be emptied here.
    scene.write("begun", "");
    let roll = scene.start(&["--resume"]);
    scene.wait("lb-1 to be done", |scene| scene.at()["step"] == "done");
    interrupt(&roll);
    assert_stopped(roll, &["it was asked to stop", "done: lb-1"]);
    assert_eq!(scene.read("begun"), "");
    assert!(scene.read("asked").contains("lb-1 undrain lb-node lb-1\n"), "{}", scene.read("asked"));
}

#[test]
fn asked_twice_it_kills_the_command_and_resume_runs_it_again() {
    let scene = Scene::new();
    scene.write("change", &format!("echo once >> {}; sleep 600", scene.path("begun").display()));
    let exec = format!("sh {} {{node}}", scene.path("change").display());
    let roll = scene.start(&["--exec", &exec]);
    scene.wait("the command", |scene| !scene.read("begun").is_empty());
    interrupt(&roll);
    std::thread::sleep(Duration::from_millis(200));
    interrupt(&roll);
    assert_stopped(roll, &["asked twice to stop", "its command was begun"]);
    let roll = scene.start(&["--resume"]);
    scene.wait("the command again", |scene| {
        scene.read("begun") == "once\nonce\n" && !scene.at()["running"].is_null()
    });
    // Killed itself, it leaves the command, whose end is waited for.
    let running = scene.at()["running"]["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
    let running = running.and_then(Pid::from_raw).expect("the command is in the journal");
    kill_process(Pid::from_child(&roll), Signal::KILL).expect("it runs");
    assert_eq!(roll.wait_with_output().expect("it ends").status.code(), None);
    let roll = scene.start(&["--resume"]);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(scene.read("begun"), "once\nonce\n");
    rustix::process::kill_process_group(running, Signal::KILL).expect("it runs");
    scene.wait("the command once more", |scene| scene.read("begun") == "once\nonce\nonce\n");
    interrupt(&roll);
    std::thread::sleep(Duration::from_millis(200));
    interrupt(&roll);
    assert_stopped(roll, &["asked twice to stop"]);
}

#[test]
fn asked_to_stop_before_the_command_it_puts_the_node_back() {
    let scene = Scene::new();
    scene.say("lb-1", |status| {
        status["services"] = json!([{"name": "web", "mode": "proxy", "connections": 2}]);
    });
    let roll = scene.start(&["--exec", "false {node}", "--deadline", "1h"]);
    scene.wait("the drain", |scene| scene.at()["step"] == "empty");
    interrupt(&roll);
    assert_stopped(roll, &["it was asked to stop", "not changed yet"]);
    assert_eq!(
        scene.read("asked"),
        "lb-1 hook before-upgrade --cause roll\nlb-1 drain lb-node lb-1 --deadline 3600s\nlb-1 undrain lb-node lb-1\n\
         lb-1 hook after-upgrade --cause roll --abandoned\n"
    );
    assert_eq!(scene.at()["step"], "others");
}

#[test]
fn what_fails_stops_it_with_the_reason_and_nothing_further_is_done() {
    let scene = Scene::new();
    let failed = json!({"lines": [{"state": "failed", "check": "mtu", "about": "eth0", "found": "too small", "remedy": "raise it"}]});
    scene.write("lb-1.preflight", &failed.to_string());
    assert_stopped(
        scene.start(&["--exec", "false {node}"]),
        &["stopped at lb-1: preflight: mtu, eth0: too small; do: raise it"],
    );
    assert_eq!(scene.read("asked"), "");
    scene.write("lb-1.preflight", "");
    assert_stopped(
        scene.start(&["--resume"]),
        &["stopped at lb-1: the command: it ended with 1", "it is drained"],
    );
    assert_eq!(
        scene.read("asked"),
        "lb-1 hook before-upgrade --cause roll\nlb-1 drain lb-node lb-1 --deadline 300s\n"
    );

    scene.write("slow", "sleep 600");
    let slow = format!("sh {} {{node}}", scene.path("slow").display());
    std::fs::remove_file(scene.path("nodes.yaml.roll")).expect("it is there");
    assert_stopped(
        scene.start(&["--exec", &slow, "--exec-deadline", "1s"]),
        &["it did not end within 1 s, and was killed"],
    );
}

#[test]
fn what_can_not_be_begun_is_refused_with_what_to_do() {
    let scene = Scene::new();
    for (exec, word) in
        [("./recreate", "write {node}"), ("sh -c 'a {node}'", "put it into a script"), ("", "name a program")]
    {
        assert_stopped(scene.start(&["--exec", exec]), &[word]);
    }
    assert_stopped(scene.start(&[]), &["--exec is missing"]);
    assert_stopped(scene.start(&["--resume"]), &["no roll is unfinished"]);
    scene.say("lb-1", |status| status["node"] = json!("lb-7"));
    let wrong = ["nothing was done", "what the inventory says of lb-1 leads to node lb-7"];
    assert_stopped(scene.start(&["--exec", "true {node}"]), &wrong);
    scene.write("lb-1.json", "no");
    assert_stopped(scene.start(&["--exec", "true {node}"]), &["what it says is no status"]);
    scene.say("lb-1", |_| {});
    scene.say("lb-2", |status| status["ready"] = json!(false));
    assert_stopped(
        scene.start(&["--exec", "true {node}", "--dry-run"]),
        &["it would not begin", "lb-2: it is not ready"],
    );
    assert!(!scene.path("nodes.yaml.roll").exists() && !scene.path("nodes.yaml.roll.lock").exists());
    scene.write("nodes.yaml", "nodes:\n  - {name: lb-1, fulcrum: x, extra: 1}\n");
    assert_stopped(
        scene.start(&["--exec", "true {node}"]),
        &["nodes.yaml:2:30", "`extra` is not a key of this section"],
    );
}

#[test]
fn a_link_with_a_node_that_is_to_stand_in_at_another_time_is_not_asked_for() {
    let scene = Scene::new();
    let surge = "  - {name: lb-3, fulcrum: \"false\", surge: true}\n";
    scene.write("nodes.yaml", &(scene.read("nodes.yaml") + surge));
    let line = |check: &str, about: &str| json!({"state": "failed", "check": check, "about": about, "found": "no", "remedy": "do"});
    let failed = |lines: Value| scene.write("lb-1.preflight", &json!({ "lines": lines }).to_string());
    failed(json!([line("peer", "lb-3"), line("peer", "lb-2")]));
    assert_stopped(scene.start(&["--exec", "false {node}"]), &["preflight: peer, lb-2: no; do: do"]);
    failed(json!([line("peer", "lb-3")]));
    assert_stopped(scene.start(&["--resume"]), &["stopped at lb-1: the command"]);
    std::fs::remove_file(scene.path("nodes.yaml.roll")).expect("it is there");
    assert_stopped(
        scene.start(&["--exec", "false {node} {action}", "--surge", "1"]),
        &["nothing was done", "lb-1 does not know lb-3: add it to `nodes`"],
    );
    assert_stopped(scene.start(&["--exec", "false {node}", "--surge", "1"]), &["write {action}"]);
}
