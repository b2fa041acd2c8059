use super::*;

#[test]
fn both_ends_mean_the_same() {
    let force = BTreeSet::from([GroupName::new("api")]);
    let none = BTreeSet::new();
    let backend = || Target::Backend("shop/[fd00::1]:80".to_owned());
    let wishes = [
        (Wish::Drain(backend(), None), &none),
        (Wish::Drain(backend(), Some(Duration::from_secs(60))), &force),
        (Wish::Drain(Target::Node("lb-1".to_owned()), Some(Duration::ZERO)), &force),
        (Wish::Undrain(Target::Pool("public & more".to_owned())), &none),
        (Wish::Disable("10.0.0.1".to_owned()), &none),
        (Wish::Weight("web-1".to_owned(), Some(Weight::new(0).unwrap())), &none),
        (Wish::Weight("web-1".to_owned(), None), &none),
    ];
    for (wish, forced) in wishes {
        let path = path(&wish, forced);
        assert!(path.parse::<hyper::Uri>().is_ok(), "{path}");
        assert_eq!(find(&path), Some((wish, forced.clone())), "{path}");
    }
}

#[test]
fn what_makes_no_sense_is_no_path() {
    let bad = [
        "/v1/drain",
        "/v1/drain/backend",
        "/v1/drain/backend/",
        "/v1/drain/backend/a/b",
        "/v1/drain/service/a",
        "/v1/disable/lb-node/a",
        "/v1/weight/pool/a",
        "/v1/drain/backend/a?deadline=",
        "/v1/drain/backend/a?deadline=-1",
        "/v1/drain/backend/a?deadline=99999999999",
        "/v1/drain/backend/a?weight=1",
        "/v1/weight/backend/a?weight=257",
        "/v1/undrain/backend/a?deadline=1",
        "/v1/drain/backend/%00",
        "/v1/drain/backend/%ff",
        "/v1/drain/backend/a?x",
    ];
    for path in bad {
        assert_eq!(find(path), None, "{path}");
    }
}
