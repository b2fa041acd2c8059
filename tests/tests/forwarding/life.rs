//! The daemon's own lives, and nodes that can't do all.

use crate::backends::cut_web1;
use crate::scene::{Family, LONG, Mode, assert_all_live, forwarding_pair, sessions, wait_known};
use crate::told::{Silent, silent_pair};
use fulcrum_tests::Result;
use fulcrum_tests::lab::{Fulcrum, GROUP, Lab, Machine, Pair, Status};
use fulcrum_tests::probe::Session;
use fulcrum_tests::wait::wait_until;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;

/// A layout that there was before.
const OLDER: u32 = 2;

/// What the unit allows.
const UNIT: &str = "-all,+net_admin,+net_raw,+net_bind_service,+sys_nice,+ipc_lock,+chown,+bpf,+perfmon";

pub fn start_as_the_unit(pair: &Pair) -> Result<Fulcrum> {
    Fulcrum::start_with(&pair.lb1, &pair.plan.file(&pair.lb1), |command| {
        let mut limited = Command::new("setpriv");
        limited.args(["--inh-caps", "-all", "--bounding-set", UNIT, "--"]);
        limited.arg(command.get_program()).args(command.get_args());
        *command = limited;
    })
}

fn takes_its_flows_over(mode: Mode, balance: &str) {
    Lab::run(|lab| {
        let mut pair = forwarding_pair(lab, mode, Family::Ipv4)?;
        pair.plan.service.push(format!("balance: {balance}"));
        let first = start_as_the_unit(&pair)?;
        first.wait_leader(GROUP)?;
        // Some flows are where only a noted flow says that they are.
        let mut sessions = sessions(&pair)?;
        cut_web1(lab, &pair)?;
        wait_until("web1 to be down", LONG, || {
            first.status().is_ok_and(|status| status.backends("web", "down") == 1)
        })?;
        sessions.retain(|session| session.backend() != "web1");
        for _ in 0..30 {
            sessions.push(Session::open(&pair.client, pair.service(), LONG)?);
        }
        lab.switch().heal()?;
        wait_until("web1 to be up", LONG, || {
            first.status().is_ok_and(|status| status.backends("web", "down") == 0)
        })?;
        assert_all_live(&mut sessions);
        first.kill()?;
        first.process().wait(LONG)?;
        let again = start_as_the_unit(&pair)?;
        again.wait_leader(GROUP)?;
        assert!(!again.process().log().contains("can't be read"), "{}", again.process().log());
        assert_all_live(&mut sessions);
        Ok(())
    });
}

#[test]
fn a_daemon_that_is_killed_and_started_again_takes_its_flows_over() {
    takes_its_flows_over(Mode::Nat, "maglev");
}

#[test]
fn with_least_connections_a_daemon_that_is_killed_and_started_again_takes_its_flows_over() {
    takes_its_flows_over(Mode::Dsr, "least-connections");
}

#[test]
fn in_fullnat_a_daemon_that_is_killed_and_started_again_takes_its_flows_over() {
    takes_its_flows_over(Mode::Fullnat, "maglev");
}

/// What stands in the kernel of this machine becomes a plane of version 2, whose entries read alike.
pub fn make_older(machine: &Machine) -> Result<()> {
    let (directory, maps) = maps(machine)?;
    assert!(maps.len() > 10, "{maps:?}");
    for (name, version) in maps {
        fs::rename(directory.join(format!("{name}-{version}")), directory.join(format!("{name}-{OLDER}")))?;
    }
    Ok(())
}

/// Where the plane's maps are pinned, and the name and version of each that is its own.
fn maps(machine: &Machine) -> Result<(PathBuf, Vec<(String, u32)>)> {
    let namespace = machine.namespace().enter(|| fs::metadata("/proc/thread-self/ns/net"))??.ino();
    let directory = PathBuf::from(format!("/sys/fs/bpf/fulcrum/{namespace}"));
    let names = fs::read_dir(&directory)?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let maps = names.filter(|name| name.starts_with("map-") && !is_shared(name)).filter_map(|name| {
        let (name, version) = name.rsplit_once('-')?;
        Some((name.to_owned(), version.parse().ok()?))
    });
    let maps = maps.collect();
    Ok((directory, maps))
}

