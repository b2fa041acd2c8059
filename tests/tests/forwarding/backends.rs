//! Backends die and return.

use crate::scene::{Family, LONG, Mode, assert_all_live, forwarding_pair, sessions};
use fulcrum_tests::Result;
use fulcrum_tests::lab::{GROUP, Lab, Pair};
use fulcrum_tests::probe::{Ended, Outcome, Session, request};
use fulcrum_tests::wait::{now, wait_until};
use std::time::{Duration, Instant};

fn only_its_flows_move(mode: Mode) {
    Lab::run(|lab| {
        let pair = forwarding_pair(lab, mode, Family::Ipv4)?;
        let node = pair.start(&pair.lb1)?;
        node.wait_leader(GROUP)?;
        let (mut lost, mut kept): (Vec<_>, Vec<_>) =
            sessions(&pair)?.into_iter().partition(|session| session.backend() == "web1");
        cut_web1(lab, &pair)?;
        wait_until("web1 to be down", LONG, || {
            node.status().is_ok_and(|status| status.backends("web", "down") == 1)
        })?;
        assert_all_live(&mut kept);
        for _ in 0..20 {
            let sample = request(&pair.client, pair.service(), LONG)?;
            assert!(sample.is_answer() && sample.backend() != Some("web1"), "{sample:?}");
        }
        // Whoever gets its packets now does not know the connection, and says so.
        for session in lost.drain(..5) {
            assert_ends(session, now())?;
        }
        let between = Session::open(&pair.client, pair.service(), LONG)?;
        lab.switch().heal()?;
        wait_until("web1 to be used again", LONG, || {
            request(&pair.client, pair.service(), LONG).is_ok_and(|sample| sample.backend() == Some("web1"))
        })?;
        // Nobody else moved, nor what began meanwhile; and what did not speak in between never noticed.
        kept.push(between);
        assert_all_live(&mut kept);
        assert_all_live(&mut lost);
        Ok(())
    });
}

pub fn cut_web1(lab: &Lab, pair: &Pair) -> Result<()> {
    pair.web.first().map_or(Ok(()), |web| lab.switch().cut(&web.machine))
}

fn assert_ends(mut session: Session, begun: Instant) -> Result<()> {
    while begun.elapsed() < LONG {
        if session.ask().is_err() {
            return Ok(());
        }
    }
    assert_ne!(session.wait_end(LONG)?, Ended::Open);
    Ok(())
}

#[test]
fn in_nat_a_dead_backend_takes_only_its_own_connections_along() {
    only_its_flows_move(Mode::Nat);
}

#[test]
fn in_dsr_a_dead_backend_takes_only_its_own_connections_along() {
    only_its_flows_move(Mode::Dsr);
}

#[test]
fn in_fullnat_a_dead_backend_takes_only_its_own_connections_along() {
    only_its_flows_move(Mode::Fullnat);
}

fn refuses_at_once(mode: Mode) {
    Lab::run(|lab| {
        let pair = forwarding_pair(lab, mode, Family::Ipv4)?;
        let node = pair.start(&pair.lb1)?;
        node.wait_leader(GROUP)?;
        for web in &pair.web {
            lab.switch().cut(&web.machine)?;
        }
        wait_until("the service to be down", LONG, || {
            node.status().is_ok_and(|status| status.backends("web", "down") == 3)
        })?;
        wait_until("a refusal", LONG, || {
            request(&pair.client, pair.service(), Duration::from_secs(1))
                .is_ok_and(|sample| matches!(sample.outcome, Outcome::Refused | Outcome::Reset))
        })?;
        for _ in 0..10 {
            let sample = request(&pair.client, pair.service(), Duration::from_secs(1))?;
            assert!(matches!(sample.outcome, Outcome::Refused | Outcome::Reset), "{sample:?}");
        }
        Ok(())
    });
}

#[test]
fn in_nat_a_service_without_a_backend_refuses_at_once() {
    refuses_at_once(Mode::Nat);
}

#[test]
fn in_dsr_a_service_without_a_backend_refuses_at_once() {
    refuses_at_once(Mode::Dsr);
}

#[test]
fn in_fullnat_a_service_without_a_backend_refuses_at_once() {
    refuses_at_once(Mode::Fullnat);
}
