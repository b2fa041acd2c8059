//! A new binary takes over from the old one's process on the same node.
#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    reason = "nothing but a test"
)]

use fulcrum_tests::frames::Capture;
use fulcrum_tests::lab::{
    Cluster, Echo, Family, Fulcrum, GROUP, Lab, Machine, Mode, Pair, by_xdp, forward, fulcrum_binary,
    install, install_first, script, wait_settled,
};
use fulcrum_tests::probe::{Options, Probe, Session};
use fulcrum_tests::wait::{now, run_for, wait_until};
use fulcrum_tests::{LabError, Result};
use rustix::process::{Signal, kill_process};
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(30);

/// A node whose binary can be replaced.
struct Node {
    fulcrum: Fulcrum,
    installed: PathBuf,
}

impl Node {
    fn start(machine: &Machine, file: &str) -> Result<Self> {
        Self::start_with(machine, file, |_| {})
    }

    fn start_with(machine: &Machine, file: &str, prepare: impl FnOnce(&mut Command)) -> Result<Self> {
        let installed = install_first(machine)?;
        let fulcrum = Fulcrum::start_with(machine, file, |command| {
            let mut other = Command::new(&installed);
            other.args(command.get_args());
            prepare(&mut other);
            *command = other;
        })?;
        Ok(Self { fulcrum, installed })
    }

    /// Upgrades it as an operator does.
    fn upgrade(&self, new: &Path, more: &[&str]) -> Result<String> {
        let (new, installed) = (new.display().to_string(), self.installed.display().to_string());
        self.fulcrum.command(&[&["upgrade-binary", &new, "--installed", &installed], more].concat())
    }

    /// What the process before has left, if it has not ended.
    fn finishing(&self) -> Result<Option<u64>> {
        Ok(self.fulcrum.status()?.0["finishing"]["connections"].as_u64())
    }

    fn wait_finished(&self) -> Result<()> {
        self.fulcrum.process().wait(LONG)?;
        wait_until("the process before to be forgotten", LONG, || {
            self.finishing().is_ok_and(|left| left.is_none())
        })
    }
}

/// A pair of which both nodes run and the first leads, with a probe and a connection.
struct Scene {
    pair: Pair,
    first: Node,
    second: Fulcrum,
    probe: Probe,
    session: Session,
    epoch: u64,
}

impl Scene {
    fn new(lab: &Lab, prepare: impl FnOnce(&mut Pair) -> Result<()>) -> Result<Self> {
        Self::by(lab, "", prepare)
    }

    /// With programs of the kernel attached by `fence`, unless that is empty.
    fn by(lab: &Lab, fence: &str, prepare: impl FnOnce(&mut Pair) -> Result<()>) -> Result<Self> {
        let mut pair = Pair::new(lab)?;
        prepare(&mut pair)?;
        let say = |command: &mut Command| {
            if !fence.is_empty() {
                command.env("FULCRUM_FENCE", fence);
            }
        };
        let first = Node::start_with(&pair.lb1, &pair.plan.file(&pair.lb1), say)?;
        first.fulcrum.wait_leader(GROUP)?;
        let second = Fulcrum::start_with(&pair.lb2, &pair.plan.file(&pair.lb2), say)?;
        second.wait_hears_leader(GROUP)?;
        let probe = probe(&pair.client, pair.service())?;
        let session = Session::open(&pair.client, pair.service(), LONG)?;
        let epoch = epoch(&second, GROUP)?;
        Ok(Self { pair, first, second, probe, session, epoch })
    }

    /// No request failed, nobody else led, and the connection that was there at the start lives.
    fn nothing_happened(mut self) -> Result<()> {
        self.session.ask()?;
        let timeline = self.probe.finish();
        assert_eq!(timeline.failed(), 0, "{:?}", timeline.outcomes());
        assert_eq!(epoch(&self.second, GROUP)?, self.epoch, "nobody else led");
        assert_eq!(self.second.status()?.role(GROUP), Some("standby"));
        Ok(())
    }
}

fn probe(client: &Machine, service: SocketAddr) -> Result<Probe> {
    let options = Options { timeout: Duration::from_secs(3), interval: Duration::from_millis(2), at_once: 1 };
    Probe::start_answered(client, service, options, LONG)
}

/// The number of the leader as `node` sees it: it grows with each change.
fn epoch(node: &Fulcrum, group: &str) -> Result<u64> {
    Ok(node.status()?.group(group).map_or(0, |group| group["epoch"].as_u64().unwrap_or(0)))
}

fn failed(result: Result<String>) -> String {
    result.map_or_else(|error| error.to_string(), |said| format!("DONE: {said}"))
}

