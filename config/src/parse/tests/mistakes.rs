//! Each mistake alone: where it is reported, for which field, what is said and what is advised.
//!
//! A row changes one line of [`BASE`]; `«` marks the place that must be reported.

use super::parse;
use crate::diagnostic::Severity;

mod forwarding;
mod hooks;
mod kubernetes;
mod own;
mod pools;
mod services;
mod text;
mod topology;
mod values;
mod witness;

const BASE: &str = "\
nodes:
  lb-1: {addresses: [10.0.0.11], priority: 150}
  lb-2: {addresses: [10.0.0.12], priority: 100}
interfaces:
  eth0: {networks: [10.0.0.0/24]}
groups:
  web: {vrid: 51, vips: [10.0.0.100, 10.0.0.101]}
  dns: {vrid: 52, vips: [10.0.0.110]}
checks:
  tcp: {type: tcp}
backends:
  web: {members: [10.0.0.21:80, 10.0.0.22:80]}
services:
  web: {vip: 10.0.0.100, port: 80, backends: web, check: tcp}
  dns: {vip: 10.0.0.110, protocol: udp, port: 53, backends: [10.0.0.31:53]}
";

struct Row {
    from: &'static str,
    to: &'static str,
    field: &'static str,
    message: &'static str,
    help: &'static str,
}

const fn row(
    from: &'static str,
    to: &'static str,
    field: &'static str,
    message: &'static str,
    help: &'static str,
) -> Row {
    Row { from, to, field, message, help }
}

const NODE_1: &str = "{addresses: [10.0.0.11], priority: 150}";
const NODE_2: &str = "{addresses: [10.0.0.12], priority: 100}";
const WEB_GROUP: &str = "{vrid: 51, vips: [10.0.0.100, 10.0.0.101]}";
const TCP_CHECK: &str = "tcp: {type: tcp}";
const WEB: &str = "{vip: 10.0.0.100, port: 80, backends: web, check: tcp}";
const POOL: &str = "[10.0.0.21:80, 10.0.0.22:80]";

#[test]
fn a_group_has_a_thousand_vips_and_no_more() {
    let config = |vips: u32| {
        let addresses = (0..vips).map(|number| format!("10.0.{}.{}", 1 + number / 250, 1 + number % 250));
        let list = addresses.collect::<Vec<_>>().join(", ");
        BASE.replace("[10.0.0.0/24]", "[10.0.0.0/16]")
            .replace(WEB_GROUP, &format!("{{vrid: 51, vips: [10.0.0.100, {list}]}}"))
    };
    assert!(parse(&config(999), "fulcrum.yaml", "lb-1").is_ok());
    let Err(diagnostics) = parse(&config(1000), "fulcrum.yaml", "lb-1") else {
        panic!("1001 VIPs were taken");
    };
    let errors: Vec<_> = diagnostics.iter().filter(|found| found.severity == Severity::Error).collect();
    let [error] = errors.as_slice() else { panic!("{diagnostics}") };
    assert_eq!(error.path, "groups.web.vips");
    assert_eq!(error.message, "the group has 1001 VIPs; one group moves at most 1000");
    assert!(error.help.as_deref().is_some_and(|help| help.contains("several groups")));
}

#[test]
fn each_mistake_has_its_place_and_its_advice() {
    for rows in [
        text::YAML,
        text::KEYS,
        values::VALUES,
        topology::TOPOLOGY,
        services::SERVICES,
        forwarding::FORWARDING,
        hooks::HOOKS,
        kubernetes::KUBERNETES,
    ] {
        check(BASE, rows);
    }
    check(pools::BASE, pools::POOLS);
    check(witness::BASE, witness::WITNESS);
    check(own::BASE, own::OWN);
    check(own::VRRP, own::UNELECTABLE);
    let pool = "pools: {«p: {addresses: [10.0.0.120-10.0.0.129]}}\nservices:\n  one: {vip: 10.0.0.100,";
    check(&own::VRRP.replace("services:\n  one: {vip: «10.0.0.110,", pool), own::POOLS);
}

fn check(base: &str, rows: &[Row]) {
    let mut wrong = Vec::new();
    for row in rows {
        assert_eq!(base.matches(row.from).count(), 1, "`{}` must be in the base once", row.from);
        let marked = base.replace(row.from, row.to);
        let expected = marked.lines().zip(1_u32..).find_map(|(line, number)| {
            let (before, _) = line.split_once('«')?;
            Some((number, u32::try_from(before.chars().count()).unwrap().saturating_add(1)))
        });
        let text = marked.replace('«', "");
        let Err(diagnostics) = parse(&text, "fulcrum.yaml", "lb-1") else {
            wrong.push(format!("taken: {}", row.to));
            continue;
        };
        let errors: Vec<_> =
            diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).collect();
        let good = match errors.as_slice() {
            [error] => {
                expected.is_none_or(|place| place == (error.place.line, error.place.column))
                    && error.path == row.field
                    && error.message.contains(row.message)
                    && error.help.as_deref().is_some_and(|help| help.contains(row.help))
            }
            _ => false,
        };
        if !good {
            wrong.push(format!("{} -> {expected:?} {}\n{diagnostics}", row.to, row.field));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n\n{}", wrong.len(), rows.len(), wrong.join("\n\n"));
}
