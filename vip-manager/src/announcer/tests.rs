#![allow(clippy::arithmetic_side_effects)]

use super::*;
use fulcrum_config::InterfaceName;

const MS: Duration = Duration::from_millis(1);

#[allow(clippy::disallowed_methods)]
fn epoch() -> Instant {
    Instant::now()
}

fn vips(count: u8) -> Vec<Vip> {
    let interface = InterfaceName::new("eth0");
    (0..count).map(|host| Vip { address: [10, 0, 0, host].into(), interface: interface.clone() }).collect()
}

fn announcer(count: u8, now: Instant) -> Announcer {
    let mut announcer = Announcer::new(&Timing::default(), AdvertInterval::DEFAULT);
    announcer.handle_vips(vips(count), now);
    announcer
}

/// When each announcement is sent, from `from` on for `time`.
fn sent(announcer: &mut Announcer, from: Instant, time: Duration) -> Vec<Duration> {
    let mut sent = Vec::new();
    while let Some(due) = announcer.poll_timeout().filter(|due| *due <= from + time) {
        let now = due.max(from);
        while announcer.poll_announcement(now).is_some() {
            sent.push(now - from);
        }
    }
    sent
}

#[test]
fn a_burst_then_ever_more_rarely_then_the_refresh() {
    let now = epoch();
    let mut announcer = announcer(1, now);
    assert_eq!(announcer.poll_timeout(), None, "a standby is silent");
    announcer.handle_announce(now);
    let times: Vec<u128> =
        sent(&mut announcer, now, Duration::from_secs(200)).iter().map(Duration::as_millis).collect();
    let burst = [0, 100, 300, 500, 700];
    let tail = [1100, 1900, 3500, 6700, 13_100, 25_900, 51_500, 102_700];
    assert_eq!(times, [&burst[..], &tail[..], &[162_700]].concat());
}

#[test]
fn a_loser_says_not_one_word_more() {
    let now = epoch();
    let mut announcer = announcer(200, now);
    announcer.handle_announce(now);
    assert!(announcer.poll_announcement(now).is_some());
    announcer.handle_retire();
    assert_eq!(announcer.poll_announcement(now), None);
    assert_eq!(announcer.poll_timeout(), None);
}

#[test]
fn hundreds_of_vips_are_paced() {
    let now = epoch();
    let mut announcer = announcer(255, now);
    announcer.handle_announce(now);
    let times = sent(&mut announcer, now, 50 * MS);
    assert_eq!(times.len(), 255);
    assert_eq!(times.iter().filter(|time| time.is_zero()).count(), STEP);
    assert_eq!(times.last(), Some(&MS));
}

#[test]
fn a_rival_is_answered_at_once_but_one_that_stays_ever_more_rarely() {
    let now = epoch();
    let mut announcer = announcer(1, now);
    announcer.handle_announce(now);
    let mut total = Vec::new();
    for number in 0..100u32 {
        let at = now + 50 * MS * number;
        announcer.handle_announce(at);
        total.extend(sent(&mut announcer, at, 49 * MS));
    }
    assert!((10..40).contains(&total.len()), "{} in five seconds", total.len());
    announcer.handle_retire();
    announcer.handle_announce(now + 6000 * MS);
    assert_eq!(sent(&mut announcer, now + 6000 * MS, MS).len(), 1, "a new lead begins anew");
}

#[test]
fn a_new_vip_of_a_leader_is_announced_at_once() {
    let now = epoch();
    let mut announcer = announcer(1, now);
    announcer.handle_vips(vips(2), now);
    assert_eq!(announcer.poll_timeout(), None, "not by a standby");
    announcer.handle_announce(now);
    sent(&mut announcer, now, Duration::from_secs(10));
    let later = now + Duration::from_secs(10);
    announcer.handle_vips(vips(3), later);
    assert_eq!(sent(&mut announcer, later, MS).len(), 3);
    announcer.handle_vips(vips(2), later + MS);
    assert_eq!(sent(&mut announcer, later + MS, MS).len(), 0, "one less is no news");
}

#[test]
fn after_a_pause_rounds_do_not_pile_up() {
    let now = epoch();
    let mut announcer = announcer(1, now);
    announcer.handle_announce(now);
    sent(&mut announcer, now, MS);
    let later = now + Duration::from_secs(600);
    assert_eq!(sent(&mut announcer, later, 99 * MS).len(), 1);
}
