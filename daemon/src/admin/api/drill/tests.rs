use super::*;

#[test]
fn what_is_asked_for_is_found_again() {
    let forced = ["api".to_owned(), "2001:db8::100".to_owned()];
    for strike in [Strike::Kill, Strike::Cut(Duration::from_secs(10))] {
        for forced in [&[][..], &forced[..]] {
            let expected = forced.iter().map(|group| GroupName::new(group)).collect();
            assert_eq!(find(&path(&strike, forced)), Some((strike, expected)));
        }
    }
}

#[test]
fn other_paths_are_not_there() {
    for path in [
        "/v1/drill",
        "/v1/drill/",
        "/v1/drill/kill/",
        "/v1/drill/kill?",
        "/v1/drill/kill?seconds=10",
        "/v1/drill/kill?force=",
        "/v1/drill/cut",
        "/v1/drill/cut?seconds=0",
        "/v1/drill/cut?seconds=61",
        "/v1/drill/cut?seconds=-1",
        "/v1/drill/cut?seconds=10&all=1",
    ] {
        assert_eq!(find(path), None, "{path}");
    }
}
