use super::*;
use crate::fixtures::{MS, SECOND, check};
use fulcrum_config::CheckKind;
use proptest::prelude::*;

#[allow(clippy::disallowed_methods)] // Any moment will do.
fn epoch() -> Instant {
    Instant::now()
}

/// Runs probes that each take 10 ms; `+` passes, `-` fails, `0` could not be made. Says the verdict after each.
fn verdicts(outcomes: &str) -> String {
    let mut now = epoch();
    let mut checker = Checker::new(Arc::new(check(CheckKind::Tcp)), None, now, now);
    let mut verdicts = String::new();
    for outcome in outcomes.chars() {
        now = checker.poll_timeout().expect("a probe is due");
        checker.handle_start(now);
        assert_eq!(checker.poll_timeout(), None, "one probe at a time");
        checker.handle_outcome(&outcome_of(outcome), 0, now + 10 * MS);
        verdicts.push(match checker.health().verdict {
            Verdict::Unchecked => '?',
            Verdict::Up => 'U',
            Verdict::Down => 'D',
        });
    }
    verdicts
}

fn outcome_of(sign: char) -> Outcome {
    match sign {
        '+' => Outcome::Passed,
        '-' => Outcome::Failed("refused".into()),
        't' => Outcome::TimedOut("timed out".into()),
        _ => Outcome::NotMade("no files".into()),
    }
}

#[test]
fn verdict_after_each_outcome() {
    // Rise is 2, fall is 3.
    for (outcomes, expected) in [
        ("+", "U"),
        ("-", "D"),
        ("t", "D"),
        ("+---", "UUUD"),
        ("+--+---", "UUUUUUD"),
        ("+--t", "UUUD"),
        ("-++", "DDU"),
        ("-+-++", "DDDDU"),
        ("0+", "?U"),
        ("0-", "?D"),
        ("+--0-", "UUUUD"),
        ("+000000", "UUUUUUU"),
        ("-0+0+", "DDDDU"),
    ] {
        assert_eq!(verdicts(outcomes), expected, "after {outcomes}");
    }
}

#[test]
fn probes_come_faster_while_a_change_is_counted() {
    let start = epoch();
    let mut checker = Checker::new(Arc::new(check(CheckKind::Tcp)), None, start, start);
    let mut steps = Vec::new();
    for sign in "+-+----++".chars() {
        let now = checker.poll_timeout().unwrap();
        checker.handle_start(now);
        checker.handle_outcome(&outcome_of(sign), 0, now + 10 * MS);
        steps.push((checker.poll_timeout().unwrap() - now).as_millis());
    }
    assert_eq!(steps, [1000, 200, 1000, 200, 200, 1000, 1000, 200, 1000]);
}

#[test]
fn a_late_outcome_does_not_make_probes_catch_up() {
    let start = epoch();
    let mut checker = Checker::new(Arc::new(check(CheckKind::Tcp)), None, start, start);
    checker.handle_start(start);
    let late = start + 60 * SECOND;
    checker.handle_outcome(&Outcome::Passed, 0, late);
    assert_eq!(checker.poll_timeout(), Some(late));
    checker.handle_start(late);
    checker.handle_outcome(&Outcome::Passed, 0, late + 10 * MS);
    assert_eq!(checker.poll_timeout(), Some(late + SECOND));
}

#[test]
fn reasons_are_told_when_they_change() {
    let start = epoch();
    let mut checker = Checker::new(Arc::new(check(CheckKind::Tcp)), None, start, start);
    let mut tell = |outcome: Outcome| {
        checker.handle_start(start);
        let changed = checker.handle_outcome(&outcome, 0, start);
        (changed, checker.health().reason.to_string())
    };
    assert_eq!(tell(Outcome::NotMade("no files".into())), (true, "not checked: no files".into()));
    assert_eq!(tell(Outcome::Passed), (true, "passes its check".into()));
    assert_eq!(tell(Outcome::Passed), (false, "passes its check".into()));
    assert_eq!(tell(Outcome::NotMade("no files".into())), (false, "passes its check".into()));
    assert_eq!(
        tell(Outcome::Failed("refused".into())),
        (true, "refused (1 of 3 failures that take it down)".into())
    );
    assert_eq!(tell(Outcome::Passed), (true, "passes its check".into()));
    tell(Outcome::Failed("refused".into()));
    tell(Outcome::Failed("refused".into()));
    assert_eq!(tell(Outcome::TimedOut("timed out".into())), (true, "timed out".into()));
    assert_eq!(tell(Outcome::Failed("refused".into())), (true, "refused".into()));
    assert_eq!(tell(Outcome::Failed("refused".into())), (false, "refused".into()));
    assert_eq!(tell(Outcome::Passed), (true, "passes again, 1 of 2 times needed".into()));
}

