//! Hooks around what operators do.
#![allow(clippy::disallowed_methods, reason = "starts the command under test")]

use crate::{LONG, hook, lines, script, wait_lines, wait_outcome};
use fulcrum_tests::Result;
use fulcrum_tests::lab::{Fulcrum, GROUP, Lab, Linked, fulcrum_binary, output};
use fulcrum_tests::probe::Session;
use fulcrum_tests::wait::{run_for, wait_until};
use serde_json::Value;
use std::fmt::Write;
use std::time::Duration;

/// Fails while the file `refuse` is there, and hangs while `hang` is.
const TELL: &str = "cat >> $DIR/$FULCRUM_NODE.json
case $FULCRUM_EVENT in before-*)
    [ ! -e $DIR/refuse ] || { echo not today; exit 3; }
    [ ! -e $DIR/hang ] || sleep 300 ;;
esac";

/// A pair with a hook that is told of `events`, and asked before what is planned.
fn pair(lab: &Lab, events: &str, on_failure: &str) -> Result<Linked> {
    let tell = script(lab, "tell", 0o755, TELL)?;
    let hook =
        format!("hooks:\n  tell: {{on: [{events}], run: [{tell}], on_failure: {on_failure}, deadline: 2s}}");
    Linked::new(
        lab,
        |pair| {
            pair.plan.top = vec![hook];
            pair.plan.group.push("drain: 5m".to_owned());
        },
        Fulcrum::start,
    )
}

fn set(lab: &Lab, name: &str, is_there: bool) -> Result<()> {
    let path = lab.directory().join(name);
    if is_there {
        std::fs::write(path, "")?
    } else {
        std::fs::remove_file(path)?
    }
    Ok(())
}

