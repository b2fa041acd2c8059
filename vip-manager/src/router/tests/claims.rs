//! Adverts that wait for their sender's claim.

use super::*;
use std::collections::{BTreeMap, BTreeSet};

const ROGUE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 66));

/// Both peers say these things; `high` leads from its own address if `leads`.
fn said(router: &mut Router, leads: bool, answered: Option<u64>, now: Instant) {
    let high = Claim { sources: leads.then(|| BTreeSet::from([HIGH])), answered };
    let low = Claim { sources: None, answered };
    let said = BTreeMap::from([(NodeName::new("high"), high), (NodeName::new("low"), low)]);
    router.handle_claims(said, now);
}

fn claimed() -> RouterSpec {
    RouterSpec { claimed: true, ..spec() }
}

/// A leader of priority 100 with links to both peers.
fn linked(now: Instant) -> Router {
    let mut router = leader(claimed(), now);
    said(&mut router, false, None, now);
    assert_eq!(did(&mut router), []);
    router
}

fn hear(router: &mut Router, source: IpAddr, priority: u8, now: Instant) {
    router.handle_advert(&ipv4(), source, &advert(priority), now).unwrap();
}

#[test]
fn an_advert_that_every_peer_denies_ends_no_lead() {
    for (source, priority) in [(ROGUE, 254), (ROGUE, 255), (HIGH, 254), (HIGH, 100)] {
        let now = epoch();
        let mut router = linked(now);
        hear(&mut router, source, priority, now);
        assert_eq!((router.role(), did(&mut router)), (Role::Leader, vec![]), "{source} {priority}");
        let question = router.question().unwrap();
        said(&mut router, false, Some(question), now + 2 * MS);
        assert_eq!(router.role(), Role::Leader);
        let actions = did(&mut router);
        assert_eq!(actions, [Did::Refused, Did::Sent(100), Did::Announced], "{source} {priority}");
        assert_eq!(router.question(), None);
    }
}

#[test]
fn what_was_said_before_the_question_proves_nothing() {
    let now = epoch();
    let mut router = linked(now);
    hear(&mut router, HIGH, 150, now);
    let question = router.question().unwrap();
    said(&mut router, false, Some(question.wrapping_sub(1)), now + MS);
    assert_eq!((router.role(), did(&mut router)), (Role::Leader, vec![]));
    // Nobody answers: after an interval the advert counts, as without a link.
    assert_eq!(router.poll_timeout(), Some(now + 100 * MS));
    router.handle_timer(now + 100 * MS);
    assert_eq!(router.role(), Role::Standby);
}

#[test]
fn a_claim_counts_before_and_after_the_advert() {
    let now = epoch();
    let mut router = linked(now);
    said(&mut router, true, None, now);
    hear(&mut router, HIGH, 150, now);
    assert_eq!((router.role(), did(&mut router)), (Role::Standby, vec![Did::Sent(100), Did::Retired]));

    let mut router = linked(now);
    hear(&mut router, HIGH, 150, now);
    said(&mut router, true, None, now + MS);
    assert_eq!((router.role(), did(&mut router)), (Role::Standby, vec![Did::Sent(100), Did::Retired]));
}

#[test]
fn a_claim_is_for_the_addresses_that_it_names() {
    let now = epoch();
    let mut router = linked(now);
    said(&mut router, true, None, now);
    hear(&mut router, ROGUE, 254, now);
    let question = router.question().unwrap();
    said(&mut router, true, Some(question), now + MS);
    assert_eq!(router.role(), Role::Leader);
}

#[test]
fn when_a_link_ends_what_waits_counts() {
    let now = epoch();
    let mut router = linked(now);
    hear(&mut router, ROGUE, 254, now);
    router.handle_claims(BTreeMap::from([(NodeName::new("low"), Claim::default())]), now + MS);
    assert_eq!(router.role(), Role::Standby);
}