#[test]
fn an_inherited_verdict_stands_until_the_first_outcome() {
    let start = epoch();
    let inherited = Inherited { verdict: Verdict::Down, reason: "refused".into(), since: start };
    let now = start + SECOND;
    let mut checker = Checker::new(Arc::new(check(CheckKind::Tcp)), Some(inherited), now, now);
    assert_eq!((checker.health().verdict, checker.health().since), (Verdict::Down, start));
    checker.handle_start(now);
    checker.handle_outcome(&Outcome::Passed, 0, now);
    assert_eq!((checker.health().verdict, checker.health().since), (Verdict::Up, now));
}

#[test]
fn what_was_up_under_another_check_goes_down_after_fall_failures_only() {
    let start = epoch();
    let inherited = Inherited { verdict: Verdict::Up, reason: "passes its check".into(), since: start };
    let check = Check { fall: 3, ..check(CheckKind::Tcp) };
    let mut checker = Checker::new(Arc::new(check), Some(inherited), start, start);
    for (seconds, verdict) in (1..).zip([Verdict::Up, Verdict::Up, Verdict::Down]) {
        let now = start + seconds * SECOND;
        checker.handle_start(now);
        checker.handle_outcome(&Outcome::Failed("refused".into()), 0, now);
        assert_eq!(checker.health().verdict, verdict, "after {seconds} failures");
    }
}

#[test]
fn jitter_spreads_evenly_around_the_interval() {
    assert_eq!(jittered(SECOND, 10, 0), 900 * MS);
    assert_eq!(jittered(SECOND, 10, u32::MAX), 1100 * MS);
    assert_eq!(jittered(SECOND, 0, 77), SECOND);
    assert_eq!(jittered(SECOND, 255, 0), Duration::ZERO);
}

proptest! {
    /// Whatever comes, a change of verdict follows `rise` or `fall` outcomes in a row that speak for it, and
    /// there is always a next probe, not before the last one ended.
    #[test]
    fn no_change_without_enough_outcomes(signs in "[+\\-t0]{1,60}", rise in 1u32..5, fall in 1u32..5, random: u32) {
        let mut now = epoch();
        let check = Check { rise, fall, jitter_percent: 50, ..check(CheckKind::Tcp) };
        let mut checker = Checker::new(Arc::new(check), None, now, now);
        let (mut passes, mut failures, mut made) = (0, 0, 0);
        for sign in signs.chars() {
            let before = checker.health().verdict;
            now = checker.poll_timeout().unwrap();
            checker.handle_start(now);
            now += 3 * MS;
            checker.handle_outcome(&outcome_of(sign), random, now);
            prop_assert!(checker.poll_timeout().unwrap() >= now);
            match sign {
                '+' => (passes, failures, made) = (passes + 1, 0, made + 1),
                '0' => {}
                _ => (passes, failures, made) = (0, failures + 1, made + 1),
            }
            let after = checker.health().verdict;
            if made == 0 {
                prop_assert_eq!(after, Verdict::Unchecked);
            } else if made == 1 {
                prop_assert_eq!(after, if passes == 1 { Verdict::Up } else { Verdict::Down });
            } else if passes >= rise {
                prop_assert_eq!(after, Verdict::Up);
            } else if failures >= fall {
                prop_assert_eq!(after, Verdict::Down);
            } else {
                prop_assert_eq!(after, before);
            }
        }
        prop_assert_eq!(checker.health().probes, made);
    }
}
