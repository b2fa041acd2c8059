//! `fulcrum drill`: a takeover on purpose, and its figure beside that of a client who knows nothing of it.

#![allow(
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test stops at what it did not expect, and starts processes"
)]

use fulcrum_tests::Result;
use fulcrum_tests::lab::{Fulcrum, GROUP, Lab, Linked, Machine, fulcrum_binary, run};
use fulcrum_tests::probe::{Options, Probe, Timeline};
use fulcrum_tests::wait::{run_for, wait_until};
use serde_json::Value;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);
/// What the drill's figure and the other client's may differ by here, where others use the processors, too.
const AGREES_MS: f64 = 60.0;

/// Two nodes, of which the first leads, and an inventory that reaches both from anywhere.
struct Scene {
    linked: Linked,
    inventory: PathBuf,
}

impl Scene {
    fn new(lab: &Lab) -> Result<Self> {
        Self::with(lab, Fulcrum::start)
    }

    fn with(lab: &Lab, start: impl Fn(&Machine, &str) -> Result<Fulcrum>) -> Result<Self> {
        let linked = Linked::new(lab, |_| {}, start)?;
        let (inventory, binary) = (lab.directory().join("nodes.yaml"), fulcrum_binary()?);
        let mut list = "nodes:\n".to_owned();
        for node in &linked.nodes {
            let (name, space) = (node.machine.name(), node.machine.namespace().name());
            let (socket, binary) = (Fulcrum::socket_of(&node.machine), binary.display());
            // Writing to a String does not fail.
            writeln!(
                list,
                "  - {{name: {name}, fulcrum: [nsenter, --net=/run/netns/{space}, env, FULCRUM_SOCKET={}, {binary}]}}",
                socket.display()
            )
            .ok();
        }
        std::fs::write(&inventory, list)?;
        let scene = Self { linked, inventory };
        // Connections that were begun before are not the drill's to lose.
        scene.linked.pair.client.set("net/ipv4/ip_local_port_range", "1025 65000")?;
        wait_until("both to be ready", LONG, || {
            scene.drill(&["--dry-run"]).is_ok_and(|it| it.0.status.success())
        })?;
        Ok(scene)
    }

    fn command(&self, machine: &Machine, arguments: &[&str]) -> Result<Command> {
        let space = machine.namespace().name();
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{space}")).arg(fulcrum_binary()?).arg("drill").args(arguments);
        command.arg("--inventory").arg(&self.inventory).stdin(Stdio::null());
        Ok(command)
    }

    /// Runs it at the client to its end, and gives all that it said.
    fn drill(&self, arguments: &[&str]) -> Result<(Output, String)> {
        self.drill_at(&self.linked.pair.client, arguments)
    }

    fn drill_at(&self, machine: &Machine, arguments: &[&str]) -> Result<(Output, String)> {
        let output = self.command(machine, &[&["--min-uptime", "0s"], arguments].concat())?.output()?;
        let said = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
        Ok((output, String::from_utf8_lossy(&said).into_owned()))
    }