#[test]
fn an_address_of_no_peer_is_denied_for_a_while_without_asking_again() {
    let now = epoch();
    let mut router = linked(now);
    hear(&mut router, ROGUE, 254, now);
    let question = router.question().unwrap();
    said(&mut router, false, Some(question), now + MS);
    did(&mut router);
    hear(&mut router, ROGUE, 254, now + 20 * MS);
    assert_eq!((router.question(), did(&mut router)), (None, vec![Did::Refused]));
    hear(&mut router, ROGUE, 254, now + 1100 * MS);
    assert_eq!(router.role(), Role::Standby, "it did not run for so long");
}

#[test]
fn adverts_in_a_peers_name_are_asked_about_each_time() {
    let now = epoch();
    let mut router = linked(now);
    hear(&mut router, HIGH, 254, now);
    let question = router.question().unwrap();
    // More come before the answer, which says nothing of them.
    hear(&mut router, HIGH, 254, now + 30 * MS);
    said(&mut router, false, Some(question), now + 40 * MS);
    let next = router.question().unwrap();
    assert_ne!(next, question);
    assert_eq!(router.waiting_until(), Some(now + 130 * MS));
    said(&mut router, false, Some(next), now + 50 * MS);
    assert_eq!((router.role(), router.question(), router.waiting_until()), (Role::Leader, None, None));
}

#[test]
fn a_standby_neither_follows_a_stranger_nor_waits_for_it() {
    let now = epoch();
    let mut router = standby(claimed(), now);
    said(&mut router, true, None, now);
    hear(&mut router, HIGH, 150, now);
    hear(&mut router, ROGUE, 254, now + 300 * MS);
    let question = router.question().unwrap();
    // Three intervals and the skew of 100 after the leader's last; at most one more while the stranger waits.
    let silent = now + Duration::from_micros(360_937) + Duration::from_nanos(500);
    assert_eq!(router.silent_at(silent), now + 400 * MS);
    said(&mut router, true, Some(question), now + 310 * MS);
    assert_eq!(router.leader().unwrap().address, HIGH);
    assert_eq!(router.silent_at(silent), silent);
    router.handle_timer(silent);
    assert_eq!(router.role(), Role::Leader);
}

#[test]
fn a_stranger_takes_no_offer_and_its_resignation_is_none() {
    let now = epoch();
    let mut router = linked(now);
    router.handle_fitness(Fitness::LastResort(Reason::StandingDown), now);
    did(&mut router);
    hear(&mut router, ROGUE, 254, now + MS);
    let question = router.question().unwrap();
    said(&mut router, false, Some(question), now + 2 * MS);
    assert_eq!((router.role(), did(&mut router)), (Role::Leader, vec![Did::Refused]));
    hear(&mut router, HIGH, 150, now + 3 * MS);
    said(&mut router, true, None, now + 4 * MS);
    assert_eq!(router.role(), Role::Standby);
}

#[test]
fn a_stranger_of_low_priority_is_not_yielded_to_either() {
    let now = epoch();
    let mut router = linked(now);
    let mut at = now;
    for _ in 0..200 {
        at += 20 * MS;
        hear(&mut router, LOW, 1, at);
        if let Some(question) = router.question() {
            said(&mut router, false, Some(question), at);
        }
        router.handle_timer(at);
        assert_eq!(router.role(), Role::Leader);
    }
}

#[test]
fn a_flood_of_senders_holds_bounded_memory_and_hides_no_peer() {
    let now = epoch();
    let mut router = linked(now);
    for number in 0..=255 {
        hear(&mut router, IpAddr::from([10, 9, 9, number]), 254, now);
    }
    assert!(did(&mut router).iter().all(|did| *did == Did::Refused));
    said(&mut router, true, None, now);
    hear(&mut router, HIGH, 150, now + MS);
    assert_eq!(router.role(), Role::Standby);
}

#[test]
fn without_keys_or_with_a_foreign_node_it_is_the_rfc() {
    let now = epoch();
    let mut router = leader(spec(), now);
    said(&mut router, false, None, now);
    hear(&mut router, ROGUE, 254, now);
    assert_eq!(router.role(), Role::Standby);
}
