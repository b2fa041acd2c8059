//! Each rule alone.

use super::*;

fn names(services: &[&str]) -> Vec<Request> {
    services.iter().map(|name| request(name)).collect()
}

fn run(pools: &BTreeMap<PoolName, Pool>, requests: &[Request], before: &Outcome) -> Outcome {
    allocate(pools, requests, &before.allocations, &BTreeMap::new(), &|_| false)
}

fn of(outcome: &Outcome, service: &str) -> Vec<String> {
    let addresses = outcome.allocations.of(&ServiceName::new(service));
    addresses.into_iter().flatten().map(|(address, _)| address.to_string()).collect()
}

fn refusal(outcome: &Outcome, service: &str) -> String {
    outcome.refused[&ServiceName::new(service)].message.clone()
}

#[test]
fn pools_are_tried_by_priority_and_then_by_name() {
    let mut first = pool("z", "web", &[("10.0.0.1", "10.0.0.1")]);
    first.priority = 101;
    let pools = by_name(vec![
        pool("b", "web", &[("10.0.2.1", "10.0.2.1")]),
        first,
        pool("a", "web", &[("10.0.1.1", "10.0.1.1")]),
    ]);
    let outcome = run(&pools, &names(&["s3", "s1", "s2"]), &Outcome::default());
    assert_eq!(of(&outcome, "s1"), ["10.0.0.1"]);
    assert_eq!(of(&outcome, "s2"), ["10.0.1.1"]);
    assert_eq!(of(&outcome, "s3"), ["10.0.2.1"]);
}

#[test]
fn an_address_stays_when_a_better_pool_comes_and_its_own_is_renamed() {
    let pools = by_name(vec![pool("old", "web", &[("10.0.0.1", "10.0.0.9")])]);
    let before = run(&pools, &names(&["a", "b"]), &Outcome::default());
    let mut renamed = pool("new", "web", &[("10.0.0.1", "10.0.0.9")]);
    renamed.auto_assign = false;
    let mut better = pool("better", "web", &[("10.0.1.1", "10.0.1.9")]);
    better.priority = 999;
    let after = run(&by_name(vec![renamed, better]), &names(&["a", "b", "c"]), &before);
    assert_eq!(of(&after, "a"), ["10.0.0.1"]);
    assert_eq!(of(&after, "b"), ["10.0.0.2"]);
    assert_eq!(of(&after, "c"), ["10.0.1.1"]);
    assert_eq!(after.lost, []);
}

#[test]
fn an_address_that_its_pool_lost_is_told_with_the_pool_and_replaced() {
    let pools = by_name(vec![pool("p", "web", &[("10.0.0.1", "10.0.0.9")])]);
    let before = run(&pools, &names(&["a", "b"]), &Outcome::default());
    let smaller = by_name(vec![pool("p", "web", &[("10.0.0.2", "10.0.0.9")])]);
    let after = run(&smaller, &names(&["a", "b"]), &before);
    let [lost] = after.lost.as_slice() else { panic!("{:?}", after.lost) };
    assert_eq!((lost.service.as_str(), lost.address.to_string().as_str()), ("a", "10.0.0.1"));
    assert_eq!(lost.why, "pool `p` does not have it any more");
    assert_eq!(of(&after, "a"), ["10.0.0.3"]);
    assert_eq!(of(&after, "b"), ["10.0.0.2"]);
    let gone = run(&by_name(vec![pool("q", "web", &[("10.0.7.1", "10.0.7.9")])]), &names(&["a"]), &before);
    assert_eq!(gone.lost[0].why, "pool `p` is not there any more");
}

#[test]
fn who_asks_for_another_loses_nothing() {
    let pools = by_name(vec![
        pool("p", "web", &[("10.0.0.1", "10.0.0.9"), ("2001:db8::1", "2001:db8::9")]),
        pool("q", "web", &[("10.0.1.1", "10.0.1.9")]),
    ]);
    let before = run(&pools, &names(&["a", "b", "c", "d"]), &Outcome::default());
    let mut requests = names(&["a", "b", "c", "d"]);
    requests[0].pool = Some(PoolName::new("q"));
    requests[1].address = Some("10.0.0.7".parse().unwrap());
    requests[2].families = [Family::Ipv6].into();
    requests[3].families = [Family::Ipv4, Family::Ipv6].into();
    let after = run(&pools, &requests, &before);
    assert_eq!(after.lost, []);
    assert_eq!(of(&after, "a"), ["10.0.1.1"]);
    assert_eq!(of(&after, "b"), ["10.0.0.7"]);
    assert_eq!(of(&after, "c"), ["2001:db8::1"]);
    assert_eq!(of(&after, "d"), ["10.0.0.4", "2001:db8::2"]);
}

