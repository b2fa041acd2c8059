#![allow(clippy::arithmetic_side_effects, reason = "a test")]

use super::*;

mod world;

const INTERVAL: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_millis(300);
/// How long an echo is waited for.
const WAITS_FOR: Duration = Duration::from_millis(150);
const LEAD: Option<Lead> = Some(Lead { interval: INTERVAL, patience: PATIENCE });

#[allow(clippy::disallowed_methods, reason = "any moment will do")]
fn start() -> Instant {
    Instant::now()
}

fn group() -> GroupName {
    GroupName::new("web")
}

/// An echo of a peer that stands by, that leads the group, or of which that is not known.
fn echo(sent: Instant, leads: Option<bool>) -> Echo {
    Echo { sent, leads: leads.map(|leads| leads.then(group).into_iter().collect()) }
}

fn judge(witnesses: &mut Witnesses, echoes: &[(&str, Echo)], now: Instant) -> Opinion {
    let named: Echoes = echoes.iter().map(|(name, echo)| (NodeName::new(name), echo.clone())).collect();
    witnesses.judge(LEAD, &group(), named.iter(), now)
}

fn until(sent: Instant) -> Opinion {
    Opinion::Until(sent + INTERVAL + PATIENCE)
}

#[test]
fn who_does_not_lead_needs_no_witness() {
    let now = start();
    let mut witnesses = Witnesses::default();
    let echoes = Echoes::from([(NodeName::new("b"), echo(now, Some(true)))]);
    assert_eq!(witnesses.judge(None, &group(), echoes.iter(), now), Opinion::Free);
}

#[test]
fn a_lead_is_renewed_from_when_what_was_echoed_was_sent() {
    let begun = start();
    let mut witnesses = Witnesses::default();
    assert_eq!(judge(&mut witnesses, &[], begun), until(begun), "its own decision");
    let sent = begun + INTERVAL;
    assert_eq!(judge(&mut witnesses, &[("b", echo(sent, Some(false)))], sent + INTERVAL / 2), until(sent));
    // An older one of another peer takes nothing back.
    let older = ("c", echo(begun, Some(false)));
    assert_eq!(judge(&mut witnesses, &[older], sent + INTERVAL / 2), until(sent));
}

#[test]
fn without_an_echo_the_local_clock_decides_before_the_heartbeat_runs_out() {
    let begun = start();
    let mut witnesses = Witnesses::default();
    assert_eq!(judge(&mut witnesses, &[], begun + Duration::ZERO), until(begun));
    assert_eq!(judge(&mut witnesses, &[], begun + WAITS_FOR), until(begun));
    assert_eq!(judge(&mut witnesses, &[], begun + WAITS_FOR + Duration::from_millis(1)), Opinion::Free);
    // Nor do echoes help that say nothing.
    let unknown = [("b", echo(begun + WAITS_FOR, None))];
    assert_eq!(judge(&mut witnesses, &unknown, begun + WAITS_FOR * 2), Opinion::Free);
}

#[test]
fn a_peer_that_took_over_silences_at_once_until_it_stands_by_again() {
    let begun = start();
    let mut witnesses = Witnesses::default();
    judge(&mut witnesses, &[], begun);
    let at = |step: u32| begun + INTERVAL / 2 * step;
    assert_eq!(judge(&mut witnesses, &[("b", echo(at(1), Some(false)))], at(1)), until(at(1)));
    let another = ("c", echo(at(2), Some(false)));
    let denies = [("b", echo(at(2), Some(true))), another.clone()];
    assert_eq!(judge(&mut witnesses, &denies, at(2)), Opinion::Denied);
    let stands_by = [("b", echo(at(3), Some(false))), another];
    assert_eq!(judge(&mut witnesses, &stands_by, at(3)), until(at(3)));
}

#[test]
fn a_peer_that_led_before_may_not_have_heard_yet() {
    let begun = start();
    let mut witnesses = Witnesses::default();
    judge(&mut witnesses, &[], begun);
    let old = [("b", echo(begun + INTERVAL / 2, Some(true)))];
    assert_eq!(judge(&mut witnesses, &old, begun + INTERVAL / 2), until(begun));
}

#[test]
fn of_two_that_go_on_leading_none_is_silent_for_longer_than_a_takeover_takes() {
    let begun = start();
    let mut witnesses = Witnesses::default();
    judge(&mut witnesses, &[], begun);
    judge(&mut witnesses, &[("b", echo(begun, Some(false)))], begun);
    for step in 1..100 {
        let now = begun + INTERVAL / 10 * step;
        let opinion = judge(&mut witnesses, &[("b", echo(now, Some(true)))], now);
        let denied = now <= begun + INTERVAL / 10 + PATIENCE;
        assert_eq!(opinion == Opinion::Denied, denied, "after {:?}", now - begun);
    }
}

#[test]
fn a_new_term_begins_anew() {
    let begun = start();
    let mut witnesses = Witnesses::default();
    judge(&mut witnesses, &[("b", echo(begun, Some(false)))], begun);
    judge(&mut witnesses, &[("b", echo(begun, Some(true)))], begun);
    let again = begun + INTERVAL;
    witnesses.judge(None, &group(), Echoes::new().iter(), again);
    // It led meanwhile, and what it echoes of this node's next lead has not come yet.
    assert_eq!(judge(&mut witnesses, &[("b", echo(begun, Some(true)))], again), until(again));
    assert_eq!(judge(&mut witnesses, &[("b", echo(again, Some(true)))], again), until(again));
}
