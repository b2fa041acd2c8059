use super::*;

const GOOD: &str = include_str!("../../examples/pair.yaml");

fn with_file(text: &str) -> (tempfile::TempDir, PathBuf, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fulcrum.yaml");
    std::fs::write(&path, text).unwrap();
    let kept = directory.path().join("state/last-good");
    (directory, path, kept)
}

#[test]
fn what_was_kept_is_recalled() {
    let (_directory, _, kept) = with_file("");
    assert!(recall(&kept).unwrap().is_none());
    keep(&kept, GOOD).unwrap();
    assert_eq!(recall(&kept).unwrap().as_deref(), Some(GOOD));
    keep(&kept, "other").unwrap();
    assert_eq!(recall(&kept).unwrap().as_deref(), Some("other"));
    let left: Vec<_> = std::fs::read_dir(kept.parent().unwrap()).unwrap().collect();
    assert_eq!(left.len(), 1, "no temporary file is left: {left:?}");
}

#[test]
fn a_file_that_is_torn_anywhere_is_noticed() {
    let (_directory, _, kept) = with_file("");
    keep(&kept, "node: lb-1\n").unwrap();
    let whole = std::fs::read(&kept).unwrap();
    for length in 0..whole.len() {
        std::fs::write(&kept, &whole[..length]).unwrap();
        assert!(matches!(recall(&kept), Err(LastGoodError::Damaged { .. })), "cut at {length}");
    }
    for index in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[index] ^= 1;
        std::fs::write(&kept, &flipped).unwrap();
        assert!(matches!(recall(&kept), Err(LastGoodError::Damaged { .. })), "flipped at {index}");
    }
    let mut longer = whole;
    longer.push(b'\n');
    std::fs::write(&kept, longer).unwrap();
    assert!(matches!(recall(&kept), Err(LastGoodError::Damaged { .. })));
}

#[test]
fn a_bad_file_boots_from_the_last_good_one_and_says_why() {
    let (_directory, path, kept) = with_file(GOOD);
    assert!(matches!(load_or_last_good(&path, &kept, "lb-1"), Ok(Boot::File(_))));
    keep(&kept, GOOD).unwrap();

    std::fs::write(&path, GOOD.replace("port: 80", "port: eighty")).unwrap();
    let Ok(Boot::LastGood { parsed, diagnostics }) = load_or_last_good(&path, &kept, "lb-1") else {
        panic!("the last good one must be used")
    };
    assert_eq!(parsed, parse(GOOD, "", "lb-1").unwrap());
    assert!(diagnostics.to_string().contains("`eighty` is not a port"));

    std::fs::remove_file(&path).unwrap();
    assert!(matches!(load_or_last_good(&path, &kept, "lb-1"), Ok(Boot::LastGood { .. })));
}

#[test]
fn without_either_both_reasons_are_told() {
    let (_directory, path, kept) = with_file("nodes: 1");
    let error = load_or_last_good(&path, &kept, "lb-1").unwrap_err().to_string();
    assert!(error.contains("fulcrum.yaml:1:8"), "{error}");
    assert!(error.contains("there is no last good configuration"), "{error}");

    keep(&kept, "nodes: 2").unwrap();
    let error = load_or_last_good(&path, &kept, "lb-1").unwrap_err().to_string();
    assert!(error.contains("can't be used by this version either"), "{error}");
    assert!(error.contains("last-good:1:8"), "{error}");
}

#[test]
fn a_directory_that_cannot_be_written_says_what_that_means() {
    let (directory, path, _) = with_file(GOOD);
    // A file stands where the directory should.
    let error = keep(&path.join("kept"), GOOD).unwrap_err().to_string();
    assert!(error.contains("a bad file at boot means no service"), "{error}");
    drop(directory);
}