#[test]
fn what_somebody_has_is_not_given_to_who_asks_for_it() {
    let pools = by_name(vec![pool("p", "web", &[("10.0.0.1", "10.0.0.9")])]);
    let before = run(&pools, &names(&["z"]), &Outcome::default());
    let mut requests = names(&["a", "z"]);
    requests[0].address = Some("10.0.0.1".parse().unwrap());
    let after = run(&pools, &requests, &before);
    assert_eq!(refusal(&after, "a"), "`10.0.0.1` of pool `p` can't be had: service `z` has it");
    assert_eq!(of(&after, "z"), ["10.0.0.1"]);
    requests[0].address = Some("10.0.3.1".parse().unwrap());
    assert_eq!(refusal(&run(&pools, &requests, &before), "a"), "`10.0.3.1` is of no pool");
}

#[test]
fn sharing_needs_the_word_the_tenant_and_another_port() {
    let pools = by_name(vec![pool("p", "web", &[("10.0.0.1", "10.0.0.9")])]);
    let mut requests = names(&["a", "b", "c", "d", "e"]);
    for request in &mut requests {
        request.share = Some("k".to_owned());
    }
    requests[1].ports = PortRange::single(443);
    requests[2].protocol = Protocol::Udp;
    // The port of `a`, and another tenant.
    requests[4].tenant = Some(TenantName::new("t"));
    requests[4].ports = PortRange::single(8080);
    let outcome = run(&pools, &requests, &Outcome::default());
    for (service, address) in
        [("a", "10.0.0.1"), ("b", "10.0.0.1"), ("c", "10.0.0.1"), ("d", "10.0.0.2"), ("e", "10.0.0.3")]
    {
        assert_eq!(of(&outcome, service), [address], "{service}");
    }
    // Who asks for a taken port of that very address is told whose it is.
    requests[3].address = Some("10.0.0.1".parse().unwrap());
    let asked = refusal(&run(&pools, &requests, &outcome), "d");
    assert_eq!(asked, "`10.0.0.1` of pool `p` can't be had: service `a` listens on the same port there");
    requests[4].address = Some("10.0.0.1".parse().unwrap());
    assert!(refusal(&run(&pools, &requests, &outcome), "e").contains("service `a` of another tenant has it"));
}

#[test]
fn who_shares_no_more_is_parted_and_both_are_served() {
    let pools = by_name(vec![pool("p", "web", &[("10.0.0.1", "10.0.0.9")])]);
    let mut requests = names(&["shop/x/a", "shop/x/b"]);
    for (request, port) in requests.iter_mut().zip(80..) {
        request.share = Some("k".to_owned());
        request.ports = PortRange::single(port);
    }
    let before = run(&pools, &requests, &Outcome::default());
    assert_eq!((of(&before, "shop/x/a"), of(&before, "shop/x/b")), (addresses_of("1"), addresses_of("1")));
    for leaves in 0..2 {
        let mut after = requests.clone();
        after[leaves].share = Some("own".to_owned());
        let parted = run(&pools, &after, &before);
        assert_eq!((parted.refused.len(), parted.lost.as_slice()), (0, [].as_slice()));
        assert_eq!(
            (of(&parted, "shop/x/a"), of(&parted, "shop/x/b")),
            (addresses_of("1"), addresses_of("2"))
        );
        assert_eq!(run(&pools, &after, &parted), parted);
    }
    // Who asks for that very address has no other one to go to.
    let mut asks = requests.clone();
    asks[0].share = Some("own".to_owned());
    asks[1].address = Some("10.0.0.1".parse().unwrap());
    let parted = run(&pools, &asks, &before);
    assert_eq!((parted.refused.len(), parted.lost.as_slice()), (0, [].as_slice()));
    assert_eq!((of(&parted, "shop/x/a"), of(&parted, "shop/x/b")), (addresses_of("2"), addresses_of("1")));
    // One whose port is taken there is no stranger: it is told.
    let mut same_port = requests.clone();
    same_port[1].ports = PortRange::single(80);
    assert_eq!(run(&pools, &same_port, &before).lost[0].service.as_str(), "shop/x/b");
    // In the file it may be a slip.
    let mut of_file = requests.clone();
    let mut of_file_before = Outcome::default();
    for (request, name) in of_file.iter_mut().zip(["a", "b"]) {
        request.service = ServiceName::new(name);
        let address = "10.0.0.1".parse().unwrap();
        of_file_before.allocations.insert(request.service.clone(), address, PoolName::new("p"));
    }
    of_file[0].share = Some("own".to_owned());
    assert_eq!(run(&pools, &of_file, &of_file_before).lost[0].service.as_str(), "b");
}

