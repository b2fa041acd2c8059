//! Programs that are run when something has happened, whatever they do.

mod hooks {
    mod planned;
    mod web;
}

use fulcrum_tests::Result;
use fulcrum_tests::lab::{Fulcrum, GROUP, Lab, Pair, Status, wait_served_by};
use fulcrum_tests::wait::{now, wait_for, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(15);

/// A program, which is the same on all nodes; `$DIR/$FULCRUM_NODE` stands for files of each.
fn script(lab: &Lab, name: &str, mode: u32, text: &str) -> Result<String> {
    let path = lab.directory().join(name);
    std::fs::write(&path, format!("#!/bin/sh\nDIR={}\n{text}\n", lab.directory().display()))?;
    set_permissions(&path, Permissions::from_mode(mode))?;
    Ok(path.display().to_string())
}

fn lines(lab: &Lab, name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(lab.directory().join(name)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn wait_lines(lab: &Lab, name: &str, count: usize) -> Result<Vec<String>> {
    wait_for(&format!("{count} lines in {name}"), LONG, || {
        let lines = lines(lab, name);
        (lines.len() >= count).then_some(lines)
    })
}

fn hook<'a>(status: &'a Status, name: &str) -> Option<&'a Value> {
    status.0.get("hooks")?.as_array()?.iter().find(|hook| hook["name"] == name)
}

/// Waits for the end of a run with this outcome, and gives what status says of it.
fn wait_outcome(node: &Fulcrum, name: &str, outcome: &str) -> Result<Value> {
    wait_for(&format!("{name}: {outcome}"), LONG, || {
        let status = node.status().ok()?;
        let last = hook(&status, name)?["last"].as_array()?.iter().find(|run| run["outcome"] == outcome)?;
        Some(last.clone())
    })
}

fn lives(pid: &str) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
}

#[test]
fn a_change_of_leader_is_told_to_each_node_once() {
    Lab::run(|lab| {
        let mut pair = Pair::new(lab)?;
        let tell = script(
            lab,
            "tell",
            0o755,
            "cat >> $DIR/$FULCRUM_NODE.json\nenv | sort > $DIR/$FULCRUM_NODE.env",
        )?;
        pair.plan.top =
            vec![format!("hooks:\n  tell: {{on: [after-leading, after-standby], run: [{tell}]}}")];
        let (first, second) = pair.start_both()?;
        let led = wait_for("lb1 to be told that it leads", LONG, || {
            let mut led = lines(lab, "lb1.json");
            led.retain(|line| line.contains("after-leading"));
            led.pop()
        })?;
        let led: Value = serde_json::from_str(&led)?;
        assert_eq!(
            (&led["group"], &led["state"], &led["leader"]),
            (&"web".into(), &"leader".into(), &"lb1".into())
        );
        let told = wait_lines(lab, "lb2.json", 1)?;
        assert!(told[0].contains("\"after-standby\""), "{told:?}");

        first.kill()?;
        second.wait_leader(GROUP)?;
        let told = wait_lines(lab, "lb2.json", 2)?;
        let led: Value = serde_json::from_str(&told[1])?;
        for (field, value) in
            [("event", "after-leading"), ("node", "lb2"), ("state", "leader"), ("leader", "lb2")]
        {
            assert_eq!(led[field], value, "{led}");
        }
        assert_eq!((&led["vips"][0], &led["priority"]), (&"10.77.0.100".into(), &100.into()), "{led}");
        wait_until("the end of that run", LONG, || {
            let run = second.status().ok().and_then(|status| Some(hook(&status, "tell")?["last"][0].clone()));
            run.is_some_and(|run| {
                run["event"] == "after-leading" && run["group"] == "web" && run["outcome"] == "succeeded"
            })
        })?;
        let environment = lines(lab, "lb2.env");
        for line in ["FULCRUM_EVENT=after-leading", "FULCRUM_GROUP=web", "FULCRUM_VIPS=10.77.0.100"] {
            assert!(environment.iter().any(|found| found == line), "{line}: {environment:?}");
        }
        assert!(
            !environment.iter().any(|line| line.starts_with("HOME=")),
            "ours is not passed on: {environment:?}"
        );

        assert!(second.process().terminate(LONG)?.success());
        let told = wait_lines(lab, "lb2.json", 3)?;
        assert_eq!(told.len(), 3, "once each: {told:?}");
        assert!(told[2].contains("\"stopped\""), "{told:?}");
        Ok(())
    });
}

