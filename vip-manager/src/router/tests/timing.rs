//! Timers, exact to the nanosecond.

use super::*;

#[test]
fn skew_and_down_interval_are_those_of_section_6_1() {
    // 156/256 of 100 ms; nothing is cut to centiseconds or seconds.
    assert_eq!(skew(100, AdvertInterval::DEFAULT), Duration::from_nanos(60_937_500));
    assert_eq!(down_interval(100, AdvertInterval::DEFAULT), Duration::from_nanos(360_937_500));
    assert_eq!(skew(254, AdvertInterval::FLOOR), Duration::from_nanos(78_125));
    assert_eq!(skew(255, AdvertInterval::FLOOR), Duration::from_nanos(39_062));
    let slowest = AdvertInterval::from_centiseconds(4095).unwrap();
    assert_eq!(down_interval(1, slowest), Duration::from_nanos(163_640_039_062));
}

#[test]
fn a_standby_learns_the_interval_of_the_leader() {
    let now = epoch();
    let mut router = standby(spec(), now);
    assert_eq!(router.poll_timeout(), Some(now + down_interval(100, AdvertInterval::DEFAULT)));
    let slow = AdvertInterval::from_centiseconds(300).unwrap();
    let heard = now + MS;
    router.handle_advert(&ipv4(), HIGH, &Advert { interval: slow, ..advert(150) }, heard).unwrap();
    assert_eq!(router.poll_timeout(), Some(heard + down_interval(100, slow)));
}

#[test]
fn a_node_that_never_heard_a_leader_does_not_speak_of_one() {
    let now = epoch();
    let mut router = standby(spec(), now);
    router.handle_timer(router.poll_timeout().unwrap());
    assert_eq!((router.role(), router.reason()), (Role::Leader, &Reason::NoLeader));
    assert_eq!(router.reason().to_string(), "no leader was heard for the down interval");
}

#[test]
fn it_takes_over_at_the_deadline_and_not_before() {
    let now = epoch();
    let mut router = standby(spec(), now);
    router.handle_advert(&ipv4(), HIGH, &advert(150), now).unwrap();
    let due = router.poll_timeout().unwrap();
    router.handle_timer(due - Duration::from_nanos(1));
    assert_eq!(router.role(), Role::Standby);
    router.handle_timer(due);
    assert_eq!((router.role(), router.reason()), (Role::Leader, &Reason::LeaderSilent));
    assert_eq!(router.poll_timeout(), Some(due + 100 * MS));
}

#[test]
fn adverts_keep_step_when_the_process_wakes_late() {
    let now = epoch() + Duration::from_secs(60);
    let mut router = leader(spec(), now);
    router.handle_timer(now + 130 * MS);
    assert_eq!(router.poll_timeout(), Some(now + 200 * MS));
    router.handle_timer(now + 320 * MS);
    assert_eq!(router.poll_timeout(), Some(now + 420 * MS), "one was missed: no two at once");
}

#[test]
fn a_resignation_leaves_the_skew_and_the_named_successor_nothing() {
    let now = epoch();
    for (resigner, kind, wait) in [
        (HIGH, NodeKind::Fulcrum, Duration::ZERO),
        (HIGH, NodeKind::Foreign, skew(100, AdvertInterval::DEFAULT)),
        (LOW, NodeKind::Fulcrum, skew(100, AdvertInterval::DEFAULT)),
        (IpAddr::from([10, 0, 0, 66]), NodeKind::Fulcrum, skew(100, AdvertInterval::DEFAULT)),
    ] {
        let mut spec = spec();
        spec.peers.iter_mut().for_each(|peer| peer.kind = kind);
        let mut router = standby(spec, now);
        router.handle_advert(&ipv4(), resigner, &advert(90), now).unwrap();
        let at = now + 50 * MS;
        router.handle_advert(&ipv4(), resigner, &advert(0), at).unwrap();
        router.handle_timer(at + wait);
        let outcome = (router.role(), router.reason());
        assert_eq!(outcome, (Role::Leader, &Reason::LeaderResigned), "{resigner} {kind:?}");
        assert_eq!(router.since(), at + wait, "{resigner} {kind:?}");
    }
}

#[test]
fn an_advert_that_a_resignation_overtook_is_stale() {
    let now = epoch();
    let mut router = standby(spec(), now);
    router.handle_advert(&ipv4(), HIGH, &advert(150), now).unwrap();
    router.handle_advert(&ipv4(), HIGH, &advert(0), now + MS).unwrap();
    assert_eq!(router.role(), Role::Leader);
    let stale = router.handle_advert(&ipv4(), HIGH, &advert(150), now + 2 * MS);
    assert_eq!(stale, Err(Refusal::AfterResignation));
    assert_eq!(router.role(), Role::Leader);
    router.handle_timer(now + 101 * MS);
    router.handle_advert(&ipv4(), HIGH, &advert(150), now + 102 * MS).unwrap();
    assert_eq!(router.role(), Role::Standby, "after an interval it is meant");
}

