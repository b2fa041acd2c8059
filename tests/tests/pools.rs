//! Addresses from pools: who gets one keeps it, whatever becomes of the nodes.
#![allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "there are two nodes, 0 and 1")]

use fulcrum_tests::lab::{Fulcrum, GROUP, Lab, Machine, Pair, Plan, Status};
use fulcrum_tests::probe::Session;
use fulcrum_tests::wait::{run_for, wait_for, wait_until};
use fulcrum_tests::{LabError, Result};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(25);

const POOL: &str = "pools: {public: {addresses: [10.77.0.200-10.77.0.203], group: web}}";

struct Scene {
    pair: Pair,
    nodes: Vec<Fulcrum>,
}

impl Scene {
    /// A pair whose link stands, and whose service `auto` has an address of a pool of four.
    fn new(lab: &Lab, start: impl Fn(&Machine, &str) -> Result<Fulcrum>) -> Result<Self> {
        let mut pair = Pair::new(lab)?;
        pair.plan = with(&pair.plan.with_keys()?, &["auto"]);
        pair.plan.top.push(POOL.to_owned());
        Self::of(pair, start)
    }

    /// The pair of this plan.
    fn of(pair: Pair, start: impl Fn(&Machine, &str) -> Result<Fulcrum>) -> Result<Self> {
        let nodes = vec![
            start(&pair.lb1, &pair.plan.file(&pair.lb1))?,
            start(&pair.lb2, &pair.plan.file(&pair.lb2))?,
        ];
        let scene = Self { pair, nodes };
        let leads = |side: usize| scene.nodes[side].status().is_ok_and(|it| it.role(GROUP) == Some("leader"));
        wait_until("a leader", LONG, || leads(0) || leads(1))?;
        scene.wait_agreement()?;
        Ok(scene)
    }

    fn name(&self, side: usize) -> &str {
        self.nodes[side].machine.name()
    }

    fn wait(&self, side: usize, what: &str, is_so: impl Fn(&Status) -> bool) -> Result<()> {
        wait_until(what, LONG, || self.nodes[side].status().is_ok_and(|status| is_so(&status)))
    }

    fn wait_agreement(&self) -> Result<()> {
        self.wait_agreement_for(LONG)
    }

    fn wait_agreement_for(&self, time: Duration) -> Result<()> {
        let agrees = |side: usize| {
            self.nodes[side].status().is_ok_and(|status| status.agrees_with(self.name(1 - side)))
        };
        wait_until("agreement", time, || agrees(0) && agrees(1))
    }

    fn reload(&self, side: usize, plan: &Plan, how: &[&str]) -> Result<String> {
        let node = &self.nodes[side];
        node.machine.write("fulcrum.yaml", &plan.file(&node.machine))?;
        node.command(&[&["reload"], how].concat())
    }

    /// The address of a service on one node.
    fn address(&self, side: usize, service: &str) -> Result<IpAddr> {
        let status = self.nodes[side].status()?;
        let vip = status.service(service).and_then(|service| service["vips"][0].as_str()?.parse().ok());
        vip.ok_or_else(|| LabError::new(format!("{service} has no address on {}", self.name(side))))
    }

    /// The last number of the address of each service, the same on both nodes.
    fn numbers(&self, services: &[&str]) -> Result<Vec<u8>> {
        let mut numbers = Vec::new();
        for service in services {
            let addresses = [self.address(0, service)?, self.address(1, service)?];
            assert_eq!(addresses[0], addresses[1], "{service}");
            let last = addresses[0].to_string().rsplit_once('.').and_then(|(_, last)| last.parse().ok());
            numbers.push(last.ok_or_else(|| LabError::new(format!("{addresses:?} is not IPv4")))?);
        }
        Ok(numbers)
    }

    /// A client gets an answer from the service.
    fn answers(&self, service: &str) -> Result<()> {
        self.answers_at(self.address(0, service)?, 80)
    }

    fn answers_at(&self, address: IpAddr, port: u16) -> Result<()> {
        let address = SocketAddr::new(address, port);
        let answer = || Session::open(&self.pair.client, address, Duration::from_secs(1)).ok()?.ask().ok();
        wait_for(&format!("an answer from {address}"), LONG, answer).map(drop)
    }
}

