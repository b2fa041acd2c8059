//! Every state and event of RFC 9568 section 6.4, and what comes of it.

use super::*;

#[derive(Debug, Clone, Copy)]
enum Event {
    LinkUp,
    LinkDown,
    Timer,
    Resignation,
    Lower,
    EqualLowAddress,
    EqualHighAddress,
    Higher,
    Stop,
}

const EVENTS: [Event; 9] = [
    Event::LinkUp,
    Event::LinkDown,
    Event::Timer,
    Event::Resignation,
    Event::Lower,
    Event::EqualLowAddress,
    Event::EqualHighAddress,
    Event::Higher,
    Event::Stop,
];

/// Lets `event` happen at `now`; the timer is whatever the router waits for.
fn happen(router: &mut Router, event: Event, now: Instant) {
    let mut hear = |source, priority| {
        let _ = router.handle_advert(&ipv4(), source, &advert(priority), now);
    };
    match event {
        Event::LinkUp => router.handle_link(&ipv4(), Some(OURS), now),
        Event::LinkDown => router.handle_link(&ipv4(), None, now),
        Event::Timer => {
            let due = router.poll_timeout().unwrap_or(now);
            router.handle_timer(due);
        }
        // Not of a node whose named successor we are.
        Event::Resignation => hear(LOW, 0),
        Event::Lower => hear(LOW, 90),
        Event::EqualLowAddress => hear(LOW, 100),
        Event::EqualHighAddress => hear(HIGH, 100),
        Event::Higher => hear(HIGH, 150),
        Event::Stop => router.handle_stop(now),
    }
}

/// The table: what role an event leads to, and what is done.
fn expected(role: Role, event: Event) -> (Role, Vec<Did>) {
    use Did::{Announced, Led, Retired, Sent};
    match (role, event) {
        (Role::Init, Event::LinkUp) => (Role::Standby, vec![]),
        (
            Role::Init,
            Event::LinkDown
            | Event::Timer
            | Event::Resignation
            | Event::Lower
            | Event::EqualLowAddress
            | Event::EqualHighAddress
            | Event::Higher
            | Event::Stop,
        ) => (Role::Init, vec![]),

        (Role::Standby, Event::LinkDown | Event::Stop) => (Role::Init, vec![]),
        (Role::Standby, Event::Timer) => (Role::Leader, vec![Sent(100), Led]),
        (
            Role::Standby,
            Event::LinkUp
            | Event::Resignation
            | Event::Lower
            | Event::EqualLowAddress
            | Event::EqualHighAddress
            | Event::Higher,
        ) => (Role::Standby, vec![]),

        (Role::Leader, Event::LinkUp) => (Role::Leader, vec![]),
        (Role::Leader, Event::LinkDown) => (Role::Init, vec![Retired]),
        (Role::Leader, Event::Timer) => (Role::Leader, vec![Sent(100)]),
        (Role::Leader, Event::Resignation | Event::Lower | Event::EqualLowAddress) => {
            (Role::Leader, vec![Sent(100), Announced])
        }
        (Role::Leader, Event::EqualHighAddress | Event::Higher) => (Role::Standby, vec![Sent(100), Retired]),
        (Role::Leader, Event::Stop) => (Role::Leader, vec![Sent(0)]),
    }
}

#[test]
fn each_role_and_event() {
    for (role, make) in [
        (Role::Init, initial as fn(RouterSpec, Instant) -> Router),
        (Role::Standby, standby),
        (Role::Leader, leader),
    ] {
        for event in EVENTS {
            let now = epoch() + Duration::from_secs(60);
            let mut router = make(spec(), now);
            assert_eq!(router.role(), role);
            happen(&mut router, event, now);
            let outcome = (router.role(), did(&mut router));
            assert_eq!(outcome, expected(role, event), "{role:?} and {event:?}");
        }
    }
}

#[test]
fn in_init_adverts_are_refused() {
    let mut router = initial(spec(), epoch());
    let refused = router.handle_advert(&ipv4(), HIGH, &advert(150), epoch());
    assert_eq!(refused, Err(Refusal::NotTakingPart));
    assert_eq!(router.poll_timeout(), None);
}

