//! Ties are decided once for the group.

use super::*;

const FE80_1: &str = "fe80::1";
const FE80_3: &str = "fe80::3";

fn dual(peers: Vec<Peer>) -> RouterSpec {
    let listed = [IpAddr::from([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])].into();
    let links = vec![LinkSpec { link: ipv4(), listed: vip() }, LinkSpec { link: ipv6(), listed }];
    RouterSpec { links, peers, ..spec() }
}

fn role_after(spec: RouterSpec, link: Link, source: IpAddr) -> Role {
    let now = epoch() + Duration::from_secs(60);
    let mut router = leader(spec, now);
    router.handle_advert(&link, source, &advert(100), now).unwrap();
    router.role()
}

#[test]
fn in_a_pair_ipv6_decides_as_ipv4_does() {
    // Their link-local address says the opposite of their IPv4 address, and is not configured.
    let high = FE80_3.parse().unwrap();
    assert_eq!(role_after(dual(vec![peer("low", 100, LOW)]), ipv6(), high), Role::Leader);
    let low = FE80_1.parse().unwrap();
    assert_eq!(role_after(dual(vec![peer("high", 100, HIGH)]), ipv6(), low), Role::Standby);
}

#[test]
fn among_several_the_configured_link_local_address_tells_the_node() {
    let high: IpAddr = FE80_3.parse().unwrap();
    let low = Peer { addresses: vec![LOW, high], ..peer("low", 100, LOW) };
    let peers = vec![low, peer("high", 100, HIGH)];
    assert_eq!(role_after(dual(peers), ipv6(), high), Role::Leader);
}

#[test]
fn among_several_an_unknown_one_is_on_the_side_where_all_are() {
    let below = IpAddr::from([10, 0, 0, 0]);
    let all_lower = vec![peer("low", 100, LOW), peer("lower", 100, below)];
    assert_eq!(role_after(dual(all_lower), ipv6(), FE80_3.parse().unwrap()), Role::Leader);
    let above = IpAddr::from([10, 0, 0, 9]);
    let all_higher = vec![peer("high", 100, HIGH), peer("higher", 100, above)];
    assert_eq!(role_after(dual(all_higher), ipv6(), FE80_1.parse().unwrap()), Role::Standby);
    let mixed = || vec![peer("low", 100, LOW), peer("high", 100, HIGH)];
    assert_eq!(role_after(dual(mixed()), ipv6(), FE80_3.parse().unwrap()), Role::Standby);
    assert_eq!(role_after(dual(mixed()), ipv6(), FE80_1.parse().unwrap()), Role::Leader);
}

#[test]
fn with_foreign_nodes_each_link_decides_by_its_own_addresses() {
    let foreign = || Peer { kind: NodeKind::Foreign, ..peer("low", 100, LOW) };
    assert_eq!(role_after(dual(vec![foreign()]), ipv6(), FE80_3.parse().unwrap()), Role::Standby);
    assert_eq!(role_after(dual(vec![foreign()]), ipv4(), LOW), Role::Leader);
}

#[test]
fn an_advert_on_any_link_keeps_the_standby_waiting_and_epochs_count_leaders_not_links() {
    let now = epoch();
    let mut router = standby(dual(vec![peer("high", 150, HIGH)]), now);
    router.handle_advert(&ipv4(), HIGH, &advert(150), now).unwrap();
    let epoch = router.epoch();
    let later = now + 300 * MS;
    router.handle_advert(&ipv6(), FE80_1.parse().unwrap(), &advert(150), later).unwrap();
    assert_eq!(router.poll_timeout(), Some(later + down_interval(100, AdvertInterval::DEFAULT)));
    assert_eq!(router.epoch(), epoch);
    assert_eq!(router.leader().unwrap().node, Some(NodeName::new("high")));
}

#[test]
fn a_takeover_adverts_on_every_link() {
    let now = epoch() + Duration::from_secs(60);
    let mut router = standby(dual(vec![peer("high", 150, HIGH)]), now);
    router.handle_timer(router.poll_timeout().unwrap());
    assert_eq!(did(&mut router), [Did::Sent(100), Did::Sent(100), Did::Led]);
}
