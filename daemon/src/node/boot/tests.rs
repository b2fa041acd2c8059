use super::*;

#[test]
fn a_last_good_copy_that_can_not_be_used_does_not_hide_the_next() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("fulcrum.yaml");
    std::fs::write(&file, "nonsense: [\n").expect("room");
    let mistakes = fulcrum_config::load(&file, &host_name()).expect_err("it is bad");
    let [bad, good] = ["bad", "good"].map(|name| directory.path().join(name));
    let example = include_str!("../../../../config/examples/pair.yaml");
    for (state, text) in [(&bad, "nonsense: true\n".to_owned()), (&good, format!("node: lb-1\n{example}"))] {
        fulcrum_config::last_good::keep(&last_good::path(state, &file), &text).expect("room");
    }
    let recalled = Recalled::default();
    let boot = first_usable(&file, &mistakes, &[bad.clone(), good], &recalled).expect("the second is good");
    assert_eq!(boot.state, ConfigState::LastGood);
    assert!(boot.source.is_none(), "it is kept already");
    let error = first_usable(&file, &mistakes, &[bad], &recalled).expect_err("none is good").to_string();
    assert!(error.contains("can't be used by this version"), "{error}");
}

#[test]
fn a_node_whose_memory_of_the_pools_is_damaged_takes_whatever_a_peer_has() {
    let directory = tempfile::tempdir().expect("a directory");
    let (file, state) = (directory.path().join("fulcrum.yaml"), directory.path().join("state"));
    let example = include_str!("../../../../config/examples/pools.yaml");
    let text = format!("node: lb-1\n{example}\nadmin: {{state_dir: {}}}\n", state.display());
    std::fs::write(&file, &text).expect("room");
    let first = boot(&file).expect("a good file");
    assert_eq!((first.keep_allocations(&file), &first.damage), (None, &None));
    Shared { serial: 7, ..first.shared.clone() }.keep(&state, &file).unwrap();
    assert_eq!(boot(&file).expect("a good file").shared.serial, 7);

    let kept = std::fs::read_dir(&state).expect("a directory").filter_map(|entry| Some(entry.ok()?.path()));
    let kept = kept.filter(|path| path.to_string_lossy().contains("allocations-"));
    kept.for_each(|path| std::fs::write(path, "torn").expect("room"));
    let damaged = boot(&file).expect("a good file");
    assert!(damaged.damage.as_ref().is_some_and(|damage| damage.contains("is damaged")));
    assert_eq!(damaged.shared.serial, 1, "any peer's is newer");
    assert_eq!(damaged.keep_allocations(&file), None);
    // Nor does a second start before a peer was seen take it for what the nodes agreed on.
    let again = boot(&file).expect("a good file");
    assert_eq!((again.shared.serial, &again.damage), (1, &None));
    assert_eq!(again.config.allocations, first.config.allocations);
}

#[test]
fn what_was_asked_for_over_the_file_and_can_not_be_read_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let (file, state) = (directory.path().join("fulcrum.yaml"), directory.path().join("state"));
    let example = include_str!("../../../../config/examples/pair.yaml");
    let good = format!("node: lb-1\n{example}\nadmin: {{state_dir: {}}}\n", state.display());
    std::fs::write(&file, &good).expect("room");
    let first = boot(&file).expect("a good file");
    assert_eq!(first.lost, None, "nothing was kept");
    first.shared.keep(&state, &file).unwrap();
    assert_eq!(boot(&file).expect("a good file").lost, None);
    fulcrum_config::last_good::keep(&last_good::path(&state, &file), &good).expect("room");

    let kept = last_good::kept_as(&state, &file, crate::node::shared::KIND);
    let lost = |why: &str| {
        let lost = boot(&file).expect("a configuration").lost.expect("it is said");
        assert!(lost.contains(&kept.display().to_string()) && lost.contains(why), "{lost}");
    };
    // With a good file and with the last good one.
    for text in [good, format!("nonsense: [\nstate_dir: {}\n", state.display())] {
        std::fs::write(&file, text).expect("room");
        std::fs::write(&kept, "torn").expect("room");
        lost("is damaged");
        fulcrum_config::last_good::keep(&kept, r#"{"serial":"x"}"#).expect("room");
        lost("makes no sense to this version");
    }
}
