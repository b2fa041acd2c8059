use super::*;
use crate::parse;

fn config(nodes: &str, network: &str) -> Config {
    let text = format!(
        "node: lb-1\nnodes: {{{nodes}}}\ninterfaces: {{eth0: {{networks: [{network}]}}}}\n\
         groups: {{web: {{vrid: 51, vips: [10.0.0.4]}}}}\n"
    );
    parse(&text, "fulcrum.yaml", "lb-1").unwrap_or_else(|diagnostics| panic!("{diagnostics}")).config
}

fn domains(nodes: [&str; 3]) -> Vec<(State, String)> {
    let of = |(number, domain): (u8, &str)| {
        let domain = if domain.is_empty() { String::new() } else { format!(", domain: {domain}") };
        format!("lb-{number}: {{addresses: [10.0.0.{number}]{domain}}}")
    };
    let nodes: Vec<String> = (1..).zip(nodes).map(of).collect();
    let lines = failure_domains(&config(&nodes.join(", "), "10.0.0.0/29"));
    lines.into_iter().map(|line| (line.state, format!("{}: {}", line.about, line.found))).collect()
}

#[test]
fn nodes_of_one_failure_domain_are_told() {
    let states = |nodes| domains(nodes).into_iter().map(|(state, _)| state).collect::<Vec<_>>();
    assert_eq!(states(["", "", ""]), [State::NotApplicable]);
    assert_eq!(states(["a", "b", "c"]), [State::Ok]);
    assert_eq!(states(["a", "b", ""]), [State::Ok]);
    let told = domains(["a", "a", "b"]);
    assert_eq!(told[0].0, State::Warning);
    assert!(told[0].1.contains("a: lb-1 and lb-2 share it"), "{told:?}");
    assert_eq!(states(["a", "a", "a"]), [State::Failed]);
    // Of the third it is not known.
    assert_eq!(states(["a", "a", ""]), [State::Warning]);
}

#[test]
fn addresses_that_nobody_has_are_found() {
    let nodes = "lb-1: {addresses: [10.0.0.1]}, lb-2: {addresses: [10.0.0.2]}";
    let free = |network: &str| {
        let config = config(nodes, network);
        let network = networks(&config).next().copied().unwrap();
        free_addresses(&config, &network).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(free("10.0.0.0/29"), ["10.0.0.3", "10.0.0.5", "10.0.0.6"]);
    assert_eq!(free("10.0.0.0/24"), ["10.0.0.3", "10.0.0.5", "10.0.0.6", "10.0.0.7"]);
}

#[test]
fn a_pool_without_a_free_address_is_told() {
    let of = |range: &str| {
        let text = format!(
            "node: lb-1\nnodes: {{lb-1: {{addresses: [10.0.0.1]}}, lb-2: {{addresses: [10.0.0.2]}}}}\n\
             interfaces: {{eth0: {{networks: [10.0.0.0/24]}}}}\ngroups: {{web: {{vrid: 51, vips: [10.0.0.4]}}}}\n\
             pools: {{public: {{group: web, addresses: [{range}]}}}}\n\
             services: {{shop: {{vip: auto, port: 80, backends: [10.0.0.21:80]}}}}\n"
        );
        let parsed =
            parse(&text, "fulcrum.yaml", "lb-1").unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
        pools(&parsed.config).into_iter().map(|line| (line.state, line.found)).collect::<Vec<_>>()
    };
    assert_eq!(of("10.0.0.100-10.0.0.101"), [(State::Ok, "1 of 2 IPv4 addresses are free".to_owned())]);
    assert_eq!(of("10.0.0.100-10.0.0.100"), [(State::Warning, "0 of 1 IPv4 addresses are free".to_owned())]);
}
