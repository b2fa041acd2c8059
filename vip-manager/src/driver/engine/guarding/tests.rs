use super::*;

#[test]
#[allow(clippy::disallowed_methods, reason = "a moment to count from")]
fn a_beat_goes_with_each_advert_however_late_beats_are() {
    let (interval, late) = (Duration::from_millis(100), Duration::from_micros(50));
    let start = Instant::now();
    let mut last = start.checked_add(late).unwrap();
    for number in 1..=10_000 {
        let advert = start.checked_add(interval.saturating_mul(number)).unwrap();
        loop {
            // The loop wakes for adverts and for beats, whichever comes first.
            let beat = last.checked_add(interval.saturating_add(late)).unwrap();
            let now = advert.min(beat);
            if is_beat_due(Some(last), interval, now) {
                last = now;
            }
            if now == advert {
                break;
            }
        }
        let behind = advert.saturating_duration_since(last);
        assert!(behind <= interval / 8, "the guard resigns {behind:?} before any peer takes over: {number}");
    }
}
