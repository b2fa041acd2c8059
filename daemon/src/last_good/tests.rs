use super::*;

#[test]
fn files_of_two_nodes_do_not_mix() {
    let state = Path::new("/var/lib/fulcrum");
    let found = path(state, Path::new("/etc/fulcrum/one.yaml"));
    assert_eq!(found, Path::new("/var/lib/fulcrum/last-good-etc-fulcrum-one.yaml"));
    assert_ne!(found, path(state, Path::new("/etc/fulcrum/two.yaml")));
    assert_ne!(found, path(state, Path::new("one.yaml")));
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
