use super::*;

#[test]
fn what_does_not_run_is_named() {
    let thread = ["tcp-0".to_owned()];
    assert_eq!(stuck(("lb", STUCK / 2), &[]), None);
    assert_eq!(stuck(("lb", STUCK / 2), &thread).as_deref(), Some("threads that do not run: tcp-0"));
    assert_eq!(stuck(("lb", STUCK), &[]).as_deref(), Some("the loop of lb has not run for 3000 ms"));
}
