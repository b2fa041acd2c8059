//! The leader goes, in each way there is, and every connection goes on.

use crate::scene::{
    Family, LONG, Mode, assert_all_live, assert_mode, assert_no_listener, forwarding_pair, sessions,
};
use fulcrum_tests::Result;
use fulcrum_tests::lab::{Fulcrum, GROUP, Lab};
use fulcrum_tests::wait::{now, wait_until};
use std::collections::BTreeSet;

fn lives_through_kill_9(mode: Mode, family: Family) {
    Lab::run(|lab| {
        let pair = forwarding_pair(lab, mode, family)?;
        let (first, second) = pair.start_both()?;
        let mut sessions = sessions(&pair)?;
        assert_mode(&first, mode)?;
        assert_no_listener(&pair.lb1)?;
        let event = now();
        first.kill()?;
        let stalled = assert_all_live(&mut sessions);
        println!(
            "{mode:?}: all answered within {:?} of kill -9, the slowest in {stalled:?}",
            event.elapsed()
        );
        second.wait_leader(GROUP)?;
        assert_all_live(&mut sessions);
        // The old leader comes back and stands by, and then the other one goes.
        first.process().wait(LONG)?;
        let first = pair.start(&pair.lb1)?;
        wait_settled(&first, &second)?;
        assert_all_live(&mut sessions);
        wait_ready(&first)?;
        second.kill()?;
        first.wait_leader(GROUP)?;
        assert_all_live(&mut sessions);
        Ok(())
    });
}

/// After a partition the one with the better claim leads, otherwise the one that led, unless the machine was paused.
fn wait_settled(first: &Fulcrum, second: &Fulcrum) -> Result<()> {
    wait_until("one leader and one standby", LONG, || {
        let role = |node: &Fulcrum| node.status().ok()?.role(GROUP).map(str::to_owned);
        let roles = BTreeSet::from([role(first), role(second)]);
        roles == BTreeSet::from([Some("leader".into()), Some("standby".into())])
    })
}

fn wait_ready(node: &Fulcrum) -> Result<()> {
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

/// The first node leads; `harm` takes that from it, and `heal` lets it come back.
fn lives_through(
    mode: Mode,
    harm: impl Fn(&Lab, &Fulcrum) -> Result<()>,
    heal: impl Fn(&Lab, &Fulcrum) -> Result<()>,
) {
    Lab::run(|lab| {
        let pair = forwarding_pair(lab, mode, Family::Ipv4)?;
        let (first, second) = pair.start_both()?;
        let mut sessions = sessions(&pair)?;
        harm(lab, &first)?;
        second.wait_leader(GROUP)?;
        let stalled = assert_all_live(&mut sessions);
        println!("{mode:?}: the slowest answered in {stalled:?}");
        heal(lab, &first)?;
        wait_settled(&first, &second)?;
        assert_all_live(&mut sessions);
        Ok(())
    });
}

fn freeze(_: &Lab, node: &Fulcrum) -> Result<()> {
    node.process().freeze()
}

fn thaw(_: &Lab, node: &Fulcrum) -> Result<()> {
    node.process().thaw()
}

fn cut(lab: &Lab, node: &Fulcrum) -> Result<()> {
    lab.switch().cut(&node.machine)
}

fn mend(lab: &Lab, _: &Fulcrum) -> Result<()> {
    lab.switch().heal()
}

fn hand_over(_: &Lab, node: &Fulcrum) -> Result<()> {
    node.command(&["handover", GROUP]).map(|_| ())
}

#[test]
fn connections_of_nat_live_through_a_freeze() {
    lives_through(Mode::Nat, freeze, thaw);
}

#[test]
fn connections_of_dsr_live_through_a_freeze() {
    lives_through(Mode::Dsr, freeze, thaw);
}

#[test]
fn connections_of_fullnat_live_through_a_freeze() {
    lives_through(Mode::Fullnat, freeze, thaw);
}

#[test]
fn connections_of_nat_live_through_a_cut_link() {
    lives_through(Mode::Nat, cut, mend);
}

#[test]
fn connections_of_dsr_live_through_a_cut_link() {
    lives_through(Mode::Dsr, cut, mend);
}

#[test]
fn connections_of_fullnat_live_through_a_cut_link() {
    lives_through(Mode::Fullnat, cut, mend);
}

#[test]
fn connections_of_nat_live_through_a_handover() {
    lives_through(Mode::Nat, hand_over, |_, _| Ok(()));
}

#[test]
fn connections_of_dsr_live_through_a_handover() {
    lives_through(Mode::Dsr, hand_over, |_, _| Ok(()));
}

#[test]
fn connections_of_fullnat_live_through_a_handover() {
    lives_through(Mode::Fullnat, hand_over, |_, _| Ok(()));
}
