use super::*;

const FILE: &str = "/etc/fulcrum/fulcrum.yaml";

/// A run that begins at this second; the one before ended as it was asked to, or did not.
fn begin(state: &Path, second: u64) -> Runs {
    Runs::begin(state, Path::new(FILE), 3, UnixTime(second))
}

#[test]
fn who_crashes_again_and_again_is_held_back_for_longer_each_time() {
    let state = tempfile::tempdir().unwrap();
    let held = |second| begin(state.path(), second).held(UnixTime(second));
    assert_eq!([1000, 1010, 1020].map(held), [None; 3]);
    let minutes = |minutes: u64| Some(Duration::from_secs(60 * minutes));
    assert_eq!([1030, 1040, 1050, 1060, 1070, 1080].map(held), [1, 2, 4, 8, 16, 16].map(minutes));
    // Half an hour after most of them they are forgotten.
    assert_eq!(held(1080 + 1800), None);
}

#[test]
fn runs_that_end_as_they_are_asked_to_are_no_crashes() {
    let state = tempfile::tempdir().unwrap();
    for second in 1000..1010 {
        begin(state.path(), second).end();
    }
    assert_eq!(begin(state.path(), 1010).held(UnixTime(1010)), None);
}

#[test]
fn a_limit_of_zero_holds_nobody_back() {
    let state = tempfile::tempdir().unwrap();
    for second in 1000..1010 {
        let runs = Runs::begin(state.path(), Path::new(FILE), 0, UnixTime(second));
        assert_eq!(runs.held(UnixTime(second)), None);
    }
}

#[test]
fn a_clock_that_is_set_back_makes_no_crashes() {
    let state = tempfile::tempdir().unwrap();
    for second in 1000..1010 {
        drop(begin(state.path(), second));
    }
    assert_eq!(begin(state.path(), 10).held(UnixTime(10)), None);
}

#[test]
fn what_can_not_be_read_or_written_keeps_nobody_from_leading() {
    let state = tempfile::tempdir().unwrap();
    let path = kept_as(state.path(), Path::new(FILE), RUNS);
    std::fs::write(&path, "torn").unwrap();
    assert_eq!(begin(state.path(), 1000).held(UnixTime(1000)), None);
    keep(&path, "{\"running\": 7}").unwrap();
    assert_eq!(begin(state.path(), 1001).held(UnixTime(1001)), None);
    // A file where the directory should be.
    let nowhere = path.join("state");
    for second in 1000..1010 {
        assert_eq!(begin(&nowhere, second).held(UnixTime(second)), None);
    }
}

#[test]
fn the_alarm_stays_when_the_node_is_held_back_no_more() {
    let state = tempfile::tempdir().unwrap();
    let [.., runs] = [1000, 1001, 1002, 1003].map(|second| begin(state.path(), second));
    let now = UnixTime(1003);
    let alarm = runs.alarm(Duration::from_secs(42), now).unwrap();
    assert_eq!(alarm.what, "this node is not stable: it crashed 3 times within 30 minutes");
    assert!(alarm.affected.contains("for 42 s more"), "{}", alarm.affected);
    assert!(runs.alarm(Duration::ZERO, now).unwrap().affected.contains("nothing at present"));
    assert!(runs.alarm(Duration::ZERO, UnixTime(9999)).is_none());
}
