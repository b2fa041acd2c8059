use super::*;
use fulcrum_ebpf::plane::layout::SLOTS;

const HOLD: Duration = Duration::from_secs(3600);

fn table(backend: u16) -> Arc<Slots> {
    Arc::new(Slots([backend; SLOTS]))
}

#[allow(clippy::disallowed_methods, reason = "any moment will do")]
fn begun() -> Instant {
    Instant::now()
}

#[test]
fn the_older_table_holds_for_a_time_that_later_changes_of_the_same_slots_do_not_prolong() {
    let start = begun();
    let mut generations = Generations::new(table(1));
    assert!(generations.is_settled());
    generations.handle_table(table(2), start, HOLD);
    generations.handle_table(table(3), start + HOLD / 2, HOLD);
    assert_eq!((generations.current(), generations.previous()), (&table(3), &table(1)));
    assert!(!generations.handle_timeout(start + HOLD - Duration::from_secs(1)));
    assert!(generations.handle_timeout(start + HOLD));
    assert!(generations.is_settled() && generations.previous() == &table(3));
    assert!(!generations.handle_timeout(start + HOLD * 9));
}

/// All slots but these are the first backend's.
fn with(others: &[(usize, u16)]) -> Arc<Slots> {
    let mut slots = *table(1);
    others.iter().for_each(|(slot, backend)| slots.0[*slot] = *backend);
    Arc::new(slots)
}

#[test]
fn a_slot_that_moves_later_holds_as_long_from_then_on() {
    let start = begun();
    let late = start + HOLD - Duration::from_secs(60);
    let mut generations = Generations::new(with(&[]));
    generations.handle_table(with(&[(0, 2), (1, 2), (2, 2)]), start, HOLD);
    // One moves now, one moves again, and one is back where it was and moves again.
    generations.handle_table(with(&[(0, 3), (1, 2), (7, 3)]), late, HOLD);
    generations.handle_table(with(&[(0, 3), (1, 2), (2, 3), (7, 3)]), late, HOLD);
    assert_eq!(generations.until(), Some(late + HOLD));
    assert!(generations.handle_timeout(start + HOLD));
    assert_eq!(generations.previous(), &with(&[(0, 3), (1, 2)]));
    assert!(!generations.is_settled() && !generations.handle_timeout(start + HOLD));
    assert!(generations.handle_timeout(late + HOLD));
    assert!(generations.is_settled() && generations.previous() == generations.current());
}

#[test]
fn whatever_changes_no_slot_is_older_than_the_time_for_which_it_holds() {
    let start = begun();
    let mut generations = Generations::new(with(&[]));
    let mut moved = Vec::new();
    for change in 0..20 {
        let now = start + HOLD / 4 * u32::try_from(change).unwrap();
        generations.handle_timeout(now);
        moved.push((change, 2));
        generations.handle_table(with(&moved), now, HOLD);
        let held = moved.len().saturating_sub(4);
        assert_eq!(generations.previous(), &with(&moved[..held]));
    }
}

#[test]
fn what_comes_back_as_it_was_is_settled() {
    let start = begun();
    let mut generations = Generations::new(table(1));
    generations.handle_table(table(2), start, HOLD);
    assert!(!generations.is_settled());
    generations.handle_table(table(1), start, HOLD);
    assert!(generations.is_settled());
    // The next change counts from its own time.
    generations.handle_table(table(2), start + HOLD, HOLD);
    assert!(!generations.handle_timeout(start + HOLD + HOLD / 2));
}

#[test]
fn tables_of_an_earlier_life_hold_from_now_on() {
    let start = begun();
    let same = Generations::adopted(*table(1), *table(1), start, HOLD);
    assert!(same.is_settled());
    let mut differ = Generations::adopted(*table(2), *table(1), start, HOLD);
    assert!(!differ.is_settled() && !differ.handle_timeout(start));
    assert!(differ.handle_timeout(start + HOLD));
}
