use super::*;

const INTERVAL: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_millis(300);
const LEADING: Permit =
    Permit::Leading { interval: INTERVAL, patience: PATIENCE, most: None, offered: false };

#[allow(clippy::disallowed_methods, reason = "any moment will do")]
fn start() -> Instant {
    Instant::now()
}

fn tell(heartbeat: &mut Heartbeat, permit: Permit, now: Instant) -> Option<Order> {
    let order = heartbeat.poll_order(permit, now)?;
    heartbeat.handle_told(order);
    Some(order)
}

#[test]
fn a_new_group_is_silent_and_needs_not_be_told() {
    assert_eq!(Heartbeat::default().poll_order(Permit::Silent, start()), None);
}

#[test]
fn a_leader_is_renewed_once_per_interval_and_never_beyond_its_peers_patience() {
    let (mut heartbeat, start) = (Heartbeat::default(), start());
    assert_eq!(tell(&mut heartbeat, LEADING, start), Some(Order::Leading(start + PATIENCE)));
    assert_eq!(tell(&mut heartbeat, LEADING, start + Duration::from_millis(10)), None);
    // A turn that comes a little early counts.
    let next = start + Duration::from_millis(99);
    assert_eq!(tell(&mut heartbeat, LEADING, next), Some(Order::Leading(next + PATIENCE)));
    let late = start + Duration::from_secs(5);
    assert_eq!(tell(&mut heartbeat, LEADING, late), Some(Order::Leading(late + PATIENCE)));
}

#[test]
fn what_was_not_told_is_tried_again() {
    let (mut heartbeat, start) = (Heartbeat::default(), start());
    assert!(heartbeat.poll_order(LEADING, start).is_some());
    assert!(heartbeat.poll_order(LEADING, start).is_some());
    assert!(tell(&mut heartbeat, LEADING, start).is_some());
    assert_eq!(heartbeat.poll_order(LEADING, start), None);
}

#[test]
fn each_change_is_told_at_once() {
    let (mut heartbeat, start) = (Heartbeat::default(), start());
    tell(&mut heartbeat, LEADING, start);
    let until = start + Duration::from_millis(150);
    let draining = Permit::Draining { until, interval: INTERVAL, patience: PATIENCE };
    assert_eq!(tell(&mut heartbeat, draining, start), Some(Order::Draining(until)));
    assert_eq!(tell(&mut heartbeat, draining, start + INTERVAL), None);
    assert_eq!(tell(&mut heartbeat, Permit::Silent, start + INTERVAL), Some(Order::Silent));
    assert_eq!(tell(&mut heartbeat, Permit::Silent, start + INTERVAL * 2), None);
    let again = start + INTERVAL * 3;
    assert_eq!(tell(&mut heartbeat, LEADING, again), Some(Order::Leading(again + PATIENCE)));
}

#[test]
fn one_that_drains_for_long_is_renewed_too_and_ends_in_time() {
    let (mut heartbeat, start) = (Heartbeat::default(), start());
    let until = start + Duration::from_secs(300);
    let draining = Permit::Draining { until, interval: INTERVAL, patience: PATIENCE };
    assert_eq!(tell(&mut heartbeat, draining, start), Some(Order::Draining(start + PATIENCE)));
    assert_eq!(tell(&mut heartbeat, draining, start + INTERVAL / 3), None);
    let next = start + INTERVAL;
    assert_eq!(tell(&mut heartbeat, draining, next), Some(Order::Draining(next + PATIENCE)));
    let last = until - PATIENCE / 2;
    assert_eq!(tell(&mut heartbeat, draining, last), Some(Order::Draining(until)));
    assert_eq!(tell(&mut heartbeat, draining, last + INTERVAL), None);
}

#[test]
fn a_shorter_patience_is_told() {
    let (mut heartbeat, start) = (Heartbeat::default(), start());
    tell(&mut heartbeat, LEADING, start);
    let shorter =
        Permit::Leading { interval: INTERVAL / 10, patience: PATIENCE / 10, most: None, offered: false };
    let order = tell(&mut heartbeat, shorter, start + INTERVAL / 10);
    assert_eq!(order, Some(Order::Leading(start + INTERVAL / 10 + PATIENCE / 10)));
}

#[test]
fn what_a_peer_takes_that_was_offered_to_it_is_handed_over_and_what_it_takes_otherwise_silenced() {
    let now = start();
    let offered = Permit::Leading { interval: INTERVAL, patience: PATIENCE, most: None, offered: true };
    let draining = Permit::Draining { until: now + PATIENCE, interval: INTERVAL, patience: PATIENCE };
    assert_eq!(offered.witnessed(Opinion::Denied, now), draining);
    assert_eq!(LEADING.witnessed(Opinion::Denied, now), Permit::Silent);
    assert_eq!(offered.witnessed(Opinion::Free, now), offered);
    assert_eq!(Permit::Silent.witnessed(Opinion::Denied, now), Permit::Silent);
    let mut heartbeat = Heartbeat::default();
    assert!(tell(&mut heartbeat, offered, now).is_some());
    assert_eq!(
        tell(&mut heartbeat, offered.witnessed(Opinion::Denied, now), now),
        Some(Order::Draining(now + PATIENCE))
    );
}