    fn make(&self, arguments: &[&str]) -> Result<Value> {
        let (output, said) = self.drill(&[&["--yes", "--json", "--timeout", "500ms"], arguments].concat())?;
        println!("{said}");
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Another client, which asks for whole answers as often as the drill opens connections.
    fn other_client(&self) -> Result<Probe> {
        let options = Options {
            interval: Duration::from_millis(1),
            timeout: Duration::from_millis(500),
            ..Options::default()
        };
        Probe::start(&self.linked.pair.client, self.linked.pair.service(), options)
    }

    fn history(&self) -> Result<Vec<Value>> {
        let mut command = self.command(&self.linked.pair.client, &["history", "--json"])?;
        command.stdin(Stdio::null());
        Ok(serde_json::from_str(&run(command)?)?)
    }
}

/// The least and the most that the longest outage was: it began and ended between two requests. A gap without a failed
/// request is a pause of this machine's own.
fn longest_outage(timeline: &Timeline) -> (f64, f64) {
    let (mut last, mut failed, mut longest) = (None, None, None);
    for sample in timeline.samples() {
        let at = sample.begun;
        if !sample.is_answer() {
            failed = Some((failed.map_or(at, |(first, _)| first), at));
            continue;
        }
        if let (Some(last), Some((first, final_one))) = (last, failed) {
            let most = at.saturating_duration_since(last).as_secs_f64() * 1000.0;
            let least = final_one.saturating_duration_since(first).as_secs_f64() * 1000.0;
            longest = longest.filter(|it: &(f64, f64)| it.1 >= most).or(Some((least, most)));
        }
        (last, failed) = (Some(at), None);
    }
    longest.unwrap_or((0.0, timeline.longest_pause().as_secs_f64() * 1000.0))
}

/// The figure agrees with that of the other client, which stops here: what each says for sure.
fn assert_agrees(what: &str, drill: &Value, probe: Probe) {
    let timeline = probe.finish();
    let number = |key: &str| drill[key].as_f64().unwrap_or(f64::NAN);
    let (told, unsure) = (number("outage_ms"), number("resolution_ms"));
    let (least, most) = longest_outage(&timeline);
    println!(
        "{what}: the drill says {told:.2} ms (+-{unsure:.2}), another client saw {least:.2} to {most:.2} ms: {:.2} ms apart",
        (told - most).abs()
    );
    let (least_told, most_told) = if drill["failed"] == 0 { (0.0, unsure) } else { (told - unsure, told) };
    assert!(least_told <= most + AGREES_MS && least <= most_told + AGREES_MS, "they disagree: {drill}");
}

#[test]
fn a_drill_by_handover_loses_nothing_and_is_kept() {
    Lab::run(|lab| {
        let scene = Scene::new(lab)?;
        let told = scene.make(&[GROUP])?;
        let drill = &told["drills"][0];
        assert_eq!(
            (&drill["from"], &drill["to"], &drill["leads"]),
            (&"lb1".into(), &"lb2".into(), &"lb2".into())
        );
        assert_eq!((drill["failed"].as_u64(), drill["outage_ms"].as_f64()), (Some(0), Some(0.0)), "{told}");
        assert_eq!((drill["held"].as_u64(), drill["broken"].as_u64()), (Some(10), Some(0)), "{told}");
        assert!(drill["requests"].as_u64() > Some(1000), "{told}");
        assert_eq!(scene.history()?, std::slice::from_ref(drill));
        Ok(())
    });
}

#[test]
fn a_drill_that_kills_says_what_another_client_saw() {
    Lab::run(|lab| {
        let scene = Scene::new(lab)?;
        let first = &scene.linked.nodes[0];
        let probe = scene.other_client()?;
        let told = std::thread::scope(|scope| -> Result<Value> {
            let told = scope.spawn(|| scene.make(&["--kill"]));
            wait_until("the daemon's end", LONG, || first.process().ended().is_some())?;
            run_for(Duration::from_secs(3));
            // What systemd does.
            let _again = scene.linked.pair.start(&scene.linked.pair.lb1)?;
            told.join().expect("it ends")
        })?;
        let drill = &told["drills"][0];
        assert_eq!((&drill["from"], &drill["to"]), (&"lb1".into(), &"lb2".into()), "{told}");
        assert_agrees("kill", drill, probe);
        assert_eq!(drill["broken"], drill["held"], "the process that proxied them is gone: {told}");
        assert_eq!(scene.history()?.len(), 1);
        Ok(())
    });
}

#[test]
fn a_drill_that_cuts_says_what_another_client_saw_and_the_cut_ends() {
    Lab::run(cut);
}

#[test]
fn a_drill_that_cuts_does_so_by_clsact_too() {
    Lab::run(|lab| {
        let scene = Scene::with(lab, |machine, file| {
            Fulcrum::start_with(machine, file, |command| {
                command.env("FULCRUM_FENCE", "clsact");
            })
        })?;
        cut_with(&scene)
    });
}

fn cut(lab: &Lab) -> Result<()> {
    cut_with(&Scene::new(lab)?)
}

fn cut_with(scene: &Scene) -> Result<()> {
    let probe = scene.other_client()?;
    let told = scene.make(&["--cut", "--for", "4s"])?;
    let drill = &told["drills"][0];
    assert_eq!((&drill["from"], &drill["to"]), (&"lb1".into(), &"lb2".into()), "{told}");
    assert!(drill["leads"].is_string() && drill["is_over"] == true, "{told}");
    assert!(drill["outage_ms"].as_f64() > Some(100.0), "nothing was cut: {told}");
    assert_agrees("cut", drill, probe);
    scene.linked.wait_agreement()
}

/// The one that asked is killed, and then the daemon that holds the cut: the kernel ends it.
#[test]
fn a_cut_ends_although_who_asked_and_who_held_it_are_killed() {
    Lab::run(|lab| {
        let scene = Scene::new(lab)?;
        let (client, first) = (&scene.linked.pair.client, &scene.linked.nodes[0]);
        let mut command = scene.command(client, &["--min-uptime", "0s", "--yes", "--cut", "--for", "5s"])?;
        let mut child = command.stdout(Stdio::null()).spawn()?;
        scene.linked.nodes[1].wait_leader(GROUP)?;
        child.kill()?;
        child.wait()?;
        let own = scene.linked.pair.lb1.ipv4().to_string();
        let answers = || client.run("ping", &["-n", "-c", "1", "-W", "1", &own]).is_ok();
        assert!(!answers(), "it is cut off");
        first.process().kill_with_children()?;
        wait_until("the cut to end", LONG, answers)
    });
}

#[test]
fn a_drill_is_refused_in_an_unsafe_moment_and_in_an_unfit_place() {
    Lab::run(|lab| {
        let scene = Scene::new(lab)?;
        let (pair, nodes) = (&scene.linked.pair, &scene.linked.nodes);
        let refused = |arguments: &[&str]| -> Result<String> {
            let (output, said) = scene.drill(arguments)?;
            assert!(!output.status.success(), "{said}");
            assert_eq!(nodes[0].status()?.role(GROUP), Some("leader"), "{said}");
            Ok(said)
        };
        // Nobody is there to be asked.
        let said = refused(&["--kill"])?;
        assert!(said.contains("the daemon of lb1 is killed") && said.contains("say --yes"), "{said}");
        let mut command = scene.command(&pair.client, &["--yes", "--kill", "--min-uptime", "1h"])?;
        let said = String::from_utf8_lossy(&command.output()?.stderr).into_owned();
        assert!(said.contains("lb2: it came up ") && said.contains("nothing was done"), "{said}");

        let (output, said) = scene.drill_at(&pair.lb2, &["--yes", "--kill"])?;
        assert!(!output.status.success() && said.contains("this machine is lb2"), "{said}");

        nodes[0].command(&["drain", "lb-node", "lb2"])?;
        let said = refused(&["--yes", "--kill"])?;
        assert!(said.contains("lb2: it is drained"), "{said}");
        nodes[0].command(&["undrain", "lb-node", "lb2"])?;

        nodes[1].kill()?;
        let said = refused(&["--yes", "--kill"])?;
        assert!(said.contains("lb2 does not answer"), "{said}");
        // The node itself refuses, whoever asks it, once it knows.
        scene.linked.wait_down(0)?;
        let said = nodes[0].command(&["drill", "strike", "--kill"]).expect_err("refused").to_string();
        assert!(said.contains("group web is led here") && said.contains("nothing was done"), "{said}");
        assert!(scene.history()?.is_empty());
        Ok(())
    });
}