/// The plan with further services that take any address.
fn with(plan: &Plan, services: &[&str]) -> Plan {
    let mut plan = plan.clone();
    let service =
        |name: &&str| format!("{name}: {{vip: auto, port: 80, backends: [10.77.0.21:80], check: none}}");
    plan.services.extend(services.iter().map(service));
    plan
}

fn kept(machine: &Machine, suffix: &str) -> Result<PathBuf> {
    let state = machine.file("state");
    let entries = std::fs::read_dir(&state).map_err(|error| LabError::new(error.to_string()))?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let named = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.starts_with("allocations-") && name.ends_with(suffix)
    };
    paths
        .into_iter()
        .find(named)
        .ok_or_else(|| LabError::new(format!("nothing is kept in {}", state.display())))
}

#[test]
fn an_address_of_a_pool_answers_and_stays_through_reloads_restarts_and_damage() {
    Lab::run(|lab| {
        let mut scene = Scene::new(lab, Fulcrum::start)?;
        assert_eq!(scene.numbers(&["auto"])?, [200]);
        scene.answers("auto")?;
        let status = scene.nodes[0].status()?;
        assert_eq!(status.0["pools"][0]["free"], 3);
        assert_eq!(status.service("auto").map(|it| &it["pools"]["10.77.0.200"]), Some(&"public".into()));

        // Services come whose names sort before, in another order of the file.
        let mut plan = with(&scene.pair.plan, &["before", "a-first"]);
        plan.services.reverse();
        let answer = scene.reload(0, &plan, &[])?;
        assert!(answer.contains("service a-first: added"), "{answer}");
        assert_eq!(scene.numbers(&["auto", "a-first", "before"])?, [200, 201, 202]);
        scene.answers("before")?;

        // Both start again, and the second one's memory is damaged.
        for side in [1, 0] {
            scene.nodes[side].process().terminate(LONG)?;
        }
        let path = kept(&scene.pair.lb2, ".yaml")?;
        let bytes = std::fs::read_to_string(&path)?.replace("10.77.0.202", "10.77.0.203");
        std::fs::write(&path, bytes)?;
        for (side, machine) in [(1, scene.pair.lb2.clone()), (0, scene.pair.lb1.clone())] {
            let file = std::fs::read_to_string(scene.nodes[side].config())?;
            scene.nodes[side] = Fulcrum::start(&machine, &file)?;
        }
        let log = scene.pair.lb2.file("fulcrum.log");
        wait_until("the damage to be told", LONG, || {
            std::fs::read_to_string(&log).is_ok_and(|log| log.contains("is damaged (its checksum is wrong)"))
        })?;
        scene.wait(1, "the first one's copy", |status| {
            status.service("before").is_some_and(|service| service["vips"][0] == "10.77.0.202")
                && !status.alarms().iter().any(|what| what.contains("is damaged"))
        })?;
        scene.wait_agreement()?;
        assert_eq!(scene.numbers(&["auto", "a-first", "before"])?, [200, 201, 202]);
        scene.answers("auto")?;

        // Too many services are refused by the pool's name; what they have nobody loses by an edit, unless asked.
        let refused = scene.reload(0, &with(&plan, &["four", "five"]), &[]).unwrap_err().to_string();
        assert!(refused.contains("pool `public` has no free IPv4 address (4 of 4 are in use)"), "{refused}");
        plan.top[0] = plan.top[0].replace(".200-", ".201-");
        let refused = scene.reload(0, &plan, &[]).unwrap_err().to_string();
        assert!(
            refused.contains("service `auto` has 10.77.0.200 of pool `public`, and can't keep it"),
            "{refused}"
        );
        assert_eq!(scene.numbers(&["auto", "a-first", "before"])?, [200, 201, 202]);
        let answer = scene.reload(0, &plan, &["--give-up-addresses"])?;
        assert!(answer.contains("service auto: VIP 10.77.0.203 added"), "{answer}");
        scene.wait_agreement()?;
        assert_eq!(scene.numbers(&["auto", "a-first", "before"])?, [203, 201, 202]);
        scene.answers("auto")
    });
}