/// The fence has them too.
fn is_shared(name: &str) -> bool {
    ["map-vips-", "map-groups-"].iter().any(|shared| name.starts_with(shared))
}

/// In mode fullnat backends that speak first are heard only if it is known whose their packets are.
fn an_upgrade_keeps_connections(mode: Mode) {
    Lab::run(|lab| {
        let is_fullnat = mode == Mode::Fullnat;
        let pair = if is_fullnat { silent_pair(lab) } else { forwarding_pair(lab, mode, Family::Ipv4) }?;
        let first = start_as_the_unit(&pair)?;
        first.wait_leader(GROUP)?;
        let mut sessions = sessions(&pair)?;
        let mut silent = is_fullnat.then(|| Silent::open(&pair)).transpose()?;
        first.kill()?;
        first.process().wait(LONG)?;
        make_older(&pair.lb1)?;
        let again = start_as_the_unit(&pair)?;
        again.wait_leader(GROUP)?;
        let log = again.process().log();
        assert!(log.contains("of an earlier version (2) are taken over"), "{log}");
        assert!(!log.contains("can't be read"), "{log}");
        if let Some(silent) = &mut silent {
            silent.push(b"again")?;
        }
        assert_all_live(&mut sessions);
        let (_, maps) = maps(&pair.lb1)?;
        assert!(maps.iter().all(|(_, version)| *version != OLDER), "{maps:?}");
        Ok(())
    });
}

#[test]
fn in_nat_a_daemon_of_another_layout_takes_over_the_flows_of_the_one_before() {
    an_upgrade_keeps_connections(Mode::Nat);
}

#[test]
fn in_fullnat_a_daemon_of_another_layout_takes_over_the_flows_of_the_one_before() {
    an_upgrade_keeps_connections(Mode::Fullnat);
}

fn forwards_by_clsact(mode: Mode) {
    Lab::run(|lab| {
        let pair = forwarding_pair(lab, mode, Family::Ipv4)?;
        let start = |node: &Machine| {
            Fulcrum::start_with(node, &pair.plan.file(node), |command| {
                command.env("FULCRUM_FENCE", "clsact");
            })
        };
        let first = start(&pair.lb1)?;
        first.wait_leader(GROUP)?;
        let second = start(&pair.lb2)?;
        second.wait_hears_leader(GROUP)?;
        let mut sessions = sessions(&pair)?;
        let filters = pair.lb1.run("tc", &["filter", "show", "dev", "eth0", "ingress"])?;
        assert!(filters.contains("fulcrum_forward"), "{filters}");
        wait_known(mode, &second, "web", sessions.len())?;
        first.kill()?;
        second.wait_leader(GROUP)?;
        assert_all_live(&mut sessions);
        Ok(())
    });
}

#[test]
fn by_clsact_it_forwards_alike() {
    forwards_by_clsact(Mode::Nat);
}

#[test]
fn by_clsact_fullnat_forwards_alike() {
    forwards_by_clsact(Mode::Fullnat);
}

#[test]
fn a_node_that_can_not_forward_says_why() {
    Lab::run(|lab| {
        let pair = forwarding_pair(lab, Mode::Nat, Family::Ipv4)?;
        pair.lb1.set("net/ipv4/ip_forward", "0")?;
        pair.lb1.set("net/ipv4/conf/eth0/forwarding", "0")?;
        let node = pair.start(&pair.lb1)?;
        wait_until("the reason", LONG, || {
            node.status().is_ok_and(|status| says(&status, "set net.ipv4.ip_forward=1"))
        })
    });
}

fn says(status: &Status, what: &str) -> bool {
    status.service("web").is_some_and(|service| service.to_string().contains(what))
}
