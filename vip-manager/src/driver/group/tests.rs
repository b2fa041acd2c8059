use super::*;
use crate::border::PeerSeen;

#[test]
fn addresses_linger_where_another_one_answers_and_not_where_nobody_knows() {
    let peer = PeerSeen { node: None, address: [10, 0, 0, 2].into(), priority: 150 };
    for reason in [
        Reason::Stopping,
        Reason::StandingDown,
        Reason::TrackFailed("gateway 10.0.0.1".to_owned()),
        Reason::BetterLeader(peer.clone()),
        Reason::NotHeard(peer),
    ] {
        assert!(is_handed_over(&reason), "{reason:?}");
    }
    let interface = InterfaceName::new("eth0");
    for reason in [Reason::Stalled(Duration::from_secs(1)), Reason::InterfaceDown(interface)] {
        assert!(!is_handed_over(&reason), "{reason:?}");
    }
}
