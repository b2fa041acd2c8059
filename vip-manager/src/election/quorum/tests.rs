use super::*;

const INTERVAL: Duration = Duration::from_millis(100);
const MS: Duration = Duration::from_millis(1);
/// This node's life; another node's is its number.
const LIFE: u64 = 99;

#[allow(clippy::disallowed_methods, reason = "a moment to count from")]
fn moment() -> Instant {
    Instant::now()
}

/// Node 0 among `nodes`, long started.
fn quorum(nodes: u64, tie: Tie, start: Instant) -> (Quorum, Instant) {
    let mut quorum = Quorum::new(LIFE, start);
    quorum.handle_plan(0, (1..nodes).collect(), INTERVAL, tie, start);
    (quorum, start.checked_add(Duration::from_secs(10)).unwrap())
}

/// Node `from` says that it heard `sequence` of node 0, and gives up others.
fn votes(from: u64, number: u64, sequence: Option<u64>, gives_up: &[u64]) -> Votes {
    let heard = |sequence| Receipt { instance: LIFE, sequence: low_half(sequence) };
    let own = sequence.map(|sequence| Vote { node: 0, heard: Some(heard(sequence)) });
    let others = gives_up.iter().map(|node| Vote { node: *node, heard: None });
    Votes { instance: from, sequence: number, of: own.into_iter().chain(others).collect() }
}

#[test]
fn a_vote_lasts_from_when_what_was_heard_was_sent() {
    let (mut quorum, now) = quorum(3, Tie::None, moment());
    quorum.handle_sent(7, now);
    assert_eq!(quorum.leads_until(now), None);
    quorum.handle_votes(1, &votes(1, 1, Some(7), &[]), now + 150 * MS);
    assert_eq!(
        quorum.leads_until(now + 150 * MS),
        Some(now + 325 * MS),
        "the second one's vote is enough of three"
    );
    assert_eq!(quorum.leads_until(now + 325 * MS), None);
}

#[test]
fn a_vote_for_an_earlier_life_or_an_unknown_datagram_is_none() {
    let (mut quorum, now) = quorum(3, Tie::None, moment());
    quorum.handle_sent(7, now);
    let mut earlier = votes(1, 1, Some(7), &[]);
    earlier.of[0].heard = Some(Receipt { instance: LIFE - 1, sequence: 7 });
    quorum.handle_votes(1, &earlier, now);
    quorum.handle_votes(1, &votes(1, 2, Some(8), &[]), now);
    quorum.handle_votes(9, &votes(9, 3, Some(7), &[]), now);
    assert_eq!(quorum.leads_until(now), None);
}

#[test]
fn so_many_votes_are_needed() {
    // Nodes, the tie, votes of others that are needed to lead on without and with it.
    let rows = [
        (1, Tie::None, 0, 0),
        (2, Tie::None, 1, 1),
        (2, Tie::Gateway, 1, 0),
        (2, Tie::Lock, 1, 0),
        (3, Tie::Lock, 1, 1),
        (4, Tie::None, 2, 2),
        (4, Tie::Gateway, 2, 1),
        (4, Tie::Lock, 2, 1),
        (5, Tie::Lock, 2, 2),
        (64, Tie::None, 32, 32),
        (64, Tie::Lock, 32, 31),
    ];
    for (nodes, tie, without, with) in rows {
        for (is_tied, needed) in [(false, without), (true, with)] {
            let (mut quorum, now) = quorum(nodes, tie, moment());
            quorum.handle_gateway(is_tied);
            quorum.handle_lock(is_tied.then_some(now + INTERVAL));
            quorum.handle_sent(1, now);
            for voter in 1..=needed {
                assert_eq!(quorum.leads_until(now), None, "{nodes} nodes, {tie:?}, {is_tied}, {voter}");
                quorum.handle_votes(voter, &votes(voter, 1, Some(1), &[]), now);
            }
            quorum.handle_timeout(true, now);
            assert!(quorum.leads_until(now).is_some(), "{nodes} nodes, {tie:?}, {is_tied}");
        }
    }
}

