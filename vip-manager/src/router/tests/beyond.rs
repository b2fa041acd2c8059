//! Where the router goes beyond the RFC: offers, relief, preemption with delay, rivals that don't hear.

use super::*;
use fulcrum_config::Election;

fn track() -> Fitness {
    Fitness::LastResort(Reason::TrackFailed("gateway".to_owned()))
}

#[test]
fn a_leader_that_should_not_lead_offers_and_goes_on_if_nobody_takes_over() {
    let now = epoch() + Duration::from_secs(60);
    let mut router = leader(spec(), now);
    router.handle_fitness(track(), now);
    assert_eq!((router.priority(), did(&mut router)), (None, vec![Did::Sent(0)]));
    router.handle_timer(now + 100 * MS);
    assert_eq!(did(&mut router), [Did::Sent(0)]);
    router.handle_timer(now + 200 * MS);
    assert_eq!((router.role(), did(&mut router)), (Role::Leader, vec![Did::Sent(1)]));
    // It offers again after a hundred intervals.
    let mut at = now + 200 * MS;
    let mut sent = Vec::new();
    for _ in 0..100 {
        at += 100 * MS;
        router.handle_timer(at);
        sent.extend(did(&mut router));
    }
    assert_eq!(sent.iter().filter(|did| **did == Did::Sent(0)).count(), 1);
    assert!(sent.iter().all(|did| matches!(did, Did::Sent(0 | 1))), "{sent:?}");
}

#[test]
fn an_offer_ends_when_somebody_takes_over_whoever_it_is() {
    let now = epoch() + Duration::from_secs(60);
    let mut router = leader(spec(), now);
    router.handle_fitness(track(), now);
    did(&mut router);
    router.handle_advert(&ipv4(), LOW, &advert(90), now + 10 * MS).unwrap();
    assert_eq!((router.role(), router.reason()), (Role::Standby, &Reason::TrackFailed("gateway".to_owned())));
    let reason = router.reason().clone();
    assert_eq!(router.poll_action(), Some(Action::Retire { reason }));
}

#[test]
fn of_two_that_offer_the_stopping_one_goes_and_the_other_stays() {
    // Somebody took the offer, its first advert was lost, and it offers in its turn.
    let now = epoch() + Duration::from_secs(60);
    let mut stopping = leader(spec(), now);
    stopping.handle_stop(now);
    did(&mut stopping);
    stopping.handle_advert(&ipv4(), LOW, &advert(0), now + 10 * MS).unwrap();
    assert!(stopping.is_stopped());

    let mut staying = leader(spec(), now);
    staying.handle_fitness(track(), now);
    did(&mut staying);
    staying.handle_advert(&ipv4(), LOW, &advert(0), now + 10 * MS).unwrap();
    assert_eq!((staying.role(), did(&mut staying)), (Role::Leader, vec![Did::Sent(1)]));
}

#[test]
fn a_leader_that_is_fit_again_takes_its_offer_back() {
    let now = epoch() + Duration::from_secs(60);
    let mut router = leader(spec(), now);
    router.handle_fitness(track(), now);
    did(&mut router);
    router.handle_fitness(Fitness::Fit(Priority::DEFAULT), now + 10 * MS);
    assert_eq!(did(&mut router).first(), Some(&Did::Sent(100)));
}

#[test]
fn one_link_of_two_down_is_a_reason_to_offer_and_all_down_to_be_silent() {
    let now = epoch() + Duration::from_secs(60);
    let mut both = spec();
    both.links.push(LinkSpec { link: ipv6(), listed: vip() });
    let mut router = leader(both, now);
    router.handle_link(&ipv6(), None, now);
    assert_eq!((router.role(), did(&mut router)), (Role::Leader, vec![Did::Sent(0)]));
    router.handle_link(&ipv4(), None, now);
    assert_eq!((router.role(), did(&mut router)), (Role::Init, vec![Did::Retired]));
    assert_eq!(router.reason(), &Reason::InterfaceDown(InterfaceName::new("eth0")));
    router.handle_link(&ipv4(), Some(OURS), now);
    assert_eq!(router.role(), Role::Standby);
    assert_eq!(router.reason(), &Reason::InterfaceBack(InterfaceName::new("eth0")));
}

