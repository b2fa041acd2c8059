use crate::parse;
use serde_json::json;

const TEXT: &str = "\
nodes:
  lb-1: {addresses: [10.0.0.11], priority: 150}
  lb-2: {addresses: [10.0.0.12], priority: 100}
interfaces: {eth0: {networks: [10.0.0.0/24]}}
groups: {web: {vrid: 51, vips: [10.0.0.100]}}
services:
  web: {vip: 10.0.0.100, port: 80, backends: [10.0.0.21:80], slow_start: 30}
  api: {vip: 10.0.0.100, port: 80, backends: [10.0.0.22:80], balanse: source}
";

#[test]
fn every_mistake_is_shown_at_once_with_its_line() {
    let shown = parse(TEXT, "fulcrum.yaml", "lb-1").unwrap_err().to_string();
    let expected = "\
error: `30` has no unit
  --> fulcrum.yaml:7:74  services.web.slow_start
  |
7 |   web: {vip: 10.0.0.100, port: 80, backends: [10.0.0.21:80], slow_start: 30}
  |                                                                          ^^
  = help: write `30s` for seconds or `30ms` for milliseconds

error: services `api` and `web` both listen on 10.0.0.100:80 (TCP)
  --> fulcrum.yaml:8:32  services.api.port
  |
8 |   api: {vip: 10.0.0.100, port: 80, backends: [10.0.0.22:80], balanse: source}
  |                                ^^
  = fulcrum.yaml:7:32: the other one
  = help: give one of them another port or VIP

error: `balanse` is not a key of this section
  --> fulcrum.yaml:8:62  services.api.balanse
  |
8 |   api: {vip: 10.0.0.100, port: 80, backends: [10.0.0.22:80], balanse: source}
  |                                                              ^^^^^^^
  = help: did you mean `balance`?
";
    assert_eq!(shown, expected);
}

#[test]
fn programs_get_the_same_as_json() {
    let diagnostics = parse(TEXT, "fulcrum.yaml", "lb-1").unwrap_err();
    let first = serde_json::to_value(&diagnostics).unwrap()[1].clone();
    assert_eq!(
        first,
        json!({
            "severity": "error",
            "file": "fulcrum.yaml",
            "line": 8,
            "column": 32,
            "field": "services.api.port",
            "message": "services `api` and `web` both listen on 10.0.0.100:80 (TCP)",
            "help": "give one of them another port or VIP",
            "related": {"line": 7, "column": 32, "message": "the other one"},
        })
    );
}

#[test]
fn tabs_and_wide_characters_do_not_move_the_caret() {
    let shown = parse("ä: 1\t# a tab\nnodes: 1\n", "f", "lb-1").unwrap_err().to_string();
    assert!(shown.contains("1 | ä: 1 # a tab\n  | ^\n"), "{shown}");
    assert!(shown.contains("2 | nodes: 1\n  |        ^\n"), "{shown}");
}
