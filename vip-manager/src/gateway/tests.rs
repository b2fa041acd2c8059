#![allow(clippy::arithmetic_side_effects)]

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Probes once a second; gives whether it is reachable after each probe's time is over.
fn verdicts(answers: &[bool]) -> Vec<bool> {
    #[allow(clippy::disallowed_methods)]
    let begun = Instant::now();
    let mut gateway = Gateway::new(SECOND, 3, 2, begun);
    let mut verdicts = Vec::new();
    let mut now = begun;
    assert!(gateway.poll_probe(now));
    for answered in answers {
        if *answered {
            gateway.handle_answer();
        }
        assert!(!gateway.poll_probe(now), "not twice");
        now += SECOND;
        assert_eq!(gateway.poll_timeout(), now);
        assert!(gateway.poll_probe(now));
        verdicts.push(gateway.is_reachable());
    }
    verdicts
}

#[test]
fn it_falls_after_three_misses_in_a_row_and_rises_after_two_answers() {
    let answers = [true, false, false, true, false, false, false, false, true, false, true, true];
    let expected = [true, true, true, true, true, true, false, false, false, false, false, true];
    assert_eq!(verdicts(&answers), expected);
}

#[test]
fn an_answer_to_nothing_counts_for_nothing() {
    #[allow(clippy::disallowed_methods)]
    let now = Instant::now();
    let mut gateway = Gateway::new(SECOND, 1, 1, now);
    gateway.handle_answer();
    assert!(gateway.poll_probe(now));
    assert!(gateway.poll_probe(now + SECOND));
    assert!(!gateway.is_reachable());
}
