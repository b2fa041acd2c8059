use super::*;
use flate2::read::GzDecoder;
use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::MetadataExt;

fn read(path: &Path) -> BTreeMap<String, String> {
    let mut archive = tar::Archive::new(GzDecoder::new(std::fs::File::open(path).unwrap()));
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        (entry.path().unwrap().display().to_string(), text)
    });
    entries.collect()
}

#[test]
fn what_goes_in_comes_out_without_secrets_and_replaces_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.tar.gz");
    let mut archive = Archive::default();
    archive.add("log.txt", "began with planted-1");
    archive.add("explain/shop.txt", "ü".repeat(LIMIT));
    archive.add_document("status.json", serde_json::json!({"a": "planted-1", "b": 1}));
    let mut redactor = Redactor::default();
    redactor.learn("planted-1");
    archive.redact(&redactor);
    archive.write(&path, "fulcrum-lb-1", 7).unwrap();
    let files = read(&path);
    assert_eq!(files["fulcrum-lb-1/log.txt"], "began with REDACTED");
    assert_eq!(files["fulcrum-lb-1/status.json"], "{\n  \"a\": \"REDACTED\",\n  \"b\": 1\n}\n");
    let long = &files["fulcrum-lb-1/explain/shop.txt"];
    assert!(long.len() < LIMIT + 100 && long.ends_with("cut off here\n"));
    assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
    assert!(archive.write(&path, "x", 7).expect_err("it is there").contains("--to"));
}