#[test]
fn stopping_answers_until_somebody_takes_over() {
    let now = epoch() + Duration::from_secs(60);
    let mut router = leader(spec(), now);
    router.handle_stop(now);
    assert_eq!((router.is_stopped(), did(&mut router)), (false, vec![Did::Sent(0)]));
    router.handle_advert(&ipv4(), HIGH, &advert(150), now + 5 * MS).unwrap();
    assert_eq!((router.is_stopped(), did(&mut router)), (true, vec![Did::Retired]));
    assert_eq!(router.reason(), &Reason::Stopping);
}

#[test]
fn stopping_ends_after_two_intervals_and_at_once_without_peers() {
    let now = epoch() + Duration::from_secs(60);
    let mut router = leader(spec(), now);
    router.handle_stop(now);
    router.handle_timer(now + 100 * MS);
    assert!(!router.is_stopped());
    did(&mut router);
    router.handle_stop(now + 150 * MS);
    assert_eq!(did(&mut router), [], "said again, it does not prolong the offer");
    router.handle_timer(now + 200 * MS);
    assert_eq!((router.is_stopped(), did(&mut router)), (true, vec![Did::Sent(0), Did::Retired]));
    router.handle_link(&ipv4(), Some(OURS), now + 201 * MS);
    assert_eq!(router.role(), Role::Init, "a stopped router does not start again");

    let mut alone = leader(RouterSpec { peers: vec![], ..spec() }, now);
    alone.handle_stop(now);
    assert!(alone.is_stopped());
}

#[test]
fn a_last_resort_does_not_take_an_offer_but_a_silence() {
    let now = epoch();
    let mut router = standby(spec(), now);
    router.handle_fitness(track(), now);
    router.handle_advert(&ipv4(), HIGH, &advert(1), now).unwrap();
    router.handle_advert(&ipv4(), HIGH, &advert(0), now + MS).unwrap();
    router.handle_timer(now + 210 * MS);
    assert_eq!(router.role(), Role::Standby, "if both are bad nobody moves");
    router.handle_timer(now + down_interval(1, AdvertInterval::DEFAULT));
    assert_eq!(router.role(), Role::Leader, "better a bad one than none");
    let sent = did(&mut router);
    assert_eq!(sent, [Did::Sent(1), Did::Led]);
}

/// Feeds adverts of one leader every 100 ms, and gives when this node took over, if it did.
fn taken_over(router: &mut Router, source: IpAddr, priority: u8, from: Instant) -> Option<Duration> {
    for at in (0..100).map(|number| from + number * 100 * MS) {
        while let Some(due) = router.poll_timeout().filter(|due| *due < at) {
            router.handle_timer(due);
            if router.role() == Role::Leader {
                return Some(due - from);
            }
        }
        router.handle_advert(&ipv4(), source, &advert(priority), at).unwrap();
        if router.role() == Role::Leader {
            return Some(at - from);
        }
    }
    None
}

#[test]
fn preemption_waits_its_delay_and_never_is_the_default() {
    let now = epoch();
    assert_eq!(taken_over(&mut standby(spec(), now), LOW, 90, now), None);
    let delay = Duration::from_secs(2);
    let preempt = |delay| RouterSpec { preempt: Preempt::After(delay), ..spec() };
    assert_eq!(taken_over(&mut standby(preempt(delay), now), LOW, 90, now), Some(delay));
    assert_eq!(taken_over(&mut standby(preempt(Duration::ZERO), now), LOW, 90, now), Some(100 * MS));
    assert_eq!(taken_over(&mut standby(preempt(delay), now), LOW, 100, now), None, "equal is not lower");
}

#[test]
fn preemption_begins_anew_when_a_better_leader_is_heard() {
    let now = epoch();
    let mut router = standby(RouterSpec { preempt: Preempt::After(300 * MS), ..spec() }, now);
    router.handle_advert(&ipv4(), LOW, &advert(90), now).unwrap();
    router.handle_advert(&ipv4(), HIGH, &advert(150), now + 250 * MS).unwrap();
    router.handle_advert(&ipv4(), LOW, &advert(90), now + 290 * MS).unwrap();
    router.handle_timer(now + 310 * MS);
    assert_eq!(router.role(), Role::Standby);
    router.handle_timer(now + 590 * MS);
    assert_eq!((router.role(), router.reason()), (Role::Leader, &Reason::Preempted));
}

