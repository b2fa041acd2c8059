//! Nodes of a cluster that Cluster API deletes: the script that drains them first, with a `kubectl` that plays the cluster.
#![allow(clippy::indexing_slicing, clippy::disallowed_methods, reason = "starts the script under test")]

use fulcrum_tests::Result;
use fulcrum_tests::lab::{Fulcrum, Lab, Linked, Pair, fulcrum_binary, output, script};
use fulcrum_tests::probe::Session;
use fulcrum_tests::wait::{run_for, wait_until};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(20);

/// Shows the machines in a file, and takes the annotation away there.
const KUBECTL: &str = r#"#!/bin/sh
case "$1" in
get) cat MACHINES ;;
annotate) sed -i "s/^$5 $3 deleted fulcrum/$5 $3 deleted -/" MACHINES && echo annotated ;;
esac
"#;

struct Scene {
    linked: Linked,
    machines: PathBuf,
    kubectl: PathBuf,
}

impl Scene {
    fn new(lab: &Lab, prepare: impl FnOnce(&mut Pair)) -> Result<Self> {
        let linked = Linked::new(lab, prepare, Fulcrum::start)?;
        let machine = &linked.pair.lb1;
        let machines = machine.write("machines", "")?;
        let kubectl = KUBECTL.replace("MACHINES", &machines.display().to_string());
        let kubectl = script(machine, "kubectl", &kubectl)?;
        Ok(Self { linked, machines, kubectl })
    }

    fn command(&self) -> Result<Command> {
        let node = self.linked.node(0)?;
        let mut command =
            Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/cluster-api-machines"));
        command
            .env("KUBECTL", &self.kubectl)
            .env("FULCRUM", fulcrum_binary()?)
            .env("FULCRUM_SOCKET", Fulcrum::socket_of(&node.machine))
            .env("STATE", node.machine.file("machines.state"))
            .env("DEADLINE", "10s")
            .env("EVERY", "0")
            .stdin(Stdio::null());
        Ok(command)
    }

    /// The script looks once. Gives what it said, and what the machines are like afterwards.
    fn look(&self, machines: &str) -> Result<(String, String)> {
        std::fs::write(&self.machines, machines)?;
        let ended = self.command()?.output()?;
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        Ok((said, std::fs::read_to_string(&self.machines)?))
    }

    fn drained(&self) -> Result<Vec<String>> {
        let status = self.linked.node(1)?.status()?;
        let asked = status.0["overrides"].as_array().cloned().unwrap_or_default();
        Ok(asked.iter().filter_map(|it| it["of"].as_str().map(str::to_owned)).collect())
    }
}

#[test]
fn a_machine_that_is_deleted_is_drained_waited_for_and_forgotten() {
    Lab::run(|lab| {
        let scene = Scene::new(lab, |_| {})?;
        let pair = &scene.linked.pair;
        let lives = "default other lives fulcrum 10.77.0.99\ndefault alien deleted fulcrum 10.99.0.1\n";
        // Somebody has a connection there, which is waited for.
        let session = Session::open(&pair.client, pair.service(), LONG)?;
        let web = pair.web.iter().map(|web| &web.machine).find(|web| web.name() == session.backend());
        let address = web.expect("a backend").ipv4().to_string();
        std::fs::write(&scene.machines, format!("{lives}default web-a deleted fulcrum {address}\n"))?;
        let mut running = scene.command()?.stderr(Stdio::null()).spawn()?;
        wait_until("the drain", LONG, || scene.drained().is_ok_and(|it| it.len() == 1))?;
        run_for(Duration::from_secs(1));
        let machines = std::fs::read_to_string(&scene.machines)?;
        assert!(
            machines.contains(&format!("web-a deleted fulcrum {address}")),
            "it is waited for: {machines}"
        );
        assert!(machines.contains("alien deleted - "), "it serves nothing here: {machines}");
        drop(session);
        assert!(running.wait()?.success());
        let machines = std::fs::read_to_string(&scene.machines)?;
        assert!(machines.contains(&format!("web-a deleted - {address}")), "it may go: {machines}");
        assert_eq!(scene.drained()?.len(), 1, "as long as the machine is there");
        // The machine is gone.
        let (said, _) = scene.look("default other lives fulcrum 10.77.0.99\n")?;
        assert!(said.contains("web-a is gone, and its drain with it"), "{said}");
        assert_eq!(scene.drained()?, Vec::<String>::new());
        Ok(())
    });
}

#[test]
fn a_machine_whose_backend_is_the_last_of_a_control_plane_stays() {
    Lab::run(|lab| {
        let scene = Scene::new(lab, |pair| pair.plan.group.push("class: control-plane".to_owned()))?;
        let address = |place: usize| scene.linked.pair.web[place].machine.ipv4().to_string();
        for place in 0..2 {
            scene.linked.node(0)?.command(&["drain", "backend", &address(place)])?;
        }
        let (said, machines) = scene.look(&format!("default web-c deleted fulcrum {}\n", address(2)))?;
        assert!(said.contains("web-c stays for now"), "{said}");
        assert!(machines.contains("web-c deleted fulcrum"), "{machines}");
        // Another is back: it is granted.
        scene.linked.node(0)?.command(&["undrain", "backend", &address(0)])?;
        let (said, machines) = scene.look(&machines)?;
        assert!(machines.contains("web-c deleted - "), "{said} {machines}");
        Ok(())
    });
}

/// The file of a node in what a machine is given for its first boot.
#[test]
fn the_node_of_a_first_boot_is_a_valid_one() {
    Lab::run(|lab| {
        let text = include_str!("../../packaging/cloud-init.yaml");
        let file = text
            .split("path: /etc/fulcrum/fulcrum.yaml")
            .nth(1)
            .and_then(|it| it.split("content: |\n").nth(1));
        let file: String = file
            .unwrap_or_default()
            .lines()
            .map_while(|line| line.strip_prefix("      "))
            .flat_map(|line| [line, "\n"])
            .collect();
        let machine = lab.machine("lb-1", 11)?;
        let path = machine.write("fulcrum.yaml", &format!("node: lb-1\n{file}"))?;
        let said = output(&fulcrum_binary()?.display().to_string(), &["check", &path.display().to_string()])?;
        assert!(file.contains("class: control-plane") && said.contains("good"), "{said}\n{file}");
        Ok(())
    });
}