#[test]
fn nodes_that_were_apart_end_with_the_addresses_of_the_newer_configuration() {
    Lab::run(|lab| {
        let scene = Scene::new(lab, Fulcrum::start)?;
        lab.switch().part(&scene.pair.lb1, &scene.pair.lb2)?;
        for side in [0, 1] {
            let other = scene.name(1 - side);
            scene.wait(side, "the link to be down", |status| {
                status.peer(other).is_some_and(|peer| peer["state"] == "down")
            })?;
        }
        // Each gives `more` an address; that of the first would be the other's `last`.
        scene.reload(0, &with(&scene.pair.plan, &["a-first", "more"]), &[])?;
        scene.reload(1, &with(&scene.pair.plan, &["more"]), &[])?;
        scene.reload(1, &with(&scene.pair.plan, &["more", "last"]), &[])?;
        assert_eq!(
            [scene.address(0, "more")?.to_string(), scene.address(1, "more")?.to_string()],
            ["10.77.0.202", "10.77.0.201"]
        );
        lab.switch().heal()?;
        scene.wait_agreement()?;
        assert_eq!(scene.numbers(&["auto", "more", "last"])?, [200, 201, 202]);
        let log = std::fs::read_to_string(scene.pair.lb1.file("fulcrum.log"))?;
        assert!(log.contains("the service has another address from its pool now"), "{log}");
        scene.answers("more")
    });
}

#[test]
fn an_address_that_can_not_be_kept_is_not_handed_out() {
    Lab::run(|lab| {
        let scene = Scene::new(lab, Fulcrum::start_on_small_disk)?;
        for full in [0, 1] {
            let ballast = scene.nodes[full].fill_disk()?;
            // Whichever node is asked.
            for asked in [0, 1] {
                let plan = with(&scene.pair.plan, &[&format!("more-{full}-{asked}")]);
                let refused = scene.reload(asked, &plan, &[]).unwrap_err().to_string();
                assert!(refused.contains("No space left on device"), "{refused}");
                assert_eq!(refused.contains(&format!("{}: ", scene.name(full))), asked != full, "{refused}");
            }
            for side in [0, 1] {
                let services = scene.nodes[side].status()?.0["services"].to_string();
                assert!(!services.contains("more"), "{services}");
            }
            assert_eq!(scene.numbers(&["auto"])?, [200]);
            // What needs no new address is not held up.
            let mut plan = scene.pair.plan.clone();
            plan.services
                .push(format!("old-{full}: {{vip: 10.77.0.100, port: 9{full}, backends: [10.77.0.21:80]}}"));
            scene.reload(0, &plan, &[])?;
            std::fs::remove_file(ballast)?;
        }
        scene.reload(1, &with(&scene.pair.plan, &["more"]), &[])?;
        assert_eq!(scene.numbers(&["auto", "more"])?, [200, 201]);
        scene.answers("more")
    });
}

#[test]
fn a_node_that_can_not_keep_what_it_missed_stays_behind_and_says_so_until_it_can() {
    Lab::run(|lab| {
        let scene = Scene::new(lab, Fulcrum::start_on_small_disk)?;
        lab.switch().part(&scene.pair.lb1, &scene.pair.lb2)?;
        let other = scene.name(0);
        scene.wait(1, "the link to be down", |status| {
            status.peer(other).is_some_and(|peer| peer["state"] == "down")
        })?;
        let ballast = scene.nodes[1].fill_disk()?;
        scene.wait(0, "the link to be down", |status| {
            status.peer(scene.name(1)).is_some_and(|peer| peer["state"] == "down")
        })?;
        scene.reload(0, &with(&scene.pair.plan, &["more"]), &[])?;
        lab.switch().heal()?;
        scene.wait(1, "the alarm", |status| {
            status
                .alarms()
                .iter()
                .any(|what| what.contains("stays behind") && what.contains("can't be kept here"))
        })?;
        assert!(scene.nodes[1].status()?.service("more").is_none());
        assert_eq!(scene.numbers(&["auto"])?, [200]);
        std::fs::remove_file(ballast)?;
        scene.wait_agreement_for(Duration::from_secs(60))?;
        assert_eq!(scene.numbers(&["auto", "more"])?, [200, 201]);
        Ok(())
    });
}