#[test]
fn a_pair_does_not_notice_and_connections_live_on() {
    Lab::run(|lab| {
        let mut scene = Scene::new(lab, |pair| {
            pair.plan = pair.plan.clone().with_keys()?;
            Ok(())
        })?;
        let is_advert = |frame: &[u8]| frame.get(12..14) == Some(&[8, 0]) && frame.get(23) == Some(&112);
        let adverts = Capture::start(scene.pair.lb2.namespace(), "eth0", is_advert)?;
        let new = install(&scene.pair.lb2)?;
        let said = scene.first.upgrade(&new, &["--in-place", "--deadline", "20s"])?;
        assert!(said.contains("took over") && said.contains("runs 0.1.0 and is ready"), "{said}");
        assert!(scene.first.finishing()?.is_some(), "{said}");
        for _ in 0..20 {
            scene.session.ask()?;
            run_for(Duration::from_millis(50));
        }
        assert!(scene.first.fulcrum.process().ended().is_none(), "it has a connection still");
        let refused = failed(scene.first.upgrade(&new, &["--in-place"]));
        assert!(refused.contains("finishes 1 connection still"), "{refused}");
        let frames = adverts.frames();
        let gap = frames.windows(2).map(|two| two[1].at - two[0].at).max();
        eprintln!("longest between two adverts: {gap:?} of {}", frames.len());
        let renewed = Session::open(&scene.pair.client, scene.pair.service(), LONG)?;
        scene.session = renewed;
        scene.first.wait_finished()?;
        let (first, second) = (&scene.first.fulcrum, &scene.second);
        wait_until("agreement", LONG, || {
            first.status().is_ok_and(|status| status.agrees_with("lb2"))
                && second.status().is_ok_and(|status| status.agrees_with("lb1"))
        })?;
        assert_eq!(first.status()?.alarms(), Vec::<&str>::new());
        // Again, from a process that has taken over itself.
        let said = scene.first.upgrade(&new, &["--in-place", "--deadline", "1s"])?;
        assert!(said.contains("took over"), "{said}");
        wait_until("the connection to be cut at the deadline", LONG, || scene.session.ask().is_err())?;
        scene.session = Session::open(&scene.pair.client, scene.pair.service(), LONG)?;
        scene.nothing_happened()
    });
}

#[test]
fn a_binary_that_does_not_become_ready_is_given_up_and_the_old_process_goes_on() {
    Lab::run(|lab| {
        let scene = Scene::new(lab, |_| Ok(()))?;
        let binary = fulcrum_binary()?.display().to_string();
        let heir = std::env!("CARGO_BIN_EXE_heir");
        let cases = [
            ("ends", "exit 7", "it ended (exit status: 7) and did not say its version"),
            ("hangs", "exec sleep 60", "it did not say its version in time"),
            ("stranger", &format!("exec {heir} protocol"), "hands over in another way"),
            ("other", &format!("exec {heir} serial"), "it runs another configuration"),
            ("fails", &format!("exec {heir} fails"), "no room for it"),
            ("late", &format!("exec {heir} late"), "it did not have all that it needs in time"),
            ("dies", &format!("exec {heir} dies"), "and did not have all that it needs"),
            // It leads already, beside the old one.
            ("stands", &format!("exec {heir} stands {binary} \"$@\""), "and did not have all that it needs"),
        ];
        for (name, does, word) in cases {
            let text = format!("#!/bin/sh\n[ \"$1\" = run ] && {does}\nexec {binary} \"$@\"\n");
            let new = script(&scene.pair.lb2, name, &text)?;
            let said = failed(scene.first.upgrade(&new, &["--in-place", "--ready", "3s"]));
            assert!(said.contains(word) && said.contains("0.1.0 runs on"), "{name}: {said}");
            assert_eq!(std::fs::read(&scene.first.installed)?, std::fs::read(fulcrum_binary()?)?);
        }
        scene
            .pair
            .lb1
            .write("fulcrum.yaml", &format!("{}# edited\n", scene.pair.plan.file(&scene.pair.lb1)))?;
        let said = failed(scene.first.upgrade(&install(&scene.pair.lb2)?, &["--in-place"]));
        assert!(said.contains("was changed, and what it says does not run yet"), "{said}");
        assert!(scene.first.fulcrum.process().ended().is_none());
        // It has all that it had, and can give it to one that works.
        scene.first.fulcrum.command(&["reload"])?;
        let said = scene.first.upgrade(&install(&scene.pair.lb2)?, &["--in-place"])?;
        assert!(said.contains("took over"), "{said}");
        scene.nothing_happened()
    });
}

