use super::*;

pub(crate) fn backup() -> Backup {
    Backup {
        node: "lb-1".into(),
        made_at: "2026-01-02T03:04:05Z".into(),
        version: "0.1.0".into(),
        why: "asked for".into(),
        config_file: "/etc/fulcrum/fulcrum.yaml".into(),
        serial: 7,
        roles: [("web".to_owned(), "leader".to_owned())].into(),
        texts: [("config".to_owned(), "node: lb-1\n".to_owned())].into(),
        mode: 0o640,
        key: SealedKey::LeftOut { pin: "sha256:x".into() },
        missing: Vec::new(),
    }
}

#[test]
fn what_was_written_is_read() {
    let bytes = encode(&backup()).unwrap();
    assert!(bytes.starts_with(b"fulcrum backup v1 "));
    assert_eq!(decode(&bytes).unwrap(), backup());
}

/// Power that fails in the middle, on a disk that keeps any part of what was written.
#[test]
fn whatever_part_of_it_is_there_it_is_refused() {
    let bytes = encode(&backup()).unwrap();
    for end in 0..bytes.len() {
        let damage = decode(&bytes[..end]).expect_err("it is cut off");
        let is_told = match end {
            0 => matches!(damage, Damage::Empty),
            1..15 => matches!(damage, Damage::Foreign),
            _ if bytes[..end].contains(&b'\n') => matches!(damage, Damage::Short { .. }),
            _ => matches!(damage, Damage::Header),
        };
        assert!(is_told, "{end}: {damage}");
        // Blocks that were never written read as zeros.
        let mut torn = bytes.clone();
        torn[end..].fill(0);
        assert!(decode(&torn).is_err(), "{end}");
    }
    let more = [bytes.as_slice(), b"x"].concat();
    assert!(matches!(decode(&more), Err(Damage::Long { more: 1 })));
}

#[test]
fn whichever_bit_of_it_is_another_it_is_refused() {
    let bytes = encode(&backup()).unwrap();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            let damage = decode(&flipped).expect_err("it was changed");
            assert!(at < 90 || matches!(damage, Damage::Checksum), "{at}: {damage}");
        }
    }
}

#[test]
fn what_is_wrong_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let of = |text: &[u8]| decode(text).expect_err("it is bad").to_string();
    assert!(of(b"node: lb-1\n").contains("no backup"));
    assert!(of(b"fulcrum backup v2 00 2\n{}").contains("format v2, this version knows v1"));
    let empty = format!("fulcrum backup v1 {} 2\n{{}}", checksum(b"{}"));
    assert!(of(empty.as_bytes()).contains("makes no sense to this version"));
    let said = read(directory.path()).expect_err("a directory").to_string();
    assert!(said.contains("not a regular file"), "{said}");
}

#[test]
fn the_same_node_is_the_same_whenever_it_was_looked_at() {
    let mut other = Backup { made_at: String::new(), why: String::new(), roles: BTreeMap::new(), ..backup() };
    let encrypted = |age: &str| SealedKey::Encrypted { pin: "sha256:x".into(), age: age.into() };
    assert!(other.is_same(&backup()));
    other.key = encrypted("a");
    assert!(!other.is_same(&backup()), "now the key is in it");
    assert!(other.is_same(&Backup { key: encrypted("b"), ..backup() }), "it never reads the same");
    other.texts.insert("shared".into(), "{}".into());
    assert!(!other.is_same(&Backup { key: encrypted("b"), ..backup() }));
}
