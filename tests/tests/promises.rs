//! Every proof that `docs/promises.md` names is a test that exists.
#![allow(clippy::unwrap_used, reason = "nothing but a test")]

use std::fs;
use std::path::{Path, PathBuf};

const ROOMS: [(&str, &str); 10] = [
    ("T", "tests"),
    ("V", "vip-manager"),
    ("L", "lb"),
    ("H", "health"),
    ("C", "config"),
    ("Y", "lifecycle"),
    ("D", "daemon"),
    ("E", "ebpf"),
    ("P", "peer"),
    ("K", "k8s"),
];

#[test]
fn each_promise_names_a_test_that_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let promises = fs::read_to_string(root.join("docs/promises.md")).unwrap();
    let mut proofs = 0;
    for (letter, room) in ROOMS {
        let mut sources = String::new();
        read_rust(&root.join(room), &mut sources);
        for word in promises.split(&format!("`{letter} ")).skip(1) {
            let name = word.split('`').next().unwrap();
            let found = sources.contains(&format!("fn {name}(")) || sources.contains(&format!("mod {name};"));
            assert!(found, "{room}/ has no test {name}, which docs/promises.md names");
            proofs += 1;
        }
    }
    assert!(proofs > 50, "docs/promises.md names only {proofs} proofs");
}

#[test]
fn each_promise_is_proven_or_pending() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let promises = fs::read_to_string(root.join("docs/promises.md")).unwrap();
    // What `make soak` writes below is a record of what ran.
    let (promises, _record) = promises.split_once("<!-- soak -->").unwrap();
    let rows = promises.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| promise"));
    for row in rows {
        let proof = row.trim_end_matches('|').rsplit('|').next().unwrap();
        assert!(proof.contains('`') || proof.contains("*pending*"), "without proof: {row}");
    }
}

fn read_rust(directory: &Path, into: &mut String) {
    let entries: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    for path in entries {
        if path.is_dir() {
            read_rust(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}
