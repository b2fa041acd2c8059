use super::*;
use crate::backup::file::encode;
use crate::last_good;
use fulcrum_config::last_good::keep;

pub(crate) const FILE: &str = "\
node: lb-1
nodes: {lb-1: {addresses: [10.0.0.11], priority: 150}, lb-2: {addresses: [10.0.0.12], priority: 100}}
interfaces: {eth0: {networks: [10.0.0.0/24]}}
groups: {web: {vrid: 51, vips: [10.0.0.100]}}
services: {web: {vip: 10.0.0.100, port: 80, backends: [10.0.0.21:80], check: none}}
";

/// A node's files in a directory of their own.
pub(crate) fn source(directory: &Path) -> Source {
    let source = Source {
        node: "lb-1".into(),
        config_file: directory.join("fulcrum.yaml"),
        state_dir: directory.join("state"),
        key: directory.join("peer.key"),
        may_lack_file: false,
    };
    let own = format!(
        "admin: {{state_dir: {}}}\npeer: {{key: {}}}\n",
        source.state_dir.display(),
        source.key.display()
    );
    std::fs::write(&source.config_file, format!("{FILE}{own}")).unwrap();
    for (kind, text) in [("last-good", "what ran"), (SHARED, r#"{"serial":5,"own":"x","received":null}"#)] {
        keep(&kept_as(&source.state_dir, &source.config_file, kind), text).unwrap();
    }
    fulcrum_peer::key::create_or_pin(&source.key).unwrap();
    source
}

pub(crate) fn occasion() -> Occasion {
    Occasion { why: "asked for".into(), roles: BTreeMap::new(), at: SystemTime::UNIX_EPOCH }
}

fn passphrase(directory: &Path) -> Passphrase {
    use std::os::unix::fs::PermissionsExt;
    let file = directory.join("passphrase");
    std::fs::write(&file, "correct horse").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    Passphrase::read(&file).unwrap()
}

/// What the modules that keep something call its file.
#[test]
fn all_that_is_kept_is_found_under_its_name() {
    let (state, file) = (Path::new("/var/lib/fulcrum"), Path::new("/etc/fulcrum/one.yaml"));
    assert_eq!(kept_as(state, file, "last-good"), last_good::path(state, file));
    assert_eq!(
        kept_as(state, file, ALLOCATIONS),
        Path::new("/var/lib/fulcrum/allocations-etc-fulcrum-one.yaml")
    );
    let directory = tempfile::tempdir().unwrap();
    let mut source = source(directory.path());
    for kind in STATE {
        keep(&kept_as(&source.state_dir, &source.config_file, kind), kind).unwrap();
    }
    let texts = gather(&source, occasion(), None).unwrap().texts;
    let names: Vec<&str> = texts.keys().map(String::as_str).collect();
    assert_eq!(names, ["allocations", CONFIG, "last-good", SHARED]);
    source.config_file = directory.path().join("other.yaml");
    assert!(gather(&source, occasion(), None).is_err(), "there is no such node");
    source.may_lack_file = true;
    assert!(gather(&source, occasion(), None).unwrap().missing[0].contains("other.yaml"));
}

#[test]
fn the_key_is_in_it_encrypted_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let source = source(directory.path());
    let (text, pin) = fulcrum_peer::key::export(&source.key).unwrap();
    let secret = text.lines().nth(1).unwrap();
    let plain = gather(&source, occasion(), None).unwrap();
    assert_eq!((plain.serial, plain.made_at.as_str()), (5, "1970-01-01T00:00:00Z"));
    assert_eq!(plain.key, SealedKey::LeftOut { pin: pin.to_string() });
    let passphrase = passphrase(directory.path());
    let sealed = gather(&source, occasion(), Some(&passphrase)).unwrap();
    for backup in [&plain, &sealed] {
        let written = String::from_utf8(encode(backup).unwrap()).unwrap();
        assert!(!written.contains(secret) && !written.contains("correct horse"));
    }
    let SealedKey::Encrypted { age, .. } = sealed.key else { panic!("it is not there") };
    assert_eq!(seal::open(&age, &passphrase).unwrap(), text);
}

#[test]
fn what_is_damaged_stays_out_and_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let source = source(directory.path());
    let path = kept_as(&source.state_dir, &source.config_file, SHARED);
    std::fs::write(&path, "fulcrum last-good v1 00000000 3\nabc").unwrap();
    let backup = gather(&source, occasion(), None).unwrap();
    assert!(!backup.texts.contains_key(SHARED) && backup.texts.contains_key("last-good"));
    assert!(backup.missing[0].contains("checksum"), "{:?}", backup.missing);
}
