#![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, reason = "a test")]

use super::*;
use proptest::prelude::*;

const LASTS: Duration = Duration::from_secs(15);
const STEP: Duration = Duration::from_millis(100);

#[allow(clippy::disallowed_methods, reason = "any moment will do")]
fn start() -> Instant {
    Instant::now()
}

fn record(version: &str, holder: Option<&str>) -> Record {
    Record { version: version.to_owned(), holder: holder.map(str::to_owned), lasts: LASTS }
}

#[test]
fn what_nobody_has_may_be_taken_and_what_another_has_only_after_its_whole_time_unchanged() {
    let begun = start();
    let mut observed = Observed::default();
    assert!(observed.may_take("a", begun), "there is none");
    observed.handle(record("1", None), begun);
    assert!(observed.may_take("a", begun));
    observed.handle(record("2", Some("b")), begun);
    assert!(!observed.may_take("a", begun + LASTS));
    assert!(observed.may_take("b", begun), "it has it already");
    observed.handle(record("3", Some("b")), begun + LASTS);
    assert!(!observed.may_take("a", begun + LASTS + STEP), "it was renewed");
    observed.handle(record("3", Some("b")), begun + LASTS * 2);
    assert_eq!(observed.holder(begun + LASTS * 2), Some("b"));
    assert!(observed.may_take("a", begun + LASTS * 2 + STEP));
    assert_eq!(observed.holder(begun + LASTS * 2 + STEP), None);
}

#[test]
fn nobody_is_waited_for_for_ever() {
    let begun = start();
    let mut observed = Observed::default();
    observed.handle(Record { lasts: Duration::MAX, ..record("1", Some("b")) }, begun);
    assert!(observed.may_take("a", begun + AT_MOST + STEP));
}

/// A node that wants the lock now and then, whose requests take their time both ways.
#[derive(Debug, Default)]
struct Node {
    observed: Observed,
    /// Asked when; the answer comes at a tick, with what the Lease said when the request was there.
    reading: Option<(u32, Record)>,
    /// The request arrives at a tick; what was asked for counts from another.
    writing: Option<(u32, u32, String)>,
    held_until: u32,
}

proptest! {
    /// Whatever the ways there and back take, whoever pauses: never two at once, and whoever asks on has it in the end.
    #[test]
    fn never_two_have_it(
        delays in proptest::collection::vec(0_u32..8, 400),
        wants in proptest::collection::vec(0_u8..4, 40),
    ) {
        let begun = start();
        let ticks = |count: u32| begun + STEP * count;
        let lasts = Duration::from_secs(2);
        let mut lease = Record { version: "0".to_owned(), holder: None, lasts };
        let mut nodes = [Node::default(), Node::default()];
        let mut delay = delays.iter().copied().cycle();
        let mut delay = || delay.next().unwrap_or_default();
        for tick in 0..800 {
            for (place, name) in ["a", "b"].into_iter().enumerate() {
                let node = &mut nodes[place];
                let wanted = tick >= 700 && place == 0
                    || tick < 700 && wants[usize::try_from(tick).unwrap() / 20 % wants.len()] & (1 << place) != 0;
                if let Some((at, seen)) = node.reading.clone() && at <= tick {
                    node.reading = None;
                    let version = seen.version.clone();
                    node.observed.handle(seen, ticks(tick));
                    if wanted && node.observed.may_take(name, ticks(tick)) {
                        node.writing = Some((tick + delay(), tick, version));
                    }
                }
                if let Some((at, since, version)) = node.writing.clone() && at <= tick {
                    node.writing = None;
                    if version == lease.version {
                        let next = (version.parse::<u32>().unwrap() + 1).to_string();
                        lease = Record { version: next, holder: Some(name.to_owned()), lasts };
                        // The answer may take as long again; the time counts from when it was asked.
                        node.held_until = since + 16;
                    }
                }
                if wanted && node.reading.is_none() && node.writing.is_none() {
                    node.reading = Some((tick + delay(), lease.clone()));
                }
            }
            prop_assert!(nodes.iter().filter(|node| node.held_until > tick).count() < 2, "at {tick}");
        }
        prop_assert_eq!(lease.holder.as_deref(), Some("a"));
    }
}
