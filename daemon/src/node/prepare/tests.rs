use super::*;
use fulcrum_peer::{PeerCounters, PeerObserved, Word};
use std::time::Instant;

#[allow(clippy::disallowed_methods, reason = "any instant will do")]
fn seen(state: PeerState, word: Option<Word>) -> Observed {
    let peer = PeerObserved {
        state,
        since: Instant::now(),
        reason: "".into(),
        address: None,
        round_trip: None,
        version: None,
        config: None,
        word: word.map(Arc::new),
        offer: None,
        answer: None,
        text: None,
        serving: Arc::default(),
        counters: PeerCounters::default(),
    };
    Observed { peers: BTreeMap::from([(NodeName::new("lb2"), peer)]), ..Observed::default() }
}

fn prepared(prepared: Option<BTreeMap<u64, Prepared>>) -> Option<Word> {
    Some(Word { prepared, ..Word::default() })
}

#[test]
fn an_older_version_and_a_node_without_a_link_are_not_waited_for() {
    let (lb2, other) = (NodeName::new("lb2"), NodeName::new("lb3"));
    let of = |seen: &Observed| answer(seen, &lb2, 7);
    assert_eq!(of(&seen(PeerState::Up, prepared(None))), Answer::Silent("its version does not know them"));
    assert_eq!(of(&seen(PeerState::Down, None)), Answer::Silent("there is no link to it"));
    assert_eq!(answer(&seen(PeerState::Up, None), &other, 7), Answer::Silent("there is no link to it"));
    assert_eq!(of(&seen(PeerState::Up, None)), Answer::Waiting, "its word is on its way");
    let said = Prepared { hooks: 2, refused: None };
    let others = BTreeMap::from([(6, said.clone())]);
    assert_eq!(of(&seen(PeerState::Up, prepared(Some(others)))), Answer::Waiting);
    let own = BTreeMap::from([(7, said.clone())]);
    assert_eq!(of(&seen(PeerState::Up, prepared(Some(own)))), Answer::Is(said));
}

#[test]
fn only_what_is_asked_of_this_node_is_prepared() {
    let preparing = |number, to: &str| Preparing { number, to: NodeName::new(to), forced: false };
    let prepares = BTreeMap::from([
        (GroupName::new("web"), preparing(1, "lb1")),
        (GroupName::new("dns"), preparing(2, "lb3")),
    ]);
    let word = Word { prepares, ..Word::default() };
    let own = NodeName::new("lb1");
    let asked = questions(&seen(PeerState::Up, Some(word.clone())), &own);
    assert_eq!(asked, BTreeMap::from([(1, (NodeName::new("lb2"), GroupName::new("web"), false))]));
    assert!(questions(&seen(PeerState::Down, Some(word)), &own).is_empty());
    assert!(!is_sure(&seen(PeerState::Up, None)) && is_sure(&seen(PeerState::Down, None)));
}
