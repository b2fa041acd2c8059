//! One process of this node leads on what another one led.

use super::*;

/// A standby that has not been cleared to lead yet.
fn standby() -> (Router, Instant) {
    let now = epoch();
    let mut router = Router::new(spec(), now);
    router.handle_link(&ipv4(), Some(OURS), now);
    assert_eq!((router.role(), did(&mut router)), (Role::Standby, vec![]));
    (router, now)
}

#[test]
fn it_leads_at_once_and_the_number_of_the_leader_stays() {
    let (mut router, now) = standby();
    router.handle_inherited(7, now);
    assert_eq!(did(&mut router), [Did::Sent(100), Did::Led]);
    assert_eq!((router.role(), router.epoch()), (Role::Leader, 7));
    assert_eq!(router.reason(), &Reason::Inherited);
    router.handle_timer(now + 100 * MS);
    assert_eq!(did(&mut router), [Did::Sent(100)]);
}

#[test]
fn whoever_has_the_better_claim_is_yielded_to_as_ever() {
    let (mut router, now) = standby();
    router.handle_inherited(7, now);
    did(&mut router);
    router.handle_advert(&ipv4(), HIGH, &advert(150), now + MS).unwrap();
    assert_eq!(did(&mut router), [Did::Sent(100), Did::Retired]);
}

#[test]
fn without_a_link_there_is_nothing_to_lead_on() {
    let now = epoch();
    let mut router = Router::new(spec(), now);
    router.handle_inherited(7, now);
    assert_eq!((router.role(), did(&mut router)), (Role::Init, vec![]));
}
