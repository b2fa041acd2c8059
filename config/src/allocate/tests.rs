use super::*;
use crate::model::{AddressRange, Allow, InterfaceName};
use proptest::prelude::*;
use std::collections::BTreeSet;

mod rules;

pub(super) fn pool(name: &str, group: &str, ranges: &[(&str, &str)]) -> Pool {
    let range = |(first, last): &(&str, &str)| AddressRange {
        first: first.parse().unwrap(),
        last: last.parse().unwrap(),
        interface: InterfaceName::new("eth0"),
    };
    Pool {
        name: PoolName::new(name),
        group: Some(GroupName::new(group)),
        ranges: ranges.iter().map(range).collect(),
        auto_assign: true,
        priority: 100,
        avoid_reserved: false,
        allow: Vec::new(),
        quotas: BTreeMap::new(),
        drained: false,
        taken: BTreeSet::new(),
    }
}

pub(super) fn span(first: &str, last: &str) -> AddressSpan {
    AddressSpan { first: first.parse().unwrap(), last: last.parse().unwrap() }
}

pub(super) fn by_name(pools: Vec<Pool>) -> BTreeMap<PoolName, Pool> {
    pools.into_iter().map(|pool| (pool.name.clone(), pool)).collect()
}

pub(super) fn request(service: &str) -> Request {
    Request {
        service: ServiceName::new(service),
        pool: None,
        address: None,
        within: Vec::new(),
        prefer: Vec::new(),
        families: Vec::new(),
        prefer_families: false,
        labels: BTreeMap::new(),
        tenant: None,
        share: None,
        protocol: Protocol::Tcp,
        ports: PortRange::single(80),
    }
}

/// Three pools: two of one group (one of both families), and a third that must be named.
fn pools(quota: u32, closed: bool) -> BTreeMap<PoolName, Pool> {
    let mut small = pool("small", "web", &[("10.0.0.1", "10.0.0.3"), ("2001:db8::1", "2001:db8::2")]);
    small.priority = 200;
    small.quotas.insert(TenantName::new("t1"), quota);
    let mut large = pool("large", "web", &[("10.0.1.0", "10.0.1.5")]);
    large.avoid_reserved = true;
    let mut other = pool("other", "dns", &[("10.0.2.1", "10.0.2.2"), ("2001:db8:2::", "2001:db8:2::3")]);
    other.auto_assign = !closed;
    other.allow = vec![Allow {
        services: vec!["s1*".to_owned(), "s2*".to_owned()],
        labels: BTreeMap::new(),
        tenants: BTreeSet::new(),
    }];
    by_name(vec![small, large, other])
}

prop_compose! {
    fn any_request(number: u32)(
        pool in prop_oneof![4 => Just(None), 1 => Just(Some("small")), 1 => Just(Some("large")), 1 => Just(Some("other"))],
        address in prop_oneof![5 => Just(None), 1 => any_address().prop_map(Some)],
        within in prop_oneof![4 => Just(vec![]), 1 => proptest::collection::vec(any_span(), 1..4)],
        prefer in prop_oneof![3 => Just(vec![]), 1 => proptest::collection::vec(any_address(), 1..3)],
        families in prop_oneof![
            3 => Just(vec![]),
            1 => Just(vec![Family::Ipv6]),
            1 => Just(vec![Family::Ipv4, Family::Ipv6]),
        ],
        tenant in prop_oneof![2 => Just(None), 2 => Just(Some("t1")), 1 => Just(Some("t2"))],
        share in prop_oneof![2 => Just(None), 2 => Just(Some("a")), 1 => Just(Some("b"))],
        port in 80_u16..84,
        prefer_families in proptest::bool::weighted(0.3),
    ) -> Request {
        let mut families: Vec<Family> = families;
        if !families.is_empty() {
            families.extend(address.map(Family::of).filter(|family| !families.contains(family)));
        }
        Request {
            service: ServiceName::new(&format!("s{number}")),
            pool: pool.map(PoolName::new),
            address,
            within,
            prefer,
            families,
            prefer_families,
            tenant: tenant.map(TenantName::new),
            share: share.map(str::to_owned),
            ports: PortRange::single(port),
            ..request("")
        }
    }
}

