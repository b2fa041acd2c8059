use super::super::file::SealedKey;
use super::*;
use std::collections::BTreeMap;

fn backup(serial: u64) -> Backup {
    Backup {
        node: "lb-1".into(),
        made_at: "2026-01-02T03:04:05Z".into(),
        version: "0.1.0".into(),
        why: "after a change".into(),
        config_file: "/etc/fulcrum/fulcrum.yaml".into(),
        serial,
        roles: BTreeMap::new(),
        texts: [("config".to_owned(), format!("# {serial}"))].into(),
        mode: 0o640,
        key: SealedKey::None,
        missing: Vec::new(),
    }
}

#[test]
fn so_many_are_kept_and_none_twice() {
    let state = tempfile::tempdir().unwrap();
    let (first, made) = put(state.path(), &backup(1), 3).unwrap();
    assert!(made && first.ends_with("backups/000001-lb-1-20260102T030405Z.backup"), "{}", first.display());
    let (same, made) = put(state.path(), &backup(1), 3).unwrap();
    assert_eq!((same, made), (first, false));
    for serial in 2..=5 {
        assert!(put(state.path(), &backup(serial), 3).unwrap().1);
    }
    let kept = list(&directory(state.path())).unwrap();
    let found: Vec<_> = kept.iter().map(|kept| (kept.number, kept.read().unwrap().serial)).collect();
    assert_eq!(found, [(3, 3), (4, 4), (5, 5)]);
    for path in [&kept[0].path, &directory(state.path())] {
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o077, 0, "others can't read it");
    }
}

/// Power that fails in the middle of one leaves something beside, and the others whole.
#[test]
fn what_a_crash_left_is_no_backup_and_is_cleared_away() {
    let state = tempfile::tempdir().unwrap();
    let (path, _) = put(state.path(), &backup(1), 3).unwrap();
    let unfinished = directory(state.path()).join(".unfinished-x");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&unfinished, &bytes[..bytes.len() / 2]).unwrap();
    assert_eq!(list(&directory(state.path())).unwrap().len(), 1);
    put(state.path(), &backup(2), 3).unwrap();
    assert!(!unfinished.exists());

    // And one that a disk tore later is told from the others, and is no reason not to make the next.
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let kept = list(&directory(state.path())).unwrap();
    assert!(matches!(kept[0].read(), Err(Damage::Short { .. })));
    assert_eq!(kept[1].read().unwrap().serial, 2);
    put(state.path(), &backup(3), 2).unwrap();
    assert!(!path.exists());
}

#[test]
fn nothing_but_a_backup_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let (file, link) = (directory.path().join("mine"), directory.path().join("link"));
    std::fs::write(&file, "something else").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    for path in [&file, &link, &directory.path().to_owned()] {
        assert!(write(path, &backup(1)).expect_err("it is left alone").contains("left alone"));
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "something else");
    std::fs::remove_file(&file).unwrap();
    write(&file, &backup(1)).unwrap();
    // Through a link not even another backup.
    assert!(write(&link, &backup(2)).is_err());
    write(&file, &backup(2)).unwrap();
    assert_eq!(file::read(&file).unwrap().serial, 2);
}

#[test]
fn what_reads_back_as_something_else_gets_no_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("backup");
    let write = |file: &mut File| file.write_all(b"text");
    let found = put_file(&path, 0o600, write, |_| Err(io::Error::other("it is not")));
    assert!(found.is_err() && !path.exists());
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "nothing is left");
}

/// One process at a time; and what another leaves by dying is let go of.
#[test]
fn who_holds_the_directory_is_waited_for() {
    let state = tempfile::tempdir().unwrap();
    put(state.path(), &backup(1), 3).unwrap();
    let held = hold(&directory(state.path())).unwrap();
    let path = state.path().to_owned();
    let other = std::thread::spawn(move || put(&path, &backup(2), 3));
    let unheard = list(&directory(state.path())).unwrap().len();
    drop(held);
    assert_eq!((unheard, other.join().unwrap().unwrap().1), (1, true));
}
