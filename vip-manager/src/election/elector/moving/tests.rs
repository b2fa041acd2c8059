#![allow(clippy::disallowed_methods, reason = "a moment to count from")]
use crate::election::elector::{Elector, Plan, Planned};
use crate::election::heartbeat::State;
use crate::election::placement::Candidate;
use fulcrum_config::{AdvertInterval, GroupName, NodeName, Weight};
use std::collections::BTreeMap;
use std::time::Instant;

#[test]
fn a_group_that_an_operator_moves_is_offered_to_the_node_that_was_named() {
    let (now, group) = (Instant::now(), GroupName::new("web"));
    let candidate = |name| Candidate { node: NodeName::new(name), weight: Weight::ONE, domain: None };
    let planned = Planned {
        protected: false,
        priorities: BTreeMap::new(),
        interval: AdvertInterval::DEFAULT,
        one: false,
    };
    let plan = Plan {
        nodes: ["a", "b", "c"].into_iter().map(candidate).collect(),
        own: Some(NodeName::new("a")),
        groups: BTreeMap::from([(group.clone(), planned)]),
        ..Plan::default()
    };
    let mut elector = Elector::new(1, now);
    elector.handle_plan(plan, now);
    assert_eq!(elector.state(&group, 0), State::Resigns, "whoever comes first");
    elector.handle_named(&group, &NodeName::new("b"), now);
    elector.handle_named(&group, &NodeName::new("c"), now);
    assert_eq!(elector.state(&group, 0), State::Offers(3), "the one that was named last");
    elector.handle_retired(&group);
    assert_eq!(elector.state(&group, 0), State::Resigns, "that was the last time");
    elector.handle_named(&group, &NodeName::new("nobody"), now);
    assert_eq!(elector.state(&group, 0), State::Resigns);
    elector.handle_named(&group, &NodeName::new("c"), now);
    elector.handle_stop();
    assert_eq!(elector.state(&group, 0), State::Resigns, "a node that ends leaves it to anyone");
}
