use super::*;

#[allow(clippy::disallowed_methods, reason = "a moment to count from")]
fn moment() -> Instant {
    Instant::now()
}

#[test]
fn who_was_found_not_to_answer_comes_last_for_ten_minutes() {
    let (mut disproof, now) = (Disproof::default(), moment());
    let by = NodeName::new("lb-2");
    disproof.handle_accused(None, now);
    assert_eq!(disproof.failed(now), None);
    disproof.handle_accused(Some(&by), now);
    let later = now + Duration::from_secs(60);
    // It hands over, and nobody says so any more.
    disproof.handle_accused(None, later);
    assert_eq!(disproof.failed(later), Some(&by));
    assert_eq!(disproof.failed(now + REST), None);
}