fn any_address() -> impl Strategy<Value = IpAddr> {
    let number = 0_u8..7;
    (number, 0_u8..3, any::<bool>()).prop_map(|(low, high, is_v4)| {
        if is_v4 {
            IpAddr::from([10, 0, high, low])
        } else {
            IpAddr::from([0x2001, 0x0db8, if high == 0 { 0 } else { 2 }, 0, 0, 0, 0, u16::from(low)])
        }
    })
}

/// Of one pool or across pools, and of nothing that a pool has.
fn any_span() -> impl Strategy<Value = AddressSpan> {
    (any_address(), any_address()).prop_map(|(one, other)| {
        let other = if Family::of(one) == Family::of(other) { other } else { one };
        AddressSpan { first: one.min(other), last: one.max(other) }
    })
}

fn any_requests() -> impl Strategy<Value = Vec<Request>> {
    let numbers = proptest::sample::subsequence((0..24).collect::<Vec<u32>>(), 0..20);
    numbers.prop_flat_map(|numbers| numbers.into_iter().map(any_request).collect::<Vec<_>>())
}

fn any_before() -> impl Strategy<Value = Allocations> {
    let entry = (0_u32..24, any_address(), prop_oneof![Just("small"), Just("large"), Just("gone")]);
    proptest::collection::vec(entry, 0..20).prop_map(|entries| {
        let mut before = Allocations::default();
        for (number, address, pool) in entries {
            before.insert(ServiceName::new(&format!("s{number}")), address, PoolName::new(pool));
        }
        before
    })
}

/// What holds whatever was asked and whatever was before.
fn is_sound(pools: &BTreeMap<PoolName, Pool>, requests: &[Request], outcome: &Outcome) {
    let asked: BTreeMap<&ServiceName, &Request> =
        requests.iter().map(|request| (&request.service, request)).collect();
    let mut holders: BTreeMap<IpAddr, Vec<&Request>> = BTreeMap::new();
    for (service, addresses) in outcome.allocations.iter() {
        let request = asked[service];
        let groups: BTreeSet<_> = addresses.values().map(|pool| &pools[pool].group).collect();
        assert_eq!(groups.len(), 1, "{service}: {addresses:?}");
        for (address, pool) in addresses {
            let pool = &pools[pool];
            assert!(pool.has(*address), "{address}");
            assert!(pool.allows(service, &request.labels, request.tenant.as_ref()));
            assert!(request.pool.as_ref().is_none_or(|asked| *asked == pool.name));
            let family = Family::of(*address);
            assert!(request.families.is_empty() || request.families.contains(&family));
            assert!(request.address.is_none_or(|asked| Family::of(asked) != family || asked == *address));
            assert!(request.within.is_empty() || request.within.iter().any(|span| span.contains(*address)));
            holders.entry(*address).or_default().push(request);
        }
        if request.families.is_empty() {
            assert_eq!(addresses.len(), 1, "{service}: {addresses:?}");
        }
    }
    for (address, holders) in holders {
        for (index, one) in holders.iter().enumerate() {
            for other in holders.iter().skip(index.saturating_add(1)) {
                assert!(one.share.is_some() && one.share == other.share, "{address}: {one:?} {other:?}");
                assert_eq!(one.tenant, other.tenant, "{address}");
                assert_ne!(one.ports, other.ports, "{address}");
            }
        }
    }
    for request in requests {
        let addresses = outcome.allocations.of(&request.service);
        let has = addresses.map_or(0, BTreeMap::len);
        let has_this = |address: IpAddr| addresses.is_some_and(|it| it.contains_key(&address));
        let is_served = match request.prefer_families {
            true => has > 0 && request.address.is_none_or(has_this),
            false => has == request.families.len().max(1),
        };
        assert_eq!(is_served, !outcome.refused.contains_key(&request.service), "{request:?} has {has}");
    }
}

fn has_all(is: Option<&BTreeMap<IpAddr, PoolName>>, was: Option<&BTreeMap<IpAddr, PoolName>>) -> bool {
    was.into_iter().flatten().all(|(address, pool)| is.is_some_and(|is| is.get(address) == Some(pool)))
}

