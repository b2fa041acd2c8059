use super::*;
use crate::control_plane::tests::{lb2, main, peer, scene, seen};
use crate::fixture::{backend, vip};
use crate::verdicts::{Agreement, ServiceView, View};
use fulcrum_config::{BackendName, Class, Config, Election, Mode, Priority, ServiceName};
use fulcrum_health::Verdict as Checked;
use fulcrum_lb::PlaneObserved;
use fulcrum_peer::{LinkState, PeerState, Word};
use fulcrum_vip_manager::{AddressState, Finding, LinkObserved, ProofObserved, Role, TrackObserved};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Why the node of these snapshots could not lead groups.
pub(crate) fn reasons_of(snapshots: &Snapshots) -> BTreeMap<GroupName, String> {
    reasons(Own {
        config: &snapshots.config,
        vip: &snapshots.vip,
        lb: &snapshots.lb,
        behind: &BTreeSet::new(),
        standing_down: &snapshots.standing_down,
        held_back: None,
        stopping: false,
        first_round_done: snapshots.first_round_done,
    })
}

type Harm = fn(&mut Snapshots);

fn web() -> ServiceName {
    ServiceName::new("web")
}

fn config(snapshots: &mut Snapshots) -> &mut Config {
    Arc::make_mut(&mut snapshots.config)
}

fn link() -> fulcrum_config::Link {
    let interface = fulcrum_config::InterfaceName::new("eth0");
    fulcrum_config::Link { interface, family: fulcrum_config::Family::Ipv4 }
}

#[allow(clippy::disallowed_methods, reason = "any instant will do")]
fn found(finding: Finding) -> ProofObserved {
    ProofObserved { finding, since: std::time::Instant::now(), answered: None }
}

#[test]
fn a_node_says_what_keeps_it_from_leading_at_once() {
    let good = scene(|_| {});
    assert_eq!(reasons_of(&good), BTreeMap::new());
    let rows: [(Harm, &str); 11] = [
        (|it| seen(it).role = Role::Init, "it does not take part"),
        (|it| seen(it).priority = None, "it does not take part, or only if nobody else does"),
        (|it| drop(seen(it).links.insert(link(), LinkObserved::default())), "interface eth0 is gone, down"),
        (
            |it| seen(it).tracks.push(TrackObserved { what: "gateway 10.0.0.1".to_owned(), good: false }),
            "track failed: gateway 10.0.0.1",
        ),
        (
            |it| drop(seen(it).addresses.insert(vip(), AddressState::Failed { error: "no room".to_owned() })),
            "10.0.0.100 can't be installed: no room",
        ),
        (
            |it| drop(seen(it).proof.insert(vip(), found(Finding::NobodyAnswers))),
            "nobody on the link answers it, whatever it asks for (10.0.0.100)",
        ),
        (|it| it.standing_down = [(main(), None)].into(), "an operator asked it to leave it"),
        (|it| drop(it.lb.services.remove(&web())), "service web: its listeners do not stand yet"),
        (
            |it| {
                let web = it.lb.services.get_mut(&web()).expect("the service");
                web.errors.push("10.0.0.100:80: address in use".to_owned());
            },
            "service web: 10.0.0.100:80: address in use",
        ),
        (|it| it.lb.stuck.push("tcp-0".to_owned()), "threads that do not run: tcp-0"),
        (|it| it.first_round_done = false, "its first round of health checks is not done"),
    ];
    for (harm, why) in rows {
        let mut snapshots = good.clone();
        harm(&mut snapshots);
        let reasons = reasons_of(&snapshots);
        assert!(reasons.get(&main()).is_some_and(|told| told.starts_with(why)), "{why}: {reasons:?}");
    }
    // What the leader does is no reason: it may not answer just because of that.
    let mut snapshots = good;
    seen(&mut snapshots).proof.insert(vip(), found(Finding::NotAnswered));
    assert_eq!(reasons_of(&snapshots), BTreeMap::new());
}

