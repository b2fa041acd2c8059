use super::*;
use crate::fixture::{backend, config, service};

#[test]
fn nothing_changed_says_so() {
    let same = config([service("web", [backend("a")])]);
    let found = difference(&same, &same.clone());
    assert!(found.is_empty());
    assert_eq!(found.to_string(), "nothing changed\n");
}

#[test]
fn each_change_is_named_with_its_fields() {
    let old = config([service("web", [backend("a"), backend("b")]), service("old", [backend("a")])]);
    let mut drained = backend("b");
    drained.drain = true;
    let mut web = service("web", [drained, backend("c")]);
    web.ports = fulcrum_config::PortRange::single(81);
    let mut new = config([web, service("new", [backend("a")])]);
    new.admin.metrics = Some("127.0.0.1:9000".parse().expect("an address"));
    let found = difference(&old, &new).to_string();
    let expected = "\
+ service new
- service old
~ service web
    ports changed
    backend c added
    backend a removed
    backend b: drain changed
! admin.metrics changed: takes effect when the daemon is started again
";
    assert_eq!(found, expected);
}
