use super::*;

#[test]
fn what_is_asked_is_found_by_its_path() {
    for asked in [Asked::Show("prod".into()), Asked::Set("prod".into()), Asked::Remove("a/b".into())] {
        assert_eq!(find(&path(&asked)), Some(asked.clone()));
        assert_eq!(has_text(&path(&asked)), matches!(asked, Asked::Set(_)));
    }
    for other in ["/v1/sources", "/v1/sources/", "/v1/sources/a/b", "/v1/sources/a/set/b", "/v1/sources//set"]
    {
        assert_eq!(find(other), None, "{other}");
    }
}