#[test]
fn a_degraded_node_of_ours_is_relieved_and_a_foreign_one_is_not() {
    let now = epoch();
    let wait = 100 * MS + skew(100, AdvertInterval::DEFAULT);
    assert_eq!(taken_over(&mut standby(spec(), now), HIGH, 99, now), Some(wait));
    assert_eq!(taken_over(&mut standby(spec(), now), HIGH, 100, now), None, "not worse than we are");
    let mut foreign = spec();
    foreign.peers.iter_mut().for_each(|peer| peer.kind = NodeKind::Foreign);
    assert_eq!(taken_over(&mut standby(foreign, now), HIGH, 99, now), None);
    let mut bad = standby(spec(), now);
    bad.handle_fitness(track(), now);
    assert_eq!(taken_over(&mut bad, HIGH, 1, now), None, "if both are bad nobody moves");
}

#[test]
fn rivals_are_answered_once_an_interval() {
    let now = epoch() + Duration::from_secs(60);
    let mut router = leader(spec(), now);
    for number in 0..1000 {
        let _ = router.handle_advert(&ipv4(), LOW, &advert(90), now + number * MS / 20);
    }
    assert_eq!(did(&mut router), [Did::Sent(100), Did::Announced]);
}

/// How long a leader goes on beside a rival of lower priority.
fn until_it_yields(rival: &Advert) -> Option<Duration> {
    let now = epoch() + Duration::from_secs(60);
    let mut router = leader(spec(), now);
    for at in (0..50).map(|number| now + number * 50 * MS) {
        router.handle_timer(at);
        router.handle_advert(&ipv4(), LOW, rival, at).unwrap();
        if router.role() == Role::Standby {
            assert!(matches!(router.reason(), Reason::NotHeard(_)));
            return Some(at - now);
        }
    }
    None
}

#[test]
fn it_yields_only_to_a_rival_that_lists_the_same_addresses() {
    assert_eq!(until_it_yields(&advert(90)), Some(1200 * MS));
    let other = Advert { addresses: [IpAddr::from([10, 0, 0, 200])].into(), ..advert(90) };
    assert_eq!(until_it_yields(&other), None);
}

#[test]
fn the_checksum_form_follows_foreign_nodes_only() {
    let now = epoch() + Duration::from_secs(60);
    let form = |router: &Router| router.advert(&ipv4(), 100).unwrap().checksum;
    let pseudo = Advert { checksum: ChecksumForm::PseudoHeader, ..advert(90) };
    let mut ours = leader(spec(), now);
    ours.handle_advert(&ipv4(), LOW, &pseudo, now).unwrap();
    assert_eq!(form(&ours), ChecksumForm::Message, "RFC 9568 section 5.2.8");
    let mut foreign = spec();
    foreign.peers.iter_mut().for_each(|peer| peer.kind = NodeKind::Foreign);
    let mut theirs = leader(foreign, now);
    assert_eq!(form(&theirs), ChecksumForm::PseudoHeader, "as keepalived and FRR want it");
    theirs.handle_advert(&ipv4(), LOW, &advert(90), now).unwrap();
    assert_eq!(form(&theirs), ChecksumForm::Message, "as this one sends it");
}

#[test]
fn a_reload_moves_nothing_and_tells_the_new_interval_at_once() {
    let now = epoch() + Duration::from_secs(60);
    let mut router = leader(spec(), now);
    let slow = AdvertInterval::from_centiseconds(100).unwrap();
    router.handle_reconfigured(RouterSpec { interval: slow, ..spec() }, now + 10 * MS);
    assert_eq!((router.role(), did(&mut router)), (Role::Leader, vec![Did::Sent(100)]));
    assert_eq!(router.poll_timeout(), Some(now + 1010 * MS));
    let mut more = spec();
    more.links.push(LinkSpec { link: ipv6(), listed: vip() });
    router.handle_reconfigured(more, now + 20 * MS);
    assert_eq!(router.role(), Role::Leader);
    assert_eq!(did(&mut router), [Did::Sent(100)], "a link not known yet is not a link down");
}

#[test]
fn a_link_that_comes_up_under_a_leader_is_announced() {
    let now = epoch() + Duration::from_secs(60);
    let mut router = leader(spec(), now);
    router.handle_link(&ipv4(), Some(IpAddr::from([10, 0, 0, 7])), now);
    assert_eq!(did(&mut router), [Did::Announced]);
}

