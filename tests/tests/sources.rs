//! Services that come from outside the file: on all nodes, for as long as their source says so.
#![allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "there are two nodes, 0 and 1")]

use fulcrum_tests::lab::{Fulcrum, Lab, Linked, Status};
use fulcrum_tests::probe::Session;
use fulcrum_tests::wait::{now, wait_for};
use fulcrum_tests::{LabError, Result};
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(25);

const TEXT: &str = "\
services:
  prod/shop/cart: {vip: auto, port: 8080, backends: [10.77.0.21:80], check: none}
  prod/shop/mail:smtp: {vip: auto, port: 25, backends: [10.77.0.22:80], check: none}
  prod/shop/claims: {vip: 10.77.0.100, port: 80, backends: [10.77.0.22:80]}
  prod/shop/odd: {vip: auto, port: 80, backends: [10.77.0.22:80], colour: red}
";

/// A pair whose link stands, with a pool of three addresses.
fn scene(lab: &Lab) -> Result<Linked> {
    let pool = "pools: {public: {addresses: [10.77.0.200-10.77.0.202], group: web}}";
    Linked::new(lab, |pair| pair.plan.top.push(pool.to_owned()), Fulcrum::start)
}

fn set(scene: &Linked, side: usize, text: &str) -> Result<String> {
    let node = scene.node(side)?;
    let path = node.machine.write("prod.yaml", text)?;
    node.command(&["source", "set", "prod", &path.display().to_string()])
}

fn source(status: &Status) -> Option<&Value> {
    status.0["sources"].as_array()?.iter().find(|source| source["name"] == "prod")
}

/// How many services are in force, and which are not.
fn counted(status: &Status) -> Option<(u64, Vec<String>)> {
    let source = source(status)?;
    let aside = source["set_aside"].as_object()?.keys().cloned().collect();
    Some((source["services"].as_u64()?, aside))
}

/// The address of a service, the same on both nodes.
fn address(scene: &Linked, service: &str) -> Result<IpAddr> {
    let of = |side: usize| {
        let status = scene.node(side)?.status()?;
        let vip =
            status.service(service).and_then(|service| service["vips"][0].as_str()?.parse::<IpAddr>().ok());
        vip.ok_or_else(|| LabError::new(format!("{service} has no address on {}", scene.name(side))))
    };
    let (one, other) = (of(0)?, of(1)?);
    assert_eq!(one, other, "{service}");
    Ok(one)
}

/// A client gets an answer from the service.
fn answers(scene: &Linked, service: &str, port: u16) -> Result<()> {
    let address = SocketAddr::new(address(scene, service)?, port);
    let answer = || Session::open(&scene.pair.client, address, Duration::from_secs(1)).ok()?.ask().ok();
    wait_for(&format!("an answer from {address}"), LONG, answer).map(drop)
}

