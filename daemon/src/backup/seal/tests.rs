use super::*;
use std::fs::{Permissions, set_permissions, write};
use std::os::unix::fs::PermissionsExt;

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(text).unwrap()
}

#[test]
fn only_the_passphrase_opens_it() {
    let sealed = seal("the secret", &passphrase("correct horse")).unwrap();
    assert_eq!(open(&sealed, &passphrase("correct horse")).unwrap(), "the secret");
    let why = open(&sealed, &passphrase("correct mouse")).expect_err("another");
    assert_eq!(why, "the passphrase is another one");
    let bytes = STANDARD.decode(&sealed).unwrap();
    assert!(!String::from_utf8_lossy(&bytes).contains("the secret"));
    // It is what the tool of that name reads.
    assert!(bytes.starts_with(b"age-encryption.org/v1\n-> scrypt "));
    let mut other = bytes.clone();
    *other.last_mut().unwrap() ^= 1;
    assert!(open(&STANDARD.encode(other), &passphrase("correct horse")).is_err());
}

/// Or a file could have us compute for a day.
#[test]
fn what_it_may_cost_to_open_is_bounded() {
    let mut bytes = STANDARD.decode(seal("the secret", &passphrase("correct horse")).unwrap()).unwrap();
    let at = bytes.windows(4).position(|it| it == b" 15\n").unwrap();
    bytes[at..at + 4].copy_from_slice(b" 30\n");
    let why = open(&STANDARD.encode(bytes), &passphrase("correct horse")).expect_err("it costs too much");
    assert!(why.contains("work") || why.contains("Excessive"), "{why}");
}

#[test]
fn the_first_line_of_a_file_that_others_cannot_read() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("passphrase");
    let why = || Passphrase::read(&file).expect_err("it is bad");
    assert!(why().contains("No such file"));
    write(&file, "correct horse \nand more\n").unwrap();
    set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    assert!(why().contains("mode is 0644"));
    set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let read = Passphrase::read(&file).unwrap();
    assert_eq!(read.0.expose_secret(), "correct horse");
    assert_eq!(format!("{read:?}"), "Passphrase(13 characters)");
    write(&file, "\ncorrect horse").unwrap();
    assert!(why().contains("shorter than 8"));
    assert!(Passphrase::read(directory.path()).is_err());
}
