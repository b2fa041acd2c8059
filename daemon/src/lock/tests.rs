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

#[test]
#[allow(clippy::disallowed_methods, reason = "a process that ends is needed")]
fn a_process_that_is_dead_or_dying_is_waited_for_and_a_living_one_is_not() {
    assert!(!is_ending(&std::process::id().to_string()));
    let mut child = std::process::Command::new("true").spawn().expect("a child");
    let pid = child.id().to_string();
    // Nobody has asked how it ended: it stays a zombie.
    for _ in 0..1000 {
        if is_ending(&pid) {
            break;
        }
        std::thread::sleep(LOOK);
    }
    assert!(is_ending(&pid));
    child.wait().expect("it ended");
    assert!(is_ending(&pid), "gone");
}
