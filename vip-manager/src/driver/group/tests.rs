use super::*;
use crate::advert::{Advert, ChecksumForm};
use crate::border::{PeerSeen, Reason};
use crate::driver::rivals::Claim;
use fulcrum_config::{AdvertInterval, GroupName, InterfaceName, Vrid};
use leading::is_handed_over;

const PAIR: &str = "
node: lb-1
nodes:
  lb-1: {addresses: [10.0.0.11], priority: 150}
  lb-2: {addresses: [10.0.0.12]}
interfaces: {eth0: {networks: [10.0.0.0/24]}}
groups: {web: {vrid: 51, vips: [10.0.0.100]}}
";
const VIP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 100));
const OTHER: Mac = Mac(2, 0, 0, 0, 0, 12);

/// Leads since `now`, while somebody else claimed the VIP before.
fn leads_what_another_claims(now: Instant) -> (GroupDriver, Link) {
    let config = fulcrum_config::parse(PAIR, "fulcrum.yaml", "lb-1").unwrap().config;
    let mut driver = GroupDriver::new(&config, Arc::clone(&config.groups[&GroupName::new("web")]), now);
    let link = driver.link_of(VIP).unwrap();
    driver.router.handle_link(&link, Some([10, 0, 0, 11].into()), now);
    driver.prober.handle_addresses([VIP], now);
    assert_eq!(driver.prober.poll_probe(now), Some(VIP));
    driver.handle_claim(&link, VIP, OTHER, now);
    driver.finish_probing(true, now);
    let due = driver.router.poll_timeout().unwrap();
    driver.router.handle_timer(due);
    assert_eq!(driver.router.role(), Role::Leader);
    driver.lead(&Reason::NoLeader, due);
    assert_eq!(driver.prober.poll_probe(due), Some(VIP), "it may have been the leader that is gone");
    driver.handle_claim(&link, VIP, OTHER, due);
    driver.finish_probing(true, due);
    assert_eq!(driver.conflict(VIP), Some(OTHER));
    (driver, link)
}

fn advert(priority: u8) -> Advert {
    Advert {
        vrid: Vrid::new(51).unwrap(),
        priority,
        interval: AdvertInterval::DEFAULT,
        addresses: [VIP].into(),
        checksum: ChecksumForm::Message,
    }
}

#[allow(clippy::disallowed_methods, reason = "a moment to count from")]
fn moment() -> Instant {
    Instant::now()
}

#[test]
fn what_a_rival_claimed_that_yields_is_answered_at_once() {
    let (mut driver, link) = leads_what_another_claims(moment());
    let now = driver.decided.unwrap();
    driver.router.handle_advert(&link, [10, 0, 0, 12].into(), &advert(100), now).unwrap();
    driver.finish_probing(true, now);
    assert_eq!(driver.conflict(VIP), None);
    assert!(driver.answers(VIP));
}

/// What a leader answers whose first advert that is heard makes this node lead.
fn leads_at_the_first_advert(group: &str, priority: u8, reason: &Reason) {
    let file = PAIR.replace("vrid: 51,", &format!("vrid: 51, {group}"));
    let config = fulcrum_config::parse(&file, "fulcrum.yaml", "lb-1").unwrap().config;
    let now = moment();
    let mut driver = GroupDriver::new(&config, Arc::clone(&config.groups[&GroupName::new("web")]), now);
    let link = driver.link_of(VIP).unwrap();
    driver.router.handle_link(&link, Some([10, 0, 0, 11].into()), now);
    driver.prober.handle_addresses([VIP], now);
    assert_eq!(driver.prober.poll_probe(now), Some(VIP));
    driver.handle_claim(&link, VIP, OTHER, now);
    driver.finish_probing(true, now);
    driver.router.handle_advert(&link, [10, 0, 0, 12].into(), &advert(priority), now).unwrap();
    let due = driver.router.poll_timeout().unwrap();
    driver.router.handle_timer(due);
    assert_eq!(driver.router.role(), Role::Leader);
    driver.lead(reason, due);
    assert!(driver.answers(VIP));
    // It answers once more before it hears that another leads.
    assert_eq!(driver.handle_claim(&link, VIP, OTHER, due), (false, Some(Claim::Late)));
    assert!(driver.answers(VIP));
}

#[test]
fn a_leader_whose_resignation_is_the_first_that_is_heard_of_it_is_no_stranger() {
    leads_at_the_first_advert("", 0, &Reason::LeaderResigned);
}

#[test]
fn a_leader_that_is_preempted_at_its_first_advert_is_no_stranger() {
    leads_at_the_first_advert("preempt: true,", 100, &Reason::Preempted);
}

#[test]
fn what_a_stranger_claims_stays_down_whatever_a_rival_did_before() {
    let (mut driver, link) = leads_what_another_claims(moment());
    let now = driver.decided.unwrap();
    driver.finish_probing(true, now + Duration::from_secs(1));
    assert!(!driver.answers(VIP), "nobody else is heard to lead");
    driver.router.handle_advert(&link, [10, 0, 0, 12].into(), &advert(100), now).unwrap();
    driver.finish_probing(true, now + Duration::from_secs(2));
    assert!(!driver.answers(VIP), "that one yielded long ago");
}

#[test]
fn addresses_linger_where_another_one_answers_and_not_where_nobody_knows() {
    let peer = PeerSeen { node: None, address: [10, 0, 0, 2].into(), priority: 150 };
    for reason in [
        Reason::Stopping,
        Reason::StandingDown,
        Reason::TrackFailed("gateway 10.0.0.1".to_owned()),
        Reason::BetterLeader(peer.clone()),
        Reason::NotHeard(peer),
    ] {
        assert!(is_handed_over(&reason), "{reason:?}");
    }
    let interface = InterfaceName::new("eth0");
    for reason in [Reason::Stalled(Duration::from_secs(1)), Reason::InterfaceDown(interface)] {
        assert!(!is_handed_over(&reason), "{reason:?}");
    }
}
