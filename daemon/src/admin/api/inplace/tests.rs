use super::*;

#[test]
fn a_path_asks_for_what_it_was_made_of() {
    let how = InPlace { ready: Duration::from_secs(60), deadline: Duration::from_secs(300) };
    assert_eq!(find(&path(how)), Some(how));
    let long = InPlace { ready: Duration::from_secs(1000), ..how };
    assert_eq!(find(&path(long)), Some(InPlace { ready: READY_AT_MOST, ..how }));
    for wrong in [
        "/v1/upgrade-in-place",
        "/v1/upgrade-in-place?ready=&deadline=1",
        "/v1/upgrade-in-place?ready=1000&deadline=1",
        "/v1/upgrade-in-place?ready=1&deadline=x",
    ] {
        assert_eq!(find(wrong), None, "{wrong}");
    }
}
