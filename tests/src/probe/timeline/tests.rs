use super::{Outcome, Sample, Timeline};
use std::time::{Duration, Instant};

/// One request each 10 ms; `+` is answered by lb1, `-` is not.
fn timeline(start: Instant, picture: &str) -> Timeline {
    let sample = |(index, letter): (u32, char)| Sample {
        begun: start.checked_add(Duration::from_millis(10).saturating_mul(index)).unwrap(),
        took: Duration::from_millis(1),
        outcome: match letter {
            '+' => Outcome::Answer { backend: "web1".into(), via: [10, 77, 0, 11].into() },
            _ => Outcome::Timeout,
        },
    };
    Timeline::new(start, (0..).zip(picture.chars()).map(sample).collect())
}

#[test]
fn the_gap_is_from_the_last_answered_start_to_the_next() {
    let start = crate::wait::now();
    let seen = timeline(start, "+++----++-+");
    assert_eq!(seen.longest_gap(), Duration::from_millis(50));
    assert_eq!((seen.answered(), seen.failed()), (6, 5));
    assert_eq!(timeline(start, "----").longest_gap(), Duration::ZERO);
}

#[test]
fn a_part_knows_the_answer_before_it() {
    let start = crate::wait::now();
    let seen = timeline(start, "+++----+++");
    let event = start + Duration::from_millis(35);
    assert_eq!(seen.since(event).longest_gap(), Duration::from_millis(50));
    assert_eq!(seen.since(event).failed(), 3);
    let until = start + Duration::from_millis(70);
    assert_eq!(seen.between(event, until).longest_gap(), Duration::from_millis(50));
    assert_eq!(seen.since(start + Duration::from_millis(80)).longest_gap(), Duration::from_millis(10));
}
