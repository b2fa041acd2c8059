use super::*;
use serde_json::json;

/// Everything in a file under which a secret may stand, and what must stay.
#[test]
fn what_stands_under_the_name_of_a_secret_is_taken_out() {
    let mut value = json!({
        "node": "lb-1",
        "checks": {
            "readyz": {
                "headers": {"Authorization": "Bearer planted-01", "X-Tenant": "planted-02", "User-Agent": "stays-01"},
                "path": "/healthz?key=planted-03&other=planted-04",
            },
            "game": {"send": "planted-05"},
            "ntp": {"send": {"hex": "706c616e746564"}},
            "database": {"command": ["/usr/bin/stays-02", "--stays-03", "planted-06", "--dsn=planted-07", "10.0.0.100"]},
        },
        "hooks": {
            "cloud": {"run": ["/usr/bin/stays-04", "planted-08"]},
            "old": {"notify": ["/usr/bin/stays-05", "planted-09"]},
            "chat": {"url": "https://me:planted-12@10.0.0.100/hook/planted-13?key=planted-14"},
        },
        "witness": {"etcd": {"endpoints": ["https://admin:planted-10@10.0.0.21:2379"], "user": "stays-06",
            "password_file": "/etc/fulcrum/stays-07", "password": 1_234_567}},
        "admin": {"tcp": {"key": "/etc/fulcrum/stays-08"}, "backups": {"passphrase_file": "/etc/stays-09"}},
    });
    let mut redactor = Redactor::default();
    redactor.value(&mut value);
    let text = value.to_string();
    for number in 1..=9 {
        assert!(text.contains(&format!("stays-0{number}")), "{number}: {text}");
    }
    assert!(text.contains("10.0.0.100") && text.contains("https://REDACTED@10.0.0.21:2379"), "{text}");
    for secret in ["planted", "706c616e746564", "1234567"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }

    // And wherever else they appear: in a log, in an error, escaped.
    redactor.learn("-----BEGIN PRIVATE KEY-----\nplanted\"11\n-----END PRIVATE KEY-----\n");
    for number in 1..=9 {
        let text = redactor.text(&format!("could not ask with planted-0{number}, so"));
        assert_eq!(text, "could not ask with REDACTED, so", "{number}");
    }
    assert_eq!(redactor.text(r#"{"a": "planted\"11"}"#), r#"{"a": "REDACTED"}"#);
}

#[test]
fn what_looks_like_a_secret_is_taken_out_of_any_text() {
    let redactor = Redactor::default();
    for (text, expected) in [
        ("GET https://user:pass@host/x failed", "GET https://REDACTED@host/x failed"),
        ("Authorization: Basic dXNlcjpwYXNz and more\nnext", "Authorization: REDACTED\nnext"),
        ("with Bearer abcdefgh.ijk", "with Bearer REDACTED"),
        ("password=hunter2, user=x", "password=REDACTED, user=x"),
        ("run --token abcdef now", "run --token REDACTED now"),
        (r#"{"api_key": "abc", "b": 1}"#, r#"{"api_key": "REDACTED", "b": 1}"#),
        ("-----BEGIN EC PRIVATE KEY-----\nMIG\n-----END EC PRIVATE KEY-----\nx", "REDACTED\nx"),
        ("cut off -----BEGIN PRIVATE KEY-----\nMIG", "cut off REDACTED"),
        ("a: the script ended with 1: it is hunter2; b", "a: the script ended with 1: REDACTED; b"),
        ("AGE-SECRET-KEY-1QQQ9 x", "REDACTED x"),
        (
            "10.0.0.21 answers at 10.0.0.100:443 for sha256:lXmoZ1C3",
            "10.0.0.21 answers at 10.0.0.100:443 for sha256:lXmoZ1C3",
        ),
    ] {
        assert_eq!(redactor.text(text), expected);
    }
    assert_eq!(LOOKS.len(), 8, "each pattern compiles");
}

/// What is JSON stays JSON, or nobody can read the archive.
#[test]
fn a_document_is_one_afterwards() {
    let mut redactor = Redactor::default();
    let mut value = json!({
        "token": ["planted-1", {"a": "planted-2"}], "secret": null, "password": {"x": 5}, "cookies": [], "said": "planted-3",
        "text": "token: [planted", "cookie": {"a": []},
    });
    redactor.value(&mut value);
    redactor.learn("1234567");
    let mut elsewhere = json!({"a": 1_234_567, "b": 7, "c": ["it was planted-1", "token=planted-9"]});
    redactor.leaves(&mut value);
    redactor.leaves(&mut elsewhere);
    let text = value.to_string();
    assert!(!text.contains("planted-"), "{text}");
    assert_eq!((&value["secret"], &value["said"]), (&Value::Null, &REDACTED.into()));
    assert_eq!(elsewhere, json!({"a": REDACTED, "b": 7, "c": ["it was REDACTED", "token=REDACTED"]}));
}

/// A file that can't be read as one has secrets, too, and mistakes quote its lines.
#[test]
fn a_broken_file_is_learnt_by_its_lines() {
    let mut redactor = Redactor::default();
    redactor.learn_lines("headers: {Authorization: \"Bearer planted-1\", X-Key: planted-2}\n  nonsense: [\n token: 'planted-3'\n");
    assert_eq!(
        redactor.text("5 | X-Key: planted-2 and planted-1 planted-3"),
        "5 | X-Key: REDACTED and REDACTED REDACTED"
    );
}
