//! The daemon's own lives, and nodes that can't do all.

use crate::backends::cut_web1;
use crate::scene::{Family, LONG, Mode, assert_all_live, forwarding_pair, sessions};
use fulcrum_tests::Result;
use fulcrum_tests::lab::{Fulcrum, GROUP, Lab, Machine, Pair, Status};
use fulcrum_tests::probe::Session;
use fulcrum_tests::wait::wait_until;
use std::process::Command;

/// What the unit allows.
const UNIT: &str = "-all,+net_admin,+net_raw,+net_bind_service,+sys_nice,+ipc_lock,+chown,+bpf,+perfmon";

fn start_as_the_unit(pair: &Pair) -> Result<Fulcrum> {
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
