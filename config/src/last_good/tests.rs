use super::*;

fn place() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let kept = directory.path().join("state/last-good");
    (directory, kept)
}

#[test]
fn what_was_kept_is_recalled() {
    let (_directory, kept) = place();
    assert!(recall(&kept).unwrap().is_none());
    keep(&kept, "node: lb-1\n").unwrap();
    assert_eq!(recall(&kept).unwrap().as_deref(), Some("node: lb-1\n"));
    keep(&kept, "other").unwrap();
    assert_eq!(recall(&kept).unwrap().as_deref(), Some("other"));
    let left: Vec<_> = std::fs::read_dir(kept.parent().unwrap()).unwrap().collect();
    assert_eq!(left.len(), 1, "no temporary file is left: {left:?}");
}

#[test]
fn a_file_that_is_torn_anywhere_is_noticed() {
    let (_directory, kept) = place();
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
fn a_directory_that_cannot_be_written_says_what_that_means() {
    let (directory, _) = place();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = keep(&file.join("kept"), "").unwrap_err().to_string();
    assert!(error.contains("a bad file at boot means no service"), "{error}");
}