#[test]
fn hundreds_of_addresses_are_listed_as_far_as_they_fit_link_local_ones_first() {
    use fulcrum_config::{Class, Group, GroupName, OnSplit, Vip};
    let interface = InterfaceName::new("eth0");
    let vip = |address: IpAddr| Vip { address, interface: interface.clone() };
    let mut vips: Vec<Vip> =
        (0..300u16).map(|number| vip(IpAddr::from([0x2001, 0, 0, 0, 0, 0, 0, number]))).collect();
    vips.push(vip("fe80::100".parse().unwrap()));
    let group = Group {
        on_split: OnSplit::Serve,
        proof: None,
        name: GroupName::new("many"),
        class: Class::Workload,
        election: Election::Vrrp(Vrid::new(1).unwrap()),
        vips,
        priorities: BTreeMap::new(),
        advert_interval: AdvertInterval::DEFAULT,
        adverts: Adverts::Multicast,
        preempt: Preempt::Never,
        drain: Group::DRAIN,
        accept: true,
        tracks: Vec::new(),
    };
    let listed = LinkSpec::new(&group, ipv6()).listed;
    assert_eq!(listed.len(), MAX_ADDRESSES_IPV6);
    assert_eq!(listed[0].to_string(), "fe80::100");
}

fn preempting(priority: u8) -> Router {
    let preempt = Preempt::After(Duration::from_secs(1));
    let spec = RouterSpec { preempt, priority: Priority::new(priority).unwrap(), ..spec() };
    standby(spec, epoch())
}

/// Hears `advert` every 100 ms for so long; says what the router did, and when that ended.
fn hears(router: &mut Router, priority: u8, from: Instant, time: Duration) -> (Vec<Did>, Instant) {
    let mut at = from;
    while at < from + time {
        at += 100 * MS;
        if router.role() == Role::Standby {
            router.handle_advert(&ipv4(), LOW, &advert(priority), at).unwrap();
        }
    }
    (did(router), at)
}

#[test]
fn without_the_leaders_state_a_node_takes_nothing_back_and_then_after_its_delay() {
    let mut router = preempting(100);
    let now = router.since();
    router.handle_behind(true, now);
    let (done, now) = hears(&mut router, 90, now, Duration::from_secs(10));
    assert_eq!((router.role(), done), (Role::Standby, vec![]));
    router.handle_behind(false, now);
    let (_, now) = hears(&mut router, 90, now, Duration::from_millis(900));
    assert_eq!(router.role(), Role::Standby);
    // What is lost again while it waits counts.
    router.handle_behind(true, now);
    let (_, now) = hears(&mut router, 90, now, Duration::from_secs(5));
    assert_eq!(router.role(), Role::Standby);
    router.handle_behind(false, now);
    hears(&mut router, 90, now, Duration::from_millis(1300));
    assert_eq!((router.role(), router.reason()), (Role::Leader, &Reason::Preempted));
}

#[test]
fn without_the_leaders_state_a_node_leads_when_nobody_else_can() {
    // The leader falls silent.
    let mut router = preempting(100);
    let now = router.since();
    router.handle_behind(true, now);
    let (_, now) = hears(&mut router, 90, now, Duration::from_secs(2));
    let due = router.poll_timeout().unwrap();
    assert!(due < now + Duration::from_secs(1));
    router.handle_timer(due);
    assert_eq!((router.role(), router.reason()), (Role::Leader, &Reason::LeaderSilent));
    // It resigns.
    let mut router = preempting(100);
    router.handle_behind(true, now);
    let (_, now) = hears(&mut router, 90, now, Duration::from_secs(2));
    router.handle_advert(&ipv4(), LOW, &advert(0), now).unwrap();
    let due = router.poll_timeout().unwrap();
    router.handle_timer(due);
    assert_eq!((router.role(), router.reason()), (Role::Leader, &Reason::LeaderResigned));
    // Its tracks fail: it adverts less than it is configured with.
    let mut router = preempting(100);
    router.handle_behind(true, now);
    hears(&mut router, 50, now, Duration::from_secs(2));
    assert_eq!((router.role(), router.reason()), (Role::Leader, &Reason::Preempted));
    // It owns the addresses.
    let mut router = preempting(255);
    router.handle_behind(true, now);
    hears(&mut router, 90, now, Duration::from_secs(1));
    assert_eq!(router.role(), Role::Leader);
}