#[test]
fn however_many_reasons_there_are_few_are_told_and_every_group_is() {
    let reasons: BTreeMap<_, _> = (0..500)
        .map(|number| (GroupName::new(&format!("group-{number}")), format!("{number} {}", "x".repeat(500))))
        .collect();
    let words = in_words(&reasons);
    assert!(words.len() == 64 && words.keys().all(|why| why.len() <= 200));
    assert_eq!(words.values().map(BTreeSet::len).sum::<usize>(), 500);
}

/// As [`scene`], of class workload: only what is said to be the matter is.
fn workload(change: impl FnOnce(&mut Word)) -> Snapshots {
    let mut snapshots = scene(|word| {
        word.unready = Some(BTreeMap::new());
        word.ready.clear();
        change(word);
    });
    let groups = &mut config(&mut snapshots).groups;
    Arc::make_mut(groups.get_mut(&main()).expect("the group")).class = Class::Workload;
    snapshots
}

/// The same with a service that the kernel forwards, whose state lb2 has.
fn forwarded() -> Snapshots {
    let mut snapshots = workload(|_| {});
    let services = &mut config(&mut snapshots).services;
    let web = services.get_mut(&web()).expect("the service");
    Arc::make_mut(web).mode = Mode::Nat;
    set_tables(&mut snapshots, Some(Comparison::InSync));
    let mut plane = PlaneObserved::default();
    plane.flows.held_by.insert(lb2());
    snapshots.lb.plane = Some(plane);
    snapshots
}

#[allow(clippy::disallowed_methods, reason = "any instant will do")]
fn set_tables(snapshots: &mut Snapshots, comparison: Option<Comparison>) {
    let since = std::time::Instant::now();
    let agreement = comparison.map(|comparison| (lb2(), Agreement { comparison, since }));
    let view = ServiceView { tables: agreement.into_iter().collect(), ..ServiceView::default() };
    snapshots.verdicts = Arc::new(View { services: BTreeMap::from([(web(), view)]), ..View::default() });
}

fn to_lb2() -> Target {
    Target { node: lb2(), unknown: Vec::new() }
}

#[test]
fn a_group_goes_to_a_node_that_is_ready_and_to_no_other() {
    for good in [workload(|_| {}), forwarded()] {
        assert_eq!(target(&good, &main(), None), Ok(to_lb2()));
        assert_eq!(target(&good, &main(), Some(&lb2())), Ok(to_lb2()));
    }
    let rows: [(Harm, &str); 10] = [
        (|it| peer(it).state = PeerState::Down, "lb2: the link to it is down: heartbeats come"),
        (|it| peer(it).word = None, "lb2: it has not said yet how it is"),
        (|it| config(it).shared.0 = 7, "lb2 runs another configuration than this node"),
        (|it| (config(it).shared.0, it.serial) = (7, 9), "it is behind (serial 1, here 9)"),
        (
            |it| {
                let why = BTreeMap::from([("track failed: link eth1".to_owned(), BTreeSet::from([main()]))]);
                peer(it).word = Some(Arc::new(Word { unready: Some(why), ..Word::default() }));
            },
            "lb2: it is not ready for it: track failed: link eth1 (look at 'fulcrum status' on lb2)",
        ),
        (
            |it| {
                let fails = BTreeMap::from([(web(), BTreeSet::from([BackendName::new("a")]))]);
                let word = Word { fails, unready: Some(BTreeMap::new()), ..Word::default() };
                peer(it).word = Some(Arc::new(word));
            },
            "lb2: service web: a fails the checks there, and passes them here",
        ),
        (|it| set_tables(it, Some(Comparison::Current)), "service web: new flows go to other backends there"),
        (|it| set_tables(it, Some(Comparison::Previous)), "service web: flows older than the last change"),
        (|it| set_tables(it, None), "service web: it has not told what stands in its tables"),
        (
            |it| it.lb.plane = Some(PlaneObserved::default()),
            "lb2: it does not know all connections of this node yet",
        ),
    ];
    for (harm, why) in rows {
        let mut snapshots = forwarded();
        harm(&mut snapshots);
        let told = target(&snapshots, &main(), None).expect_err(why);
        assert!(told.len() == 1 && told[0].contains(why), "{why}: {told:?}");
    }
}

