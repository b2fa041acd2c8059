use super::*;
use crate::fixture::{backend, config, health, service};
use crate::plan;
use fulcrum_config::{GroupName, NodeName, ServiceName};
use fulcrum_health::Verdict;
use fulcrum_lb::{BackendUse, ServiceObserved};
use std::collections::{BTreeMap, BTreeSet};

/// The other ends of the engines' channels, played by the test.
struct Played {
    health: watch::Sender<fulcrum_health::Observed>,
    vip: watch::Sender<fulcrum_vip_manager::Observed>,
    lb: watch::Sender<fulcrum_lb::Observed>,
    health_desired: watch::Receiver<fulcrum_health::Desired>,
    vip_desired: watch::Receiver<fulcrum_vip_manager::Desired>,
    lb_desired: watch::Receiver<fulcrum_lb::Desired>,
    peer: watch::Sender<fulcrum_peer::Observed>,
    peer_desired: watch::Receiver<fulcrum_peer::Desired>,
}

const PATIENCE: Duration = Duration::from_secs(20);

async fn until<T: Clone>(seen: &mut watch::Receiver<T>, is_so: impl FnMut(&T) -> bool) -> T {
    tokio::time::timeout(PATIENCE, seen.wait_for(is_so)).await.expect("in time").expect("alive").clone()
}

fn play() -> (Handle, Played) {
    let config = Arc::new(config([service("web", [backend("a"), backend("b")])]));
    let (health_tx, health_desired) = watch::channel(plan::health_desired(&config));
    let (lb_tx, lb_desired) = watch::channel(fulcrum_lb::Desired::default());
    let none = BTreeSet::new();
    let (vip_tx, vip_desired) =
        watch::channel(plan::vip_desired(&config, &BTreeMap::new(), false, none.clone(), none.clone()));
    let (health, health_rx) = watch::channel(fulcrum_health::Observed::default());
    let (vip, vip_rx) = watch::channel(fulcrum_vip_manager::Observed::default());
    let (lb, lb_rx) = watch::channel(fulcrum_lb::Observed::default());
    let (peer_tx, peer_desired) =
        watch::channel(plan::peer_desired(&config, 1, 1, &fulcrum_vip_manager::Observed::default()));
    let (peer, peer_rx) = watch::channel(fulcrum_peer::Observed::default());
    let engines = Engines {
        health: Engine { desired: health_tx, observed: health_rx },
        vip: Engine { desired: vip_tx, observed: vip_rx },
        lb: Engine { desired: lb_tx, observed: lb_rx },
        peer: Engine { desired: peer_tx, observed: peer_rx },
    };
    let handle = start(config, 1, engines).expect("a thread");
    (handle, Played { health, vip, lb, peer, health_desired, vip_desired, lb_desired, peer_desired })
}

#[tokio::test]
async fn a_death_reaches_the_data_plane() {
    let (_handle, mut played) = play();
    until(&mut played.lb_desired, |desired| desired.services.len() == 1).await;
    let dead = [("web", true, vec![("a", Verdict::Down, 100), ("b", Verdict::Up, 100)])];
    played.health.send_replace(health(dead));
    let web = ServiceName::new("web");
    let desired =
        until(&mut played.lb_desired, |desired| desired.services[&web].backends[0].usage == BackendUse::Down)
            .await;
    assert_eq!(desired.services[&web].backends[1].usage, BackendUse::Live);
}

#[tokio::test]
async fn the_data_plane_is_missing_until_it_stands() {
    let (handle, mut played) = play();
    until(&mut played.vip_desired, |desired| desired.data_plane_missing.len() == 1).await;
    let services = [(ServiceName::new("web"), ServiceObserved::default())].into();
    played.lb.send_replace(fulcrum_lb::Observed { services, ready: true, ..Default::default() });
    until(&mut played.vip_desired, |desired| desired.data_plane_missing.is_empty()).await;
    let bigger = config([service("web", [backend("a")]), service("api", [backend("a")])]);
    handle.apply(Arc::new(bigger), 1);
    until(&mut played.lb_desired, |desired| desired.services.len() == 2).await;
    until(&mut played.health_desired, |desired| desired.services.len() == 2).await;
    let desired = until(&mut played.vip_desired, |desired| desired.config.services.len() == 2).await;
    assert!(desired.data_plane_missing.is_empty(), "a reload that adds a service does not demote");
}

