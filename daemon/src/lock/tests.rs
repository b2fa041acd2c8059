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

#[test]
fn a_second_one_in_a_network_namespace_is_refused_and_told_what_to_do() {
    let name = format!("fulcrum-test-{}", std::process::id());
    let held = take_name(name.as_bytes()).expect("the first");
    for _ in 0..200 {
        // However often it is tried, it does not hang.
        let error = take_name(name.as_bytes()).expect_err("the second").to_string();
        assert!(error.contains("network namespace of its own"), "{error}");
    }
    drop(held);
    let held = take_name(name.as_bytes()).expect("after the first has gone");
    let error = take_name(name.as_bytes()).expect_err("the second").to_string();
    assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
    drop(held);
}