#[test]
fn backends_that_fail_on_both_nodes_or_only_here_are_no_reason_to_stay() {
    let fails = BTreeMap::from([(web(), BTreeSet::from([BackendName::new("a")]))]);
    let mut snapshots = workload(|word| word.fails = fails);
    assert!(target(&snapshots, &main(), None).is_err());
    let web = snapshots.health.services.get_mut(&web()).expect("the service");
    web.backends.get_mut(&backend("a").name).expect("the backend").verdict = Checked::Down;
    assert_eq!(target(&snapshots, &main(), None), Ok(to_lb2()));
    let told = fails_of(&snapshots);
    assert_eq!(told, BTreeMap::from([(ServiceName::new("web"), BTreeSet::from([backend("a").name]))]));
}

fn fails_of(snapshots: &Snapshots) -> BTreeMap<ServiceName, BTreeSet<BackendName>> {
    fails(&snapshots.config, &snapshots.health)
}

#[test]
fn of_nodes_without_a_link_it_is_said_that_nothing_is_known() {
    let mut alone = workload(|_| {});
    alone.peer = fulcrum_peer::Observed { state: LinkState::NoKeys, ..fulcrum_peer::Observed::default() };
    let told = target(&alone, &main(), None).expect("it may go");
    assert!(told.node == lb2() && told.unknown.len() == 1, "{told:?}");
    // An older version says nothing of groups of this class.
    let older = workload(|word| word.unready = None);
    let told = target(&older, &main(), None).expect("it may go");
    assert!(told.unknown.len() == 1 && told.unknown[0].contains("does not say whether"), "{told:?}");
    // There is nobody else.
    let groups = &mut config(&mut alone).groups;
    Arc::make_mut(groups.get_mut(&main()).expect("the group")).priorities.remove(&lb2());
    assert_eq!(
        target(&alone, &main(), None),
        Err(vec!["there is no other node that could take it".to_owned()])
    );
}

#[test]
fn only_an_elected_group_goes_to_any_node_that_is_named() {
    let mut snapshots = workload(|_| {});
    let lb3 = NodeName::new("lb3");
    let third = peer(&mut snapshots).clone();
    snapshots.peer.peers.insert(lb3.clone(), third);
    let groups = &mut config(&mut snapshots).groups;
    let group = Arc::make_mut(groups.get_mut(&main()).expect("the group"));
    group.priorities.insert(lb3.clone(), Priority::new(50).expect("a priority"));
    assert_eq!(target(&snapshots, &main(), Some(&lb2())), Ok(to_lb2()));
    let told = target(&snapshots, &main(), Some(&lb3)).expect_err("lb2 comes first");
    assert!(
        told[0].contains("goes to the standby of the highest priority that lives, which is lb2"),
        "{told:?}"
    );
    let told = target(&snapshots, &main(), Some(&NodeName::new("lb9"))).expect_err("there is none");
    assert!(told[0].contains("lb9 is no other node of group main; there are: lb2, lb3"), "{told:?}");
    let groups = &mut config(&mut snapshots).groups;
    Arc::make_mut(groups.get_mut(&main()).expect("the group")).election = Election::Peers;
    assert_eq!(
        target(&snapshots, &main(), Some(&lb3)),
        Ok(Target { node: lb3.clone(), unknown: Vec::new() })
    );
    // One that is named is not replaced by another that is ready.
    snapshots.peer.peers.get_mut(&lb3).expect("it").state = PeerState::Down;
    assert!(target(&snapshots, &main(), Some(&lb3)).is_err());
    assert_eq!(target(&snapshots, &main(), None), Ok(to_lb2()));
}
