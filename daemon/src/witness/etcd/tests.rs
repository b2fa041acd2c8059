use super::*;

#[test]
fn answers_are_read() {
    let held = json!({ "kvs": [{ "value": "bGItMg==", "lease": "7587862094", "mod_revision": "3" }] });
    assert_eq!(holder(&held), Some(Holder { name: "lb-2".to_owned(), lease: Lease(7_587_862_094) }));
    let by_hand = json!({ "kvs": [{ "value": "eA==" }] });
    assert_eq!(holder(&by_hand), Some(Holder { name: "x".to_owned(), lease: Lease(0) }));
    for nothing in [json!({}), json!({ "kvs": [] }), json!({ "kvs": [{ "value": "*" }] }), json!(3)] {
        assert_eq!(holder(&nothing), None, "{nothing}");
    }
    assert_eq!(lease(Some(&json!("0"))), None);
    assert_eq!(lease(Some(&json!(12))), Some(Lease(12)));
    assert_eq!(number(Some(&json!("-1"))), Some(-1));
    assert_eq!(number(Some(&json!(true))), None);
}
