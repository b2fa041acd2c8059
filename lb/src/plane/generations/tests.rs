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
fn the_older_table_holds_for_a_time_that_later_changes_do_not_prolong() {
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
