#![allow(clippy::arithmetic_side_effects)]

mod beyond;
mod claims;
mod inherited;
mod table;
mod ties;
mod timing;

use super::*;
use crate::advert::MAX_ADDRESSES_IPV6;
use fulcrum_config::{AdvertInterval, Adverts, Family, InterfaceName, NodeKind, NodeName, Preempt, Vrid};

const MS: Duration = Duration::from_millis(1);
/// Ours, and two peers: a lower and a higher address.
const OURS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));
const LOW: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
const HIGH: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 3));

fn ipv4() -> Link {
    Link { interface: InterfaceName::new("eth0"), family: Family::Ipv4 }
}

fn ipv6() -> Link {
    Link { interface: InterfaceName::new("eth0"), family: Family::Ipv6 }
}

fn peer(name: &str, priority: u8, address: IpAddr) -> Peer {
    Peer {
        node: NodeName::new(name),
        kind: NodeKind::Fulcrum,
        priority: Priority::new(priority).unwrap(),
        addresses: vec![address],
        deciding_address: Some(address),
    }
}

/// Priority 100 at 10.0.0.2, every 100 ms; peers "low" (90, 10.0.0.1) and "high" (150, 10.0.0.3).
fn spec() -> RouterSpec {
    RouterSpec {
        vrid: Vrid::new(51).unwrap(),
        priority: Priority::DEFAULT,
        interval: AdvertInterval::DEFAULT,
        preempt: Preempt::Never,
        adverts: Adverts::Multicast,
        links: vec![LinkSpec { link: ipv4(), listed: vip() }],
        peers: vec![peer("low", 90, LOW), peer("high", 150, HIGH)],
        deciding_address: Some(OURS),
        claimed: false,
    }
}

fn vip() -> std::sync::Arc<[IpAddr]> {
    [IpAddr::from([10, 0, 0, 100])].into()
}

fn advert(priority: u8) -> Advert {
    Advert {
        vrid: Vrid::new(51).unwrap(),
        priority,
        interval: AdvertInterval::DEFAULT,
        addresses: vip(),
        checksum: ChecksumForm::Message,
    }
}

#[allow(clippy::disallowed_methods)]
fn epoch() -> Instant {
    Instant::now()
}

/// What a router did, in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Did {
    Sent(u8),
    Led,
    Announced,
    Retired,
    Refused,
}

fn did(router: &mut Router) -> Vec<Did> {
    let actions = std::iter::from_fn(|| router.poll_action());
    let short = |action| match action {
        Action::SendAdvert { advert, .. } => Did::Sent(advert.priority),
        Action::Lead { .. } => Did::Led,
        Action::Announce => Did::Announced,
        Action::Retire { .. } => Did::Retired,
        Action::Refuse { .. } => Did::Refused,
    };
    actions.map(short).collect()
}

fn initial(spec: RouterSpec, now: Instant) -> Router {
    Router::new(spec, now)
}

/// Clear to lead, and waiting for a whole down interval.
fn standby(spec: RouterSpec, now: Instant) -> Router {
    let links: Vec<Link> = spec.links.iter().map(|spec| spec.link.clone()).collect();
    let mut router = initial(spec, now);
    router.handle_clear(now);
    for link in links {
        let address = if link.family == Family::Ipv4 { OURS } else { "fe80::2".parse().unwrap() };
        router.handle_link(&link, Some(address), now);
    }
    router
}

fn leader(spec: RouterSpec, now: Instant) -> Router {
    let mut router = standby(spec, now);
    if let Some(due) = router.poll_timeout().filter(|_| router.role() == Role::Standby) {
        // Not from the future: shift the past instead.
        let wait = due - now;
        let mut earlier = standby(router.spec.clone(), now - wait);
        earlier.handle_timer(now);
        router = earlier;
    }
    assert_eq!(router.role(), Role::Leader);
    did(&mut router);
    router
}