#[test]
fn what_a_source_says_is_served_and_stays_across_reload_and_restart_until_it_is_taken_back() {
    Lab::run(|lab| {
        let mut scene = scene(lab)?;
        // Said to the standby, and in force on both.
        let answer = set(&scene, 1, TEXT)?;
        assert!(answer.contains("source prod: 2 services in force"), "{answer}");
        assert!(answer.contains("set aside: prod/shop/odd: "), "{answer}");
        assert!(answer.contains("set aside: prod/shop/claims: port: service `web` listens on"), "{answer}");
        assert!(answer.contains(&format!("applied on {}, too", scene.name(0))), "{answer}");
        let all = (2, vec!["prod/shop/claims".to_owned(), "prod/shop/odd".to_owned()]);
        for side in [0, 1] {
            assert_eq!(counted(&scene.nodes[side].status()?), Some(all.clone()));
        }
        answers(&scene, "prod/shop/cart", 8080)?;
        let had = address(&scene, "prod/shop/mail:smtp")?;

        // The same once more is no change.
        let serial =
            |scene: &Linked| Ok::<_, LabError>(scene.nodes[0].status()?.0["config"]["serial"].as_u64());
        let before = serial(&scene)?;
        let again = set(&scene, 0, TEXT)?;
        assert!(again.contains("nothing changed"), "{again}");
        assert_eq!(serial(&scene)?, before);

        // A reload of a file that says nothing of it.
        let mut plan = scene.pair.plan.clone();
        plan.services.push("more: {vip: auto, port: 81, backends: [10.77.0.21:80], check: none}".to_owned());
        scene.reload(0, &plan, &[])?;
        scene.wait(1, "the file's change", |status| status.service("more").is_some())?;
        assert_eq!(address(&scene, "prod/shop/mail:smtp")?, had);
        answers(&scene, "prod/shop/cart", 8080)?;

        // One that would take an address away is refused.
        let mut small = plan.clone();
        small.top.retain(|line| !line.starts_with("pools:"));
        small.top.push("pools: {public: {addresses: [10.77.0.202-10.77.0.206], group: web}}".to_owned());
        let node = &scene.nodes[0];
        node.machine.write("fulcrum.yaml", &small.file(&node.machine))?;
        let refused = scene.refused(0, &["reload"]);
        assert!(
            refused.contains("service prod/shop/cart has an address of a pool, and would lose it"),
            "{refused}"
        );
        node.machine.write("fulcrum.yaml", &plan.file(&node.machine))?;

        scene.restart(0)?;
        scene.restart(1)?;
        assert_eq!(counted(&scene.nodes[0].status()?), Some(all));
        assert_eq!(address(&scene, "prod/shop/mail:smtp")?, had);
        answers(&scene, "prod/shop/cart", 8080)?;

        // One service goes, and its address is free for one that was mended; the other keeps its own.
        let cart = address(&scene, "prod/shop/cart")?;
        let text = "services: {prod/shop/odd: {vip: auto, port: 80, backends: [10.77.0.22:80], check: none}, \
                    \"prod/shop/mail:smtp\": {vip: auto, port: 25, backends: [10.77.0.22:80], check: none}}";
        set(&scene, 0, text)?;
        assert_eq!((address(&scene, "prod/shop/odd")?, address(&scene, "prod/shop/mail:smtp")?), (cart, had));
        assert_eq!(scene.nodes[1].command(&["source", "show", "prod"])?, text);
        let listed = scene.nodes[1].command(&["source", "list"])?;
        assert!(listed.contains("prod") && listed.contains("uid "), "{listed}");

        let refused = scene.nodes[0].machine.write("bad.yaml", "services: {}\ngroups: {}")?;
        let refused = scene.refused(0, &["source", "set", "prod", &refused.display().to_string()]);
        assert!(refused.contains("source prod is refused") && refused.contains("`groups`"), "{refused}");

        scene.nodes[1].command(&["source", "remove", "prod"])?;
        for side in [0, 1] {
            scene.wait(side, "nothing from outside", |status| {
                source(status).is_none() && status.service("prod/shop/odd").is_none()
            })?;
        }
        Ok(())
    });
}

#[test]
fn a_node_that_was_away_catches_up_with_a_source() {
    Lab::run(|lab| {
        let mut scene = scene(lab)?;
        let file = std::fs::read_to_string(scene.nodes[1].config())?;
        scene.nodes[1].process().terminate(LONG)?;
        scene.wait_down(0)?;
        let answer = set(&scene, 0, TEXT)?;
        assert!(answer.contains("it catches up"), "{answer}");
        let machine = scene.nodes[1].machine.clone();
        scene.nodes[1] = Fulcrum::start(&machine, &file)?;
        scene.wait_agreement()?;
        assert_eq!(counted(&scene.nodes[1].status()?).map(|(count, _)| count), Some(2));
        // It has it from its own disk, too.
        scene.nodes[0].process().terminate(LONG)?;
        scene.nodes[1].process().terminate(LONG)?;
        scene.nodes[1] = Fulcrum::start(&machine, &file)?;
        scene.wait(1, "the services", |status| status.service("prod/shop/cart").is_some())
    });
}

/// By hand, with `FULCRUM_BIN` of a release: `cargo test -p fulcrum-tests --test sources -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn how_long_a_change_of_one_backend_takes() {
    let text = |count: u32, changed: u32| {
        let service = |number: u32| {
            let last = if number == 7 { 30 + changed } else { 21 };
            let port = 1_000 + number;
            format!(
                "  prod/shop/s{number}: {{vip: auto, share: all, port: {port}, check: none, \
                 backends: [10.77.0.22:80, 10.77.0.{last}:80]}}\n"
            )
        };
        format!("services:\n{}", (0..count).map(service).collect::<String>())
    };
    Lab::run(|lab| {
        let scene = scene(lab)?;
        for count in [500, 5_000] {
            let mut took = Vec::new();
            for changed in 0..10 {
                let begun = now();
                set(&scene, 0, &text(count, changed))?;
                took.push(begun.elapsed());
            }
            println!(
                "{count} services: all of them {:?}, then one backend {:?}",
                took.first(),
                took.get(1..)
            );
        }
        for line in scene.nodes[0].process().log().lines().filter(|line| line.contains("says something else"))
        {
            println!("{line}");
        }
        Ok(())
    });
}