#[tokio::test]
async fn a_trial_is_told_to_the_data_plane_alone() {
    let (handle, mut played) = play();
    let web = ServiceName::new("web");
    let services = [(web.clone(), ServiceObserved::default())].into();
    played.lb.send_replace(fulcrum_lb::Observed { services, ready: true, ..Default::default() });
    until(&mut played.vip_desired, |desired| desired.data_plane_missing.is_empty()).await;
    played.health_desired.borrow_and_update();
    played.vip_desired.borrow_and_update();
    let bigger = Arc::new(config([service("web", [backend("a")]), service("api", [backend("a")])]));
    let on_trial = BTreeSet::from([web.clone()]);
    handle.try_out(Some(Trial { table: Some(bigger), services: on_trial.clone() }));
    until(&mut played.lb_desired, |desired| desired.services.len() == 2).await;
    let broken = ServiceObserved { errors: vec!["address in use".to_owned()], ..Default::default() };
    played.lb.send_modify(|lb| drop(lb.services.insert(web.clone(), broken)));
    handle.try_out(Some(Trial { table: None, services: on_trial }));
    until(&mut played.lb_desired, |desired| desired.services.len() == 1).await;
    assert!(!played.vip_desired.has_changed().expect("alive"), "no group is given up by a trial");
    assert!(!played.health_desired.has_changed().expect("alive"));
    handle.try_out(None);
    until(&mut played.vip_desired, |desired| desired.data_plane_missing.len() == 1).await;
}

#[tokio::test]
async fn a_service_that_never_listened_does_not_demote_another_group() {
    let (handle, mut played) = play();
    let in_group = |name: &str| fulcrum_config::Service {
        group: GroupName::new("other"),
        ..service(name, [backend("a")])
    };
    let with_other = |services: Vec<fulcrum_config::Service>| {
        let mut config = config([service("web", [backend("a")])]);
        let main = &config.groups[&GroupName::new("main")];
        let other = fulcrum_config::Group { name: GroupName::new("other"), ..(**main).clone() };
        config.groups.insert(other.name.clone(), Arc::new(other));
        config.services.extend(services.into_iter().map(|s| (s.name.clone(), Arc::new(s))));
        Arc::new(config)
    };
    handle.apply(with_other(vec![in_group("api")]), 1);
    let broken = ServiceObserved { errors: vec!["address in use".to_owned()], ..Default::default() };
    let services =
        [(ServiceName::new("web"), broken), (ServiceName::new("api"), ServiceObserved::default())].into();
    // Not ready, for one service never listened.
    played.lb.send_replace(fulcrum_lb::Observed { services, ready: false, ..Default::default() });
    let only_main = BTreeSet::from([GroupName::new("main")]);
    until(&mut played.vip_desired, |desired| {
        desired.config.groups.len() == 2 && desired.data_plane_missing == only_main
    })
    .await;
    handle.apply(with_other(vec![in_group("api"), in_group("more")]), 1);
    let desired = until(&mut played.vip_desired, |desired| desired.config.services.len() == 3).await;
    assert_eq!(desired.data_plane_missing, only_main, "a reload that adds a service does not demote");
}

#[tokio::test]
async fn standing_down_is_told_and_taken_back() {
    let (handle, mut played) = play();
    let group = GroupName::new("main");
    handle.stand_down(&group, None);
    until(&mut played.vip_desired, |desired| desired.standing_down.contains_key(&group)).await;
    handle.stand_up(&group);
    until(&mut played.vip_desired, |desired| desired.standing_down.is_empty()).await;
}

