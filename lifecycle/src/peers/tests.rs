use super::*;
use crate::alarms::tests::{facts, good};
use fulcrum_config::SharedDigest;
use fulcrum_peer::{PeerConfig, PeerCounters};

#[allow(clippy::disallowed_methods, reason = "any instant will do")]
pub(crate) fn with_peer(change: impl FnOnce(&mut PeerObserved)) -> Snapshots {
    let mut snapshots = good();
    let now = Instant::now();
    let mut peer = PeerObserved {
        state: PeerState::Up,
        since: now.checked_sub(Duration::from_secs(60)).unwrap_or(now),
        reason: "heartbeats come".into(),
        address: "10.0.0.2:4747".parse().ok(),
        round_trip: Some(Duration::from_micros(250)),
        version: Some("0.1.0".into()),
        config: Some(PeerConfig { generation: 3, serial: 1, digest: snapshots.config.shared }),
        word: None,
        offer: None,
        answer: None,
        text: None,
        serving: std::sync::Arc::default(),
        counters: PeerCounters { up: 1, ..PeerCounters::default() },
    };
    change(&mut peer);
    snapshots.peer.state = LinkState::On;
    snapshots.peer.own_pin_listed = true;
    snapshots.peer.peers.insert(NodeName::new("lb2"), peer);
    snapshots
}

fn said(snapshots: &Snapshots) -> Vec<String> {
    alarms(&facts(), snapshots).into_iter().map(|alarm| alarm.what).collect()
}

#[test]
fn a_good_link_is_shown_and_no_alarm() {
    let snapshots = with_peer(|_| {});
    assert_eq!(said(&snapshots), Vec::<String>::new());
    #[allow(clippy::disallowed_methods, reason = "any instant will do")]
    let shown = status(&snapshots, Instant::now());
    assert_eq!((shown.state.as_str(), shown.why), ("on", None));
    let peer = &shown.peers[0];
    assert_eq!((peer.state.as_str(), peer.config_agrees), ("up", Some(true)));
    assert_eq!((peer.round_trip_ms, peer.counters["up"]), (Some(0.25), 1));
    assert_eq!(peer.config_digest.as_ref(), Some(&shown.config_digest));
}

#[test]
fn without_keys_status_says_what_to_do_and_nothing_is_wrong() {
    #[allow(clippy::disallowed_methods, reason = "any instant will do")]
    let shown = status(&good(), Instant::now());
    assert_eq!(shown.state, "no-keys");
    assert!(shown.why.is_some());
    assert_eq!(said(&Snapshots { peer: fulcrum_peer::Observed::default(), ..good() }), Vec::<String>::new());
}

#[test]
fn each_trouble_is_an_alarm() {
    for (serial, what) in [
        (0, "it is behind (serial 0, here 1)"),
        (1, "neither is newer"),
        (2, "which is behind (serial 1, there 2)"),
    ] {
        let other = with_peer(|peer| {
            peer.config = Some(PeerConfig { generation: 3, serial, digest: SharedDigest(7) });
        });
        let said = said(&other);
        assert!(said[0].starts_with("lb2 runs another configuration than this node"), "{said:?}");
        assert!(said.len() == 1 && said[0].contains(what), "{said:?}");
    }
    let down = with_peer(|peer| {
        peer.state = PeerState::Down;
        peer.reason = "no answer".into();
    });
    assert_eq!(said(&down), ["the peer link to lb2 is down: no answer"]);
    assert!(alarms(&facts(), &down)[0].remedy.contains("UDP port 4747"));
    let refused = with_peer(|peer| peer.state = PeerState::Refused);
    assert!(said(&refused)[0].starts_with("the peer link to lb2 is refused"));
    let mut unlisted = with_peer(|_| {});
    unlisted.peer.own_pin = Some(fulcrum_config::KeyPin::new([1; 32]));
    unlisted.peer.own_pin_listed = false;
    unlisted.peer.errors.push("no port".to_owned());
    unlisted.peer_ended = true;
    assert_eq!(said(&unlisted).len(), 3);
}

#[test]
#[allow(clippy::disallowed_methods, reason = "any instant will do")]
fn a_link_that_has_just_gone_down_is_no_alarm_yet() {
    let snapshots = with_peer(|peer| {
        peer.state = PeerState::Down;
        peer.since = Instant::now();
    });
    assert_eq!(said(&snapshots), Vec::<String>::new());
}
