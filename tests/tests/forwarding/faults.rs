//! The leader goes, in each way there is, and every connection goes on.

use crate::scene::{Family, Flows, LONG, Mode, assert_mode, assert_no_listener, forwarding_pair, wait_known};
use fulcrum_tests::Result;
use fulcrum_tests::lab::{Fulcrum, GROUP, Lab, Pair};
use fulcrum_tests::wait::wait_until;
use std::collections::BTreeSet;
use std::time::Duration;

fn lives_through_kill_9(mode: Mode, family: Family) {
    Lab::run(|lab| {
        let pair = forwarding_pair(lab, mode, family)?;
        let (first, second) = pair.start_both()?;
        let mut flows = Flows::open(&pair)?;
        assert_mode(&first, mode)?;
        assert_no_listener(&pair.lb1)?;
        wait_known(mode, &second, "web", flows.count())?;
        flows.mark();
        first.kill()?;
        second.wait_leader(GROUP)?;
        let stall = flows.assert_live()?;
        said(mode, "kill -9", &flows, stall);
        // The old leader comes back and stands by, and then the other one goes.
        first.process().wait(LONG)?;
        let first = pair.start(&pair.lb1)?;
        wait_settled(&first, &second)?;
        flows.assert_live()?;
        wait_ready(&first)?;
        wait_known(mode, &first, "web", flows.count())?;
        flows.mark();
        second.kill()?;
        first.wait_leader(GROUP)?;
        let stall = flows.assert_live()?;
        said(mode, "kill -9 of the other one, after the return", &flows, stall);
        Ok(())
    });
}

fn said(mode: Mode, what: &str, flows: &Flows, stall: Duration) {
    println!("{mode:?}: {what}: all {} live, the longest stall was {stall:?}", flows.count());
}

/// After a partition the one with the better claim leads, otherwise the one that led, unless the machine was paused.
pub fn wait_settled(first: &Fulcrum, second: &Fulcrum) -> Result<()> {
    wait_until("one leader and one standby", LONG, || {
        let role = |node: &Fulcrum| node.status().ok()?.role(GROUP).map(str::to_owned);
        let roles = BTreeSet::from([role(first), role(second)]);
        roles == BTreeSet::from([Some("leader".into()), Some("standby".into())])
    })
}

pub fn wait_ready(node: &Fulcrum) -> Result<()> {
    wait_until("the node to be ready", LONG, || {
        node.status().is_ok_and(|status| status.0.get("ready").is_some_and(|ready| ready == true))
    })
}

#[test]
fn connections_of_nat_live_through_the_leaders_death_and_return() {
    lives_through_kill_9(Mode::Nat, Family::Ipv4);
}

#[test]
fn connections_of_dsr_live_through_the_leaders_death_and_return() {
    lives_through_kill_9(Mode::Dsr, Family::Ipv4);
}

#[test]
fn connections_of_nat_over_ipv6_live_through_the_leaders_death_and_return() {
    lives_through_kill_9(Mode::Nat, Family::Ipv6);
}

#[test]
fn connections_of_dsr_over_ipv6_live_through_the_leaders_death_and_return() {
    lives_through_kill_9(Mode::Dsr, Family::Ipv6);
}

#[test]
fn connections_of_fullnat_live_through_the_leaders_death_and_return() {
    lives_through_kill_9(Mode::Fullnat, Family::Ipv4);
}

#[test]
fn connections_of_fullnat_over_ipv6_live_through_the_leaders_death_and_return() {
    lives_through_kill_9(Mode::Fullnat, Family::Ipv6);
}

/// What is done to the first node, which leads, and how it comes back.
struct Fault {
    name: &'static str,
    harm: fn(&Lab, &Fulcrum) -> Result<()>,
    heal: fn(&Lab, &Pair, Fulcrum) -> Result<Fulcrum>,
}

const FREEZE: Fault = Fault {
    name: "a freeze",
    harm: |_, node| node.process().freeze(),
    heal: |_, _, node| node.process().thaw().map(|()| node),
};
const CUT: Fault = Fault {
    name: "a cut link",
    harm: |lab, node| lab.switch().cut(&node.machine),
    heal: |lab, _, node| lab.switch().heal().map(|()| node),
};
const HANDOVER: Fault = Fault {
    name: "a handover",
    harm: |_, node| node.command(&["handover", GROUP]).map(|_| ()),
    heal: |_, _, node| Ok(node),
};
const STOP: Fault = Fault {
    name: "an orderly stop",
    harm: |_, node| {
        let status = node.process().terminate(LONG)?;
        assert!(status.success(), "{status}");
        Ok(())
    },
    heal: |_, pair, _| pair.start(&pair.lb1),
};

fn lives_through(mode: Mode, fault: &Fault) {
    Lab::run(|lab| {
        let pair = forwarding_pair(lab, mode, Family::Ipv4)?;
        let (first, second) = pair.start_both()?;
        let mut flows = Flows::open(&pair)?;
        wait_known(mode, &second, "web", flows.count())?;
        flows.mark();
        (fault.harm)(lab, &first)?;
        second.wait_leader(GROUP)?;
        let stall = flows.assert_live()?;
        said(mode, fault.name, &flows, stall);
        flows.mark();
        let first = (fault.heal)(lab, &pair, first)?;
        wait_settled(&first, &second)?;
        let stall = flows.assert_live()?;
        said(mode, "and the return from it", &flows, stall);
        Ok(())
    });
}

#[test]
fn connections_of_nat_live_through_a_freeze() {
    lives_through(Mode::Nat, &FREEZE);
}

#[test]
fn connections_of_dsr_live_through_a_freeze() {
    lives_through(Mode::Dsr, &FREEZE);
}

#[test]
fn connections_of_fullnat_live_through_a_freeze() {
    lives_through(Mode::Fullnat, &FREEZE);
}

#[test]
fn connections_of_nat_live_through_a_cut_link() {
    lives_through(Mode::Nat, &CUT);
}

#[test]
fn connections_of_dsr_live_through_a_cut_link() {
    lives_through(Mode::Dsr, &CUT);
}

#[test]
fn connections_of_fullnat_live_through_a_cut_link() {
    lives_through(Mode::Fullnat, &CUT);
}

#[test]
fn connections_of_nat_live_through_a_handover() {
    lives_through(Mode::Nat, &HANDOVER);
}

#[test]
fn connections_of_dsr_live_through_a_handover() {
    lives_through(Mode::Dsr, &HANDOVER);
}

#[test]
fn connections_of_fullnat_live_through_a_handover() {
    lives_through(Mode::Fullnat, &HANDOVER);
}

#[test]
fn connections_of_nat_live_through_an_orderly_stop_and_return() {
    lives_through(Mode::Nat, &STOP);
}

#[test]
fn connections_of_dsr_live_through_an_orderly_stop_and_return() {
    lives_through(Mode::Dsr, &STOP);
}

#[test]
fn connections_of_fullnat_live_through_an_orderly_stop_and_return() {
    lives_through(Mode::Fullnat, &STOP);
}