#[test]
fn without_probing_there_is_no_first_lead_but_a_heard_leader_suffices() {
    let now = epoch();
    let mut router = initial(spec(), now);
    router.handle_link(&ipv4(), Some(OURS), now);
    assert_eq!(router.poll_timeout(), None);
    router.handle_timer(now + 1000 * MS);
    assert_eq!(router.role(), Role::Standby);
    router.handle_clear(now + 1001 * MS);
    assert_eq!(router.role(), Role::Leader, "the wait was over long ago");

    let mut router = initial(spec(), now);
    router.handle_link(&ipv4(), Some(OURS), now);
    router.handle_advert(&ipv4(), HIGH, &advert(150), now).unwrap();
    router.handle_timer(router.poll_timeout().unwrap());
    assert_eq!(router.role(), Role::Leader, "a dead peer's place is taken without probing");
}

#[test]
fn a_stalled_leader_steps_down_without_a_word_and_does_not_preempt() {
    let now = epoch() + Duration::from_secs(60);
    for wakes_by_advert in [false, true] {
        let mut router = leader(spec(), now);
        let later = now + 500 * MS;
        if wakes_by_advert {
            router.handle_advert(&ipv4(), LOW, &advert(90), later).unwrap();
        }
        router.handle_timer(later);
        assert_eq!((router.role(), did(&mut router)), (Role::Standby, vec![Did::Retired]));
        assert_eq!(router.reason(), &Reason::Stalled(500 * MS));
        router.handle_advert(&ipv4(), LOW, &advert(90), later + 50 * MS).unwrap();
        assert_eq!(router.role(), Role::Standby);
    }
    let mut router = leader(spec(), now);
    router.handle_stall(299 * MS, now);
    assert_eq!(router.role(), Role::Leader, "shorter than any peer waits");
    router.handle_stall(300 * MS, now);
    assert_eq!(router.role(), Role::Standby);
}

#[test]
fn an_advert_that_a_leader_decided_on_before_it_stalled_is_not_sent_after() {
    let now = epoch();
    let mut router = leader(spec(), now);
    let due = router.poll_timeout().unwrap();
    router.handle_timer(due);
    assert!(router.may_send(due + 299 * MS), "sooner than any peer takes over");
    assert!(!router.may_send(due + 300 * MS));
    router.handle_stall(300 * MS, due + 300 * MS);
    assert!(!router.may_send(due + 300 * MS), "whatever it is now");
    assert_eq!(did(&mut router), [Did::Retired]);
}

#[test]
fn an_advert_of_a_change_during_which_a_leader_stalled_is_not_sent() {
    let now = epoch();
    let mut router = leader(spec(), now);
    router.handle_reconfigured(spec(), now + 50 * MS);
    router.handle_stall(300 * MS, now + 300 * MS);
    assert_eq!(did(&mut router), [Did::Retired]);
}

#[test]
fn a_stalled_standby_listens_before_it_believes_a_silence() {
    let now = epoch();
    let mut router = standby(spec(), now);
    router.handle_advert(&ipv4(), HIGH, &advert(150), now).unwrap();
    let later = now + 700 * MS;
    router.handle_timer(later);
    assert_eq!(router.role(), Role::Standby);
    let due = later + down_interval(100, AdvertInterval::DEFAULT);
    assert_eq!(router.poll_timeout(), Some(due));
    router.handle_timer(due);
    assert_eq!(router.role(), Role::Leader);
}

#[test]
fn a_stalled_standby_listens_for_as_long_as_it_was_deaf() {
    let now = epoch();
    let skewed = |wait| Some(now + wait + skew(100, AdvertInterval::DEFAULT));
    let heard = now - 350 * MS;
    for (deaf, listens) in [(110, 110), (250, 250), (300, 300), (5000, 300)] {
        let mut router = standby(spec(), heard);
        router.handle_advert(&ipv4(), HIGH, &advert(150), heard).unwrap();
        router.handle_stall(deaf * MS, now);
        assert_eq!(router.poll_timeout(), skewed(listens * MS), "deaf for {deaf} ms");
        router.handle_timer(router.poll_timeout().unwrap());
        assert_eq!(router.role(), Role::Leader);
    }
}

#[test]
fn a_stalled_owner_listens_for_one_advert_only() {
    let now = epoch();
    let heard = now - 350 * MS;
    let mut router = standby(spec(), heard);
    router.handle_advert(&ipv4(), HIGH, &advert(150), heard).unwrap();
    router.handle_fitness(Fitness::Fit(Priority::new(255).unwrap()), heard);
    router.handle_stall(5000 * MS, now);
    assert_eq!(router.poll_timeout(), Some(now + 100 * MS + skew(255, AdvertInterval::DEFAULT)));
}

#[test]
fn a_short_stall_does_not_make_a_standby_hasty() {
    let now = epoch();
    let mut router = standby(spec(), now);
    router.handle_advert(&ipv4(), HIGH, &advert(150), now).unwrap();
    router.handle_stall(101 * MS, now + 102 * MS);
    assert_eq!(router.poll_timeout(), Some(now + down_interval(100, AdvertInterval::DEFAULT)));
}
