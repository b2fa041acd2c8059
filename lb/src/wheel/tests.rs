use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn expired(wheel: &mut Wheel, now: u64) -> Vec<u32> {
    let mut keys: Vec<u32> = std::iter::from_fn(|| wheel.poll_expired(now)).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn a_key_wakes_once_and_not_early() {
    let mut wheel = Wheel::new();
    wheel.set(3, 1_000);
    assert!(expired(&mut wheel, 999).is_empty());
    assert_eq!(expired(&mut wheel, 1_000 + GRAIN), [3]);
    assert!(expired(&mut wheel, 100_000).is_empty());
    assert_eq!(wheel.poll_timeout(), None);
}

#[test]
fn a_time_beyond_the_horizon_comes_at_the_horizon() {
    let mut wheel = Wheel::new();
    wheel.set(1, 3_600_000);
    let timeout = wheel.poll_timeout().unwrap();
    assert!(timeout < SLOTS as u64 * GRAIN);
    assert_eq!(expired(&mut wheel, timeout), [1]);
}

#[test]
fn earlier_wins() {
    let mut wheel = Wheel::new();
    wheel.set(1, 5_000);
    wheel.set_earlier(1, 9_000);
    wheel.set_earlier(1, 2_000);
    assert_eq!(expired(&mut wheel, 2_000 + GRAIN), [1]);
}

#[test]
fn a_pause_of_several_rounds_wakes_everybody() {
    let mut wheel = Wheel::new();
    for key in 0..100 {
        wheel.set(key, u64::from(key) * 500);
    }
    assert_eq!(expired(&mut wheel, 10_000_000).len(), 100);
    wheel.set(5, 10_000_100);
    assert_eq!(expired(&mut wheel, 10_000_100 + GRAIN), [5]);
}

proptest! {
    /// Against a plain map of times, whatever the order of events.
    #[test]
    fn agrees_with_a_map(steps in prop::collection::vec((0_u8..4, 0_u32..8, 0_u64..70_000), 1..200)) {
        let mut wheel = Wheel::new();
        let mut model: BTreeMap<u32, u64> = BTreeMap::new();
        let mut now = 0;
        for (what, key, amount) in steps {
            match what {
                0 => {
                    // Within the horizon, so that the time is kept.
                    let time = now + amount % 60_000;
                    wheel.set(key, time);
                    model.insert(key, time);
                }
                1 => {
                    wheel.cancel(key);
                    model.remove(&key);
                }
                _ => {
                    now += amount % 3_000;
                    let woken = expired(&mut wheel, now);
                    for key in &woken {
                        let time = model.remove(key);
                        prop_assert!(time.is_some_and(|time| time <= now), "{key} at {now}: {time:?}");
                    }
                    for (key, time) in &model {
                        prop_assert!(time + 2 * GRAIN > now, "{key} of {time} is late at {now}");
                    }
                    if let Some(timeout) = wheel.poll_timeout() {
                        let earliest = model.values().min().unwrap();
                        prop_assert!(timeout <= earliest.max(&now) + 2 * GRAIN);
                        prop_assert!(timeout + GRAIN > *earliest, "woken for nothing");
                    }
                }
            }
            prop_assert_eq!(wheel.poll_timeout().is_some(), !model.is_empty());
        }
    }
}
