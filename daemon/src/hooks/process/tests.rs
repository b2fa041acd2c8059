use super::*;

#[test]
fn the_first_line_is_short_and_plain() {
    assert_eq!(first_line(b"\n  no\x1b[31m \xff\nmore").as_deref(), Some("no [31m \u{fffd}"));
    assert_eq!(first_line(&[b'x'; KEPT]).map(|line| line.len()), Some(LINE));
    assert_eq!(first_line(b" \n"), None);
}
