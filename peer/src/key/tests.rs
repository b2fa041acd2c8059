use super::*;
use std::os::unix::fs::PermissionsExt;

#[test]
fn a_key_is_made_once_and_for_its_owner_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("peer.key");
    let (pin, made) = create_or_pin(&path).unwrap();
    assert!(made);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(create_or_pin(&path).unwrap(), (pin, false));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    let (other, _) = create_or_pin(&directory.path().join("other.key")).unwrap();
    assert_ne!(pin, other);
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("peer.key");
    create_or_pin(&path).unwrap();
    for (mode, good) in [(0o644, false), (0o604, false), (0o660, false), (0o640, true), (0o400, true)] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let loaded = load(&path);
        assert_eq!(loaded.is_ok(), good, "{mode:o}: {loaded:?}");
        if let Err(error) = loaded {
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
    }
}

#[test]
fn what_is_no_key_is_refused_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    assert!(load(&directory.path().join("none")).unwrap_err().to_string().contains("fulcrum peer-key"));
    assert!(load(directory.path()).unwrap_err().to_string().contains("not a regular file"));
    let path = directory.path().join("text");
    std::fs::write(&path, "hello").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(load(&path), Err(KeyError::Content { .. })));
}

#[test]
fn the_pin_is_that_of_the_public_key_that_belongs_to_it() {
    let pem = b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
    // The private key of RFC 8410 section 10.3, whose public key stands in section 10.1.
    let public = STANDARD.decode("MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=").unwrap();
    assert_eq!(parse(pem).unwrap().pin, pin_of(&public));
}