#[test]
fn what_is_asked_meanwhile_is_done_by_the_new_process_or_refused_but_never_lost() {
    Lab::run(|lab| {
        let scene = Scene::new(lab, |pair| {
            pair.plan = pair.plan.clone().with_keys()?;
            Ok(())
        })?;
        let binary = fulcrum_binary()?.display().to_string();
        let text = format!("#!/bin/sh\n[ \"$1\" = run ] && sleep 1\nexec {binary} \"$@\"\n");
        let new = script(&scene.pair.lb2, "slow", &text)?;
        let drain = || scene.first.fulcrum.command(&["drain", "backend", "web/web1"]);
        let drained =
            || scene.first.fulcrum.status().is_ok_and(|status| status.backends("web", "draining") == 1);
        let said = std::thread::scope(|threads| {
            let upgrade = threads.spawn(|| scene.first.upgrade(&new, &["--in-place"]));
            run_for(Duration::from_millis(500));
            let said = failed(drain());
            upgrade.join().map_err(|_| LabError::new("the upgrade panicked"))??;
            Ok::<_, LabError>(said)
        })?;
        if said.starts_with("DONE") {
            assert!(drained(), "{said}");
        } else {
            assert!(said.contains("nothing was changed") && !drained(), "{said}");
            drain()?;
            wait_until("the backend to drain", LONG, drained)?;
        }
        scene.first.fulcrum.command(&["undrain", "backend", "web/web1"])?;
        scene.nothing_happened()
    });
}

/// The first node of a pair ends by a signal once a new process has been given everything.
fn ends_meanwhile(signal: Signal) {
    Lab::run(|lab| {
        let scene = Scene::new(lab, |_| Ok(()))?;
        let binary = fulcrum_binary()?.display().to_string();
        let heir = std::env!("CARGO_BIN_EXE_heir");
        let text = format!("#!/bin/sh\n[ \"$1\" = run ] && exec {heir} late\nexec {binary} \"$@\"\n");
        let new = script(&scene.pair.lb2, "late", &text)?;
        let process = scene.first.fulcrum.process();
        let known = process.children();
        let (mut child, mut said) = (None, None);
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| failed(scene.first.upgrade(&new, &["--in-place", "--ready", "20s"])));
            let waited = wait_until("the new process", LONG, || {
                child = process.children().into_iter().find(|pid| !known.contains(pid));
                child.is_some()
            });
            // Until it has been given everything.
            run_for(Duration::from_secs(1));
            let signalled = waited.and_then(|()| process.signal(signal));
            said = asked.join().ok();
            signalled
        })?;
        assert!(said.is_some_and(|said| !said.starts_with("DONE")));
        let ended = process.wait(LONG)?;
        assert_eq!(ended.success(), signal == Signal::TERM, "{ended}");
        let child = child.ok_or_else(|| LabError::new("there was none"))?;
        wait_until("the new process to end", LONG, || kill_process(child, Signal::CONT).is_err())?;
        scene.second.wait_leader(GROUP)?;
        let local = scene.pair.lb1.run("ip", &["-o", "address", "show", "dev", "lo"])?;
        assert!(!local.contains("10.77.0.100"), "{local}");
        let again = Node::start(&scene.pair.lb1, &scene.pair.plan.file(&scene.pair.lb1))?;
        again.fulcrum.wait_hears_leader(GROUP)
    });
}

#[test]
fn an_old_process_that_is_killed_meanwhile_takes_the_new_one_along() {
    ends_meanwhile(Signal::KILL);
}

#[test]
fn an_old_process_that_is_stopped_meanwhile_hands_over_to_the_other_node() {
    ends_meanwhile(Signal::TERM);
}

/// `upgrade-binary` without a word about how.
#[test]
fn a_node_that_is_alone_is_upgraded_in_place_by_itself() {
    Lab::run(|lab| {
        let mut pair = Pair::new(lab)?;
        pair.plan.nodes.truncate(1);
        let backends: Vec<String> =
            pair.web.iter().map(|web| format!("'{}:5353'", web.machine.ipv4())).collect();
        pair.plan.services.push(format!(
            "dns: {{vip: {}, protocol: udp, port: 5353, backends: [{}]}}",
            pair.plan.vips[0],
            backends.join(", ")
        ));
        let _echoes = pair
            .web
            .iter()
            .map(|web| Echo::start(&web.machine, SocketAddr::new(web.machine.ipv4(), 5353)))
            .collect::<Result<Vec<_>>>()?;
        // As systemd hears it.
        let heard = pair.lb1.file("notify");
        let systemd = UnixDatagram::bind(&heard)?;
        systemd.set_nonblocking(true)?;
        let node = Node::start_with(&pair.lb1, &pair.plan.file(&pair.lb1), |command| {
            command.env("NOTIFY_SOCKET", &heard);
        })?;
        node.fulcrum.wait_leader(GROUP)?;
        let probe = probe(&pair.client, pair.service())?;
        let mut session = Session::open(&pair.client, pair.service(), LONG)?;
        let target = SocketAddr::new(pair.plan.vips[0], 5353);
        let datagrams = fulcrum_tests::probe::Datagrams::start(&pair.client, target, 1)?;
        run_for(Duration::from_millis(500));
        let begun = now();
        let said = node.upgrade(&install(&pair.lb2)?, &["--deadline", "30s"])?;
        assert!(said.contains("in place") && said.contains("took over"), "{said}");
        let pid =
            said.split_once("process ").and_then(|(_, rest)| rest.split(' ').next()).unwrap_or_default();
        let mut buffer = [0; 1024];
        let words = std::iter::from_fn(|| systemd.recv(&mut buffer).ok().map(|size| buffer[..size].to_vec()));
        let words: Vec<String> = words.map(|it| String::from_utf8_lossy(&it).into_owned()).collect();
        assert!(words.contains(&format!("MAINPID={pid}\n")), "{words:?}");
        session.ask()?;
        run_for(Duration::from_millis(500));
        let seen = datagrams.seen(begun);
        assert!(seen.sent > 0);
        assert_eq!(seen.lost, 0, "{seen:?}");
        assert!(seen.backends.iter().all(|backends| backends.len() == 1), "{seen:?}");
        session.ask()?;
        let timeline = probe.finish();
        assert_eq!(timeline.failed(), 0, "{:?}", timeline.outcomes());
        assert_eq!(node.fulcrum.status()?.role(GROUP), Some("leader"));
        Ok(())
    });
}

