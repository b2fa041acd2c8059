use super::*;

#[test]
fn one_roll_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("nodes.yaml.roll");
    let held = take(&journal).unwrap();
    let refused = take(&journal).unwrap_err().to_string();
    assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
    drop(held);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    let _again = take(&journal).unwrap();
}

#[test]
fn a_lock_whose_file_was_removed_is_none() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lock");
    let file = File::create(&path).unwrap();
    assert!(is_at(&file, &path).unwrap());
    std::fs::remove_file(&path).unwrap();
    assert!(!is_at(&file, &path).unwrap());
    let _other = File::create(&path).unwrap();
    assert!(!is_at(&file, &path).unwrap());
}

#[test]
fn what_a_process_holds_that_is_gone_is_waited_for_a_moment() {
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("nodes.yaml.roll");
    let file = File::create(directory.path().join("nodes.yaml.roll.lock")).unwrap();
    // No process has a number like this.
    std::fs::write(directory.path().join("nodes.yaml.roll.lock"), "4294967295\n").unwrap();
    flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
    let refused = take(&journal).unwrap_err().to_string();
    assert!(refused.contains("that was killed holds it still"), "{refused}");
    let letting_go = std::thread::spawn(move || {
        std::thread::sleep(PAUSE);
        drop(file);
    });
    let _held = take(&journal).unwrap();
    letting_go.join().unwrap();
}