#[test]
fn a_takeover_needs_the_word_of_more_than_half_that_who_is_not_heard_is_silent() {
    let (mut quorum, now) = quorum(5, Tie::None, moment());
    quorum.handle_sent(1, now);
    // 4 is not heard; 1, 2 and 3 are, and vote.
    for voter in 1..4 {
        quorum.handle_heartbeat(voter, voter, 1, now);
        quorum.handle_votes(voter, &votes(voter, 1, Some(1), &[]), now);
    }
    assert!(!quorum.may_take_over(now), "only this node finds it silent");
    quorum.handle_votes(1, &votes(1, 2, None, &[4]), now);
    assert!(!quorum.may_take_over(now));
    quorum.handle_votes(2, &votes(2, 2, None, &[4]), now);
    assert!(quorum.may_take_over(now));
    (1..4).for_each(|node| quorum.handle_heartbeat(node, node, 2, now + 200 * MS));
    assert!(!quorum.may_take_over(now + 201 * MS), "such a word does not last");
    quorum.handle_votes(2, &votes(2, 3, None, &[4]), now + 201 * MS);
    quorum.handle_votes(3, &votes(3, 3, None, &[4]), now + 201 * MS);
    assert!(quorum.may_take_over(now + 201 * MS));
    quorum.handle_pause(now + 202 * MS);
    assert!(!quorum.may_take_over(now + 202 * MS), "after a pause nothing is known");
}

#[test]
fn a_gateway_lets_nobody_take_over() {
    let (mut quorum, now) = quorum(2, Tie::Gateway, moment());
    quorum.handle_gateway(true);
    assert!(quorum.leads_until(now).is_some());
    assert!(!quorum.may_take_over(now));
}

#[test]
fn a_lock_does_as_long_as_it_is_held() {
    let (mut quorum, now) = quorum(2, Tie::Lock, moment());
    assert!(!quorum.may_take_over(now));
    quorum.handle_lock(Some(now + INTERVAL));
    assert!(!quorum.may_take_over(now), "one that is not asked for is given back");
    quorum.handle_timeout(true, now);
    assert!(quorum.may_take_over(now));
    assert_eq!(quorum.leads_until(now), Some(now + INTERVAL));
    assert!(!quorum.may_take_over(now + INTERVAL));
}

#[test]
fn the_lock_is_asked_for_by_leaders_soon_by_others_at_silence_and_given_back() {
    let start = moment();
    for leads in [true, false] {
        let (mut quorum, now) = quorum(2, Tie::Lock, start);
        quorum.handle_sent(1, now);
        quorum.handle_heartbeat(1, 1, 1, now);
        quorum.handle_votes(1, &votes(1, 1, Some(1), &[]), now);
        quorum.handle_timeout(leads, now);
        assert!(!quorum.wants_lock());
        quorum.handle_timeout(leads, now + 224 * MS);
        assert!(!quorum.wants_lock());
        assert_eq!(quorum.poll_timeout(now + 224 * MS), Some(now + 225 * MS));
        quorum.handle_timeout(leads, now + 225 * MS);
        assert_eq!(quorum.wants_lock(), leads);
        quorum.handle_timeout(leads, now + 360 * MS);
        assert!(quorum.wants_lock());
        let back = now + 5000 * MS;
        for (number, later) in [(2, Duration::ZERO), (3, CALM / 2), (4, CALM)] {
            quorum.handle_sent(number, back + later);
            quorum.handle_votes(1, &votes(1, number, Some(number), &[]), back + later);
            quorum.handle_timeout(leads, back + later);
            assert_eq!(quorum.wants_lock(), later < CALM, "{later:?}");
        }
    }
}

#[test]
fn nodes_that_send_at_the_same_moment_do_without_the_lock() {
    let (mut quorum, start) = quorum(2, Tie::Lock, moment());
    let mut wanted = Vec::new();
    for beat in 1..100 {
        // What the other one sends at a beat came before what this one sent at the same beat.
        let now = start + INTERVAL * u32::try_from(beat).unwrap();
        quorum.handle_timeout(true, now);
        wanted.push(quorum.wants_lock());
        quorum.handle_sent(beat, now);
        quorum.handle_heartbeat(1, 1, beat, now + 2 * MS);
        quorum.handle_votes(1, &votes(1, beat, beat.checked_sub(1), &[]), now + 2 * MS);
    }
    assert!(!wanted[30..].contains(&true), "{wanted:?}");
}