fn held(outcome: &Outcome, pool: &str, tenant: &str, requests: &[Request]) -> usize {
    let mut addresses = BTreeSet::new();
    for request in requests.iter().filter(|request| request.tenant == Some(TenantName::new(tenant))) {
        for (address, of) in outcome.allocations.of(&request.service).into_iter().flatten() {
            if of.as_str() == pool {
                addresses.insert(*address);
            }
        }
    }
    addresses.len()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_was_before_nobody_has_what_is_not_for_it(
        requests in any_requests(), before in any_before(), quota in 0_u32..3, closed: bool,
    ) {
        let pools = pools(quota, closed);
        is_sound(&pools, &requests, &allocate(&pools, &requests, &before, &BTreeMap::new(), &|_| false));
    }

    #[test]
    fn nothing_changes_without_being_asked(
        requests in any_requests(), later in any_requests(), quota in 0_u32..3, shuffle in any::<u64>(),
    ) {
        let pools = pools(quota, true);
        let first = allocate(&pools, &requests, &Allocations::default(), &BTreeMap::new(), &|_| false);
        // The same again, in another order.
        let mut shuffled = requests.clone();
        shuffled.sort_by_key(|request| {
            let name: u64 = request.service.as_str()[1..].parse().unwrap();
            name.wrapping_add(1).wrapping_mul(shuffle | 1).rotate_left(17)
        });
        let again = allocate(&pools, &shuffled, &first.allocations, &BTreeMap::new(), &|_| false);
        // One that was refused may find somebody to share with now.
        for (service, addresses) in first.allocations.iter() {
            prop_assert!(has_all(again.allocations.of(service), Some(addresses)), "{}", service);
        }
        if first.refused.is_empty() {
            prop_assert_eq!(&again.allocations, &first.allocations);
        }
        prop_assert_eq!(&again.lost, &vec![]);
        let fresh = allocate(&pools, &shuffled, &Allocations::default(), &BTreeMap::new(), &|_| false);
        prop_assert_eq!(&fresh, &first);
        // Others come and go; who stays as it was has what it had.
        let stays: Vec<Request> =
            requests.iter().filter(|it| !later.iter().any(|other| other.service == it.service)).cloned().collect();
        let all: Vec<Request> = stays.iter().chain(&later).cloned().collect();
        let after = allocate(&pools, &all, &first.allocations, &BTreeMap::new(), &|_| false);
        is_sound(&pools, &all, &after);
        for request in &stays {
            let (was, is) = (first.allocations.of(&request.service), after.allocations.of(&request.service));
            // One that shares may be parted from somebody who changed; that is told.
            let told = after.lost.iter().any(|lost| lost.service == request.service);
            // Who prefers two families may get the second one later.
            let stayed = was == is || (request.prefer_families && has_all(is, was));
            prop_assert!(was.is_none() || stayed || told, "{:?}: {:?} {:?}", request, was, is);
            prop_assert!(!told || request.share.is_some());
        }
    }

    #[test]
    fn no_tenant_gets_more_than_its_quota(requests in any_requests(), quota in 0_u32..3) {
        let pools = pools(quota, false);
        let outcome = allocate(&pools, &requests, &Allocations::default(), &BTreeMap::new(), &|_| false);
        prop_assert!(held(&outcome, "small", "t1", &requests) <= quota as usize);
    }

    #[test]
    fn nobody_is_refused_while_there_is_one_left(count in 0_usize..16, room in 0_usize..12) {
        let pools = pools(0, true);
        let requests: Vec<Request> = (0..count).map(|number| request(&format!("s{number:02}"))).collect();
        let rooms = BTreeMap::from([(GroupName::new("web"), room)]);
        let outcome = allocate(&pools, &requests, &Allocations::default(), &rooms, &|_| false);
        // 3 of the small pool, and 10.0.1.1 to 10.0.1.5 of the large one.
        let expected = count.min(8).min(room);
        prop_assert_eq!(outcome.allocations.len(), expected);
        prop_assert_eq!(outcome.refused.len(), count.saturating_sub(expected));
        for reason in outcome.refused.values() {
            let text = &reason.message;
            let named = text.contains("pool `small`") && text.contains("pool `large`");
            prop_assert!(named, "{}", text);
        }
    }
}
