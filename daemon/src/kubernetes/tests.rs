use super::*;
use fulcrum_config::{Fragments, Noted, SourceName, Sources, UnixTime, parse};

pub(super) fn config(more: &str) -> Config {
    let keys =
        ["lXmoZ1C3sy9NRGzHkvNSlTxCk9vVNZ9VTWK6a0NO9mY=", "Wk9vCzGrVPt6j1xFCjTmkrOmx2bqVQnIwmpTQyPPOjA="];
    let text = format!(
        "node: lb-2\nnodes:\n  lb-1: {{addresses: [10.0.0.11], keys: [\"sha256:{}\"]}}\n  lb-2: {{addresses: [10.0.0.12], keys: [\"sha256:{}\"]}}\n\
         interfaces: {{eth0: {{networks: [10.0.0.0/24]}}}}\npools: {{public: {{addresses: [10.0.0.200-10.0.0.220]}}}}\n{more}",
        keys[0], keys[1]
    );
    parse(&text, "fulcrum.yaml", "lb-2").unwrap_or_else(|why| panic!("{why}")).config
}

#[test]
fn without_a_group_the_first_of_those_that_hear_each_other_writes() {
    let config = config("");
    assert!(config.groups.is_empty());
    assert!(!is_writer(&config, |_| true, |_| true));
    assert!(is_writer(&config, |_| false, |_| false));
}

#[test]
fn the_leader_of_the_first_group_writes() {
    let config = config("groups: {a: {vips: [10.0.0.100]}, b: {vips: [10.0.0.101]}}");
    assert!(is_writer(&config, |group| group.as_str() == "a", |_| true));
    assert!(!is_writer(&config, |group| group.as_str() == "b", |_| false));
}

#[test]
fn what_a_cluster_said_that_the_file_has_no_more_is_told() {
    let file = "kubernetes: {prod: {kubeconfig: /prod}}\n";
    let with = |file: &str, by: &str| {
        let (source, text) = (SourceName::new("prod"), Arc::from("services: {}"));
        let noted = Noted { what: text, by: by.to_owned(), since: UnixTime(1) };
        let fragments = Fragments::default().with(source, Some(noted)).unwrap();
        let mut config = config(file);
        config.sources = Arc::new(Sources { fragments: Arc::new(fragments), ..Sources::default() });
        left_behind(&config).map(|alarm| alarm.what).collect::<Vec<_>>()
    };
    assert_eq!(with(file, "prod"), [""; 0]);
    assert_eq!(with("", "uid 0"), [""; 0], "set by hand");
    let told = "Kubernetes cluster prod is not in the file any more, and its Services stay in force";
    assert_eq!(with("", "prod"), [told]);
}
