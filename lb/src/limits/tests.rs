use super::clients::{ClientKey, ClientLimits, ClientVerdict, Clients};
use super::*;
use fulcrum_config::{
    Balance, GroupName, Limits, Mode, OnDown, PortRange, Protocol, ProxyProtocol, Quorum, Rate, ServiceName,
    Timeouts, UdpOptions,
};
use ipnet::IpNet;
use proptest::prelude::*;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

fn service(limits: Limits, sources: &[&str]) -> Service {
    Service {
        name: ServiceName::new("web"),
        group: GroupName::new("g"),
        vips: vec!["127.0.0.1".parse().unwrap()],
        protocol: Protocol::Tcp,
        ports: PortRange::single(80),
        mode: Mode::Auto,
        balance: Balance::Maglev,
        backends: Vec::new(),
        check: None,
        quorum: Quorum::default(),
        slow_start: None,
        on_down: OnDown::Drain,
        timeouts: Timeouts::default(),
        proxy_protocol: ProxyProtocol::default(),
        sources: sources.iter().map(|text| text.parse().unwrap()).collect(),
        limits,
        transparent: false,
        log: None,
        udp: UdpOptions::default(),
    }
}

#[allow(clippy::disallowed_methods)] // Any fixed point will do; all times in these tests are offsets from it.
fn start() -> Instant {
    Instant::now()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn without_limits_everybody_may_connect() {
    let now = start();
    let limiter = Limiter::new(&service(Limits::default(), &[]), now);
    let permits: Vec<_> = (0..1000).map(|_| limiter.admit(ip("192.0.2.1"), now).unwrap()).collect();
    assert_eq!(limiter.connections(), 1000);
    drop(permits);
    assert_eq!(limiter.connections(), 0);
}

#[test]
fn only_listed_sources_may_connect() {
    let now = start();
    let limiter = Limiter::new(&service(Limits::default(), &["192.0.2.0/24", "2001:db8::/32"]), now);
    for allowed in ["192.0.2.0", "192.0.2.255", "2001:db8::1", "::ffff:192.0.2.7"] {
        assert!(limiter.admit(ip(allowed), now).is_ok(), "{allowed}");
    }
    for refused in ["192.0.1.255", "192.0.3.0", "2001:db9::", "::ffff:198.51.100.1", "::192.0.2.1"] {
        assert_eq!(limiter.admit(ip(refused), now).unwrap_err(), Refusal::Source, "{refused}");
    }
    assert_eq!(limiter.connections(), 0);
}

#[test]
fn the_connection_limit_is_given_back() {
    let now = start();
    let limiter = Limiter::new(&service(Limits { connections: Some(2), ..Limits::default() }, &[]), now);
    let first = limiter.admit(ip("192.0.2.1"), now).unwrap();
    let second = limiter.admit(ip("192.0.2.2"), now).unwrap();
    assert_eq!(limiter.admit(ip("192.0.2.3"), now).unwrap_err(), Refusal::Limit);
    drop(first);
    let third = limiter.admit(ip("192.0.2.3"), now).unwrap();
    assert_eq!(limiter.admit(ip("192.0.2.4"), now).unwrap_err(), Refusal::Limit);
    drop((second, third));
    assert_eq!(limiter.connections(), 0);
}

#[test]
fn a_client_is_an_ipv4_address_or_an_ipv6_slash_64() {
    let now = start();
    let limits = Limits { connections_per_client: Some(1), ..Limits::default() };
    let limiter = Limiter::new(&service(limits, &[]), now);
    let _v6 = limiter.admit(ip("2001:db8:0:1::1"), now).unwrap();
    assert_eq!(limiter.admit(ip("2001:db8:0:1:ffff::2"), now).unwrap_err(), Refusal::Limit);
    let _other_net = limiter.admit(ip("2001:db8:0:2::1"), now).unwrap();
    let _v4 = limiter.admit(ip("192.0.2.1"), now).unwrap();
    assert_eq!(limiter.admit(ip("::ffff:192.0.2.1"), now).unwrap_err(), Refusal::Limit);
    let _neighbour = limiter.admit(ip("192.0.2.2"), now).unwrap();
}

#[test]
fn a_rate_lets_the_burst_and_then_the_average_through() {
    let now = start();
    let limits = Limits { rate: Some(Rate { per_second: 10, burst: 3 }), ..Limits::default() };
    let limiter = Limiter::new(&service(limits, &[]), now);
    let at = |ms| limiter.admit(ip("192.0.2.1"), now + Duration::from_millis(ms)).map(drop);
    assert_eq!([at(0), at(0), at(0), at(0)], [Ok(()), Ok(()), Ok(()), Err(Refusal::Rate)]);
    assert_eq!([at(99), at(100), at(100)], [Err(Refusal::Rate), Ok(()), Err(Refusal::Rate)]);
    assert_eq!(
        [at(10_000), at(10_000), at(10_000), at(10_000)],
        [Ok(()), Ok(()), Ok(()), Err(Refusal::Rate)]
    );
}

#[test]
fn a_refused_connection_takes_nothing() {
    let now = start();
    let limits = Limits {
        connections: Some(10),
        connections_per_client: Some(10),
        rate: Some(Rate { per_second: 1, burst: 2 }),
        rate_per_client: Some(Rate { per_second: 1, burst: 1 }),
    };
    let limiter = Limiter::new(&service(limits, &[]), now);
    let _first = limiter.admit(ip("192.0.2.1"), now).unwrap();
    // Its own rate refuses this one; the service's second token must still be there.
    assert_eq!(limiter.admit(ip("192.0.2.1"), now).unwrap_err(), Refusal::Rate);
    let _second = limiter.admit(ip("192.0.2.2"), now).unwrap();
    // The service's rate refuses this one; the client's token must still be there a second later.
    assert_eq!(limiter.admit(ip("192.0.2.3"), now).unwrap_err(), Refusal::Rate);
    let _third = limiter.admit(ip("192.0.2.3"), now + Duration::from_secs(1)).unwrap();
    assert_eq!(limiter.connections(), 3);
}

#[test]
fn counts_outlive_a_change_of_limits() {
    let now = start();
    let limits = Limits { connections: Some(1), ..Limits::default() };
    let limiter = Limiter::new(&service(limits, &[]), now);
    let old = limiter.admit(ip("192.0.2.1"), now).unwrap();
    let changed = limiter.changed(&service(Limits { connections: Some(2), ..limits }, &[]));
    let _new = changed.admit(ip("192.0.2.1"), now).unwrap();
    assert_eq!(changed.admit(ip("192.0.2.1"), now).unwrap_err(), Refusal::Limit);
    drop(limiter);
    drop(old);
    assert!(changed.admit(ip("192.0.2.1"), now).is_ok());
}

#[test]
fn a_raised_rate_forgives_an_old_debt() {
    let slow = Pace::new(Rate { per_second: 1, burst: 100 });
    let fast = Pace::new(Rate { per_second: 1000, burst: 1 });
    let mut arrival = 0;
    while let Some(next) = slow.advance(arrival, 0) {
        arrival = next;
    }
    assert_eq!(fast.advance(arrival, 0), None);
    assert!(fast.advance(arrival, 1_000_000).is_none(), "the debt is one interval, and it is over only then");
}

#[test]
fn a_full_table_forgets_the_idle_and_never_refuses() {
    let clients = Clients::with_capacity(4);
    let limits = ClientLimits { connections: Some(1), pace: None };
    let keys: Vec<_> = (0..100_000_u32).map(|n| ClientKey::new(Ipv4Addr::from_bits(n).into())).collect();
    let mut counted = 0;
    for key in &keys {
        match clients.admit(*key, limits, 0) {
            ClientVerdict::Counted => counted += 1,
            ClientVerdict::Untracked => {}
            verdict @ (ClientVerdict::TooMany | ClientVerdict::TooOften) => panic!("{verdict:?}"),
        }
    }
    assert_eq!(counted, clients.len());
    assert!(clients.len() <= 4 * 256);
    assert_eq!(clients.untracked.load(Ordering::Relaxed), 100_000 - counted as u64);
    // A client that has connections is never forgotten, so its limit holds.
    assert_eq!(clients.admit(keys[0], limits, 0), ClientVerdict::TooMany);
    clients.release(keys[0], None);
    assert_eq!(clients.admit(keys[0], limits, 0), ClientVerdict::Counted);
}

#[test]
fn clients_with_only_a_rate_make_room() {
    let clients = Clients::with_capacity(4);
    let limits = ClientLimits { connections: None, pace: Some(Pace::new(Rate { per_second: 1, burst: 1 })) };
    for n in 0..10_000_u32 {
        let key = ClientKey::new(Ipv4Addr::from_bits(n).into());
        assert_eq!(clients.admit(key, limits, u64::from(n)), ClientVerdict::Counted);
        clients.release(key, None);
    }
    assert!(clients.len() <= 4 * 256);
    assert!(clients.evicted.load(Ordering::Relaxed) >= 10_000 - 4 * 256);
    // Long after, all are blank and go without being counted as evicted.
    let evicted = clients.evicted.load(Ordering::Relaxed);
    for n in 0..1_000_u32 {
        let key = ClientKey::new(Ipv6Addr::from_bits(u128::from(n) << 64).into());
        let now = 3_600_000_000_000 + u64::from(n) * 2_000_000_000;
        assert_eq!(clients.admit(key, limits, now), ClientVerdict::Counted);
        clients.release(key, None);
    }
    assert_eq!(clients.evicted.load(Ordering::Relaxed), evicted);
}

#[test]
fn workers_together_keep_the_limits() {
    let now = start();
    let limits = Limits {
        connections: Some(50),
        connections_per_client: Some(20),
        rate: Some(Rate { per_second: 1, burst: 5_000 }),
        rate_per_client: None,
    };
    let limiter = Limiter::new(&service(limits, &[]), now);
    let admitted = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for worker in 0..4_u8 {
            let (limiter, admitted) = (&limiter, &admitted);
            scope.spawn(move || {
                let mut held = std::collections::VecDeque::new();
                for n in 0..20_000_u32 {
                    let client = Ipv4Addr::new(192, 0, 2, u8::try_from(n % 7).unwrap());
                    if let Ok(permit) = limiter.admit(client.into(), now) {
                        held.push_back(permit);
                        admitted.fetch_add(1, Ordering::Relaxed);
                    }
                    assert!(limiter.connections() <= 50);
                    if held.len() > usize::from(worker) * 7 {
                        held.pop_front();
                    }
                }
            });
        }
    });
    assert_eq!(admitted.load(Ordering::Relaxed), 5_000, "the burst, exactly");
    assert_eq!(limiter.connections(), 0);
    assert_eq!(limiter.counts.clients.get().unwrap().len(), 0);
    assert_eq!(limiter.table_full(), 0);
}