fn addresses_of(last: &str) -> Vec<String> {
    vec![format!("10.0.0.{last}")]
}

#[test]
fn both_families_are_of_one_group_or_none_is_given() {
    let mut first = pool("a", "web", &[("10.0.0.1", "10.0.0.9")]);
    first.priority = 999;
    let mut requests = names(&["s"]);
    requests[0].families = [Family::Ipv4, Family::Ipv6].into();
    let second = pool("b", "dns", &[("10.0.1.1", "10.0.1.1"), ("2001:db8::1", "2001:db8::1")]);
    let pools = by_name(vec![first.clone(), second]);
    assert_eq!(of(&run(&pools, &requests, &Outcome::default()), "s"), ["10.0.1.1", "2001:db8::1"]);
    let pools = by_name(vec![first, pool("b", "dns", &[("2001:db8::1", "2001:db8::1")])]);
    let refused = run(&pools, &requests, &Outcome::default());
    assert!(refused.allocations.is_empty());
    assert_eq!(
        refusal(&refused, "s"),
        "no pool has IPv4 and IPv6 addresses for this service, all in one group"
    );
}

#[test]
fn who_prefers_families_has_one_where_there_are_not_both() {
    let v4 = pool("p", "a", &[("10.0.0.1", "10.0.0.2")]);
    let before = run(&by_name(vec![v4.clone()]), &names(&["s"]), &Outcome::default());
    let mut requests = names(&["s"]);
    requests[0].families = [Family::Ipv6, Family::Ipv4].into();
    requests[0].prefer_families = true;
    let v6 = |group: &str| pool("q", group, &[("2001:db8::1", "2001:db8::1")]);
    let other_group = by_name(vec![v4.clone(), v6("b")]);
    let mut drained = v6("a");
    drained.drained = true;
    let mut of_others = v6("a");
    of_others.allow =
        vec![Allow { services: vec!["t*".to_owned()], labels: BTreeMap::new(), tenants: BTreeSet::new() }];
    for pools in [&other_group, &by_name(vec![v4.clone(), drained]), &by_name(vec![v4.clone(), of_others])] {
        let after = run(pools, &requests, &before);
        assert_eq!((of(&after, "s"), after.refused.len()), (vec!["10.0.0.1".to_owned()], 0));
        assert_eq!(run(pools, &requests, &after), after);
    }
    // A new one gets one of what there is, rather of its first family.
    assert_eq!(of(&run(&other_group, &requests, &Outcome::default()), "s"), ["2001:db8::1"]);
    // Full: the first has both, the others one, and the last none.
    let mut many = names(&["s", "t", "u"]);
    for request in &mut many {
        (request.families, request.prefer_families) = (requests[0].families.clone(), true);
    }
    let pools = by_name(vec![v4, v6("a")]);
    let full = run(&pools, &many, &before);
    assert_eq!(of(&full, "s"), ["10.0.0.1", "2001:db8::1"]);
    assert_eq!(of(&full, "t"), ["10.0.0.2"]);
    assert!(refusal(&full, "u").contains("pool `q` has no free IPv6 address"), "{}", refusal(&full, "u"));
    // What becomes free completes it.
    assert_eq!(of(&run(&pools, &many[1..2], &full), "t"), ["10.0.0.2", "2001:db8::1"]);
    // Without that word both are needed.
    requests[0].prefer_families = false;
    assert!(run(&other_group, &requests, &before).refused.contains_key(&ServiceName::new("s")));
}

