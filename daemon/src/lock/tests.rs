use super::*;

#[test]
fn a_second_one_is_refused_and_told_the_first_ones_pid() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("run/admin.sock");
    let held = take(&socket).expect("the first");
    let error = take(&socket).expect_err("the second").to_string();
    assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
    drop(held);
    take(&socket).expect("after the first has gone");
}