#[test]
fn a_hook_that_hangs_is_killed_with_all_that_it_started() {
    Lab::run(|lab| {
        let mut pair = Pair::new(lab)?;
        let text = "echo $$ >> $DIR/pids\nsetsid sleep 300 &\necho $! >> $DIR/pids\nsleep 300 &\necho $! >> $DIR/pids\nwait";
        let hang = script(lab, "hang", 0o755, text)?;
        pair.plan.top = vec![format!("hooks:\n  hang: {{on: [after-leading], run: [{hang}], deadline: 1s}}")];
        let node = pair.start(&pair.lb1)?;
        node.wait_leader(GROUP)?;
        let pids = wait_lines(lab, "pids", 3)?;
        let run = wait_outcome(&node, "hang", "killed")?;
        assert_eq!(run["what"], "killed at its deadline after 1 s");
        wait_until("their end", LONG, || !pids.iter().any(|pid| lives(pid)))?;
        assert!(node.status()?.alarms().iter().any(|alarm| alarm.starts_with("hook hang failed: killed")));
        Ok(())
    });
}

#[test]
fn a_hook_that_hangs_delays_neither_a_takeover_nor_an_answer_nor_the_end() {
    Lab::run(|lab| {
        let mut pair = Pair::new(lab)?;
        let hang = script(lab, "hang", 0o755, "echo $$ >> $DIR/$FULCRUM_NODE.pids\nexec sleep 60")?;
        let on = "on: [after-leading, after-standby, config-applied]";
        pair.plan.top = vec![format!("hooks:\n  hang: {{{on}, run: [{hang}], deadline: 10m}}")];
        let (first, second) = pair.start_both()?;
        let probe = pair.probe()?;
        wait_served_by(&probe, &pair.lb1)?;
        let pids = wait_lines(lab, "lb2.pids", 2)?;
        let begun = now();
        first.kill()?;
        wait_until("an answer of lb2", Duration::from_secs(5), || {
            probe.answered_since(begun).is_some_and(|sample| sample.via() == Some(pair.lb2.ipv4()))
        })?;
        second.wait_leader(GROUP)?;
        let status = second.status()?;
        assert_eq!(
            hook(&status, "hang").map(|hook| &hook["waiting"]),
            Some(&1.into()),
            "the news that it leads"
        );
        assert!(second.process().terminate(Duration::from_secs(10))?.success());
        wait_until("the end of the hooks", LONG, || !pids.iter().any(|pid| lives(pid)))?;
        // Those of the node that was killed have nobody left who would.
        for pid in lines(lab, "lb1.pids") {
            if let Some(pid) = pid.parse().ok().and_then(Pid::from_raw) {
                kill_process(pid, Signal::KILL).ok();
            }
        }
        Ok(())
    });
}