#[test]
fn a_quota_holds_for_new_addresses_and_takes_none_away() {
    let mut small = pool("p", "web", &[("10.0.0.1", "10.0.0.9")]);
    let mut requests = names(&["a", "b", "c"]);
    requests.iter_mut().for_each(|request| request.tenant = Some(TenantName::new("t")));
    let before = run(&by_name(vec![small.clone()]), &requests[..2], &Outcome::default());
    small.quotas.insert(TenantName::new("t"), 1);
    let after = run(&by_name(vec![small]), &requests, &before);
    assert_eq!(after.lost, []);
    assert_eq!(of(&after, "b"), ["10.0.0.2"]);
    assert_eq!(refusal(&after, "c"), "tenant `t` has as many addresses of pool `p` as it may: 1");
}

#[test]
fn five_thousand_services_get_theirs_from_large_pools() {
    let pools = by_name(vec![
        pool("v4", "web", &[("10.0.0.0", "10.0.255.255")]),
        pool("v6", "web", &[("2001:db8::", "2001:db8::ffff:ffff:ffff:ffff")]),
    ]);
    let mut requests: Vec<Request> = (0..5000).map(|number| request(&format!("s{number:04}"))).collect();
    requests.iter_mut().for_each(|request| request.families = [Family::Ipv4, Family::Ipv6].into());
    let first = run(&pools, &requests, &Outcome::default());
    assert_eq!(of(&first, "s4999"), ["10.0.19.135", "2001:db8::1387"]);
    assert_eq!(run(&pools, &requests, &first), first);
}

fn spans(spans: &[(&str, &str)]) -> Vec<AddressSpan> {
    spans.iter().map(|(first, last)| span(first, last)).collect()
}

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn ranges_are_taken_in_their_order_and_nothing_else() {
    let mut must_be_named = pool("named", "dns", &[("10.0.1.1", "10.0.1.9")]);
    must_be_named.auto_assign = false;
    let pools = by_name(vec![pool("p", "web", &[("10.0.0.1", "10.0.0.9")]), must_be_named]);
    let mut requests = names(&["a", "b", "c", "d", "e"]);
    for request in &mut requests {
        request.within = spans(&[("10.0.1.2", "10.0.1.3"), ("10.0.0.8", "10.0.0.200")]);
    }
    let outcome = run(&pools, &requests, &Outcome::default());
    for (service, address) in [("a", "10.0.1.2"), ("b", "10.0.1.3"), ("c", "10.0.0.8"), ("d", "10.0.0.9")] {
        assert_eq!(of(&outcome, service), [address], "{service}");
    }
    let refused = refusal(&outcome, "e");
    assert!(refused.contains("pool `p` has no free address within 10.0.0.8-10.0.0.200"), "{refused}");
    // What becomes free is found again.
    assert_eq!(of(&run(&pools, &requests[1..], &outcome), "e"), ["10.0.1.2"]);
    // All the others have the rest.
    assert_eq!(of(&run(&pools, &names(&["f"]), &outcome), "f"), ["10.0.0.1"]);
    requests[0].within = spans(&[("10.0.9.0", "10.0.9.255"), ("2001:db8::", "2001:db8::9")]);
    assert_eq!(
        refusal(&run(&pools, &requests[..1], &Outcome::default()), "a"),
        "no pool that is for this service has addresses within 10.0.9.0-10.0.9.255, 2001:db8::-2001:db8::9"
    );
    requests[0].within = spans(&[("10.0.0.1", "10.0.0.9")]);
    requests[0].address = Some("10.0.1.1".parse().unwrap());
    assert_eq!(
        refusal(&run(&pools, &requests[..1], &Outcome::default()), "a"),
        "`10.0.1.1` does not lie `within` what the service asks for"
    );
}

#[test]
fn an_address_out_of_its_ranges_is_lost_to_a_service_of_the_file_and_changed_for_one_from_outside() {
    let pools = by_name(vec![pool("p", "web", &[("10.0.0.1", "10.0.0.9")])]);
    let mut requests = names(&["a", "shop/x/b"]);
    let before = run(&pools, &requests, &Outcome::default());
    assert_eq!(of(&before, "a"), ["10.0.0.1"]);
    for request in &mut requests {
        request.within = spans(&[("10.0.0.1", "10.0.0.4")]);
    }
    assert_eq!(run(&pools, &requests, &before), before, "it is still within");
    for request in &mut requests {
        request.within = spans(&[("10.0.0.3", "10.0.0.4")]);
    }
    let after = run(&pools, &requests, &before);
    assert_eq!(of(&after, "a"), ["10.0.0.3"]);
    assert_eq!(of(&after, "shop/x/b"), ["10.0.0.4"]);
    let [lost] = after.lost.as_slice() else { panic!("{:?}", after.lost) };
    assert_eq!((lost.service.as_str(), lost.address), ("a", "10.0.0.1".parse().unwrap()));
    assert_eq!(lost.why, "it does not lie `within` what the service asks for");
}

