use super::*;

fn name(name: &str) -> NodeName {
    NodeName::new(name)
}

/// Whether the Machine of `node` is let go by lb-1, which has so many connections left if it is drained.
fn free(node: &str, left: Option<u64>, writes: bool, gone: &[&str], leaders: &[&str]) -> bool {
    let gone: Vec<NodeName> = gone.iter().map(|node| name(node)).collect();
    let view = View {
        own: &name("lb-1"),
        left,
        writes,
        gone: &gone,
        leads: &|node| leaders.contains(&node.as_str()),
        others_lead: &|node| !leaders.is_empty() && leaders.iter().all(|leader| *leader != node.as_str()),
    };
    is_free(&name(node), &view)
}

#[test]
fn a_node_lets_its_own_machine_go_when_it_is_drained_and_empty_and_others_lead() {
    assert!(free("lb-1", Some(0), false, &[], &["lb-2"]));
    assert!(!free("lb-1", None, true, &[], &["lb-2"]), "it is not drained");
    assert!(!free("lb-1", Some(3), true, &[], &["lb-2"]), "it has connections");
    assert!(!free("lb-1", Some(0), true, &[], &["lb-1", "lb-2"]), "it leads");
    assert!(!free("lb-1", Some(0), true, &[], &[]), "nobody leads");
}

#[test]
fn the_writer_lets_the_machine_of_a_node_go_that_is_gone() {
    assert!(free("lb-2", None, true, &["lb-2"], &["lb-1"]));
    assert!(!free("lb-2", None, false, &["lb-2"], &["lb-1"]), "another one writes");
    assert!(!free("lb-2", Some(0), true, &["lb-3"], &["lb-1"]), "it lives, and says so itself");
    assert!(!free("lb-2", None, true, &["lb-2"], &["lb-1", "lb-2"]), "its adverts are heard");
    assert!(!free("lb-2", None, true, &["lb-2"], &[]), "nobody leads");
}

#[test]
fn a_node_is_gone_when_it_was_not_heard_for_long_without_a_break() {
    let mut unheard = Unheard::default();
    let begun = Instant::now();
    let mut at = |seconds: u64, state: PeerState| {
        let now = begun.checked_add(Duration::from_secs(seconds)).unwrap_or(begun);
        let (two, three) = (name("lb-2"), name("lb-3"));
        !unheard.heard([(&two, state), (&three, PeerState::Up)].into_iter(), now).is_empty()
    };
    let is_gone = [
        at(0, PeerState::Down),
        at(9, PeerState::Down),
        at(10, PeerState::Up),
        at(11, PeerState::Refused),
        at(20, PeerState::Down),
        at(21, PeerState::Down),
        at(22, PeerState::Up),
    ];
    assert_eq!(is_gone, [false, false, false, false, false, true, false]);
}

#[test]
fn what_is_not_known_of_machines_says_nothing_and_a_node_on_none_stays() {
    assert_eq!(fate(&Fleet::default(), &name("lb-1")), None);
    let none = Fleet { leaving: Some(BTreeMap::new()), error: None };
    assert_eq!(fate(&none, &name("lb-1")), Some(OwnNode::Stays));
}
