use super::*;

fn pool(ranges: &[(&str, &str)], avoid_reserved: bool, taken: &[&str]) -> Pool {
    let range = |(first, last): &(&str, &str)| AddressRange {
        first: first.parse().unwrap(),
        last: last.parse().unwrap(),
        interface: InterfaceName::new("eth0"),
    };
    Pool {
        name: PoolName::new("public"),
        group: Some(GroupName::new("web")),
        ranges: ranges.iter().map(range).collect(),
        auto_assign: true,
        priority: 100,
        avoid_reserved,
        allow: Vec::new(),
        quotas: BTreeMap::new(),
        drained: false,
        taken: taken.iter().map(|address| address.parse().unwrap()).collect(),
    }
}

fn walk(pool: &Pool, family: Family) -> Vec<IpAddr> {
    let from: IpAddr = if family == Family::Ipv4 { "0.0.0.0" } else { "::" }.parse().unwrap();
    let next = |address: &IpAddr| after(*address).and_then(|from| pool.next(family, from));
    std::iter::successors(pool.next(family, from), next).collect()
}

#[test]
fn what_is_counted_is_what_is_handed_out() {
    for (ranges, avoid, taken) in [
        (&[("10.0.0.0", "10.0.3.255")][..], true, &["10.0.1.0", "10.0.1.7"][..]),
        (&[("10.0.0.1", "10.0.0.254"), ("10.0.1.255", "10.0.2.0")], true, &[]),
        (&[("10.0.0.255", "10.0.0.255")], true, &[]),
        (&[("10.0.0.0", "10.0.0.3"), ("255.255.255.250", "255.255.255.255")], false, &["10.0.0.0"]),
    ] {
        let pool = pool(ranges, avoid, taken);
        let all = walk(&pool, Family::Ipv4);
        assert_eq!(all.len() as u128, pool.total(Family::Ipv4), "{ranges:?}");
        assert!(all.iter().all(|address| pool.has(*address)));
        assert!(all.is_sorted());
        assert_eq!(pool.total(Family::Ipv6), 0);
    }
}

#[test]
fn a_large_network_is_counted_and_not_walked() {
    let pool = pool(&[("2001:db8::", "2001:db8::ffff:ffff:ffff:ffff")], true, &["2001:db8::"]);
    assert_eq!(pool.total(Family::Ipv6), u128::from(u64::MAX));
    assert_eq!(pool.next(Family::Ipv6, "::".parse().unwrap()), Some("2001:db8::1".parse().unwrap()));
    assert_eq!(pool.next(Family::Ipv6, "2001:db9::".parse().unwrap()), None);
}

#[test]
fn a_star_stands_for_any_text() {
    for (pattern, text, fits) in [
        ("*", "", true),
        ("web", "web", true),
        ("web", "web-1", false),
        ("web-*", "web-1", true),
        ("web-*", "my-web-1", false),
        ("*-api", "shop-api", true),
        ("a*b*c", "a-b-b-c", true),
        ("a*b*c", "a-c-b", false),
        ("a*a", "a", false),
    ] {
        assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
    }
}

#[test]
fn one_rule_of_several_must_fit_as_a_whole() {
    let mut pool = pool(&[], false, &[]);
    let (web, none) = (ServiceName::new("web-1"), BTreeMap::new());
    let front = BTreeMap::from([("tier".to_owned(), "front".to_owned())]);
    let tenant = TenantName::new("shop");
    assert!(pool.allows(&web, &none, None));
    let rule = Allow { services: vec!["web-*".to_owned()], labels: front.clone(), tenants: BTreeSet::new() };
    pool.allow.push(rule);
    assert!(!pool.allows(&web, &none, Some(&tenant)));
    assert!(pool.allows(&web, &front, None));
    let rule = Allow { services: vec![], labels: none.clone(), tenants: BTreeSet::from([tenant.clone()]) };
    pool.allow.push(rule);
    assert!(pool.allows(&web, &none, Some(&tenant)));
    assert!(!pool.allows(&web, &none, None));
}
