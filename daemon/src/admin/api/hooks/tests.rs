use super::*;

#[test]
fn what_is_told_comes_out_as_it_went_in_and_nothing_else_is() {
    let upgrading =
        |to: Option<&str>, forced| Upgrading { cause: "a & b".to_owned(), to: to.map(str::to_owned), forced };
    for told in [
        Told::Before(upgrading(None, false)),
        Told::Before(upgrading(Some("0.2.0"), true)),
        Told::After(upgrading(None, false), UpgradeEnd::Done),
        Told::After(upgrading(Some("0.2.0"), false), UpgradeEnd::Abandoned),
    ] {
        assert_eq!(find(&path(&told)), Some(told));
    }
    for wrong in [
        "/v1/hooks/before-upgrade",
        "/v1/hooks/before-upgrade?to=1",
        "/v1/hooks/before-upgrade?cause=a&outcome=done",
        "/v1/hooks/after-upgrade?cause=a",
        "/v1/hooks/after-upgrade?cause=a&outcome=well",
        "/v1/hooks/after-upgrade?cause=a&outcome=done&force",
        "/v1/hooks/fault?cause=a",
        "/v1/hooks/before-upgrade?cause=%0a",
    ] {
        assert_eq!(find(wrong), None, "{wrong}");
    }
}
