use super::*;

fn due(pacer: &mut Pacer<u32>, now: u64) -> usize {
    std::iter::from_fn(|| pacer.poll_due(now)).count()
}

#[test]
fn the_first_goes_at_once_and_the_last_in_time() {
    let mut pacer = Pacer::new();
    pacer.handle_batch((0..100).collect(), Duration::from_secs(5), 1_000);
    assert_eq!(due(&mut pacer, 1_000), 1);
    assert_eq!(due(&mut pacer, 3_499), 49);
    assert_eq!(pacer.poll_timeout(), Some(3_500));
    assert_eq!(due(&mut pacer, 5_999), 50);
    assert_eq!(pacer.poll_timeout(), None);
}

#[test]
fn one_alone_goes_at_once() {
    let mut pacer = Pacer::new();
    pacer.handle_batch(vec![7], Duration::from_secs(5), 0);
    assert_eq!(pacer.poll_due(0), Some(7));
    assert_eq!(pacer.poll_due(60_000), None);
}

#[test]
fn what_begins_later_is_not_due_before() {
    let mut pacer = Pacer::new();
    pacer.handle_batch(vec![7, 8], Duration::from_secs(1), 500);
    assert_eq!((due(&mut pacer, 499), pacer.poll_timeout()), (0, Some(500)));
    assert_eq!((due(&mut pacer, 500), due(&mut pacer, 1_000)), (1, 1));
}

#[test]
fn without_a_spread_all_go_at_once() {
    let mut pacer = Pacer::new();
    pacer.handle_batch((0..10).collect(), Duration::ZERO, 0);
    assert_eq!(due(&mut pacer, 0), 10);
}

#[test]
fn backends_that_fail_together_do_not_wait_for_each_other() {
    let mut pacer = Pacer::new();
    pacer.handle_batch((0..10).collect(), Duration::from_secs(10), 0);
    pacer.handle_batch((10..20).collect(), Duration::from_secs(1), 100);
    assert_eq!(due(&mut pacer, 100), 2);
    assert_eq!(due(&mut pacer, 1_100), 10, "one of the first batch and the rest of the second");
}
