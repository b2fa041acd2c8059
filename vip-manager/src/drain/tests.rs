use super::*;

const FINISH: Duration = Duration::from_secs(300);

#[allow(clippy::disallowed_methods, reason = "any moment will do")]
fn start() -> Instant {
    Instant::now()
}

#[test]
fn without_time_to_finish_only_what_is_on_its_way_arrives() {
    let (mut drain, start) = (Drain::default(), start());
    drain.handle_held(true, start);
    assert_eq!(drain.until(), None);
    drain.handle_handover(Duration::ZERO, start);
    assert_eq!(drain.until(), Some(start + LINGER));
    drain.handle_timer(start + LINGER);
    assert_eq!(drain.until(), None);
}

#[test]
fn connections_are_finished_until_the_last_has_ended() {
    let (mut drain, start) = (Drain::default(), start());
    drain.handle_held(true, start);
    drain.handle_handover(FINISH, start);
    assert_eq!(drain.until(), Some(start + FINISH));
    assert!(drain.is_new(start + UNKNOWN / 2) && !drain.is_new(start + UNKNOWN));
    let ended = start + Duration::from_secs(20);
    drain.handle_held(false, ended);
    assert_eq!(drain.until(), Some(ended + LINGER));
}

#[test]
fn connections_that_are_not_known_yet_are_waited_for() {
    let (mut drain, start) = (Drain::default(), start());
    drain.handle_handover(FINISH, start);
    assert_eq!(drain.until(), Some(start + UNKNOWN));
    drain.handle_held(true, start + UNKNOWN / 2);
    assert_eq!(drain.until(), Some(start + FINISH));
    drain.handle_held(false, start + UNKNOWN / 2);
    assert_eq!(drain.until(), Some(start + UNKNOWN));
}

#[test]
fn the_deadline_holds_and_a_stop_or_another_lead_ends_it() {
    let (mut drain, start) = (Drain::default(), start());
    drain.handle_held(true, start);
    drain.handle_handover(FINISH, start);
    drain.handle_timer(start + FINISH - LINGER);
    assert!(drain.until().is_some());
    drain.handle_stop(start + FINISH / 2);
    assert_eq!(drain.until(), Some(start + FINISH / 2 + LINGER));
    drain.handle_held(false, start + FINISH / 2 + LINGER / 2);
    assert_eq!(drain.until(), Some(start + FINISH / 2 + LINGER));
    drain.handle_end();
    assert_eq!(drain.until(), None);
}
