use super::*;

#[test]
fn that_etcd_fails_is_heard_and_nothing_else() {
    let lost = "[+]ping ok\n[-]etcd failed: reason withheld\n[-]etcd-readiness failed: reason withheld\nreadyz check failed\n";
    let ends = "[+]ping ok\n[+]etcd ok\n[-]shutdown failed: reason withheld\nreadyz check failed\n";
    let cases = [
        (StatusCode::OK, "ok", Some(false)),
        (StatusCode::INTERNAL_SERVER_ERROR, lost, Some(true)),
        (StatusCode::INTERNAL_SERVER_ERROR, ends, Some(false)),
        // It may not be asked, or is too busy, or a proxy answers in its place.
        (StatusCode::FORBIDDEN, lost, None),
        (StatusCode::UNAUTHORIZED, "", None),
        (StatusCode::TOO_MANY_REQUESTS, "", None),
        (StatusCode::BAD_GATEWAY, lost, None),
        (StatusCode::NOT_FOUND, "", None),
    ];
    for (status, text, expected) in cases {
        assert_eq!(fails(status, text), expected, "{status} {text}");
    }
}

#[test]
fn one_answer_is_asked_again_soon_and_two_are_believed() {
    let mut doubt = Doubt::default();
    let cases = [
        (Some(false), Some(false), false),
        (Some(true), None, true),
        (Some(false), None, false),
        (Some(true), None, true),
        // Nothing was heard: that is no news.
        (None, None, true),
        (Some(true), Some(true), false),
        (Some(true), None, false),
        (None, None, false),
        (Some(false), Some(false), false),
    ];
    for (place, (answer, news, is_young)) in cases.into_iter().enumerate() {
        assert_eq!((doubt.heard(answer), doubt.is_young()), (news, is_young), "{place}");
    }
}
