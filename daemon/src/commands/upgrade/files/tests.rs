use super::*;

fn installed(directory: &Path, text: &str) -> Installed {
    let path = directory.join("fulcrum");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
    Installed::find(Some(&path)).unwrap()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn a_binary_is_replaced_as_a_whole_and_can_be_put_back() {
    let directory = tempfile::tempdir().unwrap();
    let installed = installed(directory.path(), "old");
    let new = directory.path().join("new");
    fs::write(&new, "new").unwrap();
    installed.replace(&new).unwrap();
    assert_eq!(read(&installed.path), "new");
    assert_eq!(fs::metadata(&installed.path).unwrap().permissions().mode() & 0o777, 0o750);
    // Once more over it, as after a command that was killed.
    installed.put_back().unwrap();
    assert_eq!(read(&installed.path), "old");
    installed.replace(&new).unwrap();
    installed.forget();
    let mut left: Vec<_> =
        fs::read_dir(directory.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["fulcrum", "new"]);
}

#[test]
fn what_can_not_be_copied_leaves_what_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let installed = installed(directory.path(), "old");
    let error = installed.replace(&directory.path().join("none")).unwrap_err();
    assert!(error.contains("none"), "{error}");
    assert_eq!(read(&installed.path), "old");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn behind_a_link_stands_what_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let real = installed(directory.path(), "old");
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&real.path, &link).unwrap();
    assert_eq!(Installed::find(Some(&link)).unwrap().path, real.path);
}
