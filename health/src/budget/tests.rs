use super::*;

#[allow(clippy::disallowed_methods)] // Any moment will do.
fn epoch() -> Instant {
    Instant::now()
}

/// How many probes of one file may start.
fn room(budget: &mut Budget, now: Instant) -> u32 {
    let started = (0..10_000).take_while(|_| budget.take(1, now)).count();
    let started = u32::try_from(started).unwrap();
    (0..started).for_each(|_| budget.give(1));
    started
}

#[test]
fn no_more_than_the_limit_and_at_least_one() {
    let now = epoch();
    let mut budget = Budget::new(10);
    assert!(budget.take(4, now) && budget.take(4, now));
    assert!(!budget.take(4, now) && !budget.fits(4), "12 are too many");
    assert!(budget.take(0, now), "who needs none may always start");
    budget.give(4);
    assert!(budget.take(4, now));
    let mut small = Budget::new(1);
    assert!(small.take(4, now), "alone");
    assert!(!small.take(1, now));
}

#[test]
fn who_had_to_wait_was_delayed() {
    let now = epoch();
    let mut budget = Budget::new(1);
    assert!(budget.take(1, now) && !budget.delayed(now));
    let then = now + Duration::from_secs(1);
    assert!(!budget.take(1, then));
    assert!(budget.delayed(now) && budget.delayed(then));
    assert!(!budget.delayed(then + Duration::from_secs(1)));
}

#[test]
fn overload_halves_and_good_outcomes_bring_back() {
    let mut now = epoch();
    let mut budget = Budget::new(100);
    for expected in [50, 25, 16, 16] {
        for _ in 0..1000 {
            budget.handle_void(now);
        }
        assert_eq!(room(&mut budget, now), expected);
        now += SHRINK_EVERY;
    }
    for _ in 0..GROW_AFTER {
        budget.handle_good();
    }
    assert_eq!(room(&mut budget, now), 17);
    for _ in 0..GROW_AFTER * 1000 {
        budget.handle_good();
    }
    assert_eq!(room(&mut budget, now), 100);
}

#[test]
fn a_budget_below_the_least_is_not_raised() {
    let now = epoch();
    let mut budget = Budget::new(3);
    budget.handle_void(now);
    assert_eq!(room(&mut budget, now), 3);
}