/// A token bucket as textbooks write it, level in token-nanoseconds.
struct Textbook {
    interval: u128,
    capacity: u128,
    level: u128,
    last: u64,
}

impl Textbook {
    fn take(&mut self, now: u64) -> bool {
        self.level = (self.level + u128::from(now - self.last)).min(self.capacity);
        self.last = now;
        let conforms = self.level >= self.interval;
        if conforms {
            self.level -= self.interval;
        }
        conforms
    }
}

proptest! {
    #[test]
    fn the_bucket_agrees_with_the_textbook(
        per_second in 1..2_000_000_u32,
        burst in 1..50_u32,
        gaps in prop::collection::vec(prop_oneof![Just(0_u64), 0..100_000_u64, 0..3_000_000_000_u64], 1..300),
    ) {
        let pace = Pace::new(Rate { per_second, burst });
        let interval = pace.interval().as_nanos();
        let capacity = interval * u128::from(burst);
        let mut textbook = Textbook { interval, capacity, level: capacity, last: 0 };
        let bucket = SharedBucket::default();
        let mut now = 0;
        for gap in gaps {
            now += gap;
            prop_assert_eq!(bucket.take(pace, now), textbook.take(now), "at {}", now);
        }
    }

    #[test]
    fn no_rate_and_time_overflows(per_second: u32, burst: u32, arrival: u64, now: u64) {
        let pace = Pace::new(Rate { per_second, burst });
        if let Some(next) = pace.advance(arrival, now) {
            prop_assert!(next >= now);
        }
    }

    #[test]
    fn sources_agree_with_asking_each_network(
        nets in prop::collection::vec((0..0xffff_u32, 16..=32_u8, any::<bool>()), 0..40),
        hosts in prop::collection::vec((0..0x1_0fff_u32, any::<bool>()), 1..100),
    ) {
        let v6 = |low: u32| IpAddr::V6(Ipv6Addr::from_bits((0x2001_0db8_u128 << 96) | u128::from(low)));
        let v4 = |low: u32| IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 | low));
        let nets: Vec<IpNet> = nets
            .into_iter()
            .map(|(low, prefix, six)| {
                if six { IpNet::new(v6(low), prefix + 96) } else { IpNet::new(v4(low), prefix) }.unwrap()
            })
            .collect();
        let sources = Sources::new(&nets);
        prop_assert_eq!(sources.is_empty(), nets.is_empty());
        for (low, six) in hosts {
            let host = if six { v6(low) } else { v4(low) };
            prop_assert_eq!(sources.contains(host), nets.iter().any(|net| net.contains(&host)), "{}", host);
        }
    }
}