#[test]
fn a_node_that_is_killed_in_a_reload_hands_out_nothing_twice() {
    Lab::run(|lab| {
        let mut pair = Pair::new(lab)?;
        pair.plan = with(&pair.plan.with_keys()?, &["auto"]);
        pair.plan.top.push(POOL.replace(".203", ".230"));
        let mut scene = Scene::of(pair, Fulcrum::start)?;
        let mut plan = scene.pair.plan.clone();
        let mut names = vec!["auto".to_owned()];
        let mut numbers = scene.numbers(&["auto"])?;
        // Names that sort before those that are there: by itself a new one would get the lowest address.
        for (round, milliseconds) in [0, 4, 8, 12, 18, 25, 40, 60].into_iter().enumerate() {
            let name = format!("a{}", 9 - round);
            plan = with(&plan, &[&name]);
            std::thread::scope(|scope| {
                let reload = scope.spawn(|| scene.reload(0, &plan, &[]).map_err(|error| error.to_string()));
                run_for(Duration::from_millis(milliseconds));
                let killed = scene.nodes[0].process().kill_with_children();
                // It was answered or not: either will do.
                let _answer = reload.join();
                killed
            })?;
            scene.nodes[0] = Fulcrum::start(&scene.pair.lb1, &plan.file(&scene.pair.lb1))?;
            // Its file was edited: until the link stands and it is told to, it tells nobody.
            let other = scene.name(1).to_owned();
            scene.wait(0, "the link", |status| {
                status.peer(&other).is_some_and(|peer| peer["state"] == "up")
            })?;
            wait_until("agreement", LONG, || {
                scene.nodes[0].command(&["reload"]).is_ok()
                    && scene.wait_agreement_for(Duration::from_secs(1)).is_ok()
            })?;
            let known: Vec<&str> = names.iter().map(String::as_str).collect();
            assert_eq!(scene.numbers(&known)?, numbers, "after {milliseconds} ms");
            numbers.extend(scene.numbers(&[&name])?);
            names.push(name);
            let distinct: std::collections::BTreeSet<u8> = numbers.iter().copied().collect();
            assert_eq!(distinct.len(), names.len(), "{numbers:?}");
        }
        Ok(())
    });
}

/// Starts a node whose group has no VRID: its leader is elected over the peer link.
fn start_elected(machine: &Machine, config: &str) -> Result<Fulcrum> {
    Fulcrum::start(machine, &config.replace("    vrid: 51\n", ""))
}

#[test]
fn addresses_of_a_pool_go_with_their_group_whoever_finds_its_leader() {
    for start in [Fulcrum::start, start_elected] {
        Lab::run(|lab| {
            let mut pair = Pair::new(lab)?;
            pair.plan = with(&pair.plan.with_keys()?, &["auto"]);
            for (name, port) in [("one", 81), ("two", 82)] {
                pair.plan.services.push(format!(
                    "{name}: {{vip: auto, share: both, port: {port}, backends: [10.77.0.21:80], check: none}}"
                ));
            }
            pair.plan.top.push(POOL.to_owned());
            let scene = Scene::of(pair, start)?;
            assert_eq!(scene.numbers(&["auto", "one", "two"])?, [200, 201, 201]);
            let addresses = [scene.address(0, "auto")?, scene.address(0, "one")?];
            let leads =
                |side: usize| scene.nodes[side].status().is_ok_and(|it| it.role(GROUP) == Some("leader"));
            let leader = wait_for("a leader", LONG, || [0, 1].into_iter().find(|side| leads(*side)))?;
            for gone in [None, Some(leader)] {
                if let Some(gone) = gone {
                    scene.nodes[gone].process().kill_with_children()?;
                }
                for (address, port) in [(addresses[0], 80), (addresses[1], 81), (addresses[1], 82)] {
                    scene.answers_at(address, port)?;
                }
            }
            Ok(())
        });
    }
}