#[test]
fn hooks_that_fail_are_missing_print_megabytes_or_are_not_safe_are_told_apart() {
    Lab::run(|lab| {
        let mut pair = Pair::new(lab)?;
        let fails = script(lab, "fails", 0o755, "echo no such cloud >&2; exit 3")?;
        let loud = script(lab, "loud", 0o755, "head -c 50000000 /dev/zero | tr '\\0' x\necho >&2; exit 0")?;
        let unsafe_ = script(lab, "unsafe", 0o755, "touch $DIR/was-run")?;
        let deaf = script(lab, "deaf", 0o755, "exec <&-; exit 0")?;
        let programs = [
            ("fails", fails),
            ("loud", loud),
            ("unsafe", unsafe_),
            ("deaf", deaf),
            ("missing", "/nowhere/hook".to_owned()),
        ];
        let mut text = "hooks:".to_owned();
        for (name, program) in &programs {
            let on = if *name == "unsafe" { "backend-down" } else { "after-leading" };
            text.push_str(&format!("\n  {name}: {{on: [{on}], run: [{program}]}}"));
        }
        pair.plan.top = vec![text];
        let node = pair.start(&pair.lb1)?;
        node.wait_leader(GROUP)?;
        let run = wait_outcome(&node, "fails", "failed")?;
        assert_eq!((&run["what"], &run["said"]), (&"ended with 3".into(), &"no such cloud".into()));
        let run = wait_outcome(&node, "missing", "not-started")?;
        assert!(run["what"].as_str().is_some_and(|what| what.contains("/nowhere can't be found")), "{run}");
        // It was safe when it was configured.
        set_permissions(lab.directory().join("unsafe"), Permissions::from_mode(0o777))?;
        wait_until("its backends", LONG, || {
            node.status().is_ok_and(|status| status.backends("web", "up") == 3)
        })?;
        pair.web.clear();
        let run = wait_outcome(&node, "unsafe", "not-started")?;
        assert!(run["what"].as_str().is_some_and(|what| what.contains("chmod go-w")), "{run}");
        assert!(!lab.directory().join("was-run").exists());
        wait_outcome(&node, "deaf", "succeeded")?;
        let run = wait_outcome(&node, "loud", "succeeded")?;
        assert!(run["said"].as_str().is_some_and(|said| said.len() <= 200), "{run}");
        let status = node.command(&["status"])?;
        for says in
            ["hook fails failed: ended with 3: no such cloud", "hook missing failed", "hook unsafe failed"]
        {
            assert!(status.contains(says), "{says}: {status}");
        }
        assert_eq!(node.status()?.role(GROUP), Some("leader"));
        Ok(())
    });
}

#[test]
fn a_notify_script_of_keepalived_works_unchanged() {
    Lab::run(|lab| {
        let mut pair = Pair::new(lab)?;
        // As they are found everywhere: the last four arguments, a case for each state.
        let text = "TYPE=$2\nNAME=$3\nSTATE=$4\nPRIORITY=$5\ncase $STATE in\n\
            \"MASTER\") echo \"$1 $TYPE $NAME up $PRIORITY\" >> $DIR/$1 ;;\n\
            \"BACKUP\"|\"FAULT\"|\"STOP\") echo \"$1 $TYPE $NAME down $STATE\" >> $DIR/$1 ;;\n\
            *) echo \"unknown state\" >> $DIR/$1; exit 1 ;;\nesac";
        let notify = script(lab, "notify.sh", 0o755, text)?;
        let file = |pair: &mut Pair, name: &str| {
            pair.plan.top = vec![format!("hooks:\n  old: {{notify: [{notify}, {name}]}}")];
        };
        file(&mut pair, "log1");
        let first = pair.start(&pair.lb1)?;
        first.wait_leader(GROUP)?;
        wait_until("MASTER", LONG, || {
            lines(lab, "log1").last().is_some_and(|line| line == "log1 INSTANCE web up 150")
        })?;
        file(&mut pair, "log2");
        let second = pair.start(&pair.lb2)?;
        second.wait_hears_leader(GROUP)?;
        wait_until("BACKUP", LONG, || {
            lines(lab, "log2").last().is_some_and(|line| line == "log2 INSTANCE web down BACKUP")
        })?;
        assert!(first.process().terminate(LONG)?.success());
        assert_eq!(lines(lab, "log1").last().map(String::as_str), Some("log1 INSTANCE web down STOP"));
        second.wait_leader(GROUP)?;
        wait_until("MASTER", LONG, || {
            lines(lab, "log2").last().is_some_and(|line| line == "log2 INSTANCE web up 100")
        })
    });
}

