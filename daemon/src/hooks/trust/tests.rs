use super::*;
use std::fs::{Permissions, set_permissions, write};
use std::os::unix::fs::{PermissionsExt, symlink};

fn mode(path: &Path, mode: u32) {
    set_permissions(path, Permissions::from_mode(mode)).expect("its mode");
}

#[test]
fn what_others_may_write_is_refused_and_named() {
    let place = tempfile::tempdir().expect("a directory");
    let place = place.path().canonicalize().expect("a path");
    let (directory, file, link) = (place.join("d"), place.join("d/hook"), place.join("link"));
    std::fs::create_dir(&directory).expect("a directory");
    write(&file, "").expect("a file");
    symlink("d/hook", &link).expect("a link");
    mode(&directory, 0o755);
    mode(&file, 0o755);
    assert_eq!((check(&file), check(&link)), (Ok(()), Ok(())));

    mode(&file, 0o757);
    for path in [&file, &link] {
        let why = check(path).expect_err("a file that others may write").to_string();
        assert!(
            why.contains(&file.display().to_string()) && why.contains("chmod go-w") && why.contains("0757"),
            "{why}"
        );
    }
    mode(&file, 0o755);
    mode(&directory, 0o777);
    assert!(check(&link).expect_err("a directory that others may write").to_string().contains("0777"));
    mode(&directory, 0o1777);
    assert_eq!(check(&link), Ok(()), "of a sticky directory others may not take files away");
}

#[test]
fn what_is_missing_no_file_or_a_circle_is_refused() {
    let place = tempfile::tempdir().expect("a directory");
    let place = place.path().canonicalize().expect("a path");
    let (one, other) = (place.join("one"), place.join("other"));
    symlink(&one, &other).expect("a link");
    symlink(&other, &one).expect("a link");
    for (path, says) in [(place.join("none"), "can't be found"), (one, "circle"), (place, "is not a file")] {
        let why = check(&path).expect_err("nothing to run").to_string();
        assert!(why.contains(says), "{why}");
    }
}