/// What a node was told, each as JSON.
fn told(lab: &Lab, node: &str) -> Vec<Value> {
    lines(lab, &format!("{node}.json")).iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Its events, with the outcome if there is one.
fn events(lab: &Lab, node: &str) -> Vec<String> {
    let word = |told: &Value, field: &str| told[field].as_str().unwrap_or_default().to_owned();
    let told = told(lab, node);
    told.iter()
        .map(|told| format!("{} {}", word(told, "event"), word(told, "outcome")).trim().to_owned())
        .collect()
}

fn wait_events(lab: &Lab, node: &str, expected: &[&str]) -> Result<()> {
    wait_until(&format!("{node} to be told {expected:?}"), LONG, || events(lab, node) == expected)
        .inspect_err(|_| println!("{node} was told {:?}", events(lab, node)))
}

fn refused(result: Result<String>) -> String {
    result.err().map(|error| error.to_string()).unwrap_or_default()
}

#[test]
fn the_node_that_is_to_lead_is_told_before_a_handover_moves_anything() {
    Lab::run(|lab| {
        let scene = pair(lab, "before-leading, after-leading, after-standby", "abort")?;
        let [first, second] = &scene.nodes[..] else { unreachable!("two nodes") };
        let is_last = |node: &str, event: &str| events(lab, node).last().is_some_and(|told| told == event);
        wait_until("lb1 to be told that it leads", LONG, || is_last("lb1", "after-leading"))?;
        wait_events(lab, "lb2", &["after-standby"])?;
        let begun = events(lab, "lb1");
        let since = |later: &[&'static str]| -> Vec<String> {
            begun.iter().cloned().chain(later.iter().map(|&event| event.to_owned())).collect()
        };
        let wait_since = |later: &[&'static str]| {
            let all = since(later);
            wait_events(lab, "lb1", &all.iter().map(String::as_str).collect::<Vec<_>>())
        };
        let said = first.command(&["handover", GROUP])?;
        assert!(said.contains("lb2 leads group web"), "{said}");
        wait_events(lab, "lb2", &["after-standby", "before-leading", "after-leading"])?;
        wait_since(&["after-standby"])?;
        let before = &told(lab, "lb2")[1];
        for (field, value) in
            [("node", "lb2"), ("from", "lb1"), ("leader", "lb1"), ("group", GROUP), ("state", "standby")]
        {
            assert_eq!(before[field], value, "{before}");
        }

        // One that fails, hangs or is missing aborts; and what was prepared can be undone.
        scene.wait_agreement()?;
        set(lab, "refuse", true)?;
        let said = refused(second.command(&["handover", GROUP]));
        assert!(said.contains("group web stays here: lb1: hook tell ended with 3: not today"), "{said}");
        wait_since(&["after-standby", "before-leading", "after-standby"])?;
        set(lab, "refuse", false)?;
        set(lab, "hang", true)?;
        let said = refused(second.command(&["handover", GROUP]));
        assert!(said.contains("lb1: hook tell killed at its deadline after 2 s"), "{said}");
        wait_outcome(first, "tell", "killed")?;
        let path = lab.directory().join("tell");
        std::fs::rename(&path, path.with_extension("gone"))?;
        let said = refused(second.command(&["handover", GROUP]));
        assert!(said.contains("lb1: hook tell not started") && said.contains("can't be found"), "{said}");
        assert_eq!(second.status()?.role(GROUP), Some("leader"));
        std::fs::rename(path.with_extension("gone"), &path)?;

        // Nothing is asked before a takeover.
        let asked = || events(lab, "lb1").iter().filter(|told| *told == "before-leading").count();
        let before = asked();
        second.kill()?;
        first.wait_leader(GROUP)?;
        wait_until("lb1 to be told that it leads", LONG, || is_last("lb1", "after-leading"))?;
        assert_eq!(asked(), before);
        Ok(())
    });
}

#[test]
fn a_node_that_is_to_lead_holds_the_handover_up_until_it_is_prepared() {
    Lab::run(|lab| {
        let scene = pair(lab, "before-leading", "hold")?;
        let [first, second] = &scene.nodes[..] else { unreachable!("two nodes") };
        set(lab, "refuse", true)?;
        std::thread::scope(|scope| -> Result<()> {
            let asked = scope.spawn(|| first.command(&["handover", GROUP]));
            wait_lines(lab, "lb2.json", 2)?;
            assert_eq!(first.status()?.role(GROUP), Some("leader"), "it waits");
            set(lab, "refuse", false)?;
            let said = asked.join().unwrap_or_else(|_| Ok("it panicked".to_owned()))?;
            assert!(said.contains("lb2 leads group web"), "{said}");
            second.wait_leader(GROUP)
        })?;
        assert!(events(lab, "lb1").is_empty(), "it was not to lead: {:?}", events(lab, "lb1"));
        Ok(())
    });
}

#[test]
fn hooks_are_told_before_a_drain_and_when_it_is_over_and_may_abort_it() {
    Lab::run(|lab| {
        let scene = pair(lab, "before-drain, after-drain", "abort")?;
        let [first, second] = &scene.nodes[..] else { unreachable!("two nodes") };
        first.command(&["drain", "backend", "web1"])?;
        wait_events(lab, "lb1", &["before-drain", "after-drain empty"])?;
        let both = told(lab, "lb1");
        for it in &both {
            assert_eq!((&it["kind"], &it["name"]), (&"backend".into(), &"web1".into()), "{it}");
            assert_eq!(it["of"], serde_json::json!(["backend web/web1"]), "{it}");
            assert!(it["by"].as_str().is_some_and(|by| by.starts_with("uid ")), "{it}");
        }
        first.command(&["undrain", "backend", "web1"])?;

        // Refused before anything changes.
        set(lab, "refuse", true)?;
        let said = refused(first.command(&["drain", "lb-node", "lb1"]));
        assert!(
            said.contains(
                "lb-node lb1 is not drained, and nothing was changed: hook tell ended with 3: not today"
            ),
            "{said}"
        );
        assert_eq!(first.status()?.0["overrides"], serde_json::json!([]));
        set(lab, "refuse", false)?;
        let known = ["before-drain", "after-drain empty", "before-drain", "after-drain refused"];
        wait_events(lab, "lb1", &known)?;
        // What can't be drained is not told of.
        refused(first.command(&["drain", "backend", "web9"]));

        // Nothing is cut before the deadline, and then it is told what was left.
        let mut session = Session::open(&scene.pair.client, scene.pair.service(), Duration::from_secs(3))?;
        session.ask()?;
        first.command(&["drain", "lb-node", "lb1", "--deadline", "2s"])?;
        second.wait_leader(GROUP)?;
        let known = [&known[..], &["before-drain", "after-drain deadline"]].concat();
        wait_events(lab, "lb1", &known)?;
        let told_last = told(lab, "lb1").pop().unwrap_or_default();
        assert_eq!((&told_last["connections"], &told_last["deadline_seconds"]), (&1.into(), &2.into()));
        first.command(&["undrain", "lb-node", "lb1"])?;
        drop(session);

        // One that is taken back.
        let mut session = Session::open(&scene.pair.client, scene.pair.service(), Duration::from_secs(3))?;
        session.ask()?;
        second.command(&["drain", "lb-node", "lb2", "--deadline", "5m"])?;
        wait_events(lab, "lb2", &["before-drain"])?;
        second.command(&["undrain", "lb-node", "lb2"])?;
        wait_events(lab, "lb2", &["before-drain", "after-drain undrained"])?;
        assert_eq!(events(lab, "lb1"), known, "each drain is told of where it was asked for");
        let status = first.status()?;
        assert_eq!(hook(&status, "tell").map(|hook| &hook["runs"]["failed"]), Some(&1.into()));
        Ok(())
    });
}

/// Both nodes; the command does nothing.
#[test]
fn that_a_drain_is_over_is_told_once_also_by_a_process_that_began_after_it() {
    Lab::run(|lab| {
        let mut scene = pair(lab, "before-drain, after-drain", "ignore")?;
        let mut session = Session::open(&scene.pair.client, scene.pair.service(), Duration::from_secs(3))?;
        let backend = session.ask()?;
        scene.node(0)?.command(&["drain", "backend", &backend, "--deadline", "5m"])?;
        wait_events(lab, "lb1", &["before-drain"])?;
        // The connection ends with it.
        scene.node(0)?.kill()?;
        scene.restart(0)?;
        let known = ["before-drain", "after-drain empty"];
        wait_events(lab, "lb1", &known)?;
        assert_eq!(told(lab, "lb1")[1]["name"], backend);
        scene.node(0)?.kill()?;
        scene.restart(0)?;
        scene.node(0)?.wait_hears_leader(GROUP)?;
        // Longer than it waits until it tells of what is over.
        run_for(Duration::from_secs(7));
        assert_eq!(events(lab, "lb1"), known);
        Ok(())
    });
}

fn roll(lab: &Lab, scene: &Linked) -> Result<(bool, String)> {
    let inventory = lab.directory().join("nodes.yaml");
    let mut list = "nodes:\n".to_owned();
    for node in &scene.nodes {
        let (name, space) = (node.machine.name(), node.machine.namespace().name());
        let (socket, binary) = (Fulcrum::socket_of(&node.machine), fulcrum_binary()?);
        writeln!(
            list,
            "  - name: {name}\n    fulcrum: [nsenter, --net=/run/netns/{space}, env, FULCRUM_SOCKET={}, {}]\n    config: {}",
            socket.display(),
            binary.display(),
            node.config().display()
        )
        .ok();
    }
    std::fs::write(&inventory, list)?;
    let mut command = std::process::Command::new(fulcrum_binary()?);
    command.arg("roll").arg("--inventory").arg(&inventory);
    command.args(["--no-preflight", "--deadline", "3s", "--exec", "true {node}"]);
    let output = command.stdin(std::process::Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    println!("{said}");
    Ok((output.status.success(), said))
}

#[test]
fn each_node_of_a_roll_is_told_before_and_after_and_one_that_aborts_stops_it() {
    Lab::run(|lab| {
        let scene = pair(lab, "before-upgrade, after-upgrade, before-drain, after-drain", "abort")?;
        let (is_done, said) = roll(lab, &scene)?;
        assert!(is_done, "{said}");
        let all = ["before-upgrade", "before-drain", "after-drain empty", "after-upgrade done"];
        for node in ["lb1", "lb2"] {
            wait_events(lab, node, &all)?;
            let before = &told(lab, node)[0];
            assert_eq!((&before["cause"], &before["version"]), (&"roll".into(), &"0.1.0".into()), "{before}");
        }
        set(lab, "refuse", true)?;
        let (is_done, said) = roll(lab, &scene)?;
        assert!(!is_done && said.contains("is not upgraded, and nothing was changed: hook tell"), "{said}");
        let later = [&all[..], &["before-upgrade", "after-upgrade abandoned"]].concat();
        let at = if events(lab, "lb2").len() > all.len() { "lb2" } else { "lb1" };
        wait_events(lab, at, &later)?;
        for node in &scene.nodes {
            assert_eq!(node.status()?.0["overrides"], serde_json::json!([]));
        }
        Ok(())
    });
}

/// What stands for a service manager: ends the daemon of `node`, and starts that of `installed`.
fn restart(node: &Fulcrum, installed: &str) -> String {
    let (socket, log) = (Fulcrum::socket_of(&node.machine), node.machine.file("anew.log"));
    format!(
        "kill {}; while [ -e {} ]; do sleep 0.05; done; sleep 0.3; setsid {installed} run {} > {} 2>&1 < /dev/null &",
        node.process().pid().as_raw_nonzero(),
        socket.display(),
        node.config().display(),
        log.display()
    )
}

#[test]
fn hooks_are_told_before_and_after_an_upgrade_and_may_abort_it() {
    Lab::run(|lab| {
        let scene = pair(lab, "before-upgrade, after-upgrade, before-drain, after-drain", "abort")?;
        let [first, second] = &scene.nodes[..] else { unreachable!("two nodes") };
        let installed = first.machine.file("installed").display().to_string();
        output("cp", &[&fulcrum_binary()?.display().to_string(), &installed])?;
        let (new, restart) = (fulcrum_binary()?.display().to_string(), restart(first, &installed));
        let words = ["upgrade-binary", &new, "--installed", &installed, "--restart", &restart];
        set(lab, "refuse", true)?;
        let said = refused(first.command(&words));
        assert!(
            said.contains("lb1 is not upgraded, and nothing was changed: hook tell ended with 3: not today"),
            "{said}"
        );
        let status = first.status()?;
        assert_eq!((&status.0["overrides"], status.role(GROUP)), (&serde_json::json!([]), Some("leader")));
        wait_events(lab, "lb1", &["before-upgrade", "after-upgrade abandoned"])?;
        set(lab, "refuse", false)?;
        let said = first.command(&words)?;
        assert!(said.contains("1 hook run") && said.contains("runs 0.1.0 and is ready"), "{said}");
        second.wait_leader(GROUP)?;
        wait_events(
            lab,
            "lb1",
            &[
                "before-upgrade",
                "after-upgrade abandoned",
                "before-upgrade",
                "before-drain",
                "after-drain empty",
                "after-upgrade done",
            ],
        )?;
        let last = told(lab, "lb1").pop().unwrap_or_default();
        assert_eq!((&last["cause"], &last["to"]), (&"upgrade-binary".into(), &"0.1.0".into()), "{last}");
        Ok(())
    });
}
