use super::*;
use fulcrum_lifecycle::hooks::DrainKind;

fn drain(name: &str) -> Drain {
    Drain {
        kind: DrainKind::Backend,
        name: name.to_owned(),
        of: vec![format!("backend web/{name}")],
        by: "uid 0".to_owned(),
        deadline_seconds: Some(30),
        outcome: None,
        connections: None,
    }
}

fn names(drains: &Drains) -> Vec<(String, bool)> {
    drains.get().iter().map(|it| (it.drain.name.clone(), it.recalled)).collect()
}

#[tokio::test]
async fn the_process_after_this_one_knows_those_that_are_not_over() {
    let state = tempfile::tempdir().unwrap();
    let recall = || Drains::recall(state.path(), Path::new("/etc/fulcrum/fulcrum.yaml"));
    let first = recall();
    assert!(first.is_empty());
    first.watch(drain("web-1"), Some(UnixTime(40)));
    first.watch(drain("web-2"), None);
    first.watch(drain("web-2"), Some(UnixTime(50)));
    first.keep().await;
    first.end_those(|it| it.drain.name == "web-1");
    first.keep().await;
    let second = recall();
    assert_eq!(names(&second), [("web-2".to_owned(), true)]);
    assert_eq!(second.get()[0].until, Some(UnixTime(50)));
    second.watch(drain("web-2"), None);
    assert_eq!(names(&second), [("web-2".to_owned(), false)]);
    second.end_those(|_| true);
    second.keep().await;
    assert!(recall().is_empty());
}

#[tokio::test]
async fn what_could_not_be_kept_is_kept_as_soon_as_it_can_be() {
    let directory = tempfile::tempdir().unwrap();
    let parent = directory.path().join("parent");
    std::fs::write(&parent, "not a directory").unwrap();
    let recall = || Drains::recall(&parent.join("state"), Path::new("/etc/fulcrum/fulcrum.yaml"));
    let first = recall();
    first.watch(drain("web-1"), None);
    first.keep().await;
    std::fs::remove_file(&parent).unwrap();
    std::fs::create_dir(&parent).unwrap();
    first.keep().await;
    assert_eq!(names(&recall()), [("web-1".to_owned(), true)]);
}

#[test]
fn what_nobody_can_read_is_none() {
    let state = tempfile::tempdir().unwrap();
    let file = Path::new("/etc/fulcrum/fulcrum.yaml");
    keep(&kept_as(state.path(), file, DRAINS), "{of a later version}").unwrap();
    assert!(Drains::recall(state.path(), file).is_empty());
}