#[tokio::test]
async fn stopping_resigns_first_and_then_ends_the_engines() {
    let (handle, mut played) = play();
    let stop = tokio::spawn(async move { handle.stop(PATIENCE).await });
    until(&mut played.vip_desired, |desired| desired.stopping).await;
    assert!(played.lb_desired.has_changed().is_ok(), "the data plane serves until the groups are resigned");
    played.vip.send_modify(|vip| vip.stopped = true);
    let ended = async { while played.lb_desired.changed().await.is_ok() {} };
    tokio::time::timeout(PATIENCE, ended).await.expect("the driver lets go of the engines");
    drop((played.health, played.vip, played.lb));
    assert!(stop.await.expect("no panic"));
}

#[tokio::test]
async fn an_engine_that_hangs_is_seen() {
    let (handle, played) = play();
    let late = BEAT.saturating_mul(6);
    for (name, is_left_out) in [("vip-manager", 0), ("lb", 1), ("health", 2)] {
        // The others beat, and the driver itself does.
        let beat = |all: bool| {
            if all || is_left_out != 0 {
                played.vip.send_modify(|_| ());
            }
            if all || is_left_out != 1 {
                played.lb.send_modify(|lb| lb.beat += 1);
            }
            if all || is_left_out != 2 {
                played.health.send_modify(|health| health.beat += 1);
            }
        };
        let reached = async |all: bool, is_so: &dyn Fn() -> bool| {
            while !is_so() {
                beat(all);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let hangs = || matches!(handle.since_beat(), (who, since) if who == name && since > late);
        tokio::time::timeout(PATIENCE, reached(false, &hangs)).await.expect("it shows");
        let lives = || handle.since_beat().1 < late;
        tokio::time::timeout(PATIENCE, reached(true, &lives)).await.expect("it shows");
    }
}

#[tokio::test]
async fn an_engine_that_ends_is_named() {
    let (handle, played) = play();
    drop(played.lb);
    let failed = tokio::time::timeout(PATIENCE, handle.failed()).await.expect("in time");
    assert_eq!(failed, "lb");
}

#[tokio::test]
async fn each_revision_reaches_the_data_plane_even_if_its_table_stays() {
    let (handle, mut played) = play();
    let first = handle.apply(handle.config(), 1);
    until(&mut played.lb_desired, |desired| desired.revision == first).await;
    let second = handle.try_out(None);
    assert!(second > first);
    until(&mut played.lb_desired, |desired| desired.revision == second && desired.services.len() == 1).await;
}

#[tokio::test]
async fn each_configuration_that_is_applied_reaches_the_peer_link_even_an_equal_one() {
    let (handle, mut played) = play();
    handle.try_out(None);
    handle.apply(handle.config(), 1);
    let desired = until(&mut played.peer_desired, |desired| desired.generation == 2).await;
    assert_eq!(desired.config, handle.config());
    let observed = fulcrum_peer::Observed { errors: vec!["no port".to_owned()], ..Default::default() };
    played.peer.send_replace(observed);
    assert_eq!(handle.snapshots().peer.errors, ["no port"]);
}

#[tokio::test]
async fn what_nodes_say_of_their_adverts_is_carried_both_ways_and_ends_with_the_link() {
    let (_handle, mut played) = play();
    let (main, lb2) = (GroupName::new("main"), NodeName::new("lb2"));
    let leads = [(main.clone(), BTreeSet::from([crate::fixture::vip()]))];
    let word = fulcrum_vip_manager::Word { leads: leads.clone().into(), ..Default::default() };
    let answers: BTreeMap<_, _> = [(lb2.clone(), [(main.clone(), 7)].into())].into();
    played.vip.send_modify(|vip| {
        vip.word = word;
        vip.answers.clone_from(&answers);
    });
    let desired = until(&mut played.peer_desired, |desired| !desired.word.leads.is_empty()).await;
    assert_eq!((desired.word.leads, desired.answers), (leads.clone().into(), answers));

    let said = fulcrum_peer::Word { asks: [(main.clone(), 9)].into(), ..Default::default() };
    let snapshots = crate::peers::tests::with_peer(|peer| peer.word = Some(Arc::new(said)));
    played.peer.send_replace(snapshots.peer.clone());
    let desired = until(&mut played.vip_desired, |desired| desired.words.contains_key(&lb2)).await;
    assert_eq!(desired.words[&lb2].asks[&main], 9);
    drop(played.peer);
    until(&mut played.vip_desired, |desired| desired.words.is_empty()).await;
}

/// The configuration that runs, with a service that the kernel forwards and keys for lb1 and lb2.
fn forwarded() -> Config {
    let web = fulcrum_config::Service { mode: fulcrum_config::Mode::Nat, ..service("web", [backend("a")]) };
    let mut config = config([web]);
    let main = GroupName::new("main");
    let mut group = (*config.groups[&main]).clone();
    group.priorities.insert(NodeName::new("lb2"), fulcrum_config::Priority::DEFAULT);
    config.groups.insert(main, Arc::new(group));
    for node in ["lb1", "lb2"] {
        config.peer.pins.insert(NodeName::new(node), Vec::new());
    }
    config
}

fn observed(role: fulcrum_vip_manager::Role) -> fulcrum_vip_manager::GroupObserved {
    let mut snapshots = crate::alarms::tests::good();
    let mut group = snapshots.vip.groups.remove(&GroupName::new("main")).expect("the group");
    group.role = role;
    group.leader = (role != fulcrum_vip_manager::Role::Leader).then(|| fulcrum_vip_manager::PeerSeen {
        node: Some(NodeName::new("lb2")),
        address: crate::fixture::vip(),
        priority: 100,
    });
    group
}

#[tokio::test]
async fn the_leaders_verdicts_reach_the_data_plane_and_this_nodes_the_peers() {
    let (handle, mut played) = play();
    let (main, web, lb2) = (GroupName::new("main"), ServiceName::new("web"), NodeName::new("lb2"));
    handle.apply(Arc::new(forwarded()), 1);
    until(&mut played.vip_desired, |desired| desired.behind.contains(&main)).await;
    played.vip.send_modify(|vip| {
        vip.groups.insert(main.clone(), observed(fulcrum_vip_manager::Role::Standby));
    });
    let judged = fulcrum_peer::Judged { usage: fulcrum_peer::Usage::Down, weight: 0 };
    let verdict = fulcrum_peer::Verdict { up: false, backends: [(backend("a").address, judged)].into() };
    let tables = Arc::new(fulcrum_config::ServiceTables { current: 1, previous: 1, older: None });
    let said = fulcrum_peer::Serving { verdict: Some(Arc::new(verdict)), tables: Some(Arc::clone(&tables)) };
    let serving = Arc::new(fulcrum_peer::Services::from([(web.clone(), Arc::new(said))]));
    let snapshots = crate::peers::tests::with_peer(|peer| peer.serving = serving);
    played.peer.send_replace(snapshots.peer);
    let desired = until(&mut played.lb_desired, |desired| desired.follow.contains_key(&web)).await;
    assert_eq!(desired.services[&web].backends[0].usage, BackendUse::Down);
    // The data plane has what the leader has.
    let own = fulcrum_lb::PlaneObserved {
        tables: Arc::new([(web.clone(), tables)].into()),
        flows: fulcrum_lb::FlowsObserved { in_sync: true, ..Default::default() },
        ..Default::default()
    };
    played.lb.send_modify(|lb| lb.plane = Some(own));
    // Nor does it take what is led by another before it knows which backends it could use.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(played.vip_desired.borrow().behind.contains(&main));
    played.health.send_replace(health([(
        "web",
        true,
        vec![("a", Verdict::Up, 100), ("b", Verdict::Up, 100)],
    )]));
    until(&mut played.vip_desired, |desired| desired.behind.is_empty()).await;
    assert_eq!(handle.snapshots().verdicts.services[&web].by, crate::By::Leader(lb2));
    // It takes over, and says by what it serves.
    played.vip.send_modify(|vip| {
        vip.groups.insert(main.clone(), observed(fulcrum_vip_manager::Role::Leader));
    });
    let desired = until(&mut played.peer_desired, |desired| {
        desired.serving.get(&web).is_some_and(|serving| serving.verdict.is_some())
    })
    .await;
    let serving = &desired.serving[&web];
    assert!(!serving.verdict.as_ref().expect("a verdict").up && serving.tables.is_some());
}