#[test]
fn a_configuration_a_backend_that_is_down_and_an_alarm_are_told() {
    Lab::run(|lab| {
        let mut pair = Pair::new(lab)?;
        let tell = script(lab, "tell", 0o755, "cat >> $DIR/told")?;
        pair.plan.top =
            vec![format!("hooks:\n  tell: {{on: [config-applied, backend-down, fault], run: [{tell}]}}")];
        let node = pair.start(&pair.lb1)?;
        node.wait_leader(GROUP)?;
        wait_until("its backends", LONG, || {
            node.status().is_ok_and(|status| status.backends("web", "up") == 3)
        })?;
        let told = |event: &str| -> Vec<Value> {
            let told =
                lines(lab, "told").into_iter().filter_map(|line| serde_json::from_str::<Value>(&line).ok());
            told.filter(|told| told["event"] == event).collect()
        };
        wait_until("config-applied", LONG, || told("config-applied").len() == 1)?;
        pair.web.clear();
        wait_until("three that are down", LONG, || told("backend-down").len() == 3)?;
        let down = told("backend-down");
        assert!(down.iter().any(|down| down["backend"] == "web1" && down["service"] == "web"), "{down:?}");
        wait_until("an alarm", LONG, || {
            told("fault").iter().any(|fault| fault["what"].as_str().is_some_and(|what| what.contains("web")))
        })?;
        pair.plan.advert_milliseconds = 110;
        node.reload(&pair.plan.file(&pair.lb1))?;
        wait_until("config-applied again", LONG, || told("config-applied").len() == 2)?;
        assert_eq!(told("config-applied")[1]["generation"], 2);
        Ok(())
    });
}

/// A pair that may hand over, with a hook that is told before.
fn with_a_question(lab: &Lab, text: &str, on_failure: &str) -> Result<(Fulcrum, Fulcrum)> {
    let (_, first, second) = pair_with_a_question(lab, text, on_failure)?;
    Ok((first, second))
}

fn pair_with_a_question(lab: &Lab, text: &str, on_failure: &str) -> Result<(Pair, Fulcrum, Fulcrum)> {
    let mut pair = Pair::new(lab)?;
    pair.plan = pair.plan.with_keys()?;
    let text = format!("cat >> $DIR/$FULCRUM_NODE.json\n{text}");
    let ask = script(lab, "ask", 0o755, &text)?;
    pair.plan.top = vec![format!(
        "hooks:\n  ask: {{on: [before-standby, after-leading, after-standby], run: [{ask}], on_failure: {on_failure}, deadline: 2s}}"
    )];
    let (first, second) = pair.start_both()?;
    wait_until("the link", LONG, || first.status().is_ok_and(|status| status.agrees_with("lb2")))?;
    wait_lines(lab, "lb1.json", 1)?;
    Ok((pair, first, second))
}

#[test]
fn a_hook_that_aborts_keeps_the_group_here_with_its_last_word() {
    Lab::run(|lab| {
        let text = "[ $FULCRUM_EVENT != before-standby ] || { echo no backup yet; exit 3; }";
        let (first, _second) = with_a_question(lab, text, "abort")?;
        let told = first.command(&["handover", GROUP]);
        let told = told.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(told.contains("group web stays here: hook ask ended with 3: no backup yet"), "{told}");
        assert_eq!(first.status()?.role(GROUP), Some("leader"));
        // It is told that the group is led here after all.
        let lines = wait_for("to be told that the group stays", LONG, || {
            let mut lines = lines(lab, "lb1.json");
            let asked = lines.iter().position(|line| line.contains("\"before-standby\""))?;
            lines.drain(..asked);
            (lines.len() > 1).then_some(lines)
        })?;
        let asked: Value = serde_json::from_str(&lines[0])?;
        assert_eq!((&asked["event"], &asked["to"]), (&"before-standby".into(), &"lb2".into()), "{asked}");
        assert!(lines[1].contains("\"after-leading\""), "{lines:?}");
        // By name it goes all the same.
        first.command(&["handover", GROUP, "--force", GROUP])?;
        first.wait_role(GROUP, "standby")
    });
}

#[test]
fn a_hook_that_holds_is_run_until_it_succeeds_and_the_handover_waits() {
    Lab::run(|lab| {
        let text = "[ $FULCRUM_EVENT != before-standby ] || [ -e $DIR/go ]";
        let (first, second) = with_a_question(lab, text, "hold")?;
        std::thread::scope(|scope| -> Result<()> {
            let told = scope.spawn(|| first.command(&["handover", GROUP]));
            wait_until("it to be asked twice", LONG, || {
                let lines = lines(lab, "lb1.json");
                lines.iter().filter(|line| line.contains("\"before-standby\"")).count() >= 2
            })?;
            assert_eq!(first.status()?.role(GROUP), Some("leader"), "it waits");
            std::fs::write(lab.directory().join("go"), "")?;
            let told = told.join().unwrap_or_else(|_| Ok("it panicked".to_owned()))?;
            assert!(told.contains("lb2 leads group web"), "{told}");
            second.wait_leader(GROUP)
        })
    });
}

