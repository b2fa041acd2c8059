#![allow(clippy::arithmetic_side_effects)]

use super::*;
use fulcrum_config::{Family, InterfaceName};

const PEER: Mac = Mac(2, 0, 0, 0, 0, 2);
const OTHER: Mac = Mac(2, 0, 0, 0, 0, 9);
const MS: Duration = Duration::from_millis(1);

#[allow(clippy::disallowed_methods)]
fn epoch() -> Instant {
    Instant::now()
}

fn link(name: &str) -> Link {
    Link { interface: InterfaceName::new(name), family: Family::Ipv4 }
}

#[test]
fn the_leader_that_is_followed_is_no_rival_and_late_for_a_moment_after_the_takeover() {
    let now = epoch();
    let (eth0, eth1) = (link("eth0"), link("eth1"));
    let mut rivals = Rivals::default();
    assert_eq!(rivals.handle_claim(&eth0, PEER, true, false, now), Claim::Led);
    rivals.handle_lead(now);
    assert_eq!(rivals.handle_claim(&eth0, PEER, false, true, now + MS), Claim::Late);
    assert_eq!(rivals.handle_claim(&eth0, OTHER, false, true, now + MS), Claim::Rival, "nobody knows it");
    assert_eq!(rivals.handle_claim(&eth1, PEER, false, true, now + MS), Claim::Rival, "not heard there");
    assert_eq!(
        rivals.handle_claim(&eth0, PEER, false, true, now + 1001 * MS),
        Claim::Rival,
        "it still answers"
    );
}

#[test]
fn without_a_leader_whoever_claims_is_a_rival() {
    let now = epoch();
    let mut rivals = Rivals::default();
    assert_eq!(rivals.handle_claim(&link("eth0"), OTHER, false, false, now), Claim::Rival);
    rivals.handle_lead(now);
    assert_eq!(rivals.handle_claim(&link("eth0"), OTHER, false, true, now + MS), Claim::Rival);
}

#[test]
fn it_defends_once_a_second() {
    let now = epoch();
    let mut rivals = Rivals::default();
    let defended = (0..30).filter(|tenth| rivals.defend(now + 100 * MS * *tenth)).count();
    assert_eq!(defended, 3);
}
