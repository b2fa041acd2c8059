use super::super::tests::config;
use super::*;
use fulcrum_config::{NodeDrain, Noted, Overrides, UnixTime};

fn fate(seen: Option<OwnNode>) -> Fate {
    Fate { cluster: "prod".to_owned(), seen }
}

fn leaves() -> Option<OwnNode> {
    Some(OwnNode::Leaves("node lb-2 is cordoned".to_owned()))
}

/// The configuration of lb-2, in which these nodes are drained, by whom.
fn drained(nodes: &[(&str, &str)]) -> Config {
    let noted = |by: &str| Noted { what: NodeDrain { finish: None }, by: by.to_owned(), since: UnixTime(5) };
    let nodes = nodes.iter().map(|(node, by)| (NodeName::new(node), noted(by))).collect();
    let mut config = config("groups: {a: {vips: [10.0.0.100]}, b: {vips: [10.0.0.101]}}");
    config.overrides = Arc::new(Overrides { nodes, ..Overrides::default() });
    config
}

const OURS: &str = "Kubernetes cluster prod: node lb-2 is cordoned";

#[test]
fn a_node_that_is_about_to_go_is_drained_once_and_undrained_when_it_stays() {
    let by = OURS.to_owned();
    assert_eq!(due(&[fate(leaves())], &drained(&[])), Some(Due::Drain { by: by.clone() }));
    assert_eq!(due(&[fate(leaves())], &drained(&[("lb-1", "uid 0 pid 1")])), Some(Due::Drain { by }));
    assert_eq!(due(&[fate(leaves())], &drained(&[("lb-2", OURS)])), None);
    let undrain = Some(Due::Undrain { why: "its node stays" });
    assert_eq!(due(&[fate(Some(OwnNode::Stays))], &drained(&[("lb-2", OURS)])), undrain);
    assert_eq!(due(&[fate(Some(OwnNode::Stays))], &drained(&[])), None);
    assert_eq!(due(&[], &drained(&[("lb-2", OURS)])), undrain, "nobody asks any more");
}

#[test]
fn what_an_operator_drained_an_operator_takes_back() {
    let operators = drained(&[("lb-2", "uid 0 pid 4711")]);
    for seen in [leaves(), Some(OwnNode::Stays), Some(OwnNode::Missing("lb-2".to_owned())), None] {
        assert_eq!(due(&[fate(seen.clone())], &operators), None, "{seen:?}");
    }
    assert_eq!(due(&[], &operators), None);
}

#[test]
fn of_all_that_are_drained_at_the_same_moment_one_gives_way() {
    let both = drained(&[("lb-1", OURS), ("lb-2", OURS)]);
    assert_eq!(due(&[fate(leaves())], &both), Some(Due::Undrain { why: "no other node is left" }));
    let mut first = both.clone();
    first.node = NodeName::new("lb-1");
    assert_eq!(due(&[fate(leaves())], &first), None, "and one alone");
    let operators = drained(&[("lb-1", OURS), ("lb-2", "uid 0 pid 1")]);
    assert_eq!(due(&[fate(leaves())], &operators), None);
}

#[test]
fn what_is_not_known_changes_nothing() {
    for seen in [None, Some(OwnNode::Missing("lb-2".to_owned()))] {
        for config in [drained(&[]), drained(&[("lb-2", OURS)])] {
            assert_eq!(due(&[fate(seen.clone())], &config), None, "{seen:?}");
        }
        let of_two = [fate(Some(OwnNode::Stays)), fate(seen)];
        assert_eq!(due(&of_two, &drained(&[("lb-2", OURS)])), None, "one of two");
    }
}

#[test]
fn one_is_emptied_after_the_other_and_none_while_nobody_else_is_ready() {
    let why = |nodes: &[(&str, &str)], led: &[(&str, &str)], able: &[&str]| {
        let led_by = |node: &NodeName| {
            let own = led.iter().filter(|(_, leader)| node.as_str() == *leader);
            own.map(|(group, _)| (*group).to_owned()).collect()
        };
        let able = able.iter().map(|node| NodeName::new(node)).collect::<BTreeSet<_>>();
        not_yet(&drained(nodes), led_by, |_| able.clone())
    };
    let both = ["lb-1", "lb-2"];
    assert_eq!(why(&[], &[("a", "lb-2")], &both), None);
    assert_eq!(why(&[], &[("a", "lb-2")], &["lb-2"]).unwrap(), "no other node is ready for group a");
    assert_eq!(why(&[], &[("a", "lb-1")], &["lb-1"]), None, "it leads nothing");
    let other = [("lb-1", "uid 0 pid 1")];
    let gone = why(&other, &[("a", "lb-2"), ("b", "lb-1")], &both).unwrap();
    assert_eq!(gone, "lb-1 is drained, too, and leads group b yet");
    assert_eq!(why(&other, &[("a", "lb-2")], &both).unwrap(), "no other node is ready for group a");
    assert_eq!(why(&other, &[], &both), None);
}

#[test]
fn what_is_wrong_is_an_alarm() {
    assert_eq!(alarms(&[fate(leaves()), fate(Some(OwnNode::Stays)), fate(None)], None), []);
    let missing = alarms(&[fate(Some(OwnNode::Missing("worker-7".to_owned())))], None);
    assert!(
        missing[0].what.contains("no node worker-7") && missing[0].remedy.contains("NODE_NAME"),
        "{missing:?}"
    );
    let held = alarms(&[fate(leaves())], Some("no other node is ready for group a"));
    assert!(held[0].what.ends_with("not drained: no other node is ready for group a"), "{held:?}");
}
