use super::*;

#[test]
fn news_move_the_count_until_all_are_counted_again() {
    let mut live = Live::default();
    live.handle_count(&BTreeMap::from([(1, 10), (2, 5)]));
    let changes =
        [(1, Change::Begun), (1, Change::Begun), (2, Change::Ended), (1, Change::Other), (3, Change::Begun)];
    changes.into_iter().for_each(|(backend, change)| live.handle_change(backend, change));
    let load = |live, given| Load { live, given };
    assert_eq!(
        [1, 2, 3, 4].map(|backend| live.of(backend)),
        [load(12, 2), load(4, 0), load(1, 1), load(0, 0)]
    );
    live.handle_change(4, Change::Ended);
    assert_eq!(live.of(4), load(0, 0), "what is not known to have begun takes nothing away");
    live.handle_count(&BTreeMap::from([(2, 6)]));
    assert_eq!([1, 2, 3].map(|backend| live.of(backend)), [load(0, 2), load(6, 0), load(0, 1)]);
}
