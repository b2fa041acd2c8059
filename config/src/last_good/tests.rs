use super::*;

const GOOD: &str = include_str!("../../examples/pair.yaml");

fn with_file(text: &str) -> (tempfile::TempDir, PathBuf, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fulcrum.yaml");
    std::fs::write(&path, text).unwrap();
    let state = directory.path().join("state");
    (directory, path, state)
}

#[test]
fn what_was_kept_is_recalled() {
    let (_directory, _, state) = with_file("");
    assert!(recall(&state).unwrap().is_none());
    keep(&state, GOOD).unwrap();
    assert_eq!(recall(&state).unwrap().as_deref(), Some(GOOD));
    keep(&state, "other").unwrap();
    assert_eq!(recall(&state).unwrap().as_deref(), Some("other"));
    let left: Vec<_> = std::fs::read_dir(&state).unwrap().collect();
    assert_eq!(left.len(), 1, "no temporary file is left: {left:?}");
}

#[test]
fn a_file_that_is_torn_anywhere_is_noticed() {
    let (_directory, _, state) = with_file("");
    keep(&state, "node: lb-1\n").unwrap();
    let whole = std::fs::read(path_in(&state)).unwrap();
    for length in 0..whole.len() {
        std::fs::write(path_in(&state), &whole[..length]).unwrap();
        assert!(matches!(recall(&state), Err(LastGoodError::Damaged { .. })), "cut at {length}");
    }
    for index in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[index] ^= 1;
        std::fs::write(path_in(&state), &flipped).unwrap();
        assert!(matches!(recall(&state), Err(LastGoodError::Damaged { .. })), "flipped at {index}");
    }
    let mut longer = whole;
    longer.push(b'\n');
    std::fs::write(path_in(&state), longer).unwrap();
    assert!(matches!(recall(&state), Err(LastGoodError::Damaged { .. })));
}

#[test]
fn a_bad_file_boots_from_the_last_good_one_and_says_why() {
    let (_directory, path, state) = with_file(GOOD);
    assert!(matches!(load_or_last_good(&path, &state, "lb-1"), Ok(Boot::File(_))));
    keep(&state, GOOD).unwrap();

    std::fs::write(&path, GOOD.replace("port: 80", "port: eighty")).unwrap();
    let Ok(Boot::LastGood { text, diagnostics, .. }) = load_or_last_good(&path, &state, "lb-1") else {
        panic!("the last good one must be used")
    };
    assert_eq!(text, GOOD);
    assert!(diagnostics.to_string().contains("`eighty` is not a port"));

    std::fs::remove_file(&path).unwrap();
    assert!(matches!(load_or_last_good(&path, &state, "lb-1"), Ok(Boot::LastGood { .. })));
}

#[test]
fn without_either_both_reasons_are_told() {
    let (_directory, path, state) = with_file("nodes: 1");
    let error = load_or_last_good(&path, &state, "lb-1").unwrap_err().to_string();
    assert!(error.contains("fulcrum.yaml:1:8"), "{error}");
    assert!(error.contains("there is no last good configuration"), "{error}");

    keep(&state, "nodes: 2").unwrap();
    let error = load_or_last_good(&path, &state, "lb-1").unwrap_err().to_string();
    assert!(error.contains("can't be used by this version either"), "{error}");
    assert!(error.contains("last-good.yaml:1:8"), "{error}");
}

#[test]
fn a_state_directory_that_cannot_be_written_says_what_that_means() {
    let (directory, path, _) = with_file(GOOD);
    let error = keep(&path, GOOD).unwrap_err().to_string();
    assert!(error.contains("a bad file at boot means no service"), "{error}");
    drop(directory);
}