#[test]
fn a_voter_gives_up_whom_it_does_not_hear_and_votes_for_it_again_much_later() {
    let (mut quorum, now) = quorum(2, Tie::None, moment());
    quorum.handle_heartbeat(1, 1, 5, now);
    let receipt = Receipt { instance: 1, sequence: 5 };
    assert_eq!(quorum.votes(now + 349 * MS), [Vote { node: 1, heard: Some(receipt) }]);
    assert!(quorum.has_news(now + 350 * MS));
    assert_eq!(quorum.votes(now + 350 * MS), [Vote { node: 1, heard: None }]);
    assert!(!quorum.has_news(now + 350 * MS));
    let later = now + 350 * MS + 7 * INTERVAL;
    quorum.handle_heartbeat(1, 1, 6, later);
    assert_eq!(quorum.votes(later - MS), [], "it is heard, but what was said of it may still be believed");
    assert!(matches!(quorum.votes(later)[..], [Vote { node: 1, heard: Some(_) }]));
    quorum.handle_doubt(BTreeSet::from([1]));
    assert_eq!(quorum.votes(later), []);
}

#[test]
fn one_that_was_started_neither_votes_nor_gives_up_at_once() {
    let start = moment();
    let (mut quorum, _) = quorum(3, Tie::None, start);
    quorum.handle_heartbeat(1, 1, 1, start);
    assert_eq!(quorum.votes(start + 349 * MS), []);
    quorum.handle_heartbeat(1, 1, 2, start + 600 * MS);
    assert_eq!(quorum.votes(start + 699 * MS), [Vote { node: 2, heard: None }]);
    let votes = quorum.votes(start + 700 * MS);
    assert_eq!(votes.len(), 2, "{votes:?}");
}

#[test]
fn who_led_before_it_was_asked_for_leads_on_for_a_moment() {
    let start = moment();
    let (quorum, _) = quorum(2, Tie::None, start);
    assert!(quorum.leads_until(start).is_some());
    assert!(!quorum.may_take_over(start));
    assert_eq!(quorum.leads_until(start + 700 * MS), None);
}

#[test]
fn a_longer_interval_is_no_longer_lease_before_all_others_can_have_it() {
    let (mut quorum, now) = quorum(3, Tie::None, moment());
    let (others, longer) = (BTreeSet::from([1, 2]), INTERVAL * 10);
    let lead_at = |quorum: &mut Quorum, sequence, now| {
        quorum.handle_sent(sequence, now);
        quorum.handle_votes(1, &votes(1, sequence, Some(sequence), &[2]), now);
        quorum.leads_until(now)
    };
    assert_eq!(lead_at(&mut quorum, 7, now), Some(now + 325 * MS));
    quorum.handle_plan(0, others.clone(), longer, Tie::None, now);
    assert_eq!(quorum.leads_until(now), Some(now + 325 * MS));
    assert_eq!(quorum.gives_up(2, now + 199 * MS), 2);
    assert_eq!(quorum.gives_up(2, now + 200 * MS), 1, "nor is the word of another believed for longer");
    // The plan that came last does not make the one before forgotten.
    quorum.handle_plan(0, others, longer * 2, Tie::None, now);
    let later = now + 14 * 1000 * MS;
    assert_eq!(lead_at(&mut quorum, 8, later - MS), Some(later - MS + 325 * MS));
    assert_eq!(lead_at(&mut quorum, 9, later), Some(later + 6500 * MS));
}

#[test]
fn a_word_of_silence_that_left_late_is_held_from_then_on() {
    let (mut quorum, now) = quorum(3, Tie::None, moment());
    assert!(quorum.votes(now).contains(&Vote { node: 2, heard: None }));
    let woken = now + 8 * INTERVAL;
    quorum.handle_pause(woken);
    for at in [woken, woken + 7 * INTERVAL - MS, woken + 7 * INTERVAL] {
        quorum.handle_heartbeat(2, 2, 1, at);
        let is_named = quorum.votes(at).iter().any(|vote| vote.node == 2);
        assert_eq!(is_named, at >= woken + 7 * INTERVAL, "{:?}", at - woken);
    }
}