#[test]
fn families_are_those_that_the_ranges_have() {
    let both = [("10.0.0.1", "10.0.0.9"), ("2001:db8::1", "2001:db8::9")];
    let pools = by_name(vec![pool("p", "web", &both)]);
    let mut requests = names(&["a"]);
    requests[0].within = spans(&[("2001:db8::5", "2001:db8::9")]);
    assert_eq!(of(&run(&pools, &requests, &Outcome::default()), "a"), ["2001:db8::5"]);
    requests[0].families = [Family::Ipv4, Family::Ipv6].into();
    let refused = refusal(&run(&pools, &requests, &Outcome::default()), "a");
    assert!(refused.contains("IPv4 and IPv6"), "{refused}");
    requests[0].within.extend(spans(&[("10.0.0.7", "10.0.0.7")]));
    assert_eq!(of(&run(&pools, &requests, &Outcome::default()), "a"), ["10.0.0.7", "2001:db8::5"]);
}

#[test]
fn what_is_preferred_comes_before_all_others_and_is_never_needed() {
    let mut first = pool("a", "web", &[("10.0.0.1", "10.0.0.9")]);
    first.priority = 999;
    let both = [("10.0.1.1", "10.0.1.9"), ("2001:db8::1", "2001:db8::9")];
    let pools = by_name(vec![first, pool("b", "dns", &both)]);
    let mut requests = names(&["m", "n", "o", "p"]);
    // The one that would be first otherwise gets what is left.
    requests[1].prefer = addresses(&["10.0.0.1"]);
    requests[2].prefer = addresses(&["10.0.0.1", "10.0.7.7", "10.0.1.4"]);
    // Both of the other group, although the first one has a higher priority.
    requests[3].prefer = addresses(&["10.0.1.8", "2001:db8::8"]);
    requests[3].families = [Family::Ipv4, Family::Ipv6].into();
    let outcome = run(&pools, &requests, &Outcome::default());
    for (service, expected) in [
        ("m", vec!["10.0.0.2"]),
        ("n", vec!["10.0.0.1"]),
        ("o", vec!["10.0.1.4"]),
        ("p", vec!["10.0.1.8", "2001:db8::8"]),
    ] {
        assert_eq!(of(&outcome, service), expected, "{service}");
    }
    // One whose wish can't be had takes no other one's.
    let mut others = names(&["a", "b"]);
    others[0].prefer = addresses(&["10.0.7.7"]);
    others[1].prefer = addresses(&["10.0.0.1"]);
    let both = run(&pools, &others, &Outcome::default());
    assert_eq!((of(&both, "a"), of(&both, "b")), (vec!["10.0.0.2".to_owned()], vec!["10.0.0.1".to_owned()]));
    // What it has it keeps.
    requests[0].prefer = addresses(&["10.0.0.9"]);
    assert_eq!(run(&pools, &requests, &outcome).allocations, outcome.allocations);
    // It comes after what it asks for, and does not lead out of it.
    requests[1].address = Some("10.0.0.5".parse().unwrap());
    requests[2].within = spans(&[("10.0.0.6", "10.0.0.7")]);
    let outcome = run(&pools, &requests, &Outcome::default());
    assert_eq!(
        (of(&outcome, "n"), of(&outcome, "o")),
        (vec!["10.0.0.5".to_owned()], vec!["10.0.0.6".to_owned()])
    );
}

#[test]
fn many_services_of_small_ranges_of_a_large_pool_get_theirs() {
    let pools = by_name(vec![pool("v4", "web", &[("10.0.0.0", "10.0.255.255")])]);
    let mut requests: Vec<Request> = (0..3000).map(|number| request(&format!("s{number:04}"))).collect();
    requests.iter_mut().for_each(|request| {
        request.within = spans(&[("10.0.4.0", "10.0.4.255"), ("10.0.128.0", "10.0.255.255")]);
    });
    let first = run(&pools, &requests, &Outcome::default());
    assert_eq!(of(&first, "s0255"), ["10.0.4.255"]);
    assert_eq!(of(&first, "s2999"), ["10.0.138.183"]);
    assert_eq!(run(&pools, &requests, &first), first);
}
