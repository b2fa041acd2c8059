use super::*;
use crate::alarms::tests::{facts, good, group};
use fulcrum_config::{
    BackendName, GroupName, NodeDrain, NodeName, Noted, Overrides, ServiceName, Serving, UnixTime,
};
use fulcrum_lb::{BackendStats, ServiceObserved};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

fn noted<T>(what: T) -> Noted<T> {
    Noted { what, by: "uid 0 pid 7".to_owned(), since: UnixTime(100) }
}

fn snapshots() -> Snapshots {
    let mut snapshots = good();
    let mut config = (*snapshots.config).clone();
    let id = BackendId { service: ServiceName::new("web"), backend: BackendName::new("a") };
    config.overrides = Arc::new(Overrides {
        backends: BTreeMap::from([(id, noted(Serving::Draining(Some(UnixTime(160)))))]),
        nodes: BTreeMap::from([
            (NodeName::new("lb1"), noted(NodeDrain { finish: None })),
            (NodeName::new("lb2"), noted(NodeDrain { finish: None })),
        ]),
        ..Overrides::default()
    });
    snapshots.config = Arc::new(config);
    let stats = BackendStats { connections: 3, ..BackendStats::default() };
    let mut served = ServiceObserved::default();
    served.backends.insert(BackendName::new("a"), stats);
    served.stats.connections = 5;
    snapshots.lb.services.insert(ServiceName::new("web"), served);
    snapshots
}

#[test]
fn what_is_left_is_shown_with_who_asked_and_until_when() {
    let mut snapshots = snapshots();
    let mut other = group(Role::Standby);
    other.leader = Some(fulcrum_vip_manager::PeerSeen {
        node: Some(NodeName::new("lb2")),
        address: "10.0.0.2".parse().expect("an address"),
        priority: 150,
    });
    snapshots.vip.groups.insert(GroupName::new("other"), other);
    let shown = status(&snapshots);
    let [backend, own, peer] = &shown[..] else { panic!("{shown:?}") };
    assert_eq!((backend.of.as_str(), backend.what.as_str()), ("backend web/a", "drained"));
    assert_eq!((backend.connections, backend.until, backend.since), (Some(3), Some(160), 100));
    assert_eq!((own.connections, &own.leads[..]), (Some(5), &["main".to_owned()][..]));
    assert_eq!((peer.connections, &peer.leads[..]), (None, &["other".to_owned()][..]));
}

#[test]
fn a_backend_says_who_drains_it() {
    let mut snapshots = snapshots();
    let reason = |snapshots: &Snapshots| {
        let status = crate::join::join(&facts(), snapshots, facts().started);
        let backend = &status.services[0].backends[0];
        (backend.state.clone(), backend.reason.clone())
    };
    let config = Arc::make_mut(&mut snapshots.config);
    let service = Arc::make_mut(config.services.get_mut(&ServiceName::new("web")).expect("the service"));
    Arc::make_mut(&mut service.backends[0]).drain = true;
    let (state, why) = reason(&snapshots);
    assert_eq!(state, "draining");
    assert_eq!(why, "drained by uid 0 pid 7; 'fulcrum undrain backend web/a' ends that");
}

#[test]
fn a_node_leads_what_it_says_it_does_though_no_advert_of_it_has_come_yet() {
    let lb2 = NodeName::new("lb2");
    let led = |role, word: Option<fulcrum_peer::Word>| {
        let mut snapshots = crate::peers::tests::with_peer(|peer| peer.word = word.map(Arc::new));
        snapshots.vip.groups = BTreeMap::from([(GroupName::new("other"), group(role))]);
        led_by(&lb2, &snapshots)
    };
    let leads = fulcrum_peer::Word {
        leads: BTreeMap::from([(GroupName::new("other"), BTreeSet::new())]),
        ..fulcrum_peer::Word::default()
    };
    assert_eq!(led(Role::Standby, Some(leads.clone())), ["other"]);
    assert_eq!(led(Role::Init, None), ["other"], "what it says is on its way");
    assert_eq!(
        led(Role::Leader, Some(leads)),
        ["other"],
        "it has not heard that this node has taken it over"
    );
    assert!(led(Role::Leader, Some(fulcrum_peer::Word::default())).is_empty());
    assert!(led(Role::Standby, Some(fulcrum_peer::Word::default())).is_empty());
}