fn in_mode(mode: Mode) {
    forwarded(mode, Family::Ipv4, "tcx");
}

/// With programs that are attached in this way, as status says it.
fn forwarded(mode: Mode, family: Family, attached: &str) {
    Lab::run(|lab| {
        let is_xdp = attached.starts_with("xdp");
        let scene = Scene::by(lab, if attached == "clsact" { attached } else { "" }, |pair| {
            forward(pair, mode, family)?;
            if is_xdp { by_xdp(lab, pair) } else { Ok(()) }
        })?;
        let said = scene.first.upgrade(&install(&scene.pair.lb2)?, &["--in-place"])?;
        assert!(said.contains("took over"), "{said}");
        // It has nothing to finish: the kernel forwards.
        scene.first.wait_finished()?;
        run_for(Duration::from_millis(300));
        let plane = &scene.first.fulcrum.status()?.0["plane"];
        assert_eq!(plane["interfaces"]["eth0"], attached, "{plane}");
        scene.nothing_happened()
    });
}

#[test]
fn connections_that_are_forwarded_in_mode_nat_live_on() {
    in_mode(Mode::Nat);
}

#[test]
fn connections_that_are_forwarded_in_mode_dsr_live_on() {
    in_mode(Mode::Dsr);
}

#[test]
fn connections_that_are_forwarded_in_mode_fullnat_live_on() {
    in_mode(Mode::Fullnat);
}

#[test]
fn connections_that_are_forwarded_by_ipv6_live_on() {
    forwarded(Mode::Nat, Family::Ipv6, "tcx");
}

#[test]
fn connections_that_are_forwarded_by_clsact_live_on() {
    forwarded(Mode::Nat, Family::Ipv4, "clsact");
}

#[test]
fn connections_that_are_forwarded_by_xdp_live_on() {
    forwarded(Mode::Dsr, Family::Ipv4, "xdp (veth), tcx");
}

#[test]
fn groups_that_the_nodes_elect_stay_where_they_are() {
    Lab::run(|lab| {
        let cluster = Cluster::new(lab, 3, 6)?;
        let first = Node::start(&cluster.nodes[0], &cluster.file(&cluster.nodes[0]))?;
        let (second, third) = (cluster.start(&cluster.nodes[1])?, cluster.start(&cluster.nodes[2])?);
        let all = [&first.fulcrum, &second, &third];
        let led = wait_settled(&all)?;
        let epochs = || cluster.names().map(|name| epoch(&third, &name)).collect::<Result<Vec<_>>>();
        let before = epochs()?;
        // What it led for a moment while all began it finishes, which keeps another process from taking over.
        wait_until("nothing to be finished", LONG, || {
            first.fulcrum.status().is_ok_and(|status| {
                cluster
                    .names()
                    .all(|name| status.group(&name).is_some_and(|group| group["draining_seconds"].is_null()))
            })
        })?;
        let probes = (0..6).map(|group| probe(&cluster.client, cluster.service(group)));
        let probes = probes.collect::<Result<Vec<_>>>()?;
        let said = first.upgrade(&install(&cluster.nodes[1])?, &["--in-place"])?;
        assert!(said.contains("took over") && said.contains("is ready"), "{said}");
        run_for(Duration::from_secs(1));
        assert_eq!((wait_settled(&all)?, epochs()?), (led, before), "nobody else led");
        for probe in probes {
            let timeline = probe.finish();
            assert_eq!(timeline.failed(), 0, "{:?}", timeline.outcomes());
        }
        Ok(())
    });
}
