use super::*;
use crate::alarms::tests::facts;
use crate::peers::tests::with_peer;
use crate::verdicts::View;
use fulcrum_config::{BackendName, SharedDigest};
use fulcrum_peer::{Judged, Verdict};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

fn begun() -> Instant {
    #[allow(clippy::disallowed_methods, reason = "any instant will do")]
    Instant::now()
}

fn address() -> BackendAddress {
    crate::fixture::backend("a").address
}

/// A standby of lb2 whose service is so.
fn with(change: impl FnOnce(&mut ServiceView)) -> Snapshots {
    let judged = Judged { usage: Usage::Live, weight: 100 };
    let verdict = Verdict { up: true, backends: BTreeMap::from([(address(), judged)]) };
    let lb2 = NodeName::new("lb2");
    let agreement = Agreement { comparison: Comparison::InSync, since: begun() };
    let mut view = ServiceView {
        by: By::Leader(lb2.clone()),
        verdict: Some(Arc::new(verdict)),
        disputed: None,
        tables: BTreeMap::from([(lb2, agreement)]),
    };
    change(&mut view);
    let services = BTreeMap::from([(ServiceName::new("web"), view)]);
    Snapshots { verdicts: Arc::new(View { services, ..View::default() }), ..with_peer(|_| {}) }
}

fn differing(view: &mut ServiceView) {
    view.tables.values_mut().for_each(|tables| tables.comparison = Comparison::Previous);
}

#[test]
fn agreement_is_shown_and_no_alarm() {
    let snapshots = with(|_| {});
    let now = begun() + DIFFERS * 2;
    assert_eq!(alarms(&snapshots, now), []);
    assert_eq!(crate::alarms::alarms(&facts(), &snapshots), []);
    let web = ServiceName::new("web");
    let service = crate::fixture::service("web", []);
    let shown = forwarded(&service, &snapshots, now).unwrap();
    assert_eq!((shown.verdicts_of.as_str(), shown.kept_seconds), ("lb2", None));
    assert!(shown.tables[0].in_sync && shown.tables[0].what == "in sync");
    assert_eq!(served_as(&web, address(), &snapshots).as_deref(), Some("live"));
    let kept = with(|view| view.by = By::Kept(NodeName::new("lb2"), now + Duration::from_secs(7)));
    assert_eq!(forwarded(&service, &kept, now).unwrap().kept_seconds, Some(7));
}

#[test]
fn tables_that_stay_different_are_an_alarm_unless_the_configurations_are() {
    let mut snapshots = with(differing);
    assert_eq!(alarms(&snapshots, begun()), [], "not at once");
    let later = begun() + DIFFERS;
    let said = alarms(&snapshots, later);
    assert!(said[0].what.contains("not in sync with those of lb2: flows older"), "{said:?}");
    let peer = snapshots.peer.peers.get_mut(&NodeName::new("lb2")).unwrap();
    peer.config.as_mut().unwrap().digest = SharedDigest(7);
    assert_eq!(alarms(&snapshots, later), []);
}

#[test]
fn other_verdicts_than_the_leaders_are_an_alarm() {
    let since = begun();
    let snapshots = with(|view| view.disputed = Some((BTreeSet::from([BackendName::new("a")]), since)));
    assert_eq!(alarms(&snapshots, since), []);
    let said = alarms(&snapshots, since + DIFFERS);
    assert!(
        said[0].what.contains("this node's checks of a say something else than those of lb2"),
        "{said:?}"
    );
    let shown = forwarded(&crate::fixture::service("web", []), &snapshots, since).unwrap();
    assert_eq!(shown.disputed, ["a"]);
}

#[test]
fn a_group_that_waits_says_so() {
    let (mut snapshots, main, now) = (with(|_| {}), GroupName::new("main"), begun());
    assert_eq!(waits(&main, &snapshots, now), None);
    let view = View { waits: BTreeMap::from([(main.clone(), now)]), ..View::default() };
    snapshots.verdicts = Arc::new(view);
    assert!(waits(&main, &snapshots, now + Duration::from_secs(20)).unwrap().ends_with("for 40 s at most"));
}
