use super::*;

#[test]
fn what_was_saved_is_found_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let (state, file) = (directory.path().join("state"), directory.path().join("a.yaml"));
    assert_eq!(find(&file, std::slice::from_ref(&state)), None);
    for text in ["node: a\n", "node: a\n", "node: b\n"] {
        save(&state, &file, text).expect("room on the disk");
        let found = find(&file, std::slice::from_ref(&state)).expect("a copy");
        assert_eq!(found.1, text);
    }
    let copies = std::fs::read_dir(&state).expect("the directory").count();
    assert_eq!(copies, 1, "nothing is left behind");
}

#[test]
fn files_of_two_nodes_do_not_mix() {
    let directory = tempfile::tempdir().expect("a directory");
    let (one, two) = (directory.path().join("one.yaml"), directory.path().join("two.yaml"));
    save(directory.path(), &one, "node: one\n").expect("room on the disk");
    assert_eq!(find(&two, &[directory.path().to_owned()]), None);
}

#[test]
fn a_broken_file_still_says_where_its_state_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("broken.yaml");
    let default = fulcrum_config::Admin::default().state_dir;
    for text in [
        "admin:\n  state_dir: \"/srv/state\" # ours\n nonsense: [\n",
        "# state_dir: /no\nadmin: {socket: /x, state_dir: /srv/state}\nnonsense: [\n",
    ] {
        std::fs::write(&file, text).expect("room");
        let found = candidates(&file, Some("/var/lib/x"));
        assert_eq!(found, [PathBuf::from("/srv/state"), PathBuf::from("/var/lib/x"), default.clone()]);
    }
    std::fs::write(&file, "nonsense").expect("room");
    assert_eq!(candidates(&file, None), [default]);
}
