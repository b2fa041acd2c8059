use super::*;
use serde::Deserialize;

/// As users have them.
const OBJECTS: &str = include_str!("tests/objects.yaml");

fn objects(text: &str) -> BTreeMap<String, DynamicObject> {
    let documents = serde_yaml::Deserializer::from_str(text).map(|document| {
        let value = serde_json::Value::deserialize(document).unwrap();
        serde_json::from_value::<DynamicObject>(value).unwrap()
    });
    documents.map(|object| (object.metadata.name.clone().unwrap(), object)).collect()
}

fn pool(name: &str) -> AddressPool {
    AddressPool::of(&objects(OBJECTS)[name])
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn shown(spans: &[AddressSpan]) -> Vec<String> {
    spans.iter().map(ToString::to_string).collect()
}

#[test]
fn networks_and_ranges_of_both_families_are_read() {
    let says = pool("first-pool").says.unwrap();
    let expected = [
        "192.168.10.0-192.168.10.255",
        "192.168.9.1-192.168.9.5",
        "10.1.2.0-10.1.2.15",
        "fc00:f853:ccd:e799::-fc00:f853:ccd:e799::f",
    ];
    assert_eq!(shown(&says.ranges), expected);
    assert!(says.auto_assign && !says.avoids_buggy && says.allocation.is_none());
    let says = pool("expensive").says.unwrap();
    assert!(!says.auto_assign && says.avoids_buggy);
}

#[test]
fn addresses_that_end_in_0_or_255_are_left_out() {
    let says = pool("expensive").says.unwrap();
    let expected = ["42.176.25.1-42.176.25.254", "42.176.26.1-42.176.26.254", "42.176.27.1-42.176.27.100"];
    assert_eq!(shown(&says.spans(9)), expected);
    assert_eq!(says.spans(2).len(), 2);
    for (address, has) in
        [("42.176.25.255", false), ("42.176.26.0", false), ("42.176.25.254", true), ("42.176.27.101", false)]
    {
        assert_eq!(says.has(address.parse().unwrap()), has, "{address}");
    }
    let all = AddressSpan { first: "10.0.0.0".parse().unwrap(), last: "10.0.0.0".parse().unwrap() };
    assert_eq!(without_buggy(all).count(), 0);
}

#[test]
fn a_pool_is_for_the_namespaces_and_services_that_it_names() {
    let allocation = pool("pool-with-namespaces").says.unwrap().allocation.unwrap();
    assert_eq!(allocation.priority, 50);
    let (none, backend) = (labels(&[]), labels(&[("app", "backend")]));
    let (bar, other) = (labels(&[("foo", "bar")]), labels(&[("foo", "other")]));
    for (namespace, of_namespace, service, fits) in [
        ("namespace-a", &none, &backend, true),
        ("namespace-a", &none, &none, false),
        ("namespace-c", &bar, &backend, true),
        ("namespace-c", &other, &backend, false),
    ] {
        let says = allocation.fits(namespace, Some(of_namespace), service);
        assert_eq!(says, fits, "{namespace} {of_namespace:?} {service:?}");
    }
    assert!(!allocation.fits("namespace-c", None, &backend), "a namespace that is not known");
}

#[test]
fn what_can_not_be_read_says_why() {
    for (spec, words) in [
        ("{addresses: [10.0.0.9-10.0.0.1]}", "`10.0.0.9-10.0.0.1` in `addresses` is no range"),
        ("{addresses: [10.0.0.1-2001:db8::1]}", "is no range"),
        ("{addresses: [\"evil\\n\"]}", "`evil\\n` in `addresses`"),
        ("{addresses: []}", "it has 0 ranges"),
        ("{}", "it has 0 ranges"),
        ("{addresses: 5}", "its `spec` can't be read"),
        ("{addresses: [10.0.0.0/24], serviceAllocation: {priority: -1}}", "its `spec` can't be read"),
        (
            "{addresses: [10.0.0.0/24], serviceAllocation: {serviceSelectors: [{matchExpressions: [{key: a, operator: Near}]}]}}",
            "`serviceSelectors` can't be read",
        ),
    ] {
        let text = format!(
            "{{apiVersion: metallb.io/v1beta1, kind: IPAddressPool, metadata: {{name: a}}, spec: {spec}}}"
        );
        let why = AddressPool::of(&objects(&text)["a"]).says.unwrap_err();
        assert!(why.contains(words), "{spec}: {why}");
    }
}

#[test]
fn an_advertisement_names_pools_or_selects_them_or_is_for_all() {
    let all = objects(OBJECTS);
    let advertisement = |name: &str| Advertisement::of(&all[name]).unwrap();
    let (first, expensive) = (pool("first-pool"), pool("expensive"));
    let none = labels(&[]);
    let fits = |name: &str, service: &Labels| {
        let it = advertisement(name);
        (it.fits("first-pool", &first, service), it.fits("expensive", &expensive, service))
    };
    assert_eq!(fits("named", &none), (true, false));
    assert_eq!(fits("selected", &none), (false, true));
    assert_eq!(fits("for-all", &none), (true, true));
    assert_eq!(fits("for-some-services", &none), (false, false));
    assert_eq!(fits("for-some-services", &labels(&[("tier", "front")])), (true, true));
    let metallb = Metallb {
        pools: Some([(name("first-pool"), first)].into()),
        advertisements: Some([(name("named"), Ok(advertisement("named")))].into()),
        namespaces: None,
    };
    assert_eq!(metallb.summary(), "IPAddressPools: 1, L2Advertisements: 1");
    let remarks: Vec<String> = metallb.remarks().into_iter().collect();
    assert!(remarks.len() == 1 && remarks[0].contains("L2Advertisement metallb-system/named"), "{remarks:?}");
}

fn name(name: &str) -> ObjectName {
    ObjectName { namespace: "metallb-system".to_owned(), name: name.to_owned() }
}
