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
    assert!(boot.text.is_none(), "it is kept already");
    let error = first_usable(&file, &mistakes, &[bad], &recalled).expect_err("none is good").to_string();
    assert!(error.contains("can't be used by this version"), "{error}");
}
