use super::*;
use fulcrum_config::preflight::State;
use std::io::Write;

/// A certificate that is good from 2020-01-01 to 2030-01-01.
fn certificate() -> tempfile::NamedTempFile {
    let mut parameters = rcgen::CertificateParams::new(vec!["lb-1".to_owned()]).unwrap();
    parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(2030, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(parameters.self_signed(&key).unwrap().pem().as_bytes()).unwrap();
    file
}

#[test]
fn certificates_near_their_end_are_told() {
    const END: i64 = 1_893_456_000;
    let file = certificate();
    let at = |now| line(file.path(), Kind::Chain, "the check of service web", now);
    assert_eq!(at(END - 31 * DAY).state, State::Ok);
    let soon = at(END - 29 * DAY);
    assert_eq!(soon.state, State::Warning);
    assert!(soon.found.contains("it ends in 29 days; the check of service web needs it"), "{soon:?}");
    assert_eq!(at(END - 1).state, State::Warning);
    let over = at(END + 2 * DAY);
    assert_eq!(over.state, State::Failed);
    assert!(over.found.contains("2 days ago"), "{over:?}");
    assert_eq!(at(0).state, State::Failed);
}

#[test]
fn a_file_that_holds_no_certificate_is_told() {
    let empty = tempfile::NamedTempFile::new().unwrap();
    for path in [empty.path(), Path::new("/nonexistent.pem")] {
        assert_eq!(line(path, Kind::Authorities, "admin.tcp", 0).state, State::Failed);
    }
}