#[test]
fn an_owner_leads_at_once_and_preempts_whatever_the_setting() {
    let now = epoch();
    let owner = || RouterSpec { priority: Priority::OWNER, ..spec() };
    let mut router = standby(owner(), now);
    assert_eq!((router.role(), router.reason()), (Role::Leader, &Reason::Owner));
    assert_eq!(did(&mut router), [Did::Sent(255), Did::Led]);
    let refused = router.handle_advert(&ipv4(), HIGH, &advert(255), now);
    assert_eq!(refused, Err(Refusal::WhileOwner), "section 7.1: an owner hears nobody's claim");
    assert_eq!(router.role(), Role::Leader);

    let mut router = initial(owner(), now);
    router.handle_link(&ipv4(), Some(OURS), now);
    assert_eq!(router.role(), Role::Standby, "not before the addresses were probed");
    router.handle_advert(&ipv4(), HIGH, &advert(150), now).unwrap();
    assert_eq!((router.role(), router.reason()), (Role::Leader, &Reason::Owner));
}

#[test]
fn the_checks_that_need_the_group() {
    let now = epoch();
    let mut router = standby(RouterSpec { adverts: Adverts::Unicast, ..spec() }, now);
    let stranger = IpAddr::from([10, 0, 0, 66]);
    let other = Advert { vrid: Vrid::new(52).unwrap(), ..advert(150) };
    let mut hear = |link: Link, source, advert: &Advert| router.handle_advert(&link, source, advert, now);
    assert_eq!(hear(ipv4(), HIGH, &other), Err(Refusal::UnknownVrid(52)));
    assert_eq!(hear(ipv6(), HIGH, &advert(150)), Err(Refusal::UnknownVrid(51)));
    assert_eq!(hear(ipv4(), OURS, &advert(150)), Err(Refusal::OwnAddress));
    assert_eq!(hear(ipv4(), stranger, &advert(254)), Err(Refusal::NotAPeer));
    assert_eq!(hear(ipv4(), HIGH, &advert(150)), Ok(Noted::default()));
    assert_eq!(hear(ipv4(), LOW, &advert(0)), Err(Refusal::NotTheLeader));
}

#[test]
fn a_rogue_of_priority_254_is_no_peer_and_moves_nothing() {
    let now = epoch() + Duration::from_secs(60);
    let mut router = leader(RouterSpec { adverts: Adverts::Unicast, ..spec() }, now);
    let rogue = IpAddr::from([10, 0, 0, 66]);
    assert_eq!(router.handle_advert(&ipv4(), rogue, &advert(254), now), Err(Refusal::NotAPeer));
    assert_eq!((router.role(), did(&mut router)), (Role::Leader, vec![]));
}

#[test]
fn in_a_pair_a_link_local_stranger_is_the_other_node_only_with_multicast() {
    let now = epoch() + Duration::from_secs(60);
    let stranger: IpAddr = "fe80::66".parse().unwrap();
    let pair = |adverts| RouterSpec {
        adverts,
        links: vec![LinkSpec { link: ipv6(), listed: vip() }],
        peers: vec![peer("high", 150, "fd09::3".parse().unwrap())],
        ..spec()
    };
    let mut unicast = leader(pair(Adverts::Unicast), now);
    assert_eq!(unicast.handle_advert(&ipv6(), stranger, &advert(254), now), Err(Refusal::NotAPeer));
    assert_eq!((unicast.role(), did(&mut unicast)), (Role::Leader, vec![]));
    let configured = "fd09::3".parse().unwrap();
    assert_eq!(unicast.handle_advert(&ipv6(), configured, &advert(150), now), Ok(Noted::default()));
    assert_eq!(unicast.role(), Role::Standby);

    let mut multicast = leader(pair(Adverts::Multicast), now);
    assert_eq!(multicast.handle_advert(&ipv6(), stranger, &advert(150), now), Ok(Noted::default()));
    assert_eq!(multicast.leader().and_then(|leader| leader.node.clone()), Some(NodeName::new("high")));
}

#[test]
fn another_list_of_addresses_or_interval_is_noted_and_accepted() {
    let now = epoch() + Duration::from_secs(60);
    let mut router = leader(spec(), now);
    let odd = Advert {
        addresses: [IpAddr::from([10, 0, 0, 200])].into(),
        interval: AdvertInterval::FLOOR,
        ..advert(254)
    };
    let stranger = IpAddr::from([10, 0, 0, 66]);
    let noted = router.handle_advert(&ipv4(), stranger, &odd, now);
    let all = Noted { addresses_differ: true, interval_differs: true, unknown_source: true };
    assert_eq!(noted, Ok(all));
    assert_eq!(router.role(), Role::Standby, "section 7.1: not a reason to drop it");
}
