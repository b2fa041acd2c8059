use super::*;

#[test]
fn a_peers_file_runs_until_the_own_one_is_edited() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = Path::new("/etc/fulcrum/fulcrum.yaml");
    assert_eq!(Shared::recall(directory.path(), file).0.serial, FIRST);
    let received = Received { from: "lb1".into(), text: "node: lb1\nservices: {}\n".into() };
    let shared = Shared { received: Some(received), ..Shared::of_own(7, "node: lb2\n") };
    shared.keep(directory.path(), file).unwrap();
    let (recalled, lost) = Shared::recall(directory.path(), file);
    assert_eq!((&recalled, lost), (&shared, None));
    let text = recalled.text("node: lb2\n").expect("not edited").expect("it is a map");
    assert!(text.contains("lb2") && text.contains("services") && !text.contains("lb1"), "{text}");
    assert_eq!(recalled.text("node: lb2\n# edited\n"), None);
    assert_eq!(Shared::of_own(7, "node: lb2\n").text("node: lb2\n"), None);
}

#[test]
fn what_is_damaged_counts_as_nothing_and_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = Path::new("/etc/fulcrum/fulcrum.yaml");
    Shared::of_own(7, "a").keep(directory.path(), file).unwrap();
    std::fs::write(path(directory.path(), file), "nonsense").expect("room");
    let (recalled, lost) = Shared::recall(directory.path(), file);
    assert_eq!(recalled.serial, FIRST);
    assert!(lost.is_some_and(|lost| lost.contains("is damaged")));
}
