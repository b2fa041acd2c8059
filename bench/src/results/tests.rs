use super::replaced;

#[test]
fn a_section_is_added_once_and_then_replaced() {
    let first = replaced("# Results\n", "proxy", "one\n");
    assert_eq!(first, "# Results\n\n<!-- proxy -->\none\n<!-- end of proxy -->\n");
    let both = replaced(&first, "failover", "two\n");
    let again = replaced(&both, "proxy", "three\n");
    assert_eq!(
        again,
        "# Results\n\n<!-- proxy -->\nthree\n<!-- end of proxy -->\n\n<!-- failover -->\ntwo\n<!-- end of failover -->\n"
    );
}
