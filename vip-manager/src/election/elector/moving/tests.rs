#![allow(clippy::disallowed_methods, clippy::arithmetic_side_effects, reason = "a moment to count from")]
use crate::election::elector::{Elector, Plan, Planned, Standing};
use crate::election::heartbeat::{Heartbeat, Said, State};
use crate::election::placement::Candidate;
use fulcrum_config::{AdvertInterval, GroupName, NodeName, Weight};
use std::collections::BTreeMap;
use std::time::Instant;

/// One of three nodes, which share a group.
fn one_of_three(own: &str, group: &GroupName, now: Instant) -> Elector {
    let candidate = |name| Candidate { node: NodeName::new(name), weight: Weight::ONE, domain: None };
    let planned = Planned {
        protected: false,
        priorities: BTreeMap::new(),
        interval: AdvertInterval::DEFAULT,
        one: false,
    };
    let plan = Plan {
        nodes: ["a", "b", "c"].into_iter().map(candidate).collect(),
        own: Some(NodeName::new(own)),
        groups: BTreeMap::from([(group.clone(), planned)]),
        ..Plan::default()
    };
    let mut elector = Elector::new(1, now);
    elector.handle_plan(plan, now);
    elector
}

/// The priority that the last of the standbys gives itself once it leads, after `state` was heard of the leader.
fn priority_after(state: State) -> u8 {
    let (start, group) = (Instant::now(), GroupName::new("web"));
    let mut elector = one_of_three("a", &group, start);
    let mut leads = false;
    let mut found = BTreeMap::new();
    for sequence in 1..10_u32 {
        let now = start + AdvertInterval::DEFAULT.duration() * sequence;
        let said = Said {
            group: group.number(),
            state: if sequence < 5 { State::Leads(254) } else { state },
            epoch: 1,
            interval: AdvertInterval::DEFAULT,
        };
        for (node, said) in [("a", None), ("b", None), ("c", Some(said))] {
            if node == "a" || sequence > 5 {
                continue;
            }
            let heartbeat =
                Heartbeat { instance: 7, sequence: sequence.into(), groups: said.into_iter().collect() };
            elector.handle_heartbeat(&NodeName::new(node), &heartbeat, now).unwrap();
        }
        leads |= sequence == 6;
        elector.handle_timeout(|_| Some(Standing { leads, unfit: false, speaks: true, epoch: 1 }), now);
        found.extend(std::iter::from_fn(|| elector.poll_priorities()));
        if leads {
            break;
        }
    }
    found[&group][&NodeName::new("a")].get()
}

#[test]
fn who_takes_what_was_offered_to_it_comes_first_at_once_and_who_takes_over_in_its_turn() {
    assert_eq!(priority_after(State::Offers(1)), 254);
    assert!(priority_after(State::Leads(254)) < 254, "others may take over, too");
    assert!(priority_after(State::Offers(2)) < 254, "it was another's");
}

#[test]
fn a_group_that_an_operator_moves_is_offered_to_the_node_that_was_named() {
    let (now, group) = (Instant::now(), GroupName::new("web"));
    let mut elector = one_of_three("a", &group, now);
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
