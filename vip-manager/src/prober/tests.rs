#![allow(clippy::arithmetic_side_effects)]

use super::*;

const MS: Duration = Duration::from_millis(1);
const OTHER: Mac = Mac(2, 0, 0, 0, 0, 9);

#[allow(clippy::disallowed_methods)]
fn epoch() -> Instant {
    Instant::now()
}

fn vip(host: u8) -> IpAddr {
    [10, 0, 0, host].into()
}

fn prober(now: Instant) -> Prober {
    let mut prober = Prober::default();
    prober.handle_addresses([vip(1), vip(2)], now);
    prober
}

/// Runs until nothing is due within `time`, and gives what was probed.
fn run(prober: &mut Prober, from: Instant, time: Duration) -> Vec<IpAddr> {
    let mut probed = Vec::new();
    while let Some(due) = prober.poll_timeout().filter(|due| *due <= from + time) {
        probed.extend(std::iter::from_fn(|| prober.poll_probe(due)));
    }
    probed
}

#[test]
fn three_probes_each_and_then_it_is_clear() {
    let now = epoch();
    let mut prober = prober(now);
    assert_eq!(run(&mut prober, now, 299 * MS), [vip(1), vip(2)].repeat(3));
    assert!(!prober.is_done());
    assert!(run(&mut prober, now, 300 * MS).is_empty());
    assert!(prober.is_done());
    assert_eq!((prober.verdict(vip(1)), prober.poll_timeout()), (Some(Verdict::Clear), None));
    assert!(!prober.handle_claim(vip(1), OTHER, now + 301 * MS), "what comes later is no probe's business");
}

#[test]
fn a_claim_is_a_conflict_that_names_the_mac_and_the_others_go_on() {
    let now = epoch();
    let mut prober = prober(now);
    run(&mut prober, now, MS);
    assert!(prober.handle_claim(vip(1), OTHER, now + 2 * MS));
    assert!(!prober.handle_claim(vip(1), OTHER, now + 3 * MS), "no news");
    assert!(!prober.handle_claim(vip(7), OTHER, now + 3 * MS), "not ours");
    run(&mut prober, now, 1000 * MS);
    assert!(prober.is_done());
    assert_eq!(prober.verdict(vip(1)), Some(Verdict::Conflict(OTHER)));
    assert_eq!(prober.verdict(vip(2)), Some(Verdict::Clear));
}

#[test]
fn a_conflict_is_looked_at_again_and_ends() {
    let now = epoch();
    let mut prober = prober(now);
    prober.handle_claim(vip(1), OTHER, now);
    run(&mut prober, now, Duration::from_secs(29));
    assert_eq!(prober.verdict(vip(1)), Some(Verdict::Conflict(OTHER)));
    let probed = run(&mut prober, now, Duration::from_secs(31));
    assert_eq!(probed, [vip(1); 3]);
    assert_eq!(prober.verdict(vip(1)), Some(Verdict::Clear));
}

#[test]
fn a_leader_raises_no_false_alarm() {
    let now = epoch();
    let mut heard = prober(now);
    heard.handle_leader();
    assert!(heard.is_done());
    assert!(!heard.handle_claim(vip(1), OTHER, now));
    assert_eq!((heard.verdict(vip(1)), heard.poll_timeout()), (Some(Verdict::Clear), None));

    let mut late = prober(now);
    assert!(late.handle_claim(vip(1), OTHER, now), "its answer came before its first advert");
    late.handle_leader();
    assert_eq!(late.verdict(vip(1)), Some(Verdict::Clear));
}

#[test]
fn new_addresses_are_probed_and_known_ones_are_not_probed_again() {
    let now = epoch();
    let mut prober = prober(now);
    run(&mut prober, now, 300 * MS);
    prober.handle_addresses([vip(2), vip(3)], now + 400 * MS);
    assert_eq!(prober.verdict(vip(1)), None);
    assert_eq!(run(&mut prober, now, 1000 * MS), [vip(3); 3]);
}