#[test]
fn a_reload_of_the_hook_that_holds_a_handover_up_lets_it_go_on() {
    Lab::run(|lab| {
        let (pair, first, second) =
            pair_with_a_question(lab, "[ $FULCRUM_EVENT != before-standby ]", "hold")?;
        let asked = || {
            let lines = lines(lab, "lb1.json");
            lines.iter().filter(|line| line.contains("\"before-standby\"")).count()
        };
        std::thread::scope(|scope| -> Result<()> {
            let told = scope.spawn(|| first.command(&["handover", GROUP]));
            wait_until("it to be asked", LONG, || asked() >= 1)?;
            let reloaded = pair.plan.file(&first.machine).replace("deadline: 2s", "deadline: 3s");
            first.reload(&reloaded)?;
            let known = asked();
            wait_until("it to be asked as it is now", LONG, || asked() >= known + 2)?;
            let leads =
                lines(lab, "lb1.json").iter().filter(|line| line.contains("\"after-leading\"")).count();
            assert_eq!(leads, 2, "at the start and after the reload");
            first.reload(&reloaded.replace("on_failure: hold", "on_failure: ignore"))?;
            let told = told.join().unwrap_or_else(|_| Ok("it panicked".to_owned()))?;
            assert!(told.contains("lb2 leads group web"), "{told}");
            second.wait_leader(GROUP)
        })
    });
}

#[test]
fn a_hook_that_fails_hangs_or_is_missing_holds_nothing_up_unless_it_is_to() {
    Lab::run(|lab| {
        let text = "[ $FULCRUM_EVENT != before-standby ] || sleep 300";
        let (first, second) = with_a_question(lab, text, "ignore")?;
        let told = first.command(&["handover", GROUP])?;
        assert!(told.contains("lb2 leads group web"), "{told}");
        let run = wait_outcome(&first, "ask", "killed")?;
        assert_eq!(run["event"], "before-standby", "{run}");
        std::fs::remove_file(lab.directory().join("ask"))?;
        let told = second.command(&["handover", GROUP])?;
        assert!(told.contains("lb1 leads group web"), "{told}");
        Ok(())
    });
}

#[test]
fn an_unsafe_program_is_refused_where_it_is_configured_and_a_missing_one_is_warned_of() {
    Lab::run(|lab| {
        let mut pair = Pair::new(lab)?;
        let node = pair.start(&pair.lb1)?;
        node.wait_leader(GROUP)?;
        let tell = script(lab, "tell", 0o777, "true")?;
        pair.plan.top = vec![format!("hooks:\n  tell: {{on: [fault], run: [{tell}]}}")];
        let file = pair.plan.file(&pair.lb1);
        let said = node.reload(&file).err().map(|error| error.to_string()).unwrap_or_default();
        let path = node.config().display().to_string();
        let checked =
            node.command(&["check", &path]).err().map(|error| error.to_string()).unwrap_or_default();
        for said in [said, checked] {
            for word in ["others than root may write", "(mode 0777)", "hooks.tell.run[0]", "help: chmod go-w"]
            {
                assert!(said.contains(word), "{word}: {said}");
            }
        }
        assert_eq!(node.status()?.role(GROUP), Some("leader"));
        std::fs::remove_file(&tell)?;
        node.reload(&file)?;
        let warned = node.status()?.0["config"]["warnings"].to_string();
        assert!(warned.contains("can't be found") && warned.contains("hooks.tell.run[0]"), "{warned}");

        // At the start the last good file runs in its place.
        script(lab, "tell", 0o777, "true")?;
        assert!(node.process().terminate(LONG)?.success());
        let node = Fulcrum::start(&pair.lb1, &file)?;
        node.wait_leader(GROUP)?;
        let config = node.status()?.0["config"].clone();
        assert!(config.to_string().contains("others than root may write"), "{config}");
        Ok(())
    });
}
