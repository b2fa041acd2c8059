use super::*;

fn ms(count: u32) -> Duration {
    Duration::from_millis(count.into())
}

/// A connection each millisecond: `+` answered, `-` not.
fn samples(seen: &str) -> Vec<Sample> {
    let at = |(place, letter): (u32, char)| Sample { begun: ms(place), is_answered: letter == '+' };
    (0..).zip(seen.chars()).map(at).collect()
}

#[test]
fn an_outage_is_from_the_start_of_the_last_answered_to_that_of_the_first_answered() {
    let rows = [
        ("++++", 0.0, 0, 0, true),
        ("++--++", 3.0, 2, 1, true),
        ("+-+---+-+", 4.0, 5, 3, true),
        ("++----", 4.0, 4, 1, false),
        ("----", 3.0, 4, 1, false),
        ("--++", 2.0, 2, 1, true),
    ];
    for (seen, outage_ms, failed, outages, is_over) in rows {
        let it = measure(&samples(seen), Duration::ZERO);
        assert_eq!(
            (it.outage_ms, it.failed, it.outages, it.is_over, it.requests),
            (outage_ms, failed, outages, is_over, seen.len()),
            "{seen}"
        );
    }
}

#[test]
fn an_outage_reaches_back_to_what_was_answered_before_and_the_counts_do_not() {
    let mut seen = samples("++++---++");
    seen.reverse();
    let it = measure(&seen, ms(5));
    assert_eq!((it.outage_ms, it.requests, it.failed), (4.0, 4, 2));
}

#[test]
fn what_was_not_asked_is_not_hidden() {
    let mut seen = samples("++++++++++");
    seen.drain(3..7);
    assert_eq!(measure(&seen, Duration::ZERO).resolution_ms, 5.0);
    assert_eq!(measure(&seen, ms(7)).resolution_ms, 1.0);
    // Answered at 2, failed at 6 and 7, answered at 9.
    let mut seen = samples("+++");
    seen.extend(
        [(6, false), (7, false), (9, true)].map(|(at, is_answered)| Sample { begun: ms(at), is_answered }),
    );
    let it = measure(&seen, Duration::ZERO);
    assert_eq!((it.outage_ms, it.resolution_ms), (7.0, 6.0));
}

#[test]
fn nothing_that_was_asked_is_no_service() {
    assert!(!measure(&[], Duration::ZERO).is_over);
    assert!(!is_clean_since(&samples("++"), ms(5)));
    assert!(is_clean_since(&samples("-++"), ms(1)));
    assert!(!is_clean_since(&samples("-+-"), ms(1)));
}
