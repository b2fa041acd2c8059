use super::*;
use crate::translate::Problem;

fn port(service: Option<&str>, number: u16) -> Port {
    Port { service: service.map(str::to_owned), number, protocol: "TCP".to_owned() }
}

fn outcome() -> Outcome {
    Outcome {
        ports: vec![port(Some("a:http"), 80), port(Some("a:https"), 443)],
        families: vec![Family::Ipv6, Family::Ipv4],
        ..Outcome::default()
    }
}

fn applied(addresses: &[(&str, &[&str])], set_aside: &[(&str, &str)]) -> Applied {
    let parse = |all: &[&str]| all.iter().map(|address| address.parse().unwrap()).collect();
    Applied {
        addresses: addresses.iter().map(|(name, all)| ((*name).to_owned(), parse(all))).collect(),
        set_aside: set_aside.iter().map(|(name, why)| ((*name).to_owned(), (*why).to_owned())).collect(),
    }
}

#[test]
fn addresses_come_in_the_order_of_the_families_with_mode_and_ports() {
    let both: &[&str] = &["10.0.1.1", "2001:db8::1"];
    let report = report(&outcome(), &applied(&[("a:http", both), ("a:https", both)], &[]));
    let ports = json!([{ "port": 80, "protocol": "TCP" }, { "port": 443, "protocol": "TCP" }]);
    let expected = [
        json!({ "ip": "2001:db8::1", "ipMode": "Proxy", "ports": ports }),
        json!({ "ip": "10.0.1.1", "ipMode": "Proxy", "ports": ports }),
    ];
    assert_eq!(report.ingress, expected);
    assert_eq!((report.is_served, report.reason.as_str()), (true, "Served"));
    assert_eq!(report.message, "Fulcrum answers at 2001:db8::1 and 10.0.1.1");
}

#[test]
fn who_prefers_two_families_and_has_one_is_told() {
    let v4: &[&str] = &["10.0.1.1"];
    let report = report(&outcome(), &applied(&[("a:http", v4), ("a:https", v4)], &[]));
    assert_eq!((report.is_served, report.reason.as_str()), (true, "Served"));
    let expected = "Fulcrum answers at 10.0.1.1; no pool that it may use has an IPv6 address for it, so it has no address of the other family";
    assert_eq!(report.message, expected);
}

#[test]
fn packets_that_arrive_as_they_are_let_the_cluster_take_its_short_cut() {
    let outcome = Outcome { ip_mode: IpMode::Vip, ..outcome() };
    let report = report(&outcome, &applied(&[("a:http", &["10.0.1.1"])], &[]));
    assert_eq!(report.ingress[0]["ipMode"], "VIP");
}

#[test]
fn a_port_that_was_set_aside_is_marked_and_said_why() {
    let report =
        report(&outcome(), &applied(&[("a:http", &["10.0.1.1"])], &[("a:https", "the pool is full")]));
    assert_eq!(report.ingress[0]["ports"][1], json!({ "port": 443, "protocol": "TCP", "error": PORT_ERROR }));
    assert_eq!(report.reason, "PartlyServed");
    assert!(report.message.ends_with("the pool is full"), "{}", report.message);
}

#[test]
fn without_an_address_it_says_why() {
    let why = [("a:http", "pool `p` is used up"), ("a:https", "pool `p` is used up")];
    let set_aside = report(&outcome(), &applied(&[], &why));
    assert_eq!((set_aside.is_served, set_aside.reason.as_str()), (false, "SetAside"));
    assert_eq!((set_aside.message.as_str(), set_aside.ingress.len()), ("pool `p` is used up", 0));
    let problem = Problem { reason: "NoNodePorts", message: "it has none".to_owned() };
    let refused = report(&Outcome { problem: Some(problem), ..outcome() }, &Applied::default());
    assert_eq!((refused.reason.as_str(), refused.message.as_str()), ("NoNodePorts", "it has none"));
}

#[test]
fn what_is_said_fits_into_a_condition_and_an_event() {
    let report = report(&outcome(), &applied(&[], &[("a:http", &format!("a\nb{}", "ü".repeat(2_000)))]));
    assert!(report.message.len() <= MESSAGE_AT_MOST, "{}", report.message.len());
    assert!(report.message.starts_with("a b") && report.message.ends_with("..."), "{}", report.message);
}

#[test]
fn an_address_that_another_one_gave_it_and_that_it_can_not_have_is_told() {
    let had = vec![
        ("10.0.1.1".parse().unwrap(), "it is gone"),
        ("10.0.1.9".parse().unwrap(), "another service has it"),
    ];
    let outcome = Outcome { had, families: vec![Family::Ipv4], ..outcome() };
    let message = report(&outcome, &applied(&[("a:http", &["10.0.1.1"])], &[])).message;
    let expected =
        "Fulcrum answers at 10.0.1.1; it had 10.0.1.9 before, and can't keep that: another service has it";
    assert_eq!(message, expected);
    assert_eq!(report(&outcome, &applied(&[], &[("a:http", "why")])).message, "why");
}

#[test]
fn annotations_name_addresses_and_pools() {
    let text = "\
nodes:
  lb-1: {addresses: [10.0.0.11], keys: [\"sha256:lXmoZ1C3sy9NRGzHkvNSlTxCk9vVNZ9VTWK6a0NO9mY=\"]}
  lb-2: {addresses: [10.0.0.12], keys: [\"sha256:Wk9vCzGrVPt6j1xFCjTmkrOmx2bqVQnIwmpTQyPPOjA=\"]}
interfaces:
  eth0: {networks: [10.0.0.0/16]}
pools:
  inside: {addresses: [10.0.2.0/24]}
  public: {addresses: [10.0.1.0/24]}
";
    let config = fulcrum_config::parse(text, "f", "lb-1").unwrap_or_else(|why| panic!("{why}")).config;
    let both = report(&outcome(), &applied(&[("a:http", &["10.0.1.1", "10.0.2.2"])], &[])).annotated(&config);
    let expected = [
        ("fulcrum.dev/addresses", "10.0.1.1,10.0.2.2".to_owned()),
        ("fulcrum.dev/pool", "inside,public".to_owned()),
        ("metallb.io/ip-allocated-from-pool", "inside,public".to_owned()),
    ];
    assert_eq!(both.annotations, expected.into());
    assert!(report(&outcome(), &applied(&[], &[])).annotated(&config).annotations.is_empty());
}
